#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What leadline costs, beside its peers, in the same run and on the same machine.

Each repetition measures untraced, ours and the peer right after one another; of all repetitions the best
counts for each, as disturbances only ever make a run slower; of throughput, and of what storms lose, the middle one, as it is compared
with what was done right before and after. In the rows that price a probe only that
probe is enabled; the column "all probes" shows the same load with every probe on, for information.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

import machine
from machine import Unavailable
from rows import ROWS


def text_of(value, unit):
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()


def verdict(row):
    if row.get("ok") is None:
        row["ok"] = row["ratio"] <= row["bar"] if row["ratio"] is not None else None
    return {True: "ok", False: "MISS", None: "n/a"}[row["ok"]]


def print_table(rows):
    lines = [("what", "untraced", "ours", "peer", "", "ratio", "bar", "", "all probes")]
    for row in rows:
        unit = row["unit"]
        lines.append(
            (
                row["what"],
                text_of(row.get("base"), row.get("base_unit", unit)),
                text_of(row.get("ours"), unit),
                text_of(row.get("peer"), unit),
                row["peer_name"],
                row.get("ratio_text") or ("-" if row["ratio"] is None else f"{row['ratio']:.2f} x"),
                row.get("bar_text", f"<= {row['bar']:g} x"),
                verdict(row),
                text_of(row.get("all"), unit),
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for number, line in enumerate(lines):
        left = (0, 4, 7)
        cells = [c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))]
        print("  ".join(cells).rstrip())
        if number == 0:
            print("-" * (sum(widths) + 2 * (len(widths) - 1)))


def foreign_programs():
    """BPF programs that somebody else has loaded: what they cost is in every figure."""
    shown = subprocess.run(["bpftool", "-j", "prog", "show"], capture_output=True, text=True, check=False).stdout
    return len(json.loads(shown or "[]"))


def into_own_mounts():
    """The peers need tracefs: it is mounted in a mount namespace of our own, which goes when we go."""
    if os.environ.get("BENCH_OWN_MOUNTS") or os.path.exists("/sys/kernel/tracing/events"):
        return
    os.environ["BENCH_OWN_MOUNTS"] = "1"
    script = 'mount -t tracefs tracefs /sys/kernel/tracing; exec "$@"'
    command = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", sys.executable, *sys.argv]
    os.execvp(command[0], command)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", default="build", help="build directory")
    parser.add_argument("--row", action="append", choices=list(ROWS), help="only this row; may be repeated")
    parser.add_argument("--quick", action="store_true", help="two repetitions instead of five")
    parser.add_argument("--json", help="write the figures there; default BUILD/bench.json")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("the benchmarks load BPF programs: run them as root (sudo make bench)")
    if os.cpu_count() < 2:
        sys.exit("the benchmarks need two CPUs")
    into_own_mounts()

    os.environ["PATH"] += ":/usr/sbin:/sbin"
    bench = machine.Bench(options.build, 2 if options.quick else 5)
    foreign = foreign_programs()
    rows, started = [], time.monotonic()
    for name in options.row or ROWS:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        try:
            measured = ROWS[name](bench)
        except (Unavailable, subprocess.SubprocessError, OSError) as reason:
            print(f"{name}: not measured: {reason}", file=sys.stderr)
            continue
        measured = measured if isinstance(measured, list) else [measured]
        for row in measured:  # what a run that is cut short has found so far
            print(f"  {row['what']}: {text_of(row.get('ours'), row['unit'])}, {verdict(row)}", file=sys.stderr)
        rows.extend(measured)

    uname = os.uname()
    print(f"{uname.sysname} {uname.release} {uname.machine}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, "
          f"best of {bench.repetitions}, {time.monotonic() - started:.0f} s")
    if foreign:
        print(f"note: {foreign} BPF programs of others were loaded at the start; every figure includes them")
    print_table(rows)
    for row in rows:
        for note in row["notes"]:
            print(f"  {row['what']}: {note}")
    path = pathlib.Path(options.json or pathlib.Path(options.build, "bench.json"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"kernel": uname.release, "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
