"""What the engine knows about builds and servers, asked past the code under test."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import unquote

import docker

from testbed.hub import HubProcess
from testbed.names import LABEL_PREFIX

__all__ = [
    "build_containers",
    "built_images",
    "builds_begun",
    "server_container",
    "wait_until_gone",
]

_KEY, _REPO = f"{LABEL_PREFIX}key", f"{LABEL_PREFIX}repo"


def builds_begun(engine: docker.DockerClient, url: str, since: float) -> int:
    """How many build containers the engine has created for a repository.

    Args:
        engine: where.
        url: the repository's; any part of it will do.
        since: seconds since 1970.
    """
    told = engine.api.events(
        since=f"{since:.6f}",
        until=f"{time.time():.6f}",
        filters={"type": "container", "event": "create", "label": _KEY},
        decode=True,
    )
    return sum(url in _repo(event["Actor"]["Attributes"]) for event in told)


def build_containers(engine: docker.DockerClient, url: str) -> list[dict[str, Any]]:
    """The engine's list entries of a repository's build containers, whatever their state."""
    found = engine.api.containers(all=True, filters={"label": _KEY})
    # a server's container has its image's labels
    return [
        entry
        for entry in found
        if url in _repo(entry["Labels"]) and "r2d-build-" in entry["Names"][0]
    ]


def wait_until_gone(engine: docker.DockerClient, url: str, seconds: float = 3) -> float:
    """Wait until a repository has no build container.

    Returns:
        How long it took, in seconds.

    Raises:
        TimeoutError: it still has one.
    """
    started = time.monotonic()
    while left := build_containers(engine, url):
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"{left[0]['Names'][0]} is still there ({left[0]['Status']}).")
        time.sleep(0.05)
    return time.monotonic() - started


def built_images(engine: docker.DockerClient, url: str) -> list[dict[str, Any]]:
    """The engine's list entries of a repository's images. ``url`` as in :func:`builds_begun`."""
    found = engine.api.images(filters={"label": _KEY})
    return [entry for entry in found if url in _repo(entry["Labels"] or {})]


def server_container(
    engine: docker.DockerClient, hub: HubProcess, username: str
) -> dict[str, Any] | None:
    """What the engine says of a person's (only) container, or ``None``."""
    for entry in hub.servers(engine):
        found: dict[str, Any] = engine.api.inspect_container(entry["Id"])
        if f"JUPYTERHUB_USER={username}" in found["Config"]["Env"]:
            return found
    return None


def _repo(labels: dict[str, str]) -> str:
    return unquote(labels.get(_REPO, ""))
