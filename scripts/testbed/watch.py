"""What the engine knows about builds and servers, asked past the code under test."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import docker
import docker.errors

from testbed import engine
from testbed.containerevents import ContainerEvents
from testbed.hub import HubProcess
from testbed.names import LABEL_PREFIX

__all__ = [
    "build_containers",
    "builds_begun",
    "builds_going_on",
    "built_images",
    "remove_builds",
    "server_container",
    "wait_until_gone",
]

_KEY, _REPO = f"{LABEL_PREFIX}key", f"{LABEL_PREFIX}repo"


def builds_begun(events: ContainerEvents, url: str, since: float = 0) -> int:
    """How many build containers the engine has created for a repository up to now.

    Args:
        events: kept since before the first of them.
        url: the repository's; any part of it will do.
        since: seconds since 1970.
    """
    # servers and trial runs of an image have its labels too
    return len(events.of("create", lambda one: _is_build(one["name"]) and url in _repo(one), since))


def build_containers(client: docker.DockerClient, url: str) -> list[dict[str, Any]]:
    """The engine's list entries of a repository's build containers, whatever their state."""
    found = client.api.containers(all=True, filters={"label": _KEY})
    return [
        entry
        for entry in found
        if _is_build(entry["Names"][0].lstrip("/")) and url in _repo(entry["Labels"])
    ]


def builds_going_on(client: docker.DockerClient, url: str) -> list[str]:
    """The states of a repository's build containers that run or wait to be started.

    One that has ended may be kept for a while, since it is the build's log.
    """
    states = [str(entry["State"]) for entry in build_containers(client, url)]
    return [state for state in states if state not in {"exited", "dead", "removing"}]


def wait_until_gone(client: docker.DockerClient, url: str, seconds: float = 3) -> float:
    """Wait until no build of a repository goes on.

    Returns:
        How long it took, in seconds.

    Raises:
        TimeoutError: one still does.
    """
    started = time.monotonic()
    while left := builds_going_on(client, url):
        if time.monotonic() - started > seconds:
            raise TimeoutError(f"The build of {url} goes on ({left[0]}).")
        time.sleep(0.05)
    return time.monotonic() - started


def built_images(client: docker.DockerClient, url: str) -> list[dict[str, Any]]:
    """The engine's list entries of a repository's images. ``url`` as in :func:`builds_begun`."""
    found = client.api.images(filters={"label": _KEY})
    return [entry for entry in found if url in _repo(entry["Labels"] or {})]


def remove_builds(client: docker.DockerClient, url: str) -> None:
    """Remove what a repository's builds have left: containers, running or not, and images.

    Args:
        client: of the engine.
        url: the repository's; any part of it will do.
    """
    engine.remove_containers(client, [entry["Id"] for entry in build_containers(client, url)])
    for image in built_images(client, url):
        # somebody else's container may be of it
        with contextlib.suppress(docker.errors.APIError):
            client.api.remove_image(image["Id"], force=True)


def server_container(
    client: docker.DockerClient, hub: HubProcess, username: str
) -> dict[str, Any] | None:
    """What the engine says of a person's (only) container, or ``None``."""
    for entry in hub.servers(client):
        found: dict[str, Any] = client.api.inspect_container(entry["Id"])
        if f"JUPYTERHUB_USER={username}" in found["Config"]["Env"]:
            return found
    return None


def _is_build(name: str) -> bool:
    return name.startswith("r2d-build-")


def _repo(labels: Mapping[str, str]) -> str:
    return unquote(labels.get(_REPO, ""))
