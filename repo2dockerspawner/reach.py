"""How the hub goes where a user's address leads: only to addresses that may be reached."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import AsyncIterator, Iterable, MutableMapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tornado.netutil import Resolver

from .builds.inside.guard import Guard, GuardError, Refusal, resolved, sort_addresses
from .builds.inside.reach import Reach
from .builds.inside.way import (
    git_options,
    goes_by_proxy,
    host_of,
    send_through,
    stay_with_proxy,
    write_wrapper,
)
from .errors import PolicyError

__all__ = ["CheckedResolver", "GitWay", "Reach", "check_host", "git_way", "refused"]


def refused(url: str, refusal: Refusal) -> PolicyError:
    """The error for an address that leads where nothing may be fetched from."""
    try:
        itself = host_of(url)[0] == refusal.host
    except ValueError:
        itself = False
    subject = f"{url} is" if itself else f"{url} leads to {refusal.host}, which is"
    named = "" if refusal.address == refusal.host else f"{refusal.address}, "
    return PolicyError(
        f"{subject} at {named}an address that is not on the internet, and this hub fetches no"
        " repositories from such addresses; its administrator can allow it (allowed_networks).",
        reason="address_not_allowed",
        field="repo",
    )


@dataclass(frozen=True)
class GitWay:
    """How one run of git goes out.

    Attributes:
        options: for git's command line.
        guard: None where git goes out by itself.
        wrapper: see `way.send_through`.
        by_proxy: whether an administrator's proxy is the way.
    """

    options: tuple[str, ...] = ()
    guard: Guard | None = None
    wrapper: str = ""
    by_proxy: bool = False

    def send_through(self, environ: MutableMapping[str, str]) -> None:
        """Change git's whole environment, as the last to do so."""
        if self.guard is not None:
            send_through(environ, self.guard.port, self.wrapper)
        elif self.by_proxy:
            stay_with_proxy(environ)

    def refusal(self) -> Refusal | None:
        """What the guard has refused first, None where it has refused nothing."""
        return self.guard.refused[0] if self.guard is not None and self.guard.refused else None


@asynccontextmanager
async def git_way(url: str, reach: Reach | None) -> AsyncIterator[GitWay]:
    """Provide the way out for git; nothing of it is left afterwards.

    Args:
        url: what git reads.
        reach: what may be reached, None for everything.

    Raises:
        PolicyError: the administrator's proxy would have to be asked for a refused address.
    """
    if reach is None:
        yield GitWay()
        return
    if goes_by_proxy(url, os.environ):
        await check_host(url, reach)
        yield GitWay(by_proxy=True)
        return
    guard = Guard(reach)
    with ExitStack() as stack:
        try:
            port = await guard.start()
            wrapper = ""
            if url.startswith("git:"):
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="r2d-way-"))
                wrapper = write_wrapper(folder, port)
            yield GitWay(tuple(git_options(port)), guard, wrapper)
        finally:
            await guard.close()


async def check_host(url: str, reach: Reach) -> None:
    """Check an address's host, for who connects by other means than the guard.

    A name that can't be looked up here passes: behind a proxy, names often can't.

    Raises:
        PolicyError: it may not be reached.
    """
    host, port = host_of(url)
    try:
        found = await resolved(host, port)
    except OSError:
        return
    try:
        sort_addresses(host, found, reach)
    except GuardError as error:
        raise refused(url, error.refusal) from error


class CheckedResolver(Resolver):
    """Looks up for Tornado's clients, which connect to exactly what they are given.

    Attributes:
        refused: what was refused, oldest first.
    """

    def initialize(self, reach: Reach) -> None:
        """Take what may be reached; Tornado's own way to construct."""
        self.reach = reach
        self.refused: list[Refusal] = []

    async def resolve(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[tuple[int, Any]]:
        """Return the addresses that may be reached.

        Raises:
            GuardError: there are none.
            OSError: the name can't be looked up.
        """
        found = await resolved(host, port)
        try:
            allowed = sort_addresses(host, found, self.reach)
        except GuardError as error:
            self.refused.append(error.refusal)
            raise
        return list(_sockaddrs(allowed, port, family))


def _sockaddrs(
    addresses: Iterable[str], port: int, family: socket.AddressFamily
) -> Iterable[tuple[int, Any]]:
    for address in addresses:
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        if family in (socket.AF_UNSPEC, kind):
            yield kind, (address, port) if kind == socket.AF_INET else (address, port, 0, 0)
