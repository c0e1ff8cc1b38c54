#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many requests over many connections at once, and the agent's memory meanwhile, which must stay flat.

wrk asks nginx over so many kept connections, whose paths differ with every request, until so many requests are served by
nginx's own count. Prints requests and memory round by round. Ends with 1 when the resident memory has grown in the second half of
these (in the first, what is kept of the last minutes fills up) beyond what pages of an allocator do, and more than the series take that
came meanwhile, of other programs; when the paths made series; or when a request was neither counted nor told as lost.
"""

import argparse
import contextlib
import os
import pathlib
import resource
import sys
import tempfile
import time

import machine
from machine import Unavailable, require, run

MEBI = 1 << 20
ALLOWED = 512 * 1024  # bytes
SERIES = 2 * 1024  # bytes that one takes at most, see README
ROUND = 15  # seconds

NGINX = """daemon off; master_process off; pid nginx.pid; error_log error.log;
events {{ worker_connections {room}; }}
http {{ access_log off; keepalive_timeout 600s; keepalive_requests 1000000000;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
  server {{ listen 127.0.0.1:{port} backlog=4096; location /stub {{ stub_status; }} location / {{ return 200 ok; }} }} }}
"""

PATHS = """local n = 0
request = function() n = n + 1; return wrk.format("GET", "/users/" .. n .. "/orders/" .. string.format("%x", n * 2654435761)) end
"""


def room_for(connections):
    """nginx closes kept connections when a sixteenth of its room is left."""
    return connections + connections // 4 + 64


@contextlib.contextmanager
def nginx(directory, connections):
    port = machine.free_port()
    pathlib.Path(directory, "nginx.conf").write_text(NGINX.format(port=port, room=room_for(connections)), encoding="utf-8")
    with machine.daemon(require("nginx"), "-p", directory, "-c", f"{directory}/nginx.conf") as process:
        server = machine.Target(process, port)
        machine.wait_until(lambda: server.status("/stub") == 200, 10, "nginx")
        yield server


def look(agent, server, served_before):
    page = agent.scrape()
    if page is None:
        raise Unavailable("a scrape failed")
    resident, maps = agent.memory_bytes()
    counted = page.values("http_server_request_duration_seconds_count", comm="nginx")
    entry = {
        "served": server.stub() - served_before,
        "counted": sum(counted),
        "of_server": len(counted),
        "lost": page.sum("leadline_probe_lost_total", probe="requests"),
        "resident": resident,
        "maps": maps,
        "series": page.sum("leadline_series"),
    }
    print("{served:9.0f} served, {counted:9.0f} counted, {lost:.0f} lost; {series:.0f} series, {of_server} of these of requests here, "
          "resident {r:.2f} MiB, maps {m:.2f} MiB".format(r=resident / MEBI, m=maps / MEBI, **entry), flush=True)
    return entry


def ask(bench, requests, connections):
    with tempfile.TemporaryDirectory() as directory, nginx(directory, connections) as server:
        script = pathlib.Path(directory, "paths.lua")
        script.write_text(PATHS, encoding="utf-8")
        with bench.agent(flags=("--budget=0",)) as agent:
            before = server.stub()
            entries = [look(agent, server, before)]
            while entries[-1]["served"] < requests:
                run(require("wrk"), "-t1", f"-c{connections}", f"-d{ROUND}s", "-s", str(script), "--timeout", "30s",
                    f"http://127.0.0.1:{server.port}/")
                time.sleep(1)
                entries.append(look(agent, server, before))
    return entries


def judge(entries):
    first, last = entries[len(entries) // 2], entries[-1]
    grown = last["resident"] - first["resident"] - SERIES * max(0, last["series"] - first["series"])
    missing = last["served"] - last["counted"] - last["lost"]
    if grown > ALLOWED:
        yield f"memory has grown by {grown / MEBI:.2f} MiB in the second half, beyond what series take"
    if last["of_server"] > first["of_server"] + 1:
        yield f"there are {last['of_server']} series of counts of requests, there were {first['of_server']}"
    if missing > 0.0001 * last["served"]:
        yield f"{missing:.0f} requests are neither counted nor told as lost"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--build", default="build", help="build directory")
    parser.add_argument("--requests", type=int, default=5000000)
    parser.add_argument("--connections", type=int, default=10000)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("this loads BPF programs: run it as root (sudo make connections)")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, room_for(options.connections))), hard))
    try:
        faults = list(judge(ask(machine.Bench(options.build, 1), options.requests, options.connections)))
    except Unavailable as reason:
        sys.exit(f"connections: {reason}")
    machine.judged(faults)


if __name__ == "__main__":
    main()
