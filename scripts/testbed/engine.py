"""The Docker engine of the test bed: a client, its bridge, and what our runs left on it."""

from __future__ import annotations

import argparse
import ipaddress
import socket
from functools import lru_cache
from typing import Any

import docker
import docker.errors
import requests

from testbed.names import LABEL_PREFIX, TESTBED_PREFIX

__all__ = [
    "EngineMissingError",
    "bridge_gateway",
    "client",
    "labelled_containers",
    "remove_containers",
    "remove_labelled",
]


class EngineMissingError(RuntimeError):
    """No Docker engine that the test bed can use; the message says what to do."""


def client(timeout: float = 60) -> docker.DockerClient:
    """A client of the engine that the environment names, checked to answer.

    Args:
        timeout: limit of one call, in seconds.

    Raises:
        EngineMissingError: no engine answers.
    """
    engine = None
    try:
        # docker-py's hints know of whole seconds alone; requests takes both.
        engine = docker.from_env(timeout=timeout)  # type: ignore[arg-type]
        engine.ping()
    except (docker.errors.DockerException, requests.RequestException) as error:
        if engine is not None:
            engine.close()
        raise EngineMissingError(
            "No Docker engine answers: start one, or run `scripts/setup docker`"
            f" as root on Debian or Ubuntu ({error})."
        ) from error
    return engine


@lru_cache(maxsize=1)
def bridge_gateway() -> str:
    """The address of the default bridge, which containers and this host both reach.

    Raises:
        EngineMissingError: no engine, or one whose bridge is not on this host
            (Docker Desktop, a rootless engine, an engine elsewhere).
    """
    engine = client()
    try:
        network = engine.api.inspect_network("bridge")
    finally:
        engine.close()
    for config in network["IPAM"]["Config"] or []:
        # An engine's very first start leaves the gateway out: it is the subnet's first address.
        subnet = ipaddress.ip_network(config["Subnet"])
        if subnet.version == 4:
            gateway = str(config.get("Gateway") or subnet[1])
            _check_local(gateway)
            return gateway
    raise EngineMissingError(
        "The engine's network `bridge` has no IPv4 subnet: see `docker network inspect bridge`."
    )


def _check_local(address: str) -> None:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            raise EngineMissingError(
                f"The engine's bridge ({address}) is not on this machine, as with Docker Desktop"
                " or a rootless engine: use a Docker engine that runs here as root."
            ) from error


def labelled_containers(engine: docker.DockerClient, since: float = 0) -> list[dict[str, Any]]:
    """Containers of any state that carry one of the spawner's labels.

    Only those made from the test bed's own images count: on a machine with a real hub,
    its builds are none of our business.

    Args:
        engine: where to look.
        since: only those made at this second (of 1970) or later.

    Returns:
        The engine's list entries (``Id``, ``Names``, ``Labels``, ``Created``, ``State``, …).
    """
    return [
        entry
        for entry in engine.api.containers(all=True)
        if any(label.startswith(LABEL_PREFIX) for label in entry.get("Labels") or {})
        and str(entry.get("Image", "")).startswith(TESTBED_PREFIX)
        and entry["Created"] >= int(since)
    ]


def remove_containers(engine: docker.DockerClient, ids: list[str]) -> None:
    """Remove containers with their anonymous volumes; one that is gone already is fine."""
    for container_id in ids:
        try:
            engine.api.remove_container(container_id, force=True, v=True)
        except docker.errors.NotFound:
            continue
        except docker.errors.APIError as error:
            # 409: somebody else is removing it right now.
            if error.status_code != requests.codes.conflict:
                raise


def remove_labelled(engine: docker.DockerClient, since: float = 0) -> list[str]:
    """Remove all of :func:`labelled_containers`, with the same arguments.

    Returns:
        The names of what was removed.
    """
    left = labelled_containers(engine, since)
    remove_containers(engine, [entry["Id"] for entry in left])
    return [str(entry["Names"][0]).lstrip("/") for entry in left if entry.get("Names")]


def _main() -> None:
    parser = argparse.ArgumentParser(description="Remove what a run left on the engine.")
    parser.add_argument("--since", type=float, default=0, help="made then or later (since 1970)")
    since: float = parser.parse_args().since
    engine = client()
    try:
        removed = remove_labelled(engine, since)
    finally:
        engine.close()
    for name in removed:
        print(f"removed the container {name}, which a run had left")


if __name__ == "__main__":
    _main()
