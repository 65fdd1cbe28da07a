"""A guarded way out: a SOCKS5 proxy on this machine that connects only where it may.

It looks names up itself, judges each address, and connects to exactly the address that it judged:
a name that is looked up twice could mean two things. git's requests, its redirects, its submodules
and ssh all go through it, so that one place decides.

Used on the hub, and put into build containers under repo2docker's own Python (>= 3.9, standard
library alone).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["Guard", "GuardError", "Judge", "Refusal", "is_own", "resolved", "sort_addresses"]

HANDSHAKE_SECONDS = 10.0
"""For a client to say where it wants to go; all of ours do so at once."""
CONNECT_SECONDS = 30.0
"""For a look-up, and again for a connection."""
MOST_CONNECTIONS = 64
"""At once; git's few are far below it."""

# Seconds that a connection is tried alone before the next address of the same host is tried too
# (RFC 8305).
_HEAD_START = 0.25
_CHUNK = 64 * 1024
_REMEMBERED = 20

_VERSION = 5
_NO_PASSWORD, _NO_METHOD = 0, 0xFF
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
# RFC 1928, 6.
_SUCCEEDED, _FAILED, _NOT_ALLOWED, _NO_NETWORK, _NO_HOST = range(5)
_CLOSED, _EXPIRED, _NO_COMMAND, _NO_KIND = range(5, 9)
_REPLIES = {
    errno.ECONNREFUSED: _CLOSED,
    errno.ENETUNREACH: _NO_NETWORK,
    errno.EHOSTUNREACH: _NO_NETWORK,
    errno.ETIMEDOUT: _EXPIRED,
}

Lookup = Callable[[str, int], Sequence[str]]
"""Host name and port → its IP addresses, as the system finds them; raises OSError."""


class Judge(Protocol):
    """What says which addresses may be reached (`reach.Reach`)."""

    def allows(self, address: str, host: str = "") -> bool:
        """Return whether an address may be reached that was found for a host's name."""

    def is_named(self, address: str, host: str = "") -> bool:
        """Return whether it is allowed as such, not only because it is public."""


@dataclass(frozen=True)
class Refusal:
    """A connection that was not made.

    Attributes:
        host: as it was asked for: a name, or an address.
        address: what it was looked up to.
    """

    host: str
    address: str


