# SPDX-License-Identifier: Apache-2.0
"""Throughput that databases lose when both ends are traced, each request decoded."""

import contextlib
import glob
import re
import tempfile

import machine
import throughput
from machine import Unavailable, require, run, wait_until

CLIENT = "db_client_operation_duration_seconds_count"
SERVER = "leadline_db_server_operation_duration_seconds_count"
REQUESTS = 100_000


def listens(port):
    return run(require("ss"), "-tlnH", f"sport = :{port}") != ""


@contextlib.contextmanager
def redis_server():
    port = machine.free_port()
    with tempfile.TemporaryDirectory() as directory:
        command = (require("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory)
        with machine.daemon("taskset", "-c", "0", *command):
            wait_until(lambda: listens(port), 10, "redis-server")
            yield port


@contextlib.contextmanager
def postgresql_server():
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


def lost(bench, what, server, client, pattern, labels, bar):
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

    def missed():
        return seen["server"] + seen["client"], throughput.counted_note(seen["done"], seen["server"], seen["client"])

    with server() as port:
        variants = {
            "base": lambda: load(port),
            "ours": lambda: traced(port, "requests"),
            "peer": lambda: read_only(port),
            "all": lambda: traced(port),
        }
        return throughput.row(bench, what, variants, missed, bar)


def redis(bench):
    def client(port):
        return (require("redis-benchmark"), "-p", str(port), "-q", "-n", str(REQUESTS), "-c", "16", "-t", "get")

    labels = {"db_system_name": "redis", "db_operation_name": "GET"}
    return lost(bench, "redis-benchmark", redis_server, client, r"([\d.]+) requests per second", labels, 10)


def postgresql(bench):
    connections = 10

    def client(port):
        return (require("pgbench"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-n", "-S", "-c", str(connections),
                "-t", str(REQUESTS // connections), "postgres")

    labels = {"db_system_name": "postgresql", "db_query_summary": "SELECT pgbench_accounts"}
    return lost(bench, "pgbench -S", postgresql_server, client, r"tps = ([\d.]+)", labels, 5)
