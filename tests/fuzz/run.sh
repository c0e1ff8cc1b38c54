#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs fuzz targets, as many at a time as there are CPUs: run.sh BUILD SECONDS fuzz_NAME…
# Each starts from tests/fuzz/NAME and what BUILD/corpus/fuzz_NAME has from former runs. A line a target, all of the
# output of those that found something, and at the end "N passed, N failed, N skipped".
set -u

build=$1 seconds=$2
shift 2

# shellcheck disable=SC2016 # expanded by the shells that xargs starts
printf '%s\n' "$@" | BUILD=$build SECONDS_EACH=$seconds xargs -P "$(nproc)" -I NAME sh -c '
	log=$BUILD/NAME.log
	mkdir -p "$BUILD/corpus/NAME"
	if "$BUILD/tests/fuzz/NAME" -max_total_time="$SECONDS_EACH" -max_len=8192 -timeout=10 -print_final_stats=1 \
		-artifact_prefix="$BUILD/NAME-" "$BUILD/corpus/NAME" "tests/fuzz/$(echo NAME | cut -c 6-)" \
		>"$log" 2>&1 </dev/null; then
		echo 0 >"$log.status"
	else
		echo 1 >"$log.status"
	fi'

failed=0
for name in "$@"; do
	log=$build/$name.log
	executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
	if [ "$(cat "$log.status" 2>/dev/null)" = 0 ]; then
		printf 'ok   fuzz/%-16s %9s executions, %5s edges\n' "${name#fuzz_}" "${executions:-?}" "${coverage:-?}"
	else
		failed=$((failed + 1))
		printf 'FAIL fuzz/%s\n' "${name#fuzz_}"
		sed 's/^/     | /' "$log"
	fi
done
echo "$(($# - failed)) passed, $failed failed, 0 skipped"
[ "$failed" = 0 ]
