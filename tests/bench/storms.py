# SPDX-License-Identifier: Apache-2.0
"""What is left of a busy machine with every probe on and a budget of 1 %, and whether the agent tells the truth about it."""

import contextlib
import dataclasses
import os
import statistics
import subprocess
import time

import machine
from machine import Unavailable

BUDGET = ("--budget=1%", "--max_age=0s")  # the latter: every scrape shows all that was before it
SETTLE = 10  # seconds
MEASURE = 10
LOSS_BAR = 3  # %
ERROR_BAR = 5
DURATION = "leadline_syscall_duration_seconds_count"
OVERHEAD = "leadline_overhead_cpu_seconds_total"
RATIO = "leadline_sampling_ratio"
LEAST_SAMPLED = 1 / 32  # of the probe syscalls, while its hooks are there all the time


@dataclasses.dataclass
class Work:
    """Operations so far, the CPU time they took and when that was, in seconds."""

    operations: float
    cpu: float
    at: float

    def since(self, before):
        return Work(self.operations - before.operations, self.cpu - before.cpu, self.at - before.at)

    @property
    def rate(self):
        """Operations in a second of CPU: what others do on the machine meanwhile is not in it."""
        return self.operations / self.cpu


class Storm:
    """tests/bench/storm.c: operations on every CPU, counted at any time."""

    def __init__(self, process):
        self.process = process

    def ask(self, letter="c"):
        self.process.stdin.write(letter)
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Unavailable("the storm ended")
        operations, cpu_ns, at_ns = map(int, line.split())
        return Work(operations, cpu_ns / 1e9, at_ns / 1e9)

    def work(self, seconds):
        before = self.ask()
        time.sleep(seconds)
        return self.ask().since(before)


@contextlib.contextmanager
def storm(bench, kind):
    command = [bench.build / "tests/bench/storm", kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          preexec_fn=machine.die_with_parent) as process:
        try:
            load = Storm(process)
            load.work(0.5)
            yield load
        finally:
            process.stdin.close()
            process.wait(10)


def ratios(page):
    """What is sampled, and by how much."""
    found = []
    for name in machine.PROBES:
        ratio = page.sum(RATIO, probe=name)
        if page.has(RATIO, probe=name) and ratio < 1:
            found.append(f"{name} 1/{1 / ratio:.0f}" if ratio else f"{name} not at all")
    return ", ".join(found) or "everything recorded"


def between(before, after):
    """What was done before and after something else, as one: a machine that gets slower meanwhile is so for both halves."""
    return Work(before.operations + after.operations, before.cpu + after.cpu, before.at + after.at)


def left_of(without, with_us, own_cpu):
    """Part of the work that is done with the agent around: hooks make it take longer, and the agent takes its share."""
    return with_us.rate / without.rate * (1 - own_cpu / (with_us.at * os.cpu_count()))


def loss_row(what, unit, pairs, notes):
    """pairs: work without, work with us, our own CPU time meanwhile. The middle pair counts: others make either side slower."""
    losses = [100 * (1 - left_of(*pair)) for pair in pairs]
    lost, best = statistics.median(losses), max(without.rate for without, _, _ in pairs)
    notes.append("each pair: " + ", ".join(f"{loss:+.1f} %" for loss in losses) +
                 "; of it the agent's own CPU: " + ", ".join(f"{100 * own / (work.at * os.cpu_count()):.1f} %" for _, work, own in pairs))
    return {
        "what": what,
        "peer_name": "",
        "unit": "%",
        "base": best,
        "base_unit": unit,
        "ours": lost,
        "ratio": None,
        "bar": LOSS_BAR,
        "bar_text": f"<= {LOSS_BAR} %",
        "ok": lost <= LOSS_BAR,
        "notes": notes,
    }


def storm_pairs(bench, kind, look):
    """
    Without and with the agent, in turn. look(load, target) is called at the beginning and the end of what is measured, once all
    has settled.
    """
    pairs = []
    with storm(bench, kind) as load:
        for _ in range(bench.repetitions):
            without = load.work(MEASURE / 2)
            with bench.agent(flags=BUDGET) as target:
                time.sleep(SETTLE)
                look(load, target)
                own = target.cpu_seconds()
                work = load.work(MEASURE)
                own = target.cpu_seconds() - own
                look(load, target)
            pairs.append((between(without, load.work(MEASURE / 2)), work, own))
    return pairs


def settled_note(page, number):
    return f"run {number}: {ratios(page)}; overhead as reported {100 * page.sum('leadline_overhead_ratio'):.1f} %"


