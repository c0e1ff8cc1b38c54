# SPDX-License-Identifier: Apache-2.0
"""The rows of the benchmark table: what is measured, how, against whom, and the bar."""

import contextlib
import json
import os
import pathlib
import re
import statistics
import tempfile
import time

import databases
import machine
import throughput
from machine import Unavailable, require, run, wait_until
from scale import scale
from storms import BUDGET, MEASURE, SETTLE, Work, between, floor, loss_row, overhead, settled_note, switch_storm, syscall_storm

MEBI = 1 << 20
FRESH = ("--max_age=0s",)  # where counts are compared: every scrape shows all that was before it


def compare(bench, variants, pick):
    """Runs the variants (name → function) in turn, so often as told. Best figure of each, and why one is missing."""
    figures, notes = {}, {}
    for repetition in range(bench.repetitions):
        for name, measure in variants.items():
            if name in notes or (name == "all" and repetition >= 2):  # for information: twice is enough
                continue
            try:
                value = measure()
            except Unavailable as reason:
                notes[name] = f"{name} not measured: {reason}"
                continue
            figures[name] = pick(figures.get(name, value), value)
    return figures, list(notes.values())


def loop_row(bench, kind, count, probe, peer, bar, what):
    def loop():
        return bench.load(kind, count)

    def inside(context):
        def measure():
            with context():
                return loop()

        return measure

    variants = {
        "base": loop,
        "ours": inside(lambda: bench.agent(probe)),
        "peer": inside(lambda: machine.tracer(*peer)),
        "all": inside(bench.agent),
    }
    ns, notes = compare(bench, variants, min)
    added = {name: ns[name] - ns["base"] for name in ns if name != "base"}
    both = {"ours", "peer"} <= added.keys()
    return {
        "what": what,
        "peer_name": " ".join(peer),
        "unit": "ns",
        "base": ns["base"],
        **added,
        "ratio": added["ours"] / added["peer"] if both else None,
        "bar": bar,
        "notes": notes,
    }


def syscall(bench):
    return loop_row(bench, "syscall", 1_000_000, "syscalls", ("syscount", "-L"), 0.65, "added per system call")


def switch(bench):
    return loop_row(bench, "switch", 200_000, "sched", ("runqlat",), 0.5, "added per context switch")


@contextlib.contextmanager
def loop_device(size):
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
        file.write(os.urandom(size))
        file.flush()
        device = run(require("losetup"), "--find", "--show", file.name).strip()
        try:
            yield device
        finally:
            run("losetup", "-d", device)


def block(bench):
    fio = require("fio")
    family = "leadline_block_io_duration_seconds_count"
    counted = {"fio": 0, "agent": 0}
    told = []

    with loop_device(64 * MEBI) as device:
        labels = {"device": os.path.basename(device), "operation": "read", "stage": "device"}
        job = (fio, "--name=read", f"--filename={device}", "--rw=randread", "--bs=4k", "--direct=1", "--thread",
               "--ioengine=psync", "--time_based", "--runtime=2", "--cpus_allowed=1", "--output-format=json")

        def read():
            result = json.loads(run(*job))["jobs"][0]["read"]
            return result["iops"], result["total_ios"]

        def traced(*probes):
            with bench.agent(*probes, flags=FRESH) as target:
                before = target.scrape().sum(family, **labels)
                iops, reads = read()
                counted["fio"] += reads
                timed = target.settled(family, labels, before + reads) - before
                counted["agent"] += timed
                if timed != reads:
                    # Kernels were seen that run no program while certain tasks have the CPU: not ours to count.
                    told.append(f"{timed - reads:+.0f} reads of {reads}; agent: {target.scrape().losses('block')}")
            return iops

        def peer():
            with machine.tracer("biolatency"):
                return read()[0]

        variants = {"base": lambda: read()[0], "ours": lambda: traced("block"), "peer": peer, "all": traced}
        iops, notes = compare(bench, variants, max)
    lost = {name: 100 * (1 - iops[name] / iops["base"]) for name in iops if name != "base"}
    if counted["fio"]:
        notes.append(f"{counted['fio']} reads by fio, {counted['agent']:.0f} timed by the agent")
    notes.extend(told)
    both = {"ours", "peer"} <= lost.keys()
    return {
        "what": "IOPS lost, 4 KiB direct reads on a loop device",
        "peer_name": "biolatency",
        "unit": "%",
        "base": iops["base"],
        "base_unit": "IOPS",
        **lost,
        # Two untraced runs differ by about 1 %: less than that counts as that, on either side.
        "ratio": max(lost["ours"], 1.0) / max(lost["peer"], 1.0) if both else None,
        "bar": 1.0,
        "notes": notes,
    }


NGINX = """daemon off; master_process off; pid nginx.pid; error_log error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; keepalive_requests 100000000;
  client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp; uwsgi_temp_path temp; scgi_temp_path temp;
  server {{
    listen 127.0.0.1:{port};
    location = / {{ return 200 "ok\\n"; }}
    location = /stub {{ stub_status; }}
  }}
}}
"""
WRK_CONNECTIONS = 16


