"""All that is kept or shown of a launch, and the search for a secret in it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import docker
import psutil  # type: ignore[import-untyped]
import requests

from testbed.hub import HubProcess
from testbed.hubclient import HubClient
from testbed.watch import build_containers, built_images, server_container

__all__ = ["BUILD_LOG", "found_in", "traces"]

BUILD_LOG = "builds.log"
"""For the hub's ``build_log_file``, which is among the traces."""


def traces(
    hub: HubProcess,
    engine: docker.DockerClient,
    client: HubClient,
    url: str,
    shown: Mapping[str, str],
) -> dict[str, str]:
    """Return it by the name of the place, while the server runs.

    Args:
        hub: with `BUILD_LOG`.
        engine: where it has built.
        client: the browser of who has started.
        url: of the repository that was built.
        shown: what was shown while it was built, likewise.
    """
    api: Any = engine.api
    server = server_container(engine, hub, client.username)
    (image,) = built_images(engine, url)
    builds = [api.inspect_container(one["Id"]) for one in build_containers(engine, url)]
    logs = [api.logs(one["Id"]) for one in builds]
    files = sorted(hub.directory.rglob("*"))
    own = {file: file.read_bytes() for file in files if file.is_file() and file != hub.config_file}
    main = psutil.Process(hub.pid)
    processes = [main, *main.children(recursive=True)]
    assert server is not None
    told = hub.api("GET", f"users/{client.username}").json()
    # a login's token is in it, and JupyterHub shows it to who may administrate users
    told.pop("auth_state", None)
    names = {file.name for file in own}
    assert {"hub.sqlite", hub.log_file.name, BUILD_LOG} <= names
    assert builds, "the build's container is kept, and so can be looked into"
    return {
        "files of the hub, its database and logs among them": repr(own),
        "what the hub says of the user": repr(told),
        "what the hub says to the user": client.api("GET", f"users/{client.username}").text,
        **shown,
        "home page": client.visit("hub/home").text,
        "the server": repr(server),
        "its files": client.get("api/contents/").text,
        "the image": repr(api.inspect_image(image["Id"])),
        "its history": repr(api.history(image["Id"])),
        "build containers": repr(builds),
        "their logs": repr(logs),
        "command lines": repr([_told(one.cmdline) for one in processes]),
        "environments": repr([_told(one.environ) for one in processes]),
        "metrics": requests.get(f"{hub.url}hub/metrics", timeout=10).text,
    }


def _told(ask: Callable[[], Any]) -> Any:
    with suppress(psutil.Error):
        return ask()


def found_in(places: Mapping[str, str], token: str, user: str) -> list[str]:
    """Return the places that have a token, in any of the forms in which it is sent or written."""
    forms = [
        token,
        quote(token, safe="").replace("-", "%2D"),
        # the last digits depend on what follows
        base64.b64encode(token.encode()).decode()[:-4],
        base64.b64encode(f"{user}:{token}".encode()).decode()[:-4],
    ]
    return [place for place, text in places.items() if any(form in text for form in forms)]