class GuardError(OSError):
    """A host has no address that may be reached."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(errno.EACCES, f"{refusal.host} is at {refusal.address}")
        self.refusal = refusal


def system_lookup(host: str, port: int) -> list[str]:
    """Return a host's addresses as the system finds them; it knows every spelling of one.

    Raises:
        OSError: there are none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def is_own(address: str) -> bool:
    """Return whether an address is this machine's, public or not. Nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            return _same(str(probe.getsockname()[0]), address)
    except OSError:
        return False


def _same(one: str, other: str) -> bool:
    return ipaddress.ip_address(one.partition("%")[0]) == ipaddress.ip_address(
        other.partition("%")[0]
    )


def sort_addresses(host: str, addresses: Sequence[str], judge: Judge) -> list[str]:
    """Return those of a host's addresses that may be reached.

    Raises:
        GuardError: none of them may.
    """
    allowed = [
        address
        for address in addresses
        if judge.is_named(address, host) or (judge.allows(address, host) and not is_own(address))
    ]
    if not allowed:
        raise GuardError(Refusal(host, addresses[0] if addresses else ""))
    return allowed


class Guard:
    """The proxy, on the loop that calls `start`.

    Args:
        judge: says what may be reached.
        lookup: the look-up of names; it may block, and runs on a thread of its own.
        handshake_seconds: see `HANDSHAKE_SECONDS`.
        connect_seconds: see `CONNECT_SECONDS`.
        most: see `MOST_CONNECTIONS`.

    Attributes:
        refused: what was refused, oldest first, as far as it is worth remembering.
        port: on 127.0.0.1, once it has started.
    """

    def __init__(
        self,
        judge: Judge,
        *,
        lookup: Lookup = system_lookup,
        handshake_seconds: float = HANDSHAKE_SECONDS,
        connect_seconds: float = CONNECT_SECONDS,
        most: int = MOST_CONNECTIONS,
    ) -> None:
        self.refused: list[Refusal] = []
        self.port = 0
        self._judge = judge
        self._lookup = lookup
        self._handshake_seconds = handshake_seconds
        self._connect_seconds = connect_seconds
        self._most = most
        self._server: asyncio.AbstractServer | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> int:
        """Listen on this machine alone; returns the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_CHUNK)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self.port

    async def close(self) -> None:
        """Stop listening, and end every connection."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, Any]:
        """Connect to a host, at an address that may be reached.

        Raises:
            GuardError: it has none.
            OSError: it can't be looked up or reached.
        """
        within = self._connect_seconds
        addresses = await asyncio.wait_for(resolved(host, port, self._lookup), within)
        try:
            allowed = sort_addresses(host, addresses, self._judge)
        except GuardError as error:
            if len(self.refused) < _REMEMBERED:
                self.refused.append(error.refusal)
            raise
        return await asyncio.wait_for(_first_of(allowed, port), within)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= self._most:
            writer.close()
            return
        self._tasks.add(task)
        try:
            # whatever a client or a server makes of its connection ends that connection
            with contextlib.suppress(OSError, EOFError, asyncio.TimeoutError, ValueError):
                await self._pass_on(reader, writer)
        except asyncio.CancelledError:
            # by `close` alone; asyncio's streams would print a task that ends so
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        within = self._handshake_seconds
        host, port = await asyncio.wait_for(_handshake(reader, writer), within)
        try:
            there, back = await self.connect(host, port)
        except GuardError:
            writer.write(_reply(_NOT_ALLOWED))
        except socket.gaierror:
            writer.write(_reply(_NO_HOST))
        except (asyncio.TimeoutError, TimeoutError):
            writer.write(_reply(_EXPIRED))
        except (OSError, ValueError) as error:
            writer.write(_reply(_REPLIES.get(getattr(error, "errno", None) or 0, _FAILED)))
        else:
            try:
                writer.write(_reply(_SUCCEEDED))
                await _both(_pump(reader, back), _pump(there, writer))
            finally:
                back.close()
            return
        await writer.drain()


async def _handshake(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int]:
    """Return where the client wants to go.

    Raises:
        ValueError: it doesn't speak SOCKS5, or wants something else.
        EOFError: it has gone.
    """
    version, count = await reader.readexactly(2)
    methods = await reader.readexactly(count)
    if version != _VERSION or _NO_PASSWORD not in methods:
        writer.write(bytes([_VERSION, _NO_METHOD]))
        await writer.drain()
        raise ValueError
    writer.write(bytes([_VERSION, _NO_PASSWORD]))
    version, command, _, kind = await reader.readexactly(4)
    if version != _VERSION or command != _CONNECT or kind not in (_IPV4, _NAME, _IPV6):
        writer.write(_reply(_NO_KIND if command == _CONNECT else _NO_COMMAND))
        await writer.drain()
        raise ValueError
    if kind == _NAME:
        [length] = await reader.readexactly(1)
        host = (await reader.readexactly(length)).decode("ascii")
    else:
        packed = await reader.readexactly(4 if kind == _IPV4 else 16)
        host = str(ipaddress.ip_address(packed))
    [port] = struct.unpack("!H", await reader.readexactly(2))
    if not host or "\0" in host:
        raise ValueError
    return host, port


def _reply(code: int) -> bytes:
    return bytes([_VERSION, code, 0, _IPV4]) + bytes(6)


async def resolved(host: str, port: int, lookup: Lookup = system_lookup) -> Sequence[str]:
    """Return a host's addresses.

    Looked up on a thread that nothing waits for at the process's end, as for a pool's.

    Raises:
        OSError: there are none.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Sequence[str]] = loop.create_future()

    def settle(found: Sequence[str], error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(found)
        else:
            future.set_exception(error)

    def run() -> None:
        found: Sequence[str] = ()
        failed: Exception | None = None
        try:
            found = lookup(host, port)
        except Exception as error:  # noqa: BLE001  whatever it is belongs to who has asked
            failed = error
        # nobody is there any more where the loop is closed
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, found, failed)

    threading.Thread(target=run, name="guard-lookup", daemon=True).start()
    return await future


async def _first_of(addresses: Sequence[str], port: int) -> tuple[asyncio.StreamReader, Any]:
    """Connect to the first of these addresses that answers; later ones start later."""
    failed: list[BaseException] = []
    trying: set[asyncio.Task[Any]] = set()
    left = list(addresses)
    try:
        while left or trying:
            if left:
                address = left.pop(0)
                trying.add(asyncio.ensure_future(asyncio.open_connection(address, port)))
            done, trying = await asyncio.wait(
                trying,
                timeout=_HEAD_START if left else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            made = [task for task in done if task.exception() is None]
            if made:
                trying |= set(made[1:])
                first: tuple[asyncio.StreamReader, Any] = made[0].result()
                return first
            failed += [error for task in done if (error := task.exception()) is not None]
    finally:
        for task in trying:
            task.add_done_callback(_drop)
            task.cancel()
    raise failed[0]


def _drop(task: asyncio.Task[Any]) -> None:
    """Close a connection that came too late."""
    if not task.cancelled() and task.exception() is None:
        task.result()[1].close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK):
        target.write(data)
        await target.drain()
    # who has said all may still listen
    with contextlib.suppress(OSError, RuntimeError):
        target.write_eof()


async def _both(*pumps: Any) -> None:
    """Run until both have ended, or one has failed."""
    tasks = [asyncio.ensure_future(pump) for pump in pumps]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
