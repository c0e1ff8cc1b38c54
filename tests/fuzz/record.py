#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records what a client and a server say, for the corpora of the decoders' fuzz targets (see protocol.h).

    record.py FOLDER NAME LISTEN SERVER [--udp]

Listens on LISTEN (a port of 127.0.0.1, or a path) and hands all on to SERVER (HOST:PORT, or a path). Each connection becomes
FOLDER/NAME-1, FOLDER/NAME-2 …, with a record for each read; over UDP all datagrams make one. Stops with the input.
"""
import argparse
import os
import socket
import struct
import sys
import threading

HEADER = b"\0" + struct.pack("<I", 0x2545F491)
MOST = 0x7FFF


class Recording:
    def __init__(self, path):
        self.path, self.lock, self.data = path, threading.Lock(), bytearray(HEADER)

    def add(self, from_client, data):
        with self.lock:
            for at in range(0, len(data), MOST):
                part = data[at : at + MOST]
                self.data += struct.pack("<H", len(part) | (0x8000 if from_client else 0)) + part

    def write(self):
        with open(self.path, "wb") as file:
            file.write(self.data)


def is_path(address):
    return "/" in address


def connect(server):
    if is_path(server):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(server)
        return connection
    host, port = server.rsplit(":", 1)
    return socket.create_connection((host, int(port)))


def copy(source, target, recording, from_client):
    while data := source.recv(65536):
        recording.add(from_client, data)
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)


def serve(client, server, recording):
    upstream = connect(server)
    back = threading.Thread(target=copy, args=(upstream, client, recording, False))
    back.start()
    try:
        copy(client, upstream, recording, True)
    except OSError:
        pass
    back.join()
    recording.write()


def listen_stream(options):
    if is_path(options.listen):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(options.listen)
    else:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", int(options.listen)))
    listener.listen()
    number = 0
    while True:
        client, _ = listener.accept()
        number += 1
        recording = Recording(os.path.join(options.folder, f"{options.name}-{number}"))
        threading.Thread(target=serve, args=(client, options.server, recording), daemon=True).start()


def listen_datagrams(options):
    recording = Recording(os.path.join(options.folder, options.name))
    listener = socket.socket(type=socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", int(options.listen)))
    host, port = options.server.rsplit(":", 1)
    upstream = socket.socket(type=socket.SOCK_DGRAM)
    upstream.connect((host, int(port)))
    peers = {}

    def back():
        while True:
            data = upstream.recv(65536)
            recording.add(False, data)
            recording.write()
            if data[:2] in peers:
                listener.sendto(data, peers[data[:2]])

    threading.Thread(target=back, daemon=True).start()
    while True:
        data, peer = listener.recvfrom(65536)
        peers[data[:2]] = peer
        recording.add(True, data)
        upstream.send(data)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("name")
    parser.add_argument("listen")
    parser.add_argument("server")
    parser.add_argument("--udp", action="store_true")
    options = parser.parse_args()
    listen = listen_datagrams if options.udp else listen_stream
    threading.Thread(target=listen, args=(options,), daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
