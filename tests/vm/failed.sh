#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What failed in virtual machines, as VM_TESTS names it: failed.sh BUILD/vm. Nothing, which means all, where one did not run to its
# end.
set -eu
for boot in "$1"/*/boot.tap; do
	[ ! -e "$boot" ] || exit 0
done
for tap in "$1"/*/*.tap; do
	name=$(basename "$tap" .tap)
	[ "$(cat "${tap%.tap}.status" 2>/dev/null || echo 124)" != 0 ] || continue
	case $name in
	groups-*) name=groups ;;
	*-[0-9]) name=${name%-*} ;; # one round of several
	esac
	echo "$name"
done | sort -u | paste -sd, -
