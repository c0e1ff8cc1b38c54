#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs test programs one after the other: run.sh PROGRAM…
# One line a program, the whole output of those that fail, the reasons of all skips, and at the end
# "N passed, N failed, N skipped" (test cases). A program that dies, or runs longer than
# TEST_TIMEOUT (300 s), counts its missing cases, at least one, as failed. Exit 1 when any failed.
# Programs of another architecture: EMULATOR is the command that runs them. FAILED: a file for the names of those that failed.
set -u

limit=${TEST_TIMEOUT:-300}
passed=0 failed=0 skipped=0
output=$(mktemp) reasons=$(mktemp)
trap 'rm -f "$output" "$reasons"' EXIT
trap 'exit 130' INT TERM
FAILED=${FAILED:-/dev/null}
: >"$FAILED"

for program in "$@"; do
	name=${program#*/tests/}
	start=$(date +%s)
	# shellcheck disable=SC2086 # a command and its arguments
	CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 10 "$limit" ${EMULATOR:-} "$program" >"$output" 2>&1 </dev/null
	status=$?
	seconds=$(($(date +%s) - start))

	# TAP, as cmocka writes it: "1..N" a group, then "ok", "not ok", or "not ok # SKIP" a case.
	counts=$(awk -v name="$name" -v reasons="$reasons" '
		/^1\.\.[0-9]+$/ { planned += substr($0, 4) }
		/^# skip: / { reason = substr($0, 9) }
		/^ok [0-9]+ / { ok++ }
		/^not ok [0-9]+ # SKIP / || /^ok [0-9]+ # SKIP / {
			skip++
			if ($1 == "ok") ok--
			sub(/.*# SKIP /, "")
			print "  " name " " $0 ": " (reason == "" ? "no reason given" : reason) >>reasons
			reason = ""
			next
		}
		/^not ok [0-9]+ / { bad++ }
		END {
			missing = planned - ok - bad - skip
			print ok + 0, bad + (missing > 0 ? missing : 0), skip + 0
		}' "$output")
	read -r ok bad skip <<-END
		$counts
	END
	note=''
	[ "$status" = 124 ] || [ "$status" = 137 ] && note=" (stopped after $limit s)"
	if [ "$status" != 0 ] && [ "$bad" = 0 ]; then
		bad=1
		note="${note:- (exit $status)}"
	elif [ $((ok + bad + skip)) = 0 ]; then
		bad=1
		note=' (no test ran)'
	fi
	verdict=ok
	[ "$bad" = 0 ] || verdict=FAIL
	printf '%-4s %-32s %4d passed %3d failed %3d skipped %4d s%s\n' \
		"$verdict" "$name" "$ok" "$bad" "$skip" "$seconds" "$note"
	if [ "$bad" != 0 ]; then
		sed 's/^/     | /' "$output"
		echo "$name" >>"$FAILED"
	fi
	passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
done

if [ -s "$reasons" ]; then
	echo 'skipped:'
	cat "$reasons"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
