#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Boots one of Debian's kernels under qemu and has guest.sh run there: boot.sh VERSION BUILD [TESTS], e.g. 6.1 build
# requests,tcp; without TESTS all. What each run said goes to BUILD/vm/VERSION/NAME.tap, and beside it a program NAME
# that says it again, for tests/harness/run.sh; hooks.txt there tells which round used which hook.
# Another architecture: QEMU, QEMU_FLAGS, CONSOLE, FLAVOUR of the kernel, and ROOT, where deploy/sysroot.sh has unpacked
# packages of it.
set -euo pipefail
version=$1 build=$2 tests=${3:-}
here=$(cd "$(dirname "$0")" && pwd)

# One thread for both CPUs: with two, the emulation loses sight of instructions that one CPU patches while the other runs
# them, and 6.12 panics. So two machines side by side take two CPUs. The plain CPU has no string instructions that the kernel
# takes for fast: they are emulated byte by byte. Nor has it anything to mitigate.
qemu=${QEMU:-qemu-system-x86_64}
read -ra flags <<<"${QEMU_FLAGS:--cpu qemu64 -accel tcg,thread=single}"
console=${CONSOLE:-ttyS0}
pattern="^linux-image-$version\\.[0-9][^ ]*-${FLAVOUR:-cloud-amd64}\$"
root_of_guest=${ROOT:-}
[ -z "$root_of_guest" ] || export APT_CONFIG=$root_of_guest/.apt/conf
limit=${VM_TIMEOUT:-2700}
clock=''
if khz=$("$build/tests/vm/cycles" 2>/dev/null); then
	clock="tsc=reliable tsc_early_khz=$khz"
fi

programs=()
[ ! -e "$build/vm/programs" ] || programs=(-drive "file=$build/vm/programs,if=virtio,format=raw,readonly=on")
results=$build/vm/$version
rm -rf "$results"
mkdir -p "$results"

# Says what went wrong as a test that failed.
fail() {
	printf '#!/bin/sh\necho "1..1"\necho "not ok 1 - boots: %s"\nexit 1\n' "$*" >"$results/boot"
	chmod +x "$results/boot"
	: >"$results/boot.tap"
	echo "boot.sh: $*" >&2
	exit 1
}
command -v "$qemu" >/dev/null || fail "$qemu is not installed; sudo make deps-vm installs it"

# The newest such kernel there is, unpacked once. Lists of packages may be missing, or older than what is offered now.
newest() {
	apt-cache pkgnames linux-image- | grep -E "$pattern" | sort -V | tail -n 1
}
fetch() {
	(cd "$build/vm/kernels" && apt-get download -q "$1" >/dev/null 2>&1 &&
		dpkg-deb -x "$1"_*.deb "$1.new" && mv "$1.new" "$1")
}
package=$(newest) || true
root=$(realpath -m "$build/vm/kernels/$package")
if [ -z "$package" ] || [ ! -e "$root/boot" ]; then
	mkdir -p "$build/vm/kernels"
	if [ -z "$package" ] || ! fetch "$package"; then
		flock "$build/vm/kernels" apt-get update -q >/dev/null 2>&1 || true
		package=$(newest) || true
		[ -n "$package" ] || fail "no package $pattern is known to apt-get"
		root=$(realpath -m "$build/vm/kernels/$package")
		[ -e "$root/boot" ] || fetch "$package" ||
			fail "$package cannot be fetched: apt-get download $package"
	fi
	rm -f "$build/vm/kernels/$package"_*.deb
fi

sh "$here/initramfs.sh" "$root" "$build" "$results/initramfs" "$root_of_guest" || fail "its initramfs cannot be made"
truncate -s 1G "$results/disk"
/usr/sbin/mke2fs -q -t ext4 "$results/disk"

# On a busy host, the timer may be too late to be found working, and a CPU at rest for so long that it is taken for dead.
status=0
timeout -k 5 "$limit" "$qemu" "${flags[@]}" -smp 2 -m 2048 -nodefaults -nographic -no-reboot \
	-serial stdio -kernel "$root"/boot/vmlinu[xz]-* -initrd "$results/initramfs" \
	-drive "file=$results/disk,if=virtio,format=raw,cache=unsafe" \
	"${programs[@]}" \
	-append "console=$console quiet loglevel=3 panic=-1 no_timer_check nowatchdog mitigations=off $clock leadline_limit=$((limit / 3)) leadline_tests=$tests" \
	</dev/null >"$results/console" 2>&1 || status=$?
rm -f "$results/initramfs" "$results/disk"

# One file for each run; one that did not end, as that of a machine that hung, is a failure.
tr -d '\r' <"$results/console" | awk -v directory="$results" '
	/^@@ hook / { sub(/^@@ hook /, ""); print >(directory "/hooks.txt"); next }
	/^@@ begin / { file = directory "/" $3 ".tap"; print "" >file; next }
	/^@@ end / { print $4 >(directory "/" $3 ".status"); file = ""; next }
	/^@@ done/ { is_done = 1; next }
	file { print >file }
	END { exit !is_done }' || {
	echo "1..1" >"$results/boot.tap"
	{
		echo "not ok 1 - boots and runs to its end (qemu exit $status)"
		tail -n 20 "$results/console" | tr -d '\r' | sed 's/^/# /'
	} >>"$results/boot.tap"
	echo 1 >"$results/boot.status"
}
for tap in "$results"/*.tap; do
	program=${tap%.tap}
	code=$(cat "$program.status" 2>/dev/null || echo 124)
	printf '#!/bin/sh\ncat "%s"\nexit %s\n' "$(realpath "$tap")" "$code" >"$program"
	chmod +x "$program"
done
