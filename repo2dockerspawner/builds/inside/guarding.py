"""The guard inside a build container, for git and for what fetches in repo2docker's own process.

Put into build containers, under repo2docker's own Python (>= 3.9, standard library alone).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Collection, Coroutine, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from .guard import Guard, GuardError, Refusal, sort_addresses, system_lookup
from .reach import Reach
from .way import (
    git_options,
    goes_by_proxy,
    host_of,
    send_through,
    stay_with_proxy,
    write_wrapper,
)

__all__ = ["GuardError", "Reach", "Way", "check_host", "guard_lookups", "says", "trusted_hosts"]

_START_SECONDS = 30


def says(refusal: Refusal) -> str:
    """Return what is said of a refusal, which a log's reader recognises."""
    at = "" if refusal.host == refusal.address else f" ({refusal.address})"
    return f"it leads to {refusal.host}{at}, which is not on the internet"


class Way:
    """How git goes out: by the guard, or by a proxy that an administrator has set.

    Args:
        allowed: networks, addresses and host names that may be reached besides the internet.
    """

    def __init__(self, allowed: Collection[str]) -> None:
        self._reach = Reach(allowed)
        self._guard = Guard(self._reach)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="guard", daemon=True)
        self._thread.start()
        port = self._on_loop(self._guard.start())
        self._folder = tempfile.mkdtemp()
        self._wrapper = write_wrapper(self._folder, port)
        self._by_proxy = False

    def _on_loop(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(_START_SECONDS)

    def close(self) -> None:
        """End the guard, where the process goes on."""
        self._on_loop(self._guard.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        shutil.rmtree(self._folder)

    def choose(self, url: str) -> None:
        """Choose for all that is fetched from now on: ``url``, its redirects, its submodules.

        Raises:
            GuardError: the proxy would have to be asked for what may not be reached.
        """
        self._by_proxy = goes_by_proxy(url, os.environ)
        if self._by_proxy:
            check_host(url, self._reach)

    def options(self) -> list[str]:
        """Return what git's command line needs."""
        return [] if self._by_proxy else git_options(self._guard.port)

    def prepare(self, environ: MutableMapping[str, str]) -> None:
        """Change git's environment, as the last to do so."""
        if self._by_proxy:
            stay_with_proxy(environ)
        else:
            send_through(environ, self._guard.port, self._wrapper)

    def refusal(self) -> str:
        """Return what is to be said of what was refused first, ``""`` where nothing was."""
        return says(self._guard.refused[0]) if self._guard.refused else ""


def check_host(url: str, reach: Reach) -> None:
    """Check an address's host, for what connects by other means than the guard.

    A name that can't be looked up here passes: behind a proxy, names often can't.

    Raises:
        GuardError: it may not be reached.
    """
    host, port = host_of(url)
    try:
        found = system_lookup(host, port)
    except OSError:
        return
    sort_addresses(host, found, reach)


def trusted_hosts(environ: Mapping[str, str]) -> set[str]:
    """Return the hosts that an administrator has set: the engine's, and proxies'."""
    names = ("DOCKER_HOST", "http_proxy", "https_proxy", "all_proxy")
    values = [environ.get(name, "") for one in names for name in (one, one.upper())]
    return {host for value in values if value and (host := urlsplit(value).hostname)}


def guard_lookups(reach: Reach, trusted: Collection[str], tell: Callable[[str], None]) -> None:
    """Let this process look up only what may be reached; it connects to what it is given.

    Args:
        reach: what may be reached.
        trusted: hosts that this process itself is there to talk to.
        tell: is told of what is refused.
    """
    real = socket.getaddrinfo

    def guarded(host: Any, port: Any, *rest: Any, **more: Any) -> list[Any]:
        found = real(host, port, *rest, **more)
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host or ""
        if name in trusted:
            return found
        try:
            kept = sort_addresses(name, [str(one[4][0]) for one in found], reach)
        except GuardError as error:
            tell(says(error.refusal))
            raise
        return [one for one in found if str(one[4][0]) in kept]

    socket.getaddrinfo = guarded
