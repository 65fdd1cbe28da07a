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
from testbed.waiting import wait_until

__all__ = [
    "build_containers",
    "builds_begun",
    "builds_going_on",
    "built_images",
    "remove_builds",
    "server_container",
    "still_going_on",
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
    return [entry for entry in found if _is_build(_name(entry)) and url in _repo(entry["Labels"])]


def builds_going_on(client: docker.DockerClient, url: str) -> list[str]:
    """The states of a repository's build containers that run or wait to be started.

    One that has ended may be kept for a while, since it is the build's log.
    """
    return [str(entry["State"]) for entry in build_containers(client, url) if _goes_on(entry)]


def still_going_on(
    client: docker.DockerClient, *urls: str, servers: bool = False, seconds: float = 5
) -> list[str]:
    """Give what repositories' containers go on some time to end, and remove what has not.

    Args:
        client: of the engine.
        urls: the repositories'; any part of one will do.
        servers: whether whatever else is made from their images counts, too.
        seconds: how long they have.

    Returns:
        The names and states of what was removed.
    """

    def left() -> list[dict[str, Any]]:
        found = client.api.containers(all=True, filters={"label": _KEY})
        return [
            entry
            for entry in found
            if _goes_on(entry)
            and (servers or _is_build(_name(entry)))
            and any(url in _repo(entry["Labels"]) for url in urls)
        ]

    with contextlib.suppress(AssertionError):
        wait_until(lambda: not left(), seconds)
    found = left()
    engine.remove_containers(client, [entry["Id"] for entry in found])
    return [f"{_name(entry)} ({entry['State']})" for entry in found]


def wait_until_gone(client: docker.DockerClient, url: str, seconds: float = 3) -> float:
    """Wait until no build of a repository goes on.

    Returns:
        How long it took, in seconds.

    Raises:
        TimeoutError: one still does.
    """
    started = time.monotonic()
    try:
        wait_until(lambda: not builds_going_on(client, url), seconds)
    except AssertionError:
        states = builds_going_on(client, url)
        raise TimeoutError(f"The build of {url} goes on ({', '.join(states)}).") from None
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


def _goes_on(entry: Mapping[str, Any]) -> bool:
    return entry["State"] not in {"exited", "dead", "removing"}


def _name(entry: Mapping[str, Any]) -> str:
    # none at the moment at which it is removed
    return str((entry["Names"] or [""])[0]).lstrip("/")


def _is_build(name: str) -> bool:
    return name.startswith("r2d-build-")


def _repo(labels: Mapping[str, str]) -> str:
    return unquote(labels.get(_REPO, ""))