@contextlib.contextmanager
def nginx_server(port):
    with tempfile.TemporaryDirectory() as directory:
        pathlib.Path(directory, "nginx.conf").write_text(NGINX.format(port=port), encoding="utf-8")
        command = ("taskset", "-c", "0", require("nginx"), "-p", directory, "-c", f"{directory}/nginx.conf")
        with machine.daemon(*command) as process:
            nginx = machine.Target(process, port)
            wait_until(lambda: nginx.status("/stub") == 200, 10, "nginx")
            yield nginx


def wrk_command(port, seconds):
    return ("taskset", "-c", "1", require("wrk"), "-t1", f"-c{WRK_CONNECTIONS}", f"-d{seconds}s", f"http://127.0.0.1:{port}/")


def requests(bench):
    port = machine.free_port()
    server, client = (f"http_{side}_request_duration_seconds_count" for side in ("server", "client"))
    seen = {"requests": 0, "server": 0, "client": 0}  # the last two: not counted by the agent there
    told = []

    def wrk():
        text = run(*wrk_command(port, 2))
        errors = re.search(r"(Socket errors|Non-2xx).*", text)
        if errors:
            raise Unavailable(f"wrk: {errors[0]}")
        return int(re.search(r"(\d+) requests in", text)[1]), float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])

    def traced(*probes):
        with bench.agent(*probes, flags=FRESH) as target:
            served_before = nginx.stub()
            counted_before = target.settled(server, {"comm": "nginx"}, 1)  # the request that asked for it
            answered, rate = wrk()
            served = nginx.stub() - served_before
            at_server = target.settled(server, {"comm": "nginx"}, counted_before + served) - counted_before
            at_client = target.settled(client, {"comm": "wrk"}, answered)
            if at_server != served or at_client < answered:
                page = target.scrape()
                told.append(f"agent: {page.losses('requests')}, under other: {page.sum(server, comm='other'):.0f} "
                            f"at the server, {page.sum(client, comm='other'):.0f} at the client")
        if probes:
            seen["requests"] += served
            seen["server"] += abs(served - at_server)
            # wrk stops with requests in flight: each of those may have been answered or not.
            seen["client"] += max(0, answered - at_client, at_client - answered - WRK_CONNECTIONS)
        return rate

    def read_only():
        with machine.reading_hooks(bench):
            return wrk()[1]

    def missed():
        note = throughput.counted_note(seen["requests"], seen["server"], seen["client"])
        return seen["server"] + seen["client"], "; ".join((note, *told))

    with nginx_server(port) as nginx:
        variants = {"base": lambda: wrk()[1], "ours": lambda: traced("requests"), "peer": read_only, "all": traced}
        return throughput.row(bench, "nginx + wrk", variants, missed, 10)


def request_storm(bench):
    """As in the row before, with every probe on and a budget: what is left once it has settled."""
    port, server = machine.free_port(), "http_server_request_duration_seconds_count"
    pairs, notes = [], []

    def work(nginx, wrk):
        return Work(nginx.stub(), nginx.cpu_seconds() + machine.Target(wrk, 0).cpu_seconds(), time.monotonic())

    def undisturbed(nginx):
        with machine.daemon(*wrk_command(port, SETTLE + MEASURE)) as wrk:
            time.sleep(0.5)
            before = work(nginx, wrk)
            time.sleep(MEASURE / 2)
            return work(nginx, wrk).since(before)

    with nginx_server(port) as nginx:
        for number in range(bench.repetitions):
            without = undisturbed(nginx)
            with bench.agent(flags=BUDGET) as target, machine.daemon(*wrk_command(port, SETTLE + 2 * MEASURE)) as wrk:
                time.sleep(SETTLE)
                served, counted = nginx.stub(), target.scrape().sum(server, comm="nginx")
                before, own = work(nginx, wrk), target.cpu_seconds()
                time.sleep(MEASURE)
                with_us, own = work(nginx, wrk).since(before), target.cpu_seconds() - own
                page = target.scrape()
                served = nginx.stub() - served
                counted = page.sum(server, comm="nginx") - counted
            pairs.append((between(without, undisturbed(nginx)), with_us, own))
            notes.append(f"{settled_note(page, number + 1)}; requests as counted at the server {100 * (counted / served - 1):+.1f} %")
    return loss_row("nginx + wrk storm, lost with --budget=1%", "req/s", pairs, notes)


