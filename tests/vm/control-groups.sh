#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Inside the virtual machine: mounts hierarchies of control groups, in place of those there are: control-groups.sh both, v1,
# v2 or none. Newer kernels may be built without the old memory controller; it is the new hierarchy's then.
set -u

# Where to mount a controller of version 1; none of version 2 has it meanwhile. It is free once no group is left in its last place.
mount_old() {
	mkdir "/sys/fs/cgroup/$1"
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		mount -t cgroup -o "$1" "$1" "/sys/fs/cgroup/$1" 2>/dev/null && return
		sleep 0.2
	done
	rmdir "/sys/fs/cgroup/$1"
}

cd /
while grep -q ' /sys/fs/cgroup' /proc/mounts; do
	umount -R /sys/fs/cgroup || exit
done
case $1 in
both | v1)
	mount -t tmpfs cgroup /sys/fs/cgroup
	for controller in memory cpu devices pids freezer; do # a container wants the later ones
		mount_old $controller
	done
	;;
esac
case $1 in
both)
	mkdir /sys/fs/cgroup/unified
	mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
	;;
v2)
	mount -t cgroup2 cgroup2 /sys/fs/cgroup
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		echo +memory >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null && break
		sleep 0.2
	done
	;;
esac
