"""The spawner's part of private repositories: what was typed, who reads and who uses what."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

from traitlets import validate

from .access import own_way, resolve_by, ways_by_hub
from .credentials import PUBLIC, Access, Credential, Reader
from .errors import LaunchError, Repo2DockerError, ResolveError
from .hubcredentials import (
    TOKEN_USER,
    HubCredential,
    check_secret,
    read_hub_credentials,
    read_token_paths,
    token_at,
)
from .launch import LaunchRequest
from .overrides import UNKNOWN, overridden
from .places import spelled
from .planning import build_plan
from .repos import RepoSpec
from .resolve import Resolved
from .traits import Traits
from .typed import (
    PASSWORD,
    Typed,
    check_typed,
    not_wanted,
    read_typed,
)
from .useroptions import keep_small_and_open, kept_options

if TYPE_CHECKING:
    from .shared import Shared

__all__ = ["PrivateMixin"]

# JupyterHub calls start() at once, or refuses without telling us (too many servers, for instance).
_HELD_SECONDS = 120.0


class PrivateMixin(Traits):
    """What of `Repo2DockerMixin` knows credentials."""

    # what the spawner beneath has
    user: Any
    user_options: Any
    orm_spawner: Any
    log: Any
    _log_name: str

    if TYPE_CHECKING:

        def _shared(self) -> Shared: ...

        @property
        def _secret(self) -> bytes: ...

        async def _ask(self, spec: RepoSpec, access: Access) -> Resolved: ...

    _typed: Typed | None = None
    _expiry: asyncio.TimerHandle | None = None
    _wrong_options: LaunchError | None = None
    #: Whether the way back from a failed launch leads to the fields for a private repository.
    _unfold_private = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.orm_spawner is not None:
            keep_small_and_open(self.orm_spawner)

    # -- what comes in ---------------------------------------------------------------------

    @validate("user_options")
    def _repo2docker_kept_options(self, proposal: Any) -> Any:
        options, self._wrong_options = kept_options(proposal.value)
        if self._wrong_options is not None and not options:
            # JupyterHub's frames hold them until Python next looks for reference cycles, which
            # large texts don't make it do
            proposal.value.clear()
        return options

    def _check_options(self) -> None:
        """Pass if all of the options were kept, and no secret was typed that isn't wanted here.

        Raises:
            LaunchError: a secret was sent as one, or they were too large; that is forgotten.
        """
        if self._typed is not None and not self.private_repos:
            raise not_wanted()
        if self._wrong_options is not None:
            raise self._wrong_options

    def _hold_typed(self, formdata: Mapping[str, Sequence[Any]]) -> None:
        """Keep what was typed into the form for the launch that it is for."""
        self._forget_typed()
        self._typed = read_typed(formdata)
        if self._typed is not None:
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_later(_HELD_SECONDS, self._forget_typed)

    def _check_typed(self, request: LaunchRequest) -> None:
        """Tie what was typed to the repository that it is for.

        Raises:
            LaunchError: it can't be used.
        """
        if self._typed is not None:
            self._typed = check_typed(self._typed, request, allowed=self._takes_typed)

    def _use_typed(self) -> None:
        """Keep what was typed until `_forget_typed`: the launch has begun."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    @property
    def _takes_typed(self) -> bool:
        """Whether a user name and token may be typed, as far as it is known before the start."""
        known = overridden(self, "private_repos")
        return known is UNKNOWN or bool(known)

    def _forget_typed(self) -> None:
        self._use_typed()
        self._typed = None

    # -- what is said ----------------------------------------------------------------------

    def _told(self, error: Repo2DockerError) -> Repo2DockerError:
        """Return the error as the person is told it, who may have typed a token."""
        typed = self._typed is not None
        unreadable = error.reason in {"repo_not_found", "credentials_refused"}
        self._unfold_private = self.private_repos and (typed or unreadable)
        told = copy(error)  # another launch may wait for the same build
        if unreadable:
            # what the host has said may tell one that is private from one that isn't there
            told.lines = ()
        if typed and error.reason != "credentials_refused":
            told.message = f"{error.message} To try again, type the token again: it isn't kept."
        return told

    # -- who reads and uses what -----------------------------------------------------------

    @property
    def _groups(self) -> list[str]:
        return [group.name for group in self.user.groups] if self.user is not None else []

    @property
    def _hub_credentials(self) -> list[HubCredential]:
        """Those of the hub's credentials that this server's user may use now."""
        groups = self._groups
        entries = overridden(self, "credentials")
        try:
            found = read_hub_credentials(self.credentials if entries is UNKNOWN else entries)
        except (ValueError, TypeError) as error:
            # what group_overrides set is checked when the server is started
            self.log.warning("group_overrides has wrong credentials: %s", error)
            return []
        return [one for one in found if one.is_for(groups)]

    @property
    def _reader(self) -> Reader:
        places = frozenset(one.credential.place for one in self._hub_credentials)
        return Reader(self.user.name, places)

    async def _resolve(self, spec: RepoSpec) -> tuple[Resolved, Access]:
        """Resolve the repository, with credentials where it can't be read without.

        What was typed for it is used in any case, and nothing else then.

        Raises:
            ResolveError: it can't be resolved.
        """
        if self._typed is not None and self._typed.url == spec.url:
            return await self._resolve_as_typed(spec, self._typed)
        ways, why = [PUBLIC], ""
        if spec.provider == "git":
            own, why = await self._login_credential(spec)
            way = own_way(spec, own, self.user.name) if own is not None else None
            ways += [way] if way is not None else []
            ways += ways_by_hub(spec, self._hub_credentials)
        try:
            return await resolve_by(spec, ways, self._ask, self._is_ready)
        except ResolveError as error:
            if why and error.reason == "repo_not_found":
                self.log.warning(
                    "auth_state_credentials are of no use to %s: %s", self._log_name, why
                )
            raise

    async def _resolve_as_typed(self, spec: RepoSpec, typed: Typed) -> tuple[Resolved, Access]:
        way = Access((typed.credential(),), owner=self.user.name)
        try:
            return await resolve_by(spec, [way], self._ask, self._is_ready)
        except ResolveError as error:
            if error.reason != "repo_not_found":
                raise
            raise ResolveError(
                f"The user name and token don't open {spec.url}: check the address, type both "
                "again, and see to it that the token may read this repository.",
                reason="credentials_refused",
                status=403,
                lines=error.lines,
                field=PASSWORD,
            ) from error

    async def _login_credential(self, spec: RepoSpec) -> tuple[Credential | None, str]:
        """Return the person's login token where it is for the repository, or why there is none."""
        for place, path in read_token_paths(self.auth_state_credentials).items():
            if spelled(place, spec.url):
                auth_state = await self.user.get_auth_state()
                token = token_at(auth_state, path)
                try:
                    check_secret(token, "token")
                except ValueError as error:
                    return None, str(error)
                if token:
                    return Credential(place, TOKEN_USER, token), ""
                if auth_state is None:
                    return None, (
                        "there is no auth_state; set c.Authenticator.enable_auth_state = True and "
                        "JUPYTERHUB_CRYPT_KEY, and have people log in again"
                    )
                return None, f"auth_state has no {'.'.join(path)}"
        return None, ""

    async def _is_ready(self, resolved: Resolved, access: Access) -> bool:
        plan = build_plan(self, resolved, access, self._secret)
        return await self._shared().images.find(plan.key, plan.image) is not None
