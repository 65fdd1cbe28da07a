"""What an administrator sets about the spawn page."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from traitlets import Dict, List, TraitError, Unicode, validate
from traitlets.config import Configurable

from ..profiles import read_profiles
from .patterns import check_patterns

__all__ = ["PageTraits"]

_NOT_BY_PROFILE = frozenset(
    {
        *("start_timeout", "options_form", "options_from_form", "apply_user_options"),
        *("pre_spawn_hook", "auth_state_hook", "group_overrides", "allowed_images"),
    }
)


class PageTraits(Configurable):
    """What the spawn page offers."""

    if TYPE_CHECKING:

        def _is_ours(self, name: str) -> bool: ...

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
        a page opens by itself; a picture or a frame in a page starts nothing. It works with
        https, without which browsers don't say how they come. None by default: a link only fills
        in the form.
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

    content_security_policy = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        allow_none=True,
        config=True,
        help="""
        Changes to what a browser lets our pages do (their Content-Security-Policy): directives
        and their sources in the place of ours, for instance
        ``{"connect-src": "'self' https://statistics.example.org"}``; an empty text leaves one out,
        and ``None`` in the place of the dict leaves it to JupyterHub.

        Scripts run by a nonce, which all in templates have; what ``script-src`` names here may
        run too. Empty by default: no script of others, and no request to another host
        (docs/pages.md).
        """,
    )

    @validate("content_security_policy")
    def _valid_policy(self, proposal: Any) -> dict[str, str] | None:
        for name, sources in (proposal.value or {}).items():
            if not re.fullmatch(r"[a-z-]+", name) or not re.fullmatch(r"[ -+\--:<-~]*", sources):
                message = (
                    "Repo2DockerSpawner.content_security_policy: a directive and its sources, as "
                    f"in {{'connect-src': \"'self'\"}}, without ';' and ','; got {name!r}: "
                    f"{sources!r}."
                )
                raise TraitError(message)
        return proposal.value if proposal.value is None else dict(proposal.value)

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
        if self._is_ours(name) or name in _NOT_BY_PROFILE:
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
        return check_patterns("trusted_repos", proposal.value)
