#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Packs what a virtual machine runs into one initramfs: initramfs.sh KERNEL_ROOT BUILD OUTPUT [ROOT].
# KERNEL_ROOT is an unpacked kernel package, BUILD where the agent and the tests are. The programs that tests call, and all
# libraries, come from this machine, or from ROOT, where packages of another architecture are unpacked.
set -eu

kernel_root=$1 build=$2 output=$3 root=${4:-}
here=$(dirname "$0")
PATH=$PATH:/usr/sbin:/sbin

modules='virtio_pci virtio_blk loop veth nf_tables nft_compat xt_statistic xt_tcpudp ipt_REJECT
	iptable_filter sch_netem brd overlay'
tools='sh awk grep sed cat cp ln rm rmdir mv mkdir dd head tail stat sync truncate fallocate mktemp timeout nproc sleep true false
	chmod touch date env id ls sort cmp mkfifo readlink basename dirname seq tee xargs find pgrep kill tr wc cut uname chrt mount umount losetup blkdiscard mkfs.ext4 ip ss iptables curl nginx fio
	setpriv ps wrk hardirqs softirqs runc
	taskset redis-server redis-cli'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/vm/files.sh
. "$here/files.sh"
cd "$work"
mkdir -p usr/bin usr/sbin usr/lib usr/lib64 dev proc sys tmp run mnt etc modules etc/ssl var/log/nginx var/lib/nginx \
	build/tests/live build/tests/peers build/tests/vm
for directory in bin sbin lib lib64; do
	ln -s usr/$directory $directory
done
cd - >/dev/null

cp "$here/init" "$work/init"
cp "$root/bin/busybox" "$work/usr/bin/busybox"
cp "$build/leadline" "$work/build/"
cp "$build"/tests/live/test_* "$work/build/tests/live/"
cp "$build"/tests/peers/test_* "$work/build/tests/peers/"
cp "$build"/tests/vm/* "$here/guest.sh" "$here/control-groups.sh" "$work/build/tests/vm/"
echo 'root:x:0:0:root:/:/bin/sh
postgres:x:101:101:postgres:/:/bin/false
mysql:x:102:102:mysql:/:/bin/false
nobody:x:65534:65534:nobody:/:/bin/false' >"$work/etc/passwd"
echo 'root:x:0:
postgres:x:101:
mysql:x:102:
nogroup:x:65534:' >"$work/etc/group"
echo '127.0.0.1 localhost' >"$work/etc/hosts"
cp "$root/etc/ssl/openssl.cnf" "$work/etc/ssl/"
for tool in $tools; do
	copy_tool "$tool"
done

# Libraries and the loader where the programs look for them; iptables loads its matches by name, threads libgcc_s.
mkdir -p "$work$(dirname "$loader")" "$work/usr/lib/$triplet/xtables"
cp -L "$root$loader" "$work$loader"
cp -L "$root/usr/lib/$triplet"/xtables/*.so "$work/usr/lib/$triplet/xtables/"
{
	echo libgcc_s.so.1
	needed "$work"/build/leadline "$work"/build/tests/*/* "$work"/usr/*bin/* "$work/usr/lib/$triplet"/xtables/*
} | sort -u | add_libraries

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
