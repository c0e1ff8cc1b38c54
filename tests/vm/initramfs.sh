#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Packs what a virtual machine runs into one initramfs: initramfs.sh KERNEL_ROOT BUILD OUTPUT.
# KERNEL_ROOT is an unpacked kernel package, BUILD where the agent and the tests are. The programs that tests call come
# from this machine, with the libraries they are linked with.
set -eu

kernel_root=$1 build=$2 output=$3
here=$(dirname "$0")
PATH=$PATH:/usr/sbin:/sbin

modules='virtio_pci virtio_blk loop veth nf_tables nft_compat xt_statistic xt_tcpudp ipt_REJECT
	iptable_filter sch_netem brd'
tools='sh awk grep sed cat cp ln rm mv mkdir dd head tail stat sync truncate fallocate mktemp timeout nproc sleep true false
	chmod touch date env id ls sort cmp mkfifo readlink basename dirname seq tee xargs find pgrep kill tr wc cut uname chrt mount umount losetup blkdiscard mkfs.ext4 ip iptables curl nginx fio
	setpriv ps wrk hardirqs softirqs'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p usr/bin usr/sbin usr/lib usr/lib64 dev proc sys tmp run etc modules var/log/nginx var/lib/nginx \
	build/tests/live build/tests/vm
for directory in bin sbin lib lib64; do
	ln -s usr/$directory $directory
done
cd - >/dev/null

cp "$here/init" "$work/init"
cp /bin/busybox "$work/usr/bin/busybox"
cp "$build/leadline" "$work/build/"
cp "$build"/tests/live/test_* "$work/build/tests/live/"
cp "$build"/tests/vm/* "$here/guest.sh" "$here/control-groups.sh" "$work/build/tests/vm/"
echo 'root:x:0:0:root:/:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false' >"$work/etc/passwd"
echo 'root:x:0:
nogroup:x:65534:' >"$work/etc/group"
for tool in $tools; do
	path=''
	for directory in /usr/bin /usr/sbin /bin /sbin; do
		[ -n "$path" ] || [ ! -x "$directory/$tool" ] || path=$directory/$tool
	done
	if [ -z "$path" ]; then
		echo "initramfs.sh: $tool is not installed here" >&2
		exit 1
	fi
	cp -L "$path" "$work/usr/bin/$tool"
done

# Libraries and the loader where the programs look for them; iptables loads its matches by name, threads libgcc_s.
libraries=/usr$(dirname "$(ldd "$build/leadline" | sed -nE 's/.* (\/[^ ]*\/libz\.so[^ ]*) .*/\1/p')")
{
	ldd "$build/leadline" "$build"/tests/live/test_* "$work"/usr/bin/* 2>/dev/null |
		sed -nE 's/^.*[[:space:]](\/[^ ]+) \(0x.*/\1/p'
	ls "$libraries"/xtables/*.so "$libraries"/libgcc_s.so.1
} | sort -u | while read -r library; do
	mkdir -p "$work$(dirname "$library")" # within the links above
	cp -L "$library" "$work$library"
done

# Modules in the order of their dependencies, unpacked: busybox knows no xz.
version=$(basename "$kernel_root"/lib/modules/*)
[ -e "$kernel_root/lib/modules/$version/modules.dep" ] || depmod -b "$kernel_root" "$version"
for module in $modules; do
	modprobe -d "$kernel_root" -S "$version" --show-depends "$module" 2>/dev/null | sed -n 's/^insmod //p'
done | awk '!seen[$1]++ { print $1 }' | {
	n=100
	while read -r path; do
		name=$(basename "$path")
		case $path in
		*.xz) xz -dc "$path" >"$work/modules/$n-${name%.xz}" ;;
		*) cp "$path" "$work/modules/$n-$name" ;;
		esac
		n=$((n + 1))
	done
}

mkdir -p "$(dirname "$output")"
(cd "$work" && find . | cpio --quiet -o -H newc -R 0:0) >"$output.new"
mv "$output.new" "$output"
