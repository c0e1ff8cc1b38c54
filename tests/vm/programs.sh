#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes a disk of the programs that are too large for an initramfs, which tests/peers/ run, with all they need below /usr: programs.sh BUILD
# OUTPUT [ROOT], as initramfs.sh. The machines put it under their own /usr and read of it only what they run.
set -eu

build=$1 output=$2 root=${3:-}
PATH=$PATH:/usr/sbin:/sbin

tools='python3 h2load nghttp nghttpx haproxy dnsmasq dig openssl wget node sysbench mariadbd mariadb mariadb-slap mariadb-install-db
	my_print_defaults resolveip hostname bash ldd unshare chown redis-benchmark'
# by versions, as they are named
directories='usr/lib/python3 usr/lib/python3.[0-9]* usr/lib/postgresql usr/share/postgresql usr/share/mysql usr/lib/mysql
	usr/share/nodejs usr/share/sysbench usr/lib/ssl'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/vm/files.sh
. "$(dirname "$0")/files.sh"

mkdir -p "$work/usr/bin" "$work/usr/sbin" "$work/usr/lib/$triplet"
for tool in $tools; do
	copy_tool "$tool"
done
(
	cd "$root/"
	for directory in $directories; do
		[ ! -e "$directory" ] || cp -a --parents "$directory" "$work/"
	done
)
# of PostgreSQL, what is compiled while it runs; of others, their tests
rm -rf "$work"/usr/lib/postgresql/*/lib/bitcode "$work"/usr/lib/postgresql/*/lib/llvmjit* "$work"/usr/lib/python3*/test
find "$work" -type f \( -path '*bin/*' -o -name '*.so' \) -exec readelf -d {} + 2>/dev/null |
	sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p' | sort -u | add_libraries

size=$(du -sm --apparent-size "$work" | cut -f 1)
mkdir -p "$(dirname "$output")"
: >"$output.new" # of a file that is not there yet, mke2fs says so, however quiet it is told to be
mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$work" "$output.new" "$((size * 5 / 4 + 32))M" 2>/dev/null
mv "$output.new" "$output"
