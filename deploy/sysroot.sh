#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Unpacks Debian packages of another architecture, with all they depend on, below a directory:
# sysroot.sh ARCHITECTURE DIRECTORY PACKAGE…
# With a state of apt's own in that directory: nothing is installed, the machine's list of architectures stays
# what it is, and no root is needed. Does nothing when these packages are there already.
# With APT_CONFIG=DIRECTORY/.apt/conf apt-cache and apt-get download see that architecture afterwards.
set -eu

arch=$1 dir=$2
shift 2
[ "$(cat "$dir/.packages" 2>/dev/null)" != "$*" ] || exit 0
command -v apt-get >/dev/null || {
	echo "$dir is filled from Debian's packages, and there is no apt-get here" >&2
	exit 1
}
echo "unpacking for $arch: $*"
rm -rf "$dir"
mkdir -p "$dir/.apt/lists/partial" "$dir/.apt/archives/partial"
dir=$(cd "$dir" && pwd)
apt=$dir/.apt
: >"$apt/status"
cat >"$apt/conf" <<END
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
Debug::NoLocking "true";
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
END
export APT_CONFIG="$apt/conf"
apt-get -q update >/dev/null
apt-get -q -y --download-only install "$@" >/dev/null
for package in "$apt"/archives/*.deb; do
	dpkg-deb --extract "$package" "$dir"
done
rm "$apt"/archives/*.deb
# Links are meant from the root of the machine: let them stay below the directory.
find "$dir" -type l -lname '/*' | while read -r link; do
	ln -sfnr "$dir$(readlink "$link")" "$link"
done
echo "$*" >"$dir/.packages"
