"""The traits that administrators set as ``c.Repo2DockerSpawner.…``."""

from __future__ import annotations

import difflib
import re
from typing import Any

from jupyterhub.traitlets import ByteSpecification
from traitlets import Dict, Integer, List, TraitError, Unicode, default, validate
from traitlets.config import Configurable

from .profiles import read_profiles

__all__ = ["START_MARGIN", "BuildTraits"]

START_MARGIN = 60
"""Seconds of `start_timeout` that are kept for starting the container after the build."""

_FOLLOW_MARGIN = 300

_NOT_BY_PROFILE = frozenset(
    {
        *("start_timeout", "options_form", "options_from_form", "apply_user_options"),
        *("pre_spawn_hook", "auth_state_hook", "group_overrides", "allowed_images"),
    }
)

_PROVIDERS = (
    "git",
    "zenodo",
    "figshare",
    "dataverse",
    "hydroshare",
    "swhid",
    "ckan",
    "mercurial",
)


class BuildTraits(Configurable):
    """What an administrator can set about builds."""

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

    builds_per_user_limit = Integer(
        0,
        min=0,
        config=True,
        help="""
        Number of builds that one user may have waiting or running at once; 0 is any number.

        Who asks for one more is told so. Joining a build that is under way anyway doesn't count.
        0 by default: the line is fair already, one user's second build waits for others' first.
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

    content_providers = List(
        Unicode(),
        default_value=["git"],
        config=True,
        help="""
        Kinds of sources that may be built, by repo2docker's names: git, zenodo, figshare,
        dataverse, hydroshare, swhid, ckan, mercurial.

        Only git by default: each further one makes the build container ask other people's hosts.
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

    allowed_schemes = List(
        Unicode(),
        default_value=["https", "ssh"],
        config=True,
        help="""
        Ways to fetch a repository: https, ssh, http, git.

        http and git are off by default, because who sits on the way can change what they carry.
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

    default_image_name = Unicode(
        "",
        config=True,
        help="""
        What the spawn page calls the image that starts where nothing else is chosen, for instance
        "Python and R".

        Empty by default: "Default environment", or the image's own name in `allowed_images`.
        """,
    )

    default_image_text = Unicode(
        "",
        config=True,
        help="""
        A sentence about the default image for the spawn page: what is in it, who it is for.

        Plain text. Empty by default: the image's name stands there.
        """,
    )

    profiles = List(
        Dict(),
        config=True,
        help="""
        Settings of a server that a person chooses by name on the spawn page.

        Each is a dict: ``display_name``; ``slug`` (for links and the REST API; made from the name
        where it is left out); ``description``; ``default`` (True: holds where none is chosen);
        ``groups`` (names of JupyterHub's groups that may choose it; empty: everybody);
        ``settings``, a dict of the spawner's own traits: ``mem_limit``, ``cpu_limit``,
        ``environment``, ``volumes``, ``extra_host_config`` and so on. A dict among the settings
        is merged into what is configured. They hold for one launch and are taken back after it.
        What concerns builds, and ``start_timeout``, can't be set by a profile. None by default.
        """,
    )

    trusted_repos = List(
        Unicode(),
        config=True,
        help="""
        Patterns of repositories whose launch links start a server at once, with nobody pressing
        Start: ``host/owner/repo`` with ``*``, for instance ``"github.com/our-university/*"``.

        Only for branches and tags: a commit or a pull request may be anybody's. Whoever may push
        to such a repository can run code as each of your users who follows a link, also one that
        a page opens by itself. None by default: a link only fills in the form.
        """,
    )

    badge_url = Unicode(
        "https://img.shields.io/badge/launch-JupyterHub-f37726?logo=jupyter&logoColor=white",
        config=True,
        help="""
        Address of the picture in the badges that the spawn page makes for people to put into
        their README.

        The page itself never asks for it. By default one of shields.io, which everybody's README
        can show; set one of your own to show your hub's name.
        """,
    )

    @validate("profiles")
    def _valid_profiles(self, proposal: Any) -> list[dict[str, Any]]:
        try:
            read_profiles(proposal.value, self._check_setting)
        except ValueError as error:
            raise TraitError(f"Repo2DockerSpawner.profiles: {error}.") from error
        return list(proposal.value)

    def _check_setting(self, name: str, value: Any) -> None:
        """Refuse what a profile can't set.

        Raises:
            ValueError: there is no such trait, it is one of builds, or the value doesn't fit.
        """
        trait = self.traits(config=True).get(name)
        if trait is None:
            close = difflib.get_close_matches(name, self.traits(config=True), 1)
            like = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"{type(self).__name__} has no such setting{like}")
        if name in BuildTraits.class_own_traits() or name in _NOT_BY_PROFILE:
            raise ValueError("it is read before a profile is chosen")
        check = getattr(trait, "validate", None)
        if check is None or (value is None and trait.allow_none):
            return
        try:
            check(self, value)
        except TraitError as error:
            raise ValueError(str(error).rstrip(".")) from error

    @validate("trusted_repos")
    def _valid_trusted(self, proposal: Any) -> list[str]:
        for pattern in proposal.value:
            if not re.fullmatch(r"[A-Za-z0-9.\-:\[\]]+(?<!:)/.+", pattern):
                message = (
                    "Repo2DockerSpawner.trusted_repos: a pattern begins with the host and has no "
                    f"https://, as in 'github.com/our-university/*'; got {pattern!r}."
                )
                raise TraitError(message)
        return list(proposal.value)

    @validate("content_providers")
    def _valid_providers(self, proposal: Any) -> list[str]:
        unknown = [name for name in proposal.value if name not in _PROVIDERS]
        if unknown:
            message = (
                f"Repo2DockerSpawner.content_providers: {unknown[0]!r} is none of "
                f"{', '.join(_PROVIDERS)}."
            )
            raise TraitError(message)
        return list(proposal.value)

    @validate("allowed_schemes")
    def _valid_schemes(self, proposal: Any) -> list[str]:
        known = ("https", "ssh", "http", "git")
        unknown = [name for name in proposal.value if name not in known]
        if unknown:
            message = (
                f"Repo2DockerSpawner.allowed_schemes: {unknown[0]!r} is none of {', '.join(known)}."
            )
            raise TraitError(message)
        return list(proposal.value)

    @validate("image_name_prefix")
    def _valid_prefix(self, proposal: Any) -> str:
        if not re.fullmatch(r"([a-z0-9]+(?:[._]|__|-+|/))*", proposal.value):
            message = (
                "Repo2DockerSpawner.image_name_prefix: lower-case letters and digits, each group "
                f"followed by one '.', '_', '-' or '/', as in 'r2d-'; got {proposal.value!r}."
            )
            raise TraitError(message)
        return str(proposal.value)

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
