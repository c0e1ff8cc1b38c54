#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Inside the virtual machine: runs what must hold when something is missing; then the live tests of each probe in rounds, so that
# every hook the kernel offers is used in one; then other live tests, real servers, and what has to do with control groups,
# for each version alone. Lines that begin with @@ tell the host (boot.sh) what follows.
set -u

export TEST_EMULATED=1 CMOCKA_MESSAGE_OUTPUT=TAP
only=$(sed -n 's/.*leadline_tests=\([^ ]*\).*/\1/p' /proc/cmdline)
limit=$(sed -n 's/.*leadline_limit=\([^ ]*\).*/\1/p' /proc/cmdline)

tell() { # NAME STATUS CASE: what has not been run
	printf '@@ begin %s\n1..1\n%s\n@@ end %s %s after 0 s\n' "$1" "$3" "$1" "$2"
}

run() { # NAME PROGRAM
	case $unseen,$1 in
	?*,request* | ?*,slow_requests | ?*,tls-*)
		tell "$1" 0 "$(printf '# skip: %s\nok 1 # SKIP %s' "$unseen" "$1")"
		return
		;;
	esac
	started=$(date +%s)
	echo "@@ begin $1"
	timeout -k 10 "$limit" "$2" </dev/null 2>&1
	echo "@@ end $1 $? after $(($(date +%s) - started)) s"
}

is_wanted() {
	[ -z "$only" ] || case ",$only," in *,"$1",*) ;; *) false ;; esac
}

groups() { # of which version
	sh /build/tests/vm/control-groups.sh "$1"
}

echo # the firmware leaves a line without end
cd /build || exit 1
groups both
unseen=''
is_wanted missing && run missing /build/tests/vm/missing
/build/tests/vm/rounds >/run/rounds
sed -n 's/^hook /@@ hook /p' /run/rounds
# Why requests cannot be seen, on arm64 before 6.3: there it is no failure of that probe, as it is of any other.
[ "$(uname -m)" != aarch64 ] || [ -e /sys/kernel/tracing/events/sock/sock_send_length ] ||
	unseen=$(sed -n 's/^without requests //p' /run/rounds)
grep '^without ' /run/rounds | while read -r _ probe why; do
	is_wanted "$probe" || continue
	if [ "$probe" = requests ] && [ -n "$unseen" ]; then
		run requests ''
	else
		tell "$probe" 1 "not ok 1 - cannot run: $why"
	fi
done
grep '^round ' /run/rounds | while read -r _ probe number avoid; do
	is_wanted "$probe" || continue
	[ "$avoid" != - ] || avoid=''
	export LEADLINE_HOOKS_AVOID="$avoid"
	run "$probe-$number" "/build/tests/live/test_$probe"
done
for test in requests_calls requests_spliced requests_streams requests_ends requests_uring request_sizes request_connections requests_http2 request_waits slow_requests host tcp_loss ledger event_rings; do
	is_wanted "$test" && run "$test" "/build/tests/live/test_$test"
done
# Real servers and their clients.
if [ -d /programs/usr ]; then
	is_wanted downstreams && run downstreams /build/tests/live/test_downstreams
	for test in protocols databases mysql proxies unix_sockets tls web_servers durations; do
		is_wanted "peers-$test" && run "peers-$test" "/build/tests/peers/test_$test"
	done
fi
# Of process and memory what groups matter to: the rest is above.
if is_wanted groups; then
	for version in v1 v2; do
		groups "$version"
		TEST_FILTER='*oom*' run "groups-$version-process" /build/tests/live/test_process
		TEST_FILTER='*stall*' run "groups-$version-memory" /build/tests/live/test_memory
		for test in attribution zoom; do
			run "groups-$version-$test" "/build/tests/live/test_$test"
		done
	done
fi
echo '@@ done'
