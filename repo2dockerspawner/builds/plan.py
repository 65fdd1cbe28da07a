"""What one build is to do, and the command line and files that tell repo2docker so.

Pure: nothing here talks to anybody.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from ..credentials import Credential
from ..keys import LABEL_PREFIX

__all__ = [
    "CONFIG_DIR",
    "RETENTION_LABEL",
    "TIMEOUT_LABEL",
    "USER_ID",
    "USER_NAME",
    "BuildPlan",
    "archive",
    "arguments",
    "container_labels",
]

CONFIG_DIR = "/repo2dockerspawner"
"""Where repo2docker's configuration lies in the build container."""

# What DockerSpawner's images and the Jupyter images have; repo2docker refuses root.
USER_NAME = "jovyan"
USER_ID = 1000

_CONFIG_FILE = "repo2docker_config.py"

TIMEOUT_LABEL = LABEL_PREFIX + "timeout"
"""On a build container: seconds after its start when any process may end it."""
RETENTION_LABEL = LABEL_PREFIX + "retention"
"""On a build container: seconds after its end when any process removes it."""


@dataclass(frozen=True)
class BuildPlan:
    """One build, as data.

    Attributes:
        key: the build key, 64 hex digits.
        container: name of the build container.
        image: name that the image is to have.
        labels: of the container and of the image, encoded.
        provider: the content provider, by our name (``git``).
        url: what repo2docker gets as the repository.
        content_id: what it gets as the ref: a whole commit, or an abbreviated one, or ``""``.
        subdir: folder to build, ``""`` for the top.
        build_image: the repo2docker image.
        build_args: build arguments by name.
        environment: environment of the build container.
        network: Docker network of the build container; ``""`` is the engine's own choice.
        extra_args: further arguments of repo2docker.
        clone_depth: commits of history to fetch, 0 for all.
        protocols: the ways git may fetch (``https``, ``ssh``, …), of submodules too.
        providers: the content providers that may be asked about a DOI.
        timeout: seconds the build may take, counted from the container's start.
        idle_timeout: seconds it may be silent, 0 for no limit.
        retention: seconds its ended container, and so its log, is kept.
        memory_limit: bytes of memory for the build container, 0 for no limit.
        host_config: further arguments of docker-py's ``create_host_config``; they win.
        credentials: what opens the repository, each sent to its own place alone.
        guarded: whether what the repository's container fetches may not be at private addresses.
        allowed_networks: networks, addresses and host names that may be reached nevertheless.
        size_limit: bytes of the repository as fetched, 0 for no limit.
        title: how people know the build ("owner/repo at 0123abc"); never a secret.
    """

    key: str
    container: str
    image: str
    labels: Mapping[str, str]
    provider: str
    url: str
    content_id: str
    subdir: str = ""
    build_image: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    network: str = ""
    extra_args: tuple[str, ...] = ()
    clone_depth: int = 1
    protocols: tuple[str, ...] = ("https", "ssh")
    providers: tuple[str, ...] = ("git",)
    timeout: float = 1800
    idle_timeout: float = 0
    retention: float = 0
    memory_limit: int = 0
    host_config: Mapping[str, Any] = field(default_factory=dict)
    credentials: tuple[Credential, ...] = field(default=(), repr=False)
    guarded: bool = False
    allowed_networks: tuple[str, ...] = ()
    size_limit: int = 0
    title: str = ""


def container_labels(plan: BuildPlan) -> dict[str, str]:
    """Return the build container's labels: the image's, and what any process needs to end it."""
    return {
        **plan.labels,
        TIMEOUT_LABEL: f"{plan.timeout:.0f}",
        RETENTION_LABEL: f"{plan.retention:.0f}",
    }


def arguments(plan: BuildPlan) -> list[str]:
    """Return the build container's command.

    Options stand before the repository, because repo2docker takes what follows it as a command
    to run. There is no ``--``: it would let a repository that begins with ``-`` through to
    ``hg`` (repo specs never begin so). Values are joined with ``=``, so that each text of a
    user's fills one argument and can't be taken for an option.
    """
    command = [
        "jupyter-repo2docker",
        f"--config={CONFIG_DIR}/{_CONFIG_FILE}",
        "--json-logs",
        "--no-run",
        f"--user-id={USER_ID}",
        f"--user-name={USER_NAME}",
        f"--image-name={plan.image}",
    ]
    if plan.content_id:
        command.append(f"--ref={plan.content_id}")
    if plan.subdir:
        command.append(f"--subdir={plan.subdir}")
    command += [f"--label={name}={value}" for name, value in sorted(plan.labels.items())]
    command += [f"--build-arg={name}={value}" for name, value in sorted(plan.build_args.items())]
    command += plan.extra_args
    command.append(plan.url)
    return command


def archive(plan: BuildPlan) -> bytes:
    """Return a tar archive for `CONFIG_DIR`: repo2docker's configuration and settings."""
    settings = {
        "provider": plan.provider,
        "providers": plan.providers,
        "protocols": plan.protocols,
        "clone_depth": plan.clone_depth,
        "bound_output": True,
        "guarded": plan.guarded,
        "allowed_networks": plan.allowed_networks,
        "size_limit": plan.size_limit,
        "credentials": bool(plan.credentials),
    }
    inside = resources.files(__package__) / "inside"
    modules = sorted(one.name for one in inside.iterdir() if one.name.endswith(".py"))
    modules.remove(_CONFIG_FILE)
    files = {f"inside/{name}": (inside / name).read_bytes() for name in modules}
    files[_CONFIG_FILE] = (inside / _CONFIG_FILE).read_bytes()
    files["settings.json"] = json.dumps(settings).encode()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        folder = tarfile.TarInfo("inside")
        folder.type = tarfile.DIRTYPE
        folder.mode = 0o755
        tar.addfile(folder)
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(data))
    return stream.getvalue()
