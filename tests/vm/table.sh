#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What was found, as a table of Markdown: table.sh BUILD/vm/VERSION… One line for each hook a probe has, one column for
# each kernel: "exact" where all live tests of the probe passed with this hook in use, and how many were skipped as the kernel
# does not tell what they look at; "skipped" where all were, "-" where the kernel does not offer it, FAILED otherwise. Hooks
# without a choice are one line for each probe and the same kernels.
set -eu

for results in "$@"; do
	[ -e "$results/hooks.txt" ] || : >"$results/hooks.txt"
	for status in "$results"/*.status; do
		[ -e "$status" ] || continue
		printf 'status %s %s %s %s %s\n' "$results" "$(basename "${status%.status}")" "$(cat "$status")" \
			"$(grep -c -E '^# skip: .*(this kernel|to be avoided)' "${status%.status}.tap")" \
			"$(grep -c -E '^ok [0-9]+ - ' "${status%.status}.tap")"
	done
	sed "s|^|hook $results |" "$results/hooks.txt"
done | awk -v kernels="$*" '
	$1 == "status" { status[$2, $3] = $4; skipped[$2, $3] = $5; passed[$2, $3] = $6; next }
	{
		kernel = $2
		sub(/^hook [^ ]+ /, "")
		probe = $1
		sub(/^[^ ]+ /, "")
		split($0, field, "|") # name, kind, target, program, round
		key = probe "|" field[1]
		row = key "|" field[4]
		if (!(row in kind)) {
			order[++rows] = row
			n_alternatives[key]++
			what[row] = field[2] " `" field[3] "`"
			program[row] = field[4]
			targets[key, field[3]]++
		}
		kind[row] = field[2]
		target[row] = field[3]
		round[kernel, row] = field[5]
	}
	function cell(kernel, row, probe,   at) {
		at = round[kernel, row]
		if (at == "-" || at == "")
			return "-"
		if (!((kernel, probe "-" at) in status))
			return "not run"
		if (status[kernel, probe "-" at] != 0)
			return "FAILED"
		if (!passed[kernel, probe "-" at])
			return "skipped"
		return "exact" (skipped[kernel, probe "-" at] > 0 ? ", " skipped[kernel, probe "-" at] " skipped" : "")
	}
	function line(probe, hook, row,   text, i) {
		text = "| " probe " | " hook " |"
		for (i = 1; i <= n; i++)
			text = text " " cell(kernel_of[i], row, probe) " |"
		print text
	}
	END {
		n = split(kernels, kernel_of, " ")
		heading = "| Probe | Hook |"
		rule = "|---|---|"
		for (i = 1; i <= n; i++) {
			heading = heading " " substr(kernel_of[i], match(kernel_of[i], /[^\/]*$/)) " |"
			rule = rule "---|"
		}
		print heading
		print rule
		for (i = 1; i <= rows; i++) {
			split(order[i], part, "|")
			key = part[1] "|" part[2]
			if (n_alternatives[key] > 1) {
				twin = targets[key, target[order[i]]] > 1 ? " (" program[order[i]] ")" : ""
				line(part[1], part[2] ": " what[order[i]] twin, order[i])
			} else if (kind[order[i]] == "tp_btf" || kind[order[i]] == "iter") {
				kernels_with = ""
				for (k = 1; k <= n; k++)
					kernels_with = kernels_with " " (cell(kernel_of[k], order[i], part[1]) == "-" ? 0 : 1)
				if (!(kernels_with in others)) {
					patterns[++n_patterns] = kernels_with
					first[kernels_with] = order[i]
				}
				others[kernels_with] = others[kernels_with] (others[kernels_with] != "" ? ", " : "") part[2]
			} else {
				line(part[1], part[2] ": " what[order[i]], order[i])
			}
			if (i == rows || index(order[i + 1], part[1] "|") != 1)
				for (; n_patterns; n_patterns--) {
					line(part[1], others[patterns[n_patterns]], first[patterns[n_patterns]])
					delete others[patterns[n_patterns]]
				}
		}
	}'