def scrape(bench):
    """Two rows: CPU per series and scrape, and memory after the same number of scrapes."""
    rounds = 40
    cost = {"ours": [], "peer": []}
    with contextlib.ExitStack() as stack:
        notes = []
        targets = {"peer": stack.enter_context(bench.node_exporter())}
        try:
            targets["ours"] = stack.enter_context(bench.agent())
        except Unavailable as reason:
            notes.append(f"ours not measured: {reason}")
        series = {}
        for _ in range(bench.repetitions):
            before = {name: target.cpu_seconds() for name, target in targets.items()}
            total = dict.fromkeys(targets, 0)
            for _ in range(rounds):
                for name, target in targets.items():
                    page = target.scrape()
                    if page is None:
                        raise Unavailable(f"{name}: a scrape failed")
                    series[name] = len(page.samples)
                    total[name] += series[name]
                # Longer than the agent serves one collection for: every scrape costs it a fresh one.
                time.sleep(0.26)
            for name, target in targets.items():
                cost[name].append(1e6 * (target.cpu_seconds() - before[name]) / total[name])
        memory = {name: target.memory_bytes() for name, target in targets.items()}
    micro = {name: min(values) for name, values in cost.items() if values}
    notes.append(", ".join(f"{name} {count} series" for name, count in series.items()))
    notes.append(", ".join(f"{name} {statistics.median(values):.2f} us median" for name, values in cost.items() if values))
    mebi = {name: sum(parts) / MEBI for name, parts in memory.items()}
    split = [f"{name} {resident / MEBI:.1f} MiB resident, {maps / MEBI:.1f} MiB maps"
             for name, (resident, maps) in memory.items()]
    ours = "ours" in targets
    return [
        {
            "what": "CPU per series and scrape",
            "peer_name": "node-exporter",
            "unit": "us",
            **micro,
            "ratio": micro["ours"] / micro["peer"] if ours else None,
            "bar": 0.2,
            "notes": notes,
        },
        {
            "what": "resident + map memory, default config",
            "peer_name": "node-exporter",
            "unit": "MiB",
            **mebi,
            "ratio": mebi["ours"] / mebi["peer"] if ours else None,
            "bar": 1.5,
            "notes": split,
        },
    ]


# The same families as the agent's, as one would type them; the second is the smallest one-liner there is.
FAMILIES = """
tracepoint:raw_syscalls:sys_enter { @s[tid] = nsecs; }
tracepoint:raw_syscalls:sys_exit /@s[tid]/ { @syscall[comm] = hist(nsecs - @s[tid]); delete(@s[tid]); }
tracepoint:sched:sched_wakeup { @q[args->pid] = nsecs; }
tracepoint:sched:sched_switch { if (@q[args->next_pid]) { @runq = hist(nsecs - @q[args->next_pid]); } delete(@q[args->next_pid]); }
tracepoint:block:block_rq_issue { @b[args->sector] = nsecs; }
tracepoint:block:block_rq_complete /@b[args->sector]/ { @block = hist(nsecs - @b[args->sector]); delete(@b[args->sector]); }
tracepoint:sock:inet_sock_set_state { @tcp[args->newstate] = count(); }
tracepoint:sched:sched_process_exec { @exec[comm] = count(); }
tracepoint:sched:sched_process_exit { @exit[comm] = count(); }
interval:ms:1 { printf("first %s\\n", "output"); print(@syscall); exit(); }
"""
ONE_EVENT = 'tracepoint:raw_syscalls:sys_enter { printf("first %s\\n", comm); exit(); }'


def start(bench):
    """From exec to the first page, on which every probe is up that collects from the start on; the peer: to the first it prints
    of the same families. The plain text of TLS comes after: the agent then looks for processes with a library, as this one is."""
    hooked = []

    def ours():
        begin = time.monotonic()
        with bench.agent(wait=False) as target:
            def up(*probes):
                if target.process.poll() is not None:
                    raise Unavailable(f"the agent ended, see {bench.log}")
                page = target.scrape()
                return page and all(page.sum("leadline_probe_up", probe=name) for name in probes)

            wait_until(lambda: up(*(set(machine.PROBES) - {"tls"})), 30, "a page with every probe up")
            seconds = time.monotonic() - begin
            wait_until(lambda: up("tls"), 30, "a page with libraries of TLS hooked")
            hooked.append(time.monotonic() - begin)
            return seconds

    def peer(script):
        with machine.Screen(require("bpftrace"), "-e", script) as screen:
            return screen.wait_for(r"first \w")  # not the source, should it be shown with an error

    variants = {"ours": ours, "peer": lambda: peer(FAMILIES), "one": lambda: peer(ONE_EVENT)}
    seconds, notes = compare(bench, variants, min)
    if hooked:
        notes.append(f"until libraries that do TLS are hooked: {min(hooked):.2f} s")
    if "one" in seconds:
        notes.append(f"bpftrace with a single tracepoint that prints one event: {seconds.pop('one'):.2f} s")
    both = {"ours", "peer"} <= seconds.keys()
    return {
        "what": "exec to first page, all probes up but tls",
        "peer_name": "bpftrace, same families",
        "unit": "s",
        **seconds,
        "ratio": seconds["ours"] / seconds["peer"] if both else None,
        "bar": 0.5,
        "notes": notes,
    }


ROWS = {
    "syscall": syscall,
    "switch": switch,
    "block": block,
    "requests": requests,
    "redis": databases.redis,
    "postgresql": databases.postgresql,
    "syscall_storm": syscall_storm,
    "switch_storm": switch_storm,
    "request_storm": request_storm,
    "floor": floor,
    "overhead": overhead,
    "scrape": scrape,
    "start": start,
    "scale": scale,
}