def syscall_storm(bench):
    looks, errors, notes = [], [], []

    def look(load, target):
        """Calls made and counted, as of the same moment: the former before and after the page."""
        before, page, after = load.ask(), target.scrape(), load.ask()
        made = (before.operations + after.operations) / 2
        counted = page.sum(DURATION, comm="storm", syscall="getppid")
        looks.append((made, counted))
        if len(looks) % 2 == 0:
            errors.append(100 * ((counted - looks[-2][1]) / (made - looks[-2][0]) - 1))
            notes.append(settled_note(page, len(errors)))

    pairs = storm_pairs(bench, "syscall", look)
    worst = max(errors, key=abs)
    return [
        loss_row("getppid storm on all CPUs, lost with --budget=1%", "calls/s", pairs, notes),
        {
            "what": "… how far its calls as counted are off",
            "peer_name": "",
            "unit": "%",
            "ours": statistics.median(errors),
            "ratio": None,
            "ratio_text": f"{min(errors):+.1f} … {max(errors):+.1f} %",
            "bar": ERROR_BAR,
            "bar_text": f"<= {ERROR_BAR} %",
            "ok": abs(worst) <= ERROR_BAR,
            "notes": [],
        },
    ]


def switch_storm(bench):
    pages, notes = [], []

    def look(_, target):
        pages.append(target.scrape())
        if len(pages) % 2 == 0:
            notes.append(settled_note(pages[-1], len(pages) // 2))

    pairs = storm_pairs(bench, "switch", look)
    return loss_row("context-switch storm on all CPUs, lost with --budget=1%", "switches/s", pairs, notes)


def floor(bench):
    """A loop on one CPU, sampled, with the hooks attached all the time: the budget is chosen such that this is the answer."""
    count, cpus = 2_000_000, os.cpu_count()

    def loop():
        return bench.load("syscall", count)

    def empty_hooks():
        with machine.tracer(str(bench.build / "tests/bench/floor")):
            return loop()

    def settled(limit):
        with bench.agent(flags=(f"--budget={limit:.2f}%", *BUDGET[1:])) as target:
            deadline = time.monotonic() + SETTLE
            while time.monotonic() < deadline:
                loop()
            ns = min(loop() for _ in range(bench.repetitions))
            return ns, target.scrape().sum(RATIO, probe="syscalls")

    base, empty = loop(), empty_hooks()
    with bench.agent():
        full = loop()
    # Of the machine, when the loop has one CPU: less than hooks take that do nothing, then more.
    limit = 70 * (empty - base) / empty / cpus
    for _ in range(10):
        ours, ratio = settled(limit)
        if ratio >= LEAST_SAMPLED:
            break
        limit *= 1.15  # hooks came and went: not what is to be measured here
    for _ in range(bench.repetitions):
        base, empty = min(base, loop()), min(empty, empty_hooks())
    return {
        "what": "added per system call, all probes, sampling",
        "peer_name": "hooks that do nothing",
        "unit": "ns",
        "base": base,
        "ours": ours - base,
        "peer": empty - base,
        "ratio": (ours - base) / (empty - base) if LEAST_SAMPLED <= ratio < 1 else None,
        "bar": 1.6,
        "all": full - base,
        "notes": [f"one call in {1 / ratio:.0f} recorded, by --budget={limit:.1f}%; with 1 % see the row syscall_storm"],
    }


ALTERNATE = 10  # seconds of storm, then of quiet
CYCLES = 3


def overhead(bench):
    """Storms that come and go for a minute: what the agent says it took, and what the storm did not get."""
    with storm(bench, "syscall") as load:
        free = [load.work(MEASURE)]
        load.ask("s")
        with bench.agent(flags=BUDGET) as target:
            time.sleep(2)
            told, own = target.scrape().sum(OVERHEAD), target.cpu_seconds()
            storms = []
            for _ in range(CYCLES):
                before = load.ask("g")
                time.sleep(ALTERNATE)
                storms.append(load.ask("s").since(before))
                time.sleep(ALTERNATE)
            told, own = target.scrape().sum(OVERHEAD) - told, target.cpu_seconds() - own
        load.ask("g")
        free.append(load.work(MEASURE))
    best = max(work.rate for work in free)
    hooks = [work.cpu * (1 - work.rate / best) for work in storms]
    taken = sum(hooks) + own
    machine_seconds = 2 * ALTERNATE * CYCLES * os.cpu_count()
    factor = told / taken if taken > 0 else 0
    return {
        "what": "overhead as reported, storm and quiet in turn",
        "peer_name": "as measured",
        "unit": "%",
        "ours": 100 * told / machine_seconds,
        "peer": 100 * taken / machine_seconds,
        "ratio": factor,
        "bar": 1.5,
        "bar_text": "within 1.5 x",
        "ok": 1 / 1.5 <= factor <= 1.5,
        "notes": [f"CPU seconds of hooks, storm by storm: {', '.join(f'{seconds:.2f}' for seconds in hooks)}; the agent's own: {own:.2f}",
                  f"the storm without the agent: {free[0].rate:,.0f} calls in a second of CPU before, {free[1].rate:,.0f} after"],
    }
