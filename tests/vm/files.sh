# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154
# What initramfs.sh and programs.sh share: copying programs with their libraries from $root (of this machine when empty) to
# $work. $build has the agent, by which the architecture is known.

loader=$(readelf -p .interp "$build/leadline" | sed -n 's/.*] *//p')
triplet=$(basename "$loader" | sed -E 's/ld-linux-(.*)\.so.*/\1/; s/x86-64/x86_64/')-linux-gnu

copy_tool() {
	path=''
	for directory in usr/bin usr/sbin bin sbin; do
		[ -n "$path" ] || [ ! -x "$root/$directory/$1" ] || path=$root/$directory/$1
	done
	# names that installing would have linked
	case $path$1 in
	awk) path=$root/usr/bin/mawk ;;
	iptables) path=$root/usr/sbin/xtables-nft-multi ;;
	esac
	if [ ! -x "$path" ]; then
		echo "$(basename "$0"): $1 is not installed${root:+ below $root}" >&2
		exit 1
	fi
	cp -L "$path" "$work/usr/$(basename "$(dirname "$path")")/$1"
}

needed() {
	readelf -d "$@" 2>/dev/null | sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p' | sort -u
}

# Of the names on its input: where the programs look for them. Some are in a directory below, where those that need them
# know to look.
add_libraries() {
	while read -r name; do
		for path in "$root/usr/lib/$triplet/$name" "$root/lib/$triplet/$name" "$root/usr/lib/$triplet"/*/"$name"; do
			copy=$work/usr/lib/$triplet/${path#*/"$triplet"/}
			[ ! -e "$copy" ] || break
			[ -e "$path" ] || continue
			mkdir -p "$(dirname "$copy")"
			cp -L "$path" "$copy"
			needed "$copy" | add_libraries
			break
		done
	done
}
