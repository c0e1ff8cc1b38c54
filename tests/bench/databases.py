# SPDX-License-Identifier: Apache-2.0
"""Throughput that databases lose when both ends are traced, each request decoded."""

import contextlib
import glob
import re
import tempfile

import machine
from machine import Unavailable, require, run, wait_until

CLIENT = "db_client_operation_duration_seconds_count"
SERVER = "leadline_db_server_operation_duration_seconds_count"
REQUESTS = 100_000


def listens(port):
    return run(require("ss"), "-tlnH", f"sport = :{port}") != ""


@contextlib.contextmanager
def redis():
    port = machine.free_port()
    with tempfile.TemporaryDirectory() as directory:
        command = (require("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory)
        with machine.daemon("taskset", "-c", "0", *command):
            wait_until(lambda: listens(port), 10, "redis-server")
            yield port


@contextlib.contextmanager
def postgresql():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not found:
        raise Unavailable("PostgreSQL is not installed")
    port = machine.free_port()
    with tempfile.TemporaryDirectory() as directory:
        run("chown", "postgres", directory)
        as_postgres = (require("setpriv"), "--reuid=postgres", "--regid=postgres", "--clear-groups")
        run(*as_postgres, f"{found[-1]}/initdb", "-D", f"{directory}/data", "-U", "postgres", "--auth=trust", "--no-sync")
        command = (f"{found[-1]}/postgres", "-D", f"{directory}/data", "-p", str(port), "-k", directory, "-F",
                   "-c", "listen_addresses=127.0.0.1")
        with machine.daemon("taskset", "-c", "0", *as_postgres, *command):
            wait_until(lambda: listens(port), 10, "PostgreSQL")
            run(require("pgbench"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-i", "-q", "-s", "1", "postgres")
            yield port


def throughput(bench, compare, what, server, client, pattern, labels, bar):
    """Runs the client untraced and traced; counts what the agent saw of it, at both ends."""
    seen = {"done": 0, "server": 0, "client": 0}

    def load(port):
        text = run("taskset", "-c", "1", *client(port))
        return float(re.findall(pattern, text)[-1])

    def traced(port, *probes):
        with bench.agent(*probes, flags=("--max_age=0s",)) as target:
            before = target.scrape().sum(SERVER, **labels)
            rate = load(port)
            served = target.settled(SERVER, labels, before + REQUESTS) - before
            asked = target.settled(CLIENT, labels, REQUESTS)
        if probes:
            seen["done"] += REQUESTS
            seen["server"] += max(0, REQUESTS - served)
            seen["client"] += max(0, REQUESTS - asked)
        return rate

    def read_only(port):
        with machine.reading_hooks(bench):
            return load(port)

    with server() as port:
        variants = {
            "base": lambda: load(port),
            "ours": lambda: traced(port, "requests"),
            "peer": lambda: read_only(port),
            "all": lambda: traced(port),
        }
        rate, notes = compare(bench, variants, max)
    drop = {name: 100 * (1 - rate[name] / rate["base"]) for name in rate if name != "base"}
    row = {
        "what": f"{what} throughput lost, both ends traced",
        "peer_name": machine.READING,
        "unit": "%",
        "base": rate["base"],
        "base_unit": "req/s",
        **drop,
        "ratio": None,
        "bar": bar / 100,
        "bar_text": f"<= {bar} %, 0 lost",
        "notes": notes,
    }
    if "ours" in drop:
        missed = seen["server"] + seen["client"]
        row |= {
            "ratio": drop["ours"] / 100,
            "ratio_text": f"{drop['ours']:.1f} %, {missed:.0f} lost",
            "ok": drop["ours"] <= bar and missed == 0,
        }
        notes.append(f"{seen['done']} requests; not counted at the server {seen['server']:.0f}, at the client {seen['client']:.0f}")
    return row


def redis_row(bench, compare):
    def client(port):
        return (require("redis-benchmark"), "-p", str(port), "-q", "-n", str(REQUESTS), "-c", "16", "-t", "get")

    labels = {"db_system_name": "redis", "db_operation_name": "GET"}
    return throughput(bench, compare, "redis-benchmark", redis, client, r"([\d.]+) requests per second", labels, 10)


def postgresql_row(bench, compare):
    connections = 10

    def client(port):
        return (require("pgbench"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-n", "-S", "-c", str(connections),
                "-t", str(REQUESTS // connections), "postgres")

    labels = {"db_system_name": "postgresql", "db_query_summary": "SELECT pgbench_accounts"}
    return throughput(bench, compare, "pgbench -S", postgresql, client, r"tps = ([\d.]+)", labels, 5)
