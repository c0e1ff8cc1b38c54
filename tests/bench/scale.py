# SPDX-License-Identifier: Apache-2.0
"""What a crowded host costs: collections, scrapes and memory as threads, control groups and connections grow."""

import contextlib
import math
import os
import pathlib
import statistics
import subprocess
import time

import machine
from machine import Unavailable

MEBI = 1 << 20
FULL = (20_000, 500, 10_000)  # threads, control groups, TCP connections
STEPS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)
COLLECTIONS = 15
SCRAPES = 200


def cgroup_root():
    """Where control groups of the unified hierarchy can be made."""
    for path in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        if pathlib.Path(path, "cgroup.procs").exists() and pathlib.Path(path, "cgroup.controllers").exists():
            return pathlib.Path(path)
    raise Unavailable("no unified hierarchy of control groups is mounted")


def remove(group):
    """Its processes have been told to end: they may take a moment."""
    def gone():
        with contextlib.suppress(OSError):
            group.rmdir()
        return not group.exists()

    machine.wait_until(gone, 30, f"{group} to be empty")


@contextlib.contextmanager
def crowd(bench, threads, cgroups, connections):
    parent = cgroup_root() / f"leadline-scale-{os.getpid()}"
    groups = [parent / f"c{i:03d}" for i in range(cgroups)]
    parent.mkdir()
    try:
        for group in groups:
            group.mkdir()
        command = [bench.build / "tests/bench/crowd", str(threads), str(connections), *groups]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=machine.die_with_parent) as process:
            try:
                if process.stdout.readline() != b"ready\n":
                    raise Unavailable(f"no crowd of {threads} threads and {connections} connections here")
                yield
            finally:
                process.stdin.close()
                process.wait(60)
    finally:
        for group in [*groups, parent]:
            if group.exists():
                remove(group)


def loop_cpu_ns(target):
    """CPU time of the agent's loop thread, which collects."""
    pid = target.process.pid
    return int(pathlib.Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0])


def kernel_bytes():
    """What the kernel has in unmovable slabs, where storage of threads and sockets lies."""
    text = pathlib.Path("/proc/meminfo").read_text()
    return int(text.split("SUnreclaim:")[1].split()[0]) * 1024


def measure(bench, share):
    threads, cgroups, connections = (max(1, round(n * share)) for n in FULL)
    with crowd(bench, threads, cgroups, connections):
        before = kernel_bytes()
        with bench.agent(flags=("--max_age=0s", "--max_entities=2048", "--interval=1h")) as target:
            page = target.scrape()
            storage = kernel_bytes() - before
            costs = []
            for _ in range(COLLECTIONS):
                start = loop_cpu_ns(target)
                page = target.scrape()
                costs.append((loop_cpu_ns(target) - start) / 1e6)
            waits = []
            for _ in range(SCRAPES if share == 1 else 0):
                start = time.monotonic()
                if target.scrape() is None:
                    raise Unavailable("a scrape failed")
                waits.append(1e3 * (time.monotonic() - start))
            resident, maps = target.memory_bytes()
            return {
                "threads": threads,
                "cgroups": cgroups,
                "connections": connections,
                "collection_ms": min(costs),
                "median_ms": statistics.median(costs),
                "series": page.sum("leadline_series"),
                "entities": page.sum("leadline_entities"),
                "p99_ms": sorted(waits)[int(0.99 * len(waits))] if waits else None,
                "resident": resident,
                "maps": maps,
                "storage": storage,
                "bound": page.sum("leadline_memory_bound_bytes"),
                "lost": ", ".join(f"{name}: {text}" for name in ("entity", *machine.PROBES)
                                  if (text := page.losses(name)) != "nothing lost"),
            }


def curve(steps):
    lines = [f"{'threads':>8} {'cgroups':>8} {'connect.':>8} {'series':>8} {'collection':>11} {'resident':>9} {'maps':>9} "
             f"{'storage':>9} {'bound':>9}"]
    for step in steps:
        lines.append(f"{step['threads']:8d} {step['cgroups']:8d} {step['connections']:8d} {step['series']:8.0f} "
                     f"{step['collection_ms']:8.1f} ms " + " ".join(f"{step[key] / MEBI:5.1f} MiB"
                     for key in ("resident", "maps", "storage", "bound")))
    return lines


def exponent(steps):
    """Of the growth over the last two doublings, what an empty host costs taken off: 1 is linear."""
    rest = min(step["collection_ms"] for step in steps) * 0.5
    first, last = steps[-3], steps[-1]
    return math.log((last["collection_ms"] - rest) / (first["collection_ms"] - rest)) / math.log(
        last["threads"] / first["threads"])


def scale(bench):
    steps = [measure(bench, share) for share in STEPS]
    full, power = steps[-1], exponent(steps)
    used = full["resident"] + full["maps"] + full["storage"]
    what = f"{full['threads']:,} threads, {full['cgroups']} cgroups, {full['connections']:,} connections"
    notes = curve(steps)
    if full["lost"]:
        notes.append(f"lost: {full['lost']}")
    row = {"peer_name": "", "ratio": None, "notes": []}
    return [
        row | {"what": f"one collection, {what}", "unit": "ms", "ours": full["collection_ms"], "bar": 1,
               "bar_text": "<= 100 ms", "ok": full["collection_ms"] <= 100,
               "notes": [*notes, f"median of {COLLECTIONS}: {full['median_ms']:.1f} ms"]},
        row | {"what": "growth of its cost, as a power of the load", "unit": "", "ours": power, "bar": 1,
               "bar_text": "<= 1.15", "ok": power <= 1.15},
        row | {"what": f"99 of 100 scrapes, {full['series']:,.0f} series", "unit": "ms", "ours": full["p99_ms"], "bar": 1,
               "bar_text": "<= 150 ms", "ok": full["p99_ms"] <= 150 and full["series"] >= 10_000},
        row | {"what": "memory, all of it, in parts of the formula's", "unit": "MiB", "ours": used / MEBI, "base": full["bound"] / MEBI,
               "bar": 1, "ratio": used / full["bound"] if full["bound"] else None},
    ]
