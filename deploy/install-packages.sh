#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the missing ones of the packages named: install-packages.sh --apt A B … --dnf C D …
# Services that Debian packages bring are kept from starting: the build and the tests start what they need.
# A machine that is installing something itself, as after its first boot, is waited for.
set -eu

apt_list='' dnf_list='' list=''
for word in "$@"; do
	case $word in
	--apt) list=apt ;;
	--dnf) list=dnf ;;
	*) if [ "$list" = apt ]; then apt_list="$apt_list $word"; else dnf_list="$dnf_list $word"; fi ;;
	esac
done

need_root() {
	[ "$(id -u)" = 0 ] && return
	echo "missing packages:$missing" >&2
	echo "install them with: sudo make deps" >&2
	exit 1
}

missing=''
if command -v apt-get >/dev/null; then
	for package in $apt_list; do
		status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
		[ "$status" = installed ] || missing="$missing $package"
	done
	[ -n "$missing" ] || exit 0
	need_root
	echo "installing:$missing"
	apt-get update -q >/dev/null
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		trap 'rm -f $policy' EXIT
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
	fi
	# shellcheck disable=SC2086 # a list of words
	DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -q -y --no-install-recommends $missing >/dev/null
elif command -v dnf >/dev/null; then
	for package in $dnf_list; do
		rpm -q "$package" >/dev/null 2>&1 || missing="$missing $package"
	done
	[ -n "$missing" ] || exit 0
	need_root
	echo "installing:$missing"
	# shellcheck disable=SC2086
	dnf install -q -y $missing
else
	echo "neither apt-get nor dnf here; install by hand:$apt_list" >&2
	exit 1
fi
