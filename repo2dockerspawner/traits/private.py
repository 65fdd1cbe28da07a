"""What an administrator sets about repositories that not everybody can read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from traitlets import Bool, Dict, List, TraitError, Unicode, validate
from traitlets.config import Configurable

from ..hubcredentials import read_hub_credentials, read_token_paths

__all__ = ["PrivateTraits"]


class PrivateTraits(Configurable):
    """Who reaches what, with which credentials."""

    private_repos = Bool(
        True,
        config=True,
        help="""
        Whether the spawn page takes a user name and a token for a private repository.

        They are kept in memory, sent to the repository's host alone, and forgotten when the
        build has ended. True by default.
        """,
    )

    auth_state_credentials = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        config=True,
        help="""
        Hosts at which a person's own login token opens private repositories: the host, and where
        in ``auth_state`` the token is, for instance ``{"github.com": "access_token"}``; parts of
        a path are separated by dots.

        Needs ``c.Authenticator.enable_auth_state = True``, and scopes that let the token read
        repositories. The token is sent to that host alone, by https; write ``http://…`` before
        the host to allow it without. Used only where a repository can't be read without. None by
        default: a login is no consent.
        """,
    )

    # no trait for the entries: what it says of a wrong one has the entry in it
    credentials: List[Any] = List(
        config=True,
        help="""
        The hub's own credentials, for all its users or a group of them. Each is a dict:
        ``place``, where they may be sent, as ``https://gitlab.example.org`` or with a path,
        ``https://gitlab.example.org/group``; ``username`` and ``password`` (a token), or for
        ``ssh://git@gitlab.example.org`` a ``key`` (the private key's text) and ``known_hosts``
        (lines as in OpenSSH's file); ``groups``, names of JupyterHub's groups whose members may
        use them (empty: everybody).

        Used only where a repository can't be read without. What is built with them can be
        started by everybody who may use them. None by default.
        """,
    )

    @validate("auth_state_credentials")
    def _valid_auth_state_credentials(self, proposal: Any) -> dict[str, str]:
        _check(proposal, read_token_paths)
        return dict(proposal.value)

    @validate("credentials")
    def _valid_credentials(self, proposal: Any) -> list[dict[str, Any]]:
        _check(proposal, read_hub_credentials)
        return list(proposal.value)


def _check(proposal: Any, read: Callable[[Any], object]) -> None:
    try:
        read(proposal.value)
    except ValueError as error:
        # without its cause: a traceback may be shown with the values that it is about
        raise TraitError(f"Repo2DockerSpawner.{proposal.trait.name}: {error}") from None
