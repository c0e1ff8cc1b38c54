#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Writes BUILD/html from what the tests have left in BUILD, and prints a line a folder: coverage.sh BUILD
set -eu

build=$1
table=$build/coverage.csv
mkdir -p "$build/html"
gcovr --root . --object-directory "$build/obj" "$build/obj" --filter '(agent|exporters|probes|bpf/lib)/' \
	--exclude-unreachable-branches --gcov-ignore-parse-errors --csv "$table" --html-details "$build/html/index.html"

# filename,line_total,line_covered,line_percent,branch_total,branch_covered,branch_percent,…
awk -F, '
	NR == 1 { next }
	{
		folder = $1
		sub("/[^/]*$", "", folder)
		lines[folder] += $2; covered[folder] += $3; branches[folder] += $5; taken[folder] += $6
		lines["all"] += $2; covered["all"] += $3; branches["all"] += $5; taken["all"] += $6
	}
	END {
		printf "%-12s %16s %19s\n", "folder", "lines run", "branches taken"
		for (folder in lines)
			if (folder != "all")
				print print_line(folder) | "sort"
		close("sort")
		print print_line("all")
	}
	function print_line(folder) {
		return sprintf("%-12s %6d of %6d %4.1f %% %6d of %6d %4.1f %%", folder, covered[folder], lines[folder],
			100 * covered[folder] / lines[folder], taken[folder], branches[folder],
			branches[folder] ? 100 * taken[folder] / branches[folder] : 100)
	}' "$table"
echo "every line: $build/html/index.html"
