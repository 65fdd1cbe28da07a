"""Builds by the dozen on a real hub: what stands in for repo2docker makes an image in a moment.

Engine, hub, spawner and the way between them are the real ones. See ``inside/`` for the programs.
"""

from __future__ import annotations

import io
import secrets
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors

from .hub import HubProcess
from .names import BASE_IMAGE, ROOT, TESTBED_PREFIX

__all__ = ["HUBSIDE", "QuickImages", "order", "pool_of", "quick_images"]

_INSIDE = Path(__file__).parent / "inside"

HUBSIDE = f"""
import sys
sys.path.insert(0, {str(ROOT / "scripts")!r})
from testbed.hubside import HANDLERS
c.JupyterHub.extra_handlers = HANDLERS
"""
"""Configuration of a hub that tells `pool_of` what its pool does."""


@dataclass(frozen=True)
class QuickImages:
    """The names of the two images.

    Attributes:
        builder: for ``build_image``.
        server: what it builds, and a default image that starts in a moment.
    """

    builder: str
    server: str

    @property
    def config(self) -> str:
        """Configuration of a hub that builds with them."""
        return f"{HUBSIDE}\nc.Repo2DockerSpawner.build_image = {self.builder!r}\n"


@contextmanager
def quick_images(client: docker.DockerClient) -> Iterator[QuickImages]:
    """Make the images, and remove them afterwards."""
    nonce = secrets.token_hex(4)
    images = QuickImages(f"{TESTBED_PREFIX}quick-{nonce}", f"{TESTBED_PREFIX}quick-server-{nonce}")
    server = (_INSIDE / "quick_server.py").read_text(encoding="utf-8")
    program = (_INSIDE / "quick_repo2docker.py").read_text(encoding="utf-8")
    try:
        _make(client, images.server, "jupyterhub-singleuser", server)
        program = program.replace("@SERVER_IMAGE@", images.server)
        _make(client, images.builder, "jupyter-repo2docker", program)
        yield images
    finally:
        for name in (images.builder, images.server):
            with suppress(docker.errors.ImageNotFound):
                client.images.remove(name, force=True)


def _make(client: docker.DockerClient, image: str, name: str, program: str) -> None:
    data = program.encode()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        entry = tarfile.TarInfo(f"usr/local/bin/{name}")
        entry.size, entry.mode = len(data), 0o755
        tar.addfile(entry, io.BytesIO(data))
    made = client.containers.create(BASE_IMAGE, "true")
    try:
        made.put_archive("/", stream.getvalue())
        made.commit(repository=image, conf={"Cmd": [name]})
    finally:
        made.remove(force=True)


def order(*, takes: float = 0, prints: int = 10, exits: int = 0, nonce: str = "") -> str:
    """Return the subdirectory that orders such a build, of a key that nobody has built yet.

    Args:
        takes: seconds before the image is made.
        prints: lines meanwhile.
        exits: the exit code; not 0 where the build is to fail.
        nonce: the same for those who are to share a build.
    """
    return f"takes-{takes:g}/prints-{prints}/exits-{exits}/{nonce or secrets.token_hex(6)}"


def pool_of(hub: HubProcess) -> dict[str, Any]:
    """Return what the hub's pool does: see `testbed.hubside`."""
    answer = hub.api("GET", "../testbed/pool")
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found
