"""What an administrator sets about what may be built, by whom, and what builds may reach."""

from __future__ import annotations

from typing import Any

from jupyterhub.traitlets import ByteSpecification
from traitlets import Bool, Callable, Dict, Integer, List, TraitError, Unicode, validate
from traitlets.config import Configurable

from ..builds.inside.reach import check_entry
from .patterns import check_patterns

__all__ = ["PolicyTraits"]

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


class PolicyTraits(Configurable):
    """What may be built."""

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

    allowed_schemes = List(
        Unicode(),
        default_value=["https", "ssh"],
        config=True,
        help="""
        Ways to fetch a repository: https, ssh, http, git.

        http and git are off by default, because who sits on the way can change what they carry.
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

    builds_per_group_limit = Dict(
        key_trait=Unicode(),
        value_trait=Integer(min=1),
        config=True,
        help="""
        Number of builds that the members of a group may have waiting or running at once, all
        together, by the name of JupyterHub's group: ``{"class-of-2026": 10}``.

        A build counts for the groups of who asked for it first. Who is in several such groups
        needs a place in each. None by default. To give the members of a group another
        `builds_per_user_limit`, use JupyterHub's ``group_overrides``.
        """,
    )

    builds_queue_limit = Integer(
        500,
        min=0,
        config=True,
        help="""
        Number of builds that may wait in line, of all users together; 0 is any number.

        Who asks for one more is told to try again later; joining one doesn't count. 500, which is
        far more than people ask for: it keeps a script from filling the hub's memory.
        """,
    )

    allowed_repos = List(
        Unicode(),
        config=True,
        help="""
        Patterns of repositories that may be built and started, and no others:
        ``host/owner/repo`` with ``*``, for instance ``"github.com/our-university/*"``.

        ``*`` is any text. One pattern holds for the https and the ssh address; an account other
        than git and a port other than the usual one have to be in it (``me@host:2222/a/*``). What
        is no git repository is matched by what it is called: ``doi.org/10.5281/*``,
        ``archive.softwareheritage.org/*``. Empty by default: any repository.
        """,
    )

    denied_repos = List(
        Unicode(),
        config=True,
        help="""
        Patterns of repositories that may not be built or started, also where `allowed_repos` has
        them.

        Matched generously: any account, any port, either case. A copy under another name, or a
        host under another name or by its IP address, isn't matched: to say what may be built,
        `allowed_repos` is the safer one. None by default.
        """,
    )

    repo_hook = Callable(
        None,
        allow_none=True,
        config=True,
        help="""
        Function that decides what may be built, called with the spawner and the resolved
        repository (`repo2dockerspawner.resolve.Resolved`) before a build, and before a start from
        an image that is there.

        It returns ``None`` or ``True`` to allow, a sentence for the person or ``False`` to refuse;
        it may be a coroutine, and has to be one where it waits for anything, because the hub
        waits with it. A `PolicyError` or an ``HTTPError`` that it raises is told; any other error,
        or answer, refuses and is in the log. None by default.
        """,
    )

    block_private_networks = Bool(
        True,
        config=True,
        help="""
        Whether repositories at private addresses are refused: this machine, the networks around
        it, cloud metadata, and whatever else is not on the internet.

        It holds for where the hub looks a repository up and where repo2docker's container
        fetches it, submodules and redirects too; not for what a build's steps ask for, which
        only a firewall can stop. True by default, because the hub's machine often reaches what
        its users should not.
        """,
    )

    allowed_networks = List(
        Unicode(),
        config=True,
        help="""
        Networks (``10.20.0.0/16``), addresses or names of hosts that may be reached although
        `block_private_networks` is on: your own GitLab, for instance.

        A name allows whatever it is looked up to, so name only hosts whose DNS is yours. None by
        default.
        """,
    )

    clone_size_limit = ByteSpecification(
        10 * 2**30,
        config=True,
        help="""
        Size of a repository as fetched, with its submodules, in bytes (``"2G"`` is understood
        too); 0 is no limit.

        10 GiB, because larger ones are mistakes more often than not, and fill the disk.
        """,
    )

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

    @validate("allowed_networks")
    def _valid_networks(self, proposal: Any) -> list[str]:
        for entry in proposal.value:
            try:
                check_entry(entry)
            except ValueError as error:
                message = (
                    f"Repo2DockerSpawner.allowed_networks: {entry!r} is no network, address or "
                    f"host name ({error}); write 10.20.0.0/16, 10.20.3.4 or git.example.org."
                )
                raise TraitError(message) from error
        return list(proposal.value)

    @validate("allowed_repos", "denied_repos")
    def _valid_patterns(self, proposal: Any) -> list[str]:
        return check_patterns(proposal.trait.name, proposal.value)
