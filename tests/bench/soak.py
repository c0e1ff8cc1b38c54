#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the agent for a while on a host where everything comes and goes, and judges that its memory stays flat.

Processes of ever new names start and end, control groups are made and removed with programs in them, connections are
opened and closed. The agent's resident memory and its maps are sampled; of what comes after the first quarter, in
which it fills up, the slope is printed with its 95 % confidence. Ends with 1 when the memory grows other than by the series
it shows, which are bounded themselves and may take an hour to have been met in all combinations; when it leaves its bound; or
when an event is neither counted nor told as lost.
"""

import argparse
import contextlib
import math
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import machine
import scale
from machine import Unavailable

MEBI = 1 << 20
ALLOWED_PER_MINUTE = 32 * 1024  # bytes; what an allocator's pages make of perfect order
SETTLES = 120  # seconds: health keeps three collections, the oldest a minute and a half old
SERIES = 2048  # bytes of one: MEMORY_BOUND_SERIES in agent/memory_bound.h
JUDGED = 300  # seconds: a collection under way is 1 MiB more in one sample and not in the next
COMMS = 997  # program names in turn: more than there is room for


class Churn:
    """What comes and goes, each kind on a thread of its own; counts what it has done."""

    def __init__(self, directory):
        self.root = scale.cgroup_root() / f"leadline-soak-{os.getpid()}"
        self.directory = pathlib.Path(directory)
        self.stop = threading.Event()
        self.processes = self.groups = self.connections = 0
        self.errors = []
        self.threads = [threading.Thread(target=self.keep_on, args=(turn,)) for turn in
                        (self.turn_processes, self.turn_groups, self.turn_connections)]

    def keep_on(self, turn):
        number = 0
        while not self.stop.is_set():
            try:
                turn(number)
            except (OSError, subprocess.SubprocessError) as error:
                self.errors.append(f"{turn.__name__}: {error}")
            number += 1

    def program(self, number):
        """/bin/true under another name; a link, so that exec takes the name of the link."""
        path = self.directory / f"p{number % COMMS}"
        with contextlib.suppress(FileExistsError):  # two threads want the same
            path.symlink_to("/bin/true")
        return path

    def turn_processes(self, number):
        subprocess.run([self.program(number)], check=True, timeout=20)
        self.processes += 1

    def turn_groups(self, number):
        group = self.root / f"g{number % 4096}"
        group.mkdir()
        try:
            script = f'echo 0 >"{group}/cgroup.procs" && exec "{self.program(number)}"'
            subprocess.run(["/bin/sh", "-c", script], check=True, timeout=20)
        finally:
            scale.remove(group)
        self.groups += 1
        self.stop.wait(0.02)

    def turn_connections(self, number):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            for _ in range(50):
                with socket.create_connection(listener.getsockname()) as client:
                    server, _ = listener.accept()
                    with server:
                        server.settimeout(5)
                        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                        server.recv(100)
                        server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        client.recv(100)
                self.connections += 1
        self.stop.wait(0.02)

    def __enter__(self):
        self.root.mkdir()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        with contextlib.suppress(OSError):
            self.root.rmdir()


def slope(times, values):
    """Per minute, by least squares, and the half width of its 95 % confidence interval."""
    n = len(times)
    mean_t, mean_v = sum(times) / n, sum(values) / n
    spread = sum((t - mean_t) ** 2 for t in times)
    rise = sum((t - mean_t) * (v - mean_v) for t, v in zip(times, values)) / spread
    rest = sum((v - mean_v - rise * (t - mean_t)) ** 2 for t, v in zip(times, values))
    return 60 * rise, 60 * 1.96 * math.sqrt(rest / (n - 2) / spread)


def sample(target):
    resident, maps = target.memory_bytes()
    page = target.scrape()
    if page is None:
        raise Unavailable("a scrape failed")
    return {
        "resident": resident,
        "maps": maps,
        "bound": page.sum("leadline_memory_bound_bytes"),
        "series": page.sum("leadline_series"),
    }, page


def losses(page):
    return {name: text for name in ("entity", *machine.PROBES) if (text := page.losses(name)) != "nothing lost"}


def unaccounted(churn, before, after):
    """Events that were made and are neither counted nor told as lost, and what was expected of each."""
    faults = []
    made = (
        # Starts and ends: of a program, and of the shell that became it. Its series go with the program: hence events.
        ("process", "leadline_probe_events_total", {"probe": "process"}, 2 * churn.processes + 3 * churn.groups),
        ("tcp", "leadline_tcp_connections_opened_total", {}, 2 * churn.connections),
        ("requests", "http_server_request_duration_seconds_count", {}, churn.connections),
    )
    for probe, name, labels, expected in made:
        counted = after.sum(name, **labels) - before.sum(name, **labels)
        lost = after.sum("leadline_probe_lost_total", probe=probe) - before.sum("leadline_probe_lost_total", probe=probe)
        print(f"{probe}: {expected} made, {counted:.0f} counted, {lost:.0f} told as lost ({name})")
        if counted + lost < expected:
            faults.append(f"{probe}: {expected} made, only {counted:.0f} counted and {lost:.0f} told as lost")
    return faults


def judge(samples):
    faults = []
    begin = max(SETTLES, samples[-1]["time"] / 4)
    settled = [entry for entry in samples if entry["time"] > begin]
    times = [entry["time"] for entry in settled]
    is_long_enough = samples[-1]["time"] - begin >= JUDGED
    if not is_long_enough:
        print(f"too short to judge a slope: that takes {JUDGED} s after the first {begin:.0f}")
    for entry in settled:
        entry["resident less series"] = entry["resident"] - SERIES * entry["series"]
    for key in ("resident", "resident less series", "maps") if len(settled) >= 3 else ():
        rise, doubt = slope(times, [entry[key] for entry in settled])
        print(f"{key}: {settled[0][key] / MEBI:.2f} to {settled[-1][key] / MEBI:.2f} MiB, slope {rise / 1024:+.1f} "
              f"± {doubt / 1024:.1f} KiB a minute")
        if key != "resident" and is_long_enough and rise - doubt > ALLOWED_PER_MINUTE:
            faults.append(f"{key} grows by {rise / 1024:.0f} KiB a minute")
    most = max(entry["resident"] + entry["maps"] - entry["bound"] for entry in samples)
    if most > 0:
        faults.append(f"memory was {most / MEBI:.1f} MiB beyond its bound")
    return faults


def soak(bench, minutes):
    directory = bench.build / "soak"
    directory.mkdir(exist_ok=True)
    samples, faults = [], []
    begin, end = time.monotonic(), time.monotonic() + 60 * minutes
    with bench.agent(flags=("--max_age=0s", "--entity_linger=10s", "--interval=5s")) as target:
        _, before = sample(target)
        with Churn(directory) as churn:
            while time.monotonic() < end:
                time.sleep(min(2, max(0.1, minutes)))
                entry, page = sample(target)
                samples.append(entry | {"time": time.monotonic() - begin})
                if len(samples) % 8 == 0:
                    print(f"{samples[-1]['time']:5.0f} s  resident {entry['resident'] / MEBI:.2f} MiB, maps {entry['maps'] / MEBI:.2f} "
                          f"MiB, {entry['series']:.0f} series, {churn.processes} processes, {churn.groups} groups, "
                          f"{churn.connections} connections", flush=True)
        time.sleep(1)
        _, page = sample(target)
        faults += unaccounted(churn, before, page)
        print(f"lost and told: {losses(page) or 'nothing'}; entities recycled: "
              f"{page.sum('leadline_entities_recycled_total'):.0f}")
        faults += churn.errors[:3]
    return faults + judge(samples)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", default="build", help="build directory")
    parser.add_argument("--minutes", type=float, default=30)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("the soak test loads BPF programs and makes control groups: run it as root (sudo make soak)")
    try:
        faults = soak(machine.Bench(options.build, 1), options.minutes)
    except Unavailable as reason:
        sys.exit(f"soak: {reason}")
    machine.judged(faults)


if __name__ == "__main__":
    main()
