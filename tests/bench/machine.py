# SPDX-License-Identifier: Apache-2.0
"""Processes of a benchmark: the agent, the peers, their cost. Everything started here is stopped by its `with`."""

import contextlib
import ctypes
import gzip
import http.client
import os
import pathlib
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

PROBES = re.findall(
    r"^PROBE\((\w+)\)", (pathlib.Path(__file__).parents[2] / "probes/probes.def").read_text(), re.MULTILINE
)
# What Prometheus 2.42 sends.
SCRAPE_HEADERS = {
    "Accept": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
    "Accept-Encoding": "gzip",
    "User-Agent": "Prometheus/2.42.0",
}


class Unavailable(Exception):
    """A row cannot be measured here; the text says why."""


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def require(program):
    path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not path:
        raise Unavailable(f"{program} is not installed")
    return path


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise Unavailable(f"{what}: not within {seconds} s")
        time.sleep(0.002)
    return result


def judged(faults):
    """Tells them and how it ended, as one case, and ends."""
    for fault in faults:
        print(f"FAIL {fault}")
    print(f"{0 if faults else 1} passed, {1 if faults else 0} failed, 0 skipped")
    sys.exit(bool(faults))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(*arguments):
    return subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=120).stdout


@contextlib.contextmanager
def daemon(*arguments, stop=signal.SIGTERM, output=subprocess.DEVNULL):
    process = subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=die_with_parent
    )
    try:
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Screen:
    """A program on a terminal of its own, so that what it writes is seen at once."""

    def __init__(self, *arguments):
        self.text = ""
        master, slave = pty.openpty()
        self.start = time.monotonic()
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, preexec_fn=die_with_parent
        )
        os.close(slave)
        self.master = master
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        with contextlib.suppress(OSError):
            while chunk := os.read(self.master, 65536):
                self.text += chunk.decode(errors="replace")

    def wait_for(self, pattern, seconds=20):
        def seen():
            if re.search(pattern, self.text):
                return True
            if self.process.poll() is not None:
                raise Unavailable(f"{self.process.args[0]} ended: {self.text.strip()[-200:]}")
            return False

        wait_until(seen, seconds, self.process.args[0])
        return time.monotonic() - self.start

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


@contextlib.contextmanager
def tracer(program, *arguments):
    """A peer that says "Tracing …" once it is attached."""
    with Screen(require(program), *arguments) as screen:
        screen.wait_for("Tracing")
        yield screen


def reading_hooks(bench):
    """The hooks that requests are told by, with no more to do than to read: what is left to save, see reading.bpf.c."""
    return tracer(str(bench.build / "tests/bench/reading"))


READING = "hooks that only read"


class Page:
    """A scraped text page."""

    SAMPLE = re.compile(r'^([A-Za-z_:][\w:]*)(?:\{(.*?)\})? (\S+)(?: # .*)?$', re.MULTILINE)
    LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

    def __init__(self, text):
        self.samples = self.SAMPLE.findall(text)

    def values(self, name, **labels):
        wanted = set(labels.items())
        return [float(value) for sample, text, value in self.samples
                if sample == name and wanted <= set(self.LABEL.findall(text))]

    def sum(self, name, **labels):
        return sum(self.values(name, **labels))

    def has(self, name, **labels):
        return bool(self.values(name, **labels))

    def losses(self, probe):
        """What the probe says it lost: "reason 3, …" or "nothing lost"."""
        lost = [
            f"{labels['reason']} {float(value):.0f}"
            for name, text, value in self.samples
            if name == "leadline_probe_lost_total"
            and (labels := dict(self.LABEL.findall(text)))["probe"] == probe
            and float(value)
        ]
        return ", ".join(lost) or "nothing lost"


class Target:
    """Something that is scraped the way Prometheus does it, on one kept connection."""

    def __init__(self, process, port):
        self.process, self.port = process, port
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def scrape(self):
        """The page, or None when there is no answer of status 200."""
        try:
            self.connection.request("GET", "/metrics", headers=SCRAPE_HEADERS)
            answer = self.connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            return None
        if answer.status != 200:
            return None
        if answer.getheader("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        return Page(body.decode())

    def settled(self, name, labels, expected):
        """A counter, once it has come to what is expected, or after three seconds."""
        deadline = time.monotonic() + 3
        while True:
            page = self.scrape()
            value = page.sum(name, **labels) if page else 0
            if value >= expected or time.monotonic() > deadline:
                return value
            time.sleep(0.05)

    def status(self, path):
        """Status of another path on a connection of its own; 0 when there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def stub(self):
        """Requests an nginx has seen, the one that asks included."""
        self.connection.request("GET", "/stub")
        return int(re.search(r"requests\s+\d+ \d+ (\d+)", self.connection.getresponse().read().decode())[1])

    def cpu_seconds(self):
        """User and system time of the process so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_bytes(self):
        """Resident memory and kernel memory of BPF maps; a mapped map counts once, as the latter."""
        resident, mapped_map = 0, False
        for line in pathlib.Path(f"/proc/{self.process.pid}/smaps").read_text().splitlines():
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                mapped_map = "anon_inode:bpf-map" in line
            elif line.startswith("Rss:") and not mapped_map:
                resident += int(line.split()[1]) * 1024
        maps = {}
        for entry in pathlib.Path(f"/proc/{self.process.pid}/fdinfo").iterdir():
            with contextlib.suppress(OSError):
                facts = dict(re.findall(r"^(map_id|memlock):\s*(\d+)$", entry.read_text(), re.MULTILINE))
                if "map_id" in facts:
                    maps[facts["map_id"]] = int(facts.get("memlock", 0))
        return resident, sum(maps.values())


class Bench:
    """Where the programs are, and how often to repeat."""

    def __init__(self, build, repetitions):
        self.build, self.repetitions = pathlib.Path(build), repetitions
        self.binary = self.build / "leadline"
        self.log = self.build / "bench-agent.log"

    def load(self, kind, count, cpu=1):
        """Best of three runs of a loop, ns per operation."""
        program = self.build / "tests/bench/load"
        return min(float(run(program, kind, str(count), str(cpu))) for _ in range(3))

    @contextlib.contextmanager
    def agent(self, *probes, wait=True, flags=()):
        """The agent with only these probes enabled; with all when none is named."""
        if not self.binary.exists():
            raise Unavailable(f"{self.binary} is not built")
        port = free_port()
        if not any(flag.startswith("--budget") for flag in flags):
            flags = [*flags, "--budget=0"]  # what a hook costs, not what is left of it
        flags = [*flags, *(f"--probes.{name}.enabled=false" for name in PROBES if probes and name not in probes)]
        with open(self.log, "w", encoding="utf-8") as log:
            with daemon(self.binary, "agent", f"--listen=127.0.0.1:{port}", *flags, output=log) as process:
                target = Target(process, port)
                if wait:
                    wait_until(lambda: self.ready(target), 30, f"the agent (see {self.log})")
                yield target

    def ready(self, target):
        if target.process.poll() is not None:
            raise Unavailable(f"the agent ended with {target.process.returncode}, see {self.log}")
        return target.status("/health/ready") == 200

    @contextlib.contextmanager
    def node_exporter(self):
        port = free_port()
        with daemon(require("prometheus-node-exporter"), f"--web.listen-address=127.0.0.1:{port}") as process:
            target = Target(process, port)
            wait_until(target.scrape, 20, "node-exporter")
            yield target
