#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The pods of a Kubernetes API server: list and watch over HTTPS with a bearer token, as the API's documents say.

    kubernetes_api.py PORT CONTROL_PORT CERTIFICATE KEY TOKEN

On the control port, plain HTTP on loopback, a test tells it what happens in the cluster:
    PUT /pod (a pod) · DELETE /pod/UID · PUT /fill/N (N pods of an ordinary size) · PUT /token (the only one let in)
    PUT /expire (watchers are told 410) · PUT /forget (versions asked for are too old) · PUT /cut (connections end in the
    middle of a line) · PUT /raw (bytes for the watchers) · PUT /bookmark · GET /seen (requests, as JSON)
"""
import json
import select
import socket
import ssl
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE_BYTES = 65536


class Cluster:
    def __init__(self, token):
        self.lock = threading.Condition()
        self.token = token
        self.version = 1000
        self.oldest = 0
        self.pods = {}
        self.log = []  # (version, line)
        self.watchers = []
        self.seen = {"lists": 0, "pages": 0, "watches": 0, "refused": 0, "unknown": 0, "queries": []}

    def change(self, kind, pod):
        with self.lock:
            self.version += 1
            pod["metadata"]["resourceVersion"] = str(self.version)
            if kind == "DELETED":
                self.pods.pop(pod["metadata"]["uid"], None)
            else:
                known = pod["metadata"]["uid"] in self.pods
                kind = "MODIFIED" if known else "ADDED"
                self.pods[pod["metadata"]["uid"]] = pod
            self.log.append((self.version, event(kind, pod)))
            self.lock.notify_all()

    def tell(self, data):
        with self.lock:
            for watcher in self.watchers:
                watcher.extra.append(data)
            self.lock.notify_all()


def event(kind, thing):
    return json.dumps({"type": kind, "object": thing}, separators=(",", ":")).encode() + b"\n"


def status(code, reason):
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": reason,
            "reason": reason, "code": code}


def ordinary_pod(i):
    """As large as pods are: with managedFields, spec, conditions."""
    uid = "%08x-0000-4000-8000-%012x" % (i, i)
    fields = {"f:metadata": {"f:labels": {"f:label-%d" % k: {} for k in range(20)}},
              "f:spec": {"f:containers": {'k:{"name":"c%d"}' % k: {"f:image": {}, "f:env": {}} for k in range(10)}}}
    container = {"name": "app", "image": "registry.example/app:1", "env": [{"name": "V%d" % k, "value": "x" * 100}
                                                                         for k in range(30)]}
    return {
        "metadata": {"name": "pod-%d" % i, "namespace": "space-%d" % (i % 50), "uid": uid,
                     "labels": {"app": "app-%d" % (i % 100)}, "annotations": {"note": "n" * 2000},
                     "managedFields": [{"manager": "kubelet", "fieldsV1": fields}]},
        "spec": {"nodeName": "node-a", "containers": [container, dict(container, name="sidecar")]},
        "status": {"phase": "Running", "containerStatuses": [
            {"name": name, "containerID": "containerd://%064x" % (i * 2 + k), "state": {"running": {}}}
            for k, name in enumerate(("app", "sidecar"))]},
    }


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster = None

    def log_message(self, *_):
        pass

    def answer(self, code, body):
        data = json.dumps(body, separators=(",", ":")).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        cluster = self.cluster
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        with cluster.lock:
            cluster.seen["queries"].append(url.query)
            del cluster.seen["queries"][:-20]
            if self.headers.get("Authorization") != "Bearer " + cluster.token:
                cluster.seen["refused"] += 1
                token_is_good = False
            else:
                token_is_good = True
        if not token_is_good:
            self.answer(401, status(401, "Unauthorized"))
        elif url.path != "/api/v1/pods" or query.get("fieldSelector") != "spec.nodeName=node-a":
            cluster.seen["unknown"] += 1
            self.answer(403, status(403, "Forbidden"))
        elif query.get("watch") == "1":
            self.watch(query)
        else:
            self.list(query)

    def list(self, query):
        cluster = self.cluster
        with cluster.lock:
            pods, version = list(cluster.pods.values()), cluster.version
            cluster.seen["pages"] += 1
        start = int(query.get("continue", "0"))
        # from the cache a server answers with everything
        limit = len(pods) if query.get("resourceVersion") == "0" else int(query.get("limit", len(pods)))
        metadata = {"resourceVersion": str(version)}
        if start + limit < len(pods):
            metadata["continue"] = str(start + limit)
            metadata["remainingItemCount"] = len(pods) - start - limit
        else:
            cluster.seen["lists"] += 1
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        head = '{"kind":"PodList","apiVersion":"v1","metadata":%s,"items":[' % json.dumps(metadata)
        buffer = head.encode()
        for i, pod in enumerate(pods[start:start + limit]):
            buffer += (b"," if i else b"") + json.dumps(pod).encode()
            while len(buffer) > PAGE_BYTES:
                self.chunk(buffer[:PAGE_BYTES])
                buffer = buffer[PAGE_BYTES:]
        self.chunk(buffer + b"]}\n")
        self.chunk(b"")

    def chunk(self, data):
        self.wfile.write(b"%x\r\n" % len(data) + data + b"\r\n")
        self.wfile.flush()

    def watch(self, query):
        cluster = self.cluster
        seen = int(query.get("resourceVersion") or 0)
        self.extra = []
        with cluster.lock:
            cluster.seen["watches"] += 1
            gone = seen < cluster.oldest
            cluster.watchers.append(self)
        try:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if gone:
                self.chunk(event("ERROR", status(410, "Expired")))
                self.chunk(b"")
                return
            while True:
                with cluster.lock:
                    lines = [line for version, line in cluster.log if version > seen]
                    seen = cluster.version
                    extra, self.extra = self.extra, []
                    if not lines and not extra:
                        cluster.lock.wait(0.1)
                if select.select([self.connection], [], [], 0)[0]:
                    return  # a watcher has nothing more to say: it has gone
                for data in lines + extra:
                    if data is None:
                        half = event("ADDED", ordinary_pod(1))
                        self.chunk(half[:len(half) // 2])
                        self.connection.shutdown(socket.SHUT_RDWR)
                        return
                    self.chunk(data)
                    if b'"ERROR"' in data:
                        self.chunk(b"")
                        return
        except OSError:
            pass
        finally:
            with cluster.lock:
                cluster.watchers.remove(self)
            self.close_connection = True


class Control(BaseHTTPRequestHandler):
    cluster = None

    def log_message(self, *_):
        pass

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, thing):
        data = json.dumps(thing).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        with self.cluster.lock:
            seen = dict(self.cluster.seen, watching=len(self.cluster.watchers), version=self.cluster.version)
        self.answer(seen)

    def do_PUT(self):
        cluster, data = self.cluster, self.body()
        what = self.path.split("/")
        if what[1] == "pod":
            cluster.change("", json.loads(data))
        elif what[1] == "fill":
            with cluster.lock:
                for i in range(int(what[2])):
                    pod = ordinary_pod(i)
                    cluster.pods[pod["metadata"]["uid"]] = pod
        elif what[1] == "token":
            with cluster.lock:
                cluster.token = data.decode()
        elif what[1] == "expire":
            cluster.tell(event("ERROR", status(410, "Expired")))
        elif what[1] == "forget":
            with cluster.lock:
                cluster.version += 10
                cluster.oldest = cluster.version
            cluster.tell(None)
        elif what[1] == "cut":
            cluster.tell(None)
        elif what[1] == "raw":
            cluster.tell(data)
        elif what[1] == "bookmark":
            with cluster.lock:
                cluster.version += 1
                bookmark = {"kind": "Pod", "metadata": {"resourceVersion": str(cluster.version)}}
            cluster.tell(event("BOOKMARK", bookmark))
        self.answer({})

    def do_DELETE(self):
        uid = self.path.split("/")[2]
        with self.cluster.lock:
            pod = self.cluster.pods.get(uid)
        if pod:
            self.cluster.change("DELETED", pod)
        self.answer({})


def main():
    port, control_port, certificate, key, token = sys.argv[1:6]
    cluster = Cluster(token)
    Api.cluster = Control.cluster = cluster
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    api = ThreadingHTTPServer(("127.0.0.1", int(port)), Api)
    # the handshake belongs to the thread of the connection
    api.socket = context.wrap_socket(api.socket, server_side=True, do_handshake_on_connect=False)
    api.daemon_threads = True
    threading.Thread(target=api.serve_forever, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", int(control_port)), Control).serve_forever()


if __name__ == "__main__":
    main()
