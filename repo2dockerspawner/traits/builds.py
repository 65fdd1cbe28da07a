"""What an administrator sets about builds."""

from __future__ import annotations

import re
from typing import Any

from docker.errors import DockerException
from docker.tls import TLSConfig
from docker.types import HostConfig
from jupyterhub.traitlets import ByteSpecification
from traitlets import Dict, Integer, List, TraitError, Unicode, default, validate
from traitlets.config import Configurable

__all__ = ["START_MARGIN", "BuildTraits"]

START_MARGIN = 60
"""Seconds of `start_timeout` that are kept for starting the container after the build."""

_FOLLOW_MARGIN = 300
# Docker engine 20.10's
_API_VERSION = "1.41"


class BuildTraits(Configurable):
    """How builds run."""

    start_timeout: int  # the spawner's

    build_image = Unicode(
        "quay.io/jupyterhub/repo2docker:2026.4.0",
        config=True,
        help="""
        The image that runs repo2docker.

        Pulled when it is missing. A fixed version, because the image is part of the build key: a
        moving tag would make two images of one key. Works with repo2docker 2024.7.0 and later.
        """,
    )

    concurrent_builds_limit = Integer(
        20,
        min=0,
        config=True,
        help="""
        Number of builds that run at once on this hub; the others wait in line.

        0: as many as Python's ThreadPoolExecutor takes by itself (processors + 4, at most 32).
        The default is that of the first Repo2DockerSpawner. A build in line holds no thread, and
        who starts a ready image never waits.
        """,
    )

    build_timeout = Integer(
        1800,
        min=1,
        config=True,
        help="""
        Seconds that one build may take, counted from its start (waiting in line is no part of it).

        Half an hour, because conda environments of a few hundred packages take ten minutes on a
        slow disk. `start_timeout` follows it unless it is set, and must be at least 60 seconds
        longer.
        """,
    )

    build_idle_timeout = Integer(
        1200,
        min=0,
        config=True,
        help="""
        Seconds that a build may print nothing before it is ended; 0 is no limit.

        20 minutes, because solving a large conda environment is silent for that long at worst,
        and what is silent for longer hangs.
        """,
    )

    build_memory_limit = ByteSpecification(
        0,
        config=True,
        help="""
        Memory of the container that runs repo2docker, in bytes (``"2G"`` is understood too); 0
        is no limit.

        It holds for fetching the repository and preparing the build. The steps of the build run
        in the engine's own builder: docs/builds.md says how to limit those. 0 by default,
        because repo2docker holds a repository without a Dockerfile in memory as a whole, and a
        limit that fits none is worse than none.
        """,
    )

    build_disk_reserve = ByteSpecification(
        0,
        config=True,
        help="""
        Free space, in bytes (``"20G"`` is understood too), that must be left on the engine's disk
        for a build to begin; 0 is no such check.

        Looked at where the hub sees the engine's data folder. 0 by default: how much is enough
        depends on the images.
        """,
    )

    build_log_retention = Integer(
        3600,
        min=0,
        config=True,
        help="""
        Seconds that the container of an ended build is kept, and with it its log.

        An hour, so that who comes back finds out why. 0 removes it at once.
        """,
    )

    clone_depth = Integer(
        1,
        min=0,
        config=True,
        help="""
        Number of commits of a git repository's history that are fetched; 0 fetches all of it.

        What is fetched is also what lands in the image. 1 by default: of a repository with
        years of history, the whole takes minutes and hundreds of megabytes that few people use
        (``git fetch --unshallow`` brings the rest).
        """,
    )

    build_args = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        config=True,
        help="""
        Build arguments of every build (``--build-arg``), by name.

        They are part of the build key, and can be seen in the image's history: never a secret.
        """,
    )

    build_environment = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        config=True,
        help="""
        Environment of the container that runs repo2docker, by name: a proxy for instance.

        Not part of the build key, since it doesn't reach the image.
        """,
    )

    build_network = Unicode(
        "",
        config=True,
        help="""
        Docker network of the container that runs repo2docker, where it fetches the repository.

        Empty by default: the engine's own default network.
        """,
    )

    build_extra_args = List(
        Unicode(),
        config=True,
        help="""
        Further arguments for repo2docker, put before the repository.

        For instance ``["--appendix=RUN pip install 'jupyterhub==6.1.*'"]``. Part of the build
        key. None by default.
        """,
    )

    image_secret = Unicode(
        "",
        config=True,
        help="""
        Secret that build keys are made with, so that nobody can work out the name of another's
        private image, and that proves that an image is this hub's own.

        Empty by default: made from JupyterHub's cookie secret, which a hub keeps in a file. With
        another secret every image is built anew; hubs that are to share images need the same.
        """,
    )

    image_name_prefix = Unicode(
        "r2d-",
        config=True,
        help="""
        What the names of built images begin with: lower-case letters, digits, ``.``, ``-``, ``/``.

        Short, so that the repository's name stays readable in a list of images.
        """,
    )

    build_log_file = Unicode(
        "",
        config=True,
        help="""
        File to which every build writes: one line per event, each saying which build.

        Rotates at 10 MB with 5 older copies, and may be written by several processes at once
        (concurrent-log-handler). None by default: the pending page shows a build's log, and
        JupyterHub's own log says how it ended.
        """,
    )

    build_docker_host = Unicode(
        "",
        config=True,
        help="""
        Docker engine that builds, where it is another one than the hub's: ``unix:///…`` or
        ``tcp://host:2376``. What it has built is copied to the engine that runs the servers.

        Whoever breaks out of repo2docker's container holds this engine's socket. Empty by
        default, the hub's own, because a second engine has to be set up: a rootless one, or a
        machine that does nothing else (docs/build-engine.md).
        """,
    )

    build_tls_config = Dict(
        config=True,
        help="""
        TLS settings for `build_docker_host`, the arguments of docker-py's ``TLSConfig``: for
        instance ``{"client_cert": ("cert.pem", "key.pem"), "ca_cert": "ca.pem", "verify": True}``.

        None by default: a unix socket needs none.
        """,
    )

    build_host_config = Dict(
        config=True,
        help="""
        Further settings of the container that runs repo2docker, the arguments of docker-py's
        ``create_host_config``: for instance ``{"nano_cpus": 2_000_000_000}``.

        They win over ours, also those that keep the container safe: it runs with no capabilities,
        a read-only root and a limit of processes. ``binds`` are added to ours, which is the
        engine's socket. None by default.
        """,
    )

    @validate("image_name_prefix")
    def _valid_prefix(self, proposal: Any) -> str:
        if not re.fullmatch(r"([a-z0-9]+(?:[._]|__|-+|/))*", proposal.value):
            message = (
                "Repo2DockerSpawner.image_name_prefix: lower-case letters and digits, each group "
                f"followed by one '.', '_', '-' or '/', as in 'r2d-'; got {proposal.value!r}."
            )
            raise TraitError(message)
        return str(proposal.value)

    @validate("build_docker_host")
    def _valid_docker_host(self, proposal: Any) -> str:
        if proposal.value and not re.fullmatch(r"(unix|tcp|https?|ssh)://\S+", proposal.value):
            message = (
                "Repo2DockerSpawner.build_docker_host: an address as unix:///run/docker.sock, "
                f"tcp://host:2376 or ssh://user@host, or nothing; got {proposal.value!r}."
            )
            raise TraitError(message)
        return str(proposal.value)

    @validate("build_tls_config")
    def _valid_tls_config(self, proposal: Any) -> dict[str, Any]:
        try:
            TLSConfig(**proposal.value)
        except (TypeError, ValueError, DockerException) as error:
            message = (
                "Repo2DockerSpawner.build_tls_config: docker-py's TLSConfig doesn't take it: "
                f"{' '.join(str(error).split())}"
            )
            raise TraitError(message) from error
        return dict(proposal.value)

    @validate("build_host_config")
    def _valid_host_config(self, proposal: Any) -> dict[str, Any]:
        try:
            HostConfig(version=_API_VERSION, **proposal.value)
        except (TypeError, ValueError, DockerException) as error:
            message = (
                "Repo2DockerSpawner.build_host_config: docker-py's create_host_config doesn't "
                f"take it: {error}"
            )
            raise TraitError(message) from error
        return dict(proposal.value)

    @default("start_timeout")
    def _default_start_timeout(self) -> int:
        return int(self.build_timeout) + _FOLLOW_MARGIN

    def check_timeouts(self) -> None:
        """Refuse a configuration in which JupyterHub would give up before a build may.

        Raises:
            TraitError: names both traits.
        """
        start_timeout: int = self.start_timeout
        if start_timeout < self.build_timeout + START_MARGIN:
            message = (
                f"Repo2DockerSpawner.start_timeout ({start_timeout} s) has to be at least "
                f"{START_MARGIN} s longer than Repo2DockerSpawner.build_timeout "
                f"({self.build_timeout} s): leave start_timeout unset and it follows, or set "
                f"build_timeout to {max(1, start_timeout - START_MARGIN)} or less."
            )
            raise TraitError(message)
