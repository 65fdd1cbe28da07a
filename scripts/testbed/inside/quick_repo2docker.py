#!/usr/bin/env python3
"""Stands in for repo2docker where a test needs many builds: fetches nothing, builds in a moment.

What it does is told by the subdirectory that is to be built, each folder an order:
``takes-1.5`` (seconds), ``prints-200`` (lines), ``exits-3`` (its exit code, and no image); any
other is there to make a build key of its own. The image is `quick_server.py` as a server.

Runs in the build container, with the stdlib alone.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import socket
import sys
import tarfile
import time
from urllib.parse import urlencode

SERVER_IMAGE = "@SERVER_IMAGE@"


class Engine(http.client.HTTPConnection):
    """The engine that the build container was given."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/var/run/docker.sock")


def say(message: str, phase: str) -> None:
    print(json.dumps({"message": message + "\n", "phase": phase}), flush=True)


def build(name: str, labels: dict[str, str]) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        text = f"FROM {SERVER_IMAGE}\n".encode()
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
    engine = Engine("localhost", timeout=60)
    query = urlencode({"t": name, "labels": json.dumps(labels)})
    engine.request("POST", f"/build?{query}", stream.getvalue())
    answer = engine.getresponse()
    said = answer.read().decode()
    if answer.status != http.client.OK or '"error"' in said:
        sys.exit(f"no image: {said}")


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--image-name", required=True)
    parser.add_argument("--subdir", default="")
    parser.add_argument("--label", action="append", default=[])
    known, _ = parser.parse_known_args()
    orders = {part.partition("-")[0]: part.partition("-")[2] for part in known.subdir.split("/")}
    lines = int(orders.get("prints", 10))
    pause = float(orders.get("takes", 0)) / max(lines, 1)
    say("Fetched nothing", "fetching")
    for line in range(1, lines + 1):
        say(f"line {line} of {lines}", "building")
        time.sleep(pause)
    if int(orders.get("exits", 0)):
        say("the-reason", "building")
        sys.exit(int(orders["exits"]))
    build(known.image_name, dict(label.split("=", 1) for label in known.label))


main()
