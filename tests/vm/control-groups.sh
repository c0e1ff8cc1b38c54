#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Inside the virtual machine: mounts both hierarchies of control groups, so that tests of either run. Newer kernels may be
# built without the old memory controller.
mount -t tmpfs cgroup /sys/fs/cgroup
cd /sys/fs/cgroup || exit
mkdir unified memory cpu
mount -t cgroup2 cgroup2 unified
mount -t cgroup -o memory memory memory 2>/dev/null || rmdir memory
mount -t cgroup -o cpu cpu cpu
