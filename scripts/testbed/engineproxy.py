"""A Docker engine that fails on command: a proxy before the real one's socket.

It understands as much HTTP as docker-py speaks: one request after the other on a connection, a
body with a length or in chunks. Faults are set from the test while requests go on::

    with EngineProxy(path) as proxy:
        engine = ProxiedEngine(proxy)
        proxy.answer("DELETE /containers/", 500, times=1)
        proxy.cut("/logs")
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .scripted import OwnEngine

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["EngineProxy", "ProxiedEngine"]

_SOCKET = "/var/run/docker.sock"
_VERSION = re.compile(r"^/v\d+\.\d+(?=/)")
_BLOCK = 64 * 1024
# Seconds a hanging request is kept, far beyond any test's own limit.
_HANG = 300.0


class _ClosedError(Exception):
    """The connection has ended."""


@dataclass
class _Fault:
    """What happens to the requests that match; ``times`` is how often yet, -1 for always."""

    pattern: re.Pattern[str]
    act: Callable[[_Connection], bool]
    times: int = -1


@dataclass(eq=False)
class _Connection:
    """One connection of a client, and the one to the engine that belongs to it.

    Attributes:
        request: method and path, without the API's version, of the request under way.
        frozen: whether what the engine sends is kept from the client.
    """

    client: socket.socket
    engine: socket.socket | None
    request: str = ""
    frozen: bool = False
    buffer: bytearray = field(default_factory=bytearray)

    def more(self) -> None:
        data = self.client.recv(_BLOCK)
        if not data:
            raise _ClosedError
        self.buffer += data

    def take_until(self, mark: bytes) -> bytes:
        while (end := self.buffer.find(mark)) < 0:
            self.more()
        return self.take(end + len(mark))

    def take(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self.more()
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def take_body(self, head: str) -> bytes:
        length = re.search(r"(?im)^content-length: *(\d+)", head)
        if length:
            return self.take(int(length[1]))
        if not re.search(r"(?im)^transfer-encoding: *chunked", head):
            return b""
        body = b""
        while True:
            line = self.take_until(b"\r\n")
            size = int(line.split(b";")[0], 16)
            body += line + self.take(size + 2)
            if size == 0:
                return body

    def close(self) -> None:
        for one in (self.client, self.engine):
            if one is None:
                continue
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


class EngineProxy:
    """A proxy on a unix socket of its own.

    Args:
        path: of its socket.
        upstream: path of the real engine's socket.

    Attributes:
        requests: method and path of each request so far, without the API's version.
    """

    def __init__(self, path: Path, upstream: str = _SOCKET) -> None:
        self.path = path
        self.upstream = upstream
        self.requests: list[str] = []
        self._faults: list[_Fault] = []
        self._connections: set[_Connection] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self.down()

    # -- faults ----------------------------------------------------------------------------

    def down(self) -> None:
        """Refuse new connections and cut those that are there, as an engine that has ended."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener is not None:
            # shutting down wakes the thread that accepts, which closing alone does not
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut()

    def up(self) -> None:
        """Take connections again."""
        self.path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.listen(64)
        with self._lock:
            self._listener = listener
        threading.Thread(target=self._accept, args=[listener], daemon=True).start()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Be down for the time of a ``with``."""
        self.down()
        try:
            yield
        finally:
            self.up()

    def cut(self, pattern: str = "") -> int:
        """Close the connections whose request matches now; returns how many."""
        return self._each(pattern, _Connection.close)

    def freeze(self, pattern: str = "") -> int:
        """Send nothing more to the clients whose request matches now, and close nothing."""

        def freeze(connection: _Connection) -> None:
            connection.frozen = True

        return self._each(pattern, freeze)

    def answer(self, pattern: str, status: int, *, times: int = -1) -> None:
        """Answer matching requests with an error of the engine's own shape."""

        def act(connection: _Connection) -> bool:
            body = json.dumps({"message": f"a fault of {status}"}).encode()
            head = (
                f"HTTP/1.1 {status} Fault\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            connection.client.sendall(head.encode() + body)
            return False

        self._add(pattern, act, times)

    def hang(self, pattern: str, *, times: int = -1) -> None:
        """Never answer matching requests."""

        def act(_: _Connection) -> bool:
            self._closed.wait(_HANG)
            raise _ClosedError

        self._add(pattern, act, times)

    def drop(self, pattern: str, *, times: int = -1) -> None:
        """Hand matching requests to the engine, and cut the connection before it answers."""

        def act(connection: _Connection) -> bool:
            connection.frozen = True
            threading.Timer(0.5, connection.close).start()
            return True

        self._add(pattern, act, times)

    def delay(self, pattern: str, seconds: float, *, times: int = -1) -> None:
        """Hand matching requests to the engine that much later."""

        def act(_: _Connection) -> bool:
            self._closed.wait(seconds)
            return True

        self._add(pattern, act, times)

    def heal(self) -> None:
        """Forget all faults that were set for requests to come."""
        with self._lock:
            self._faults.clear()

    def _add(self, pattern: str, act: Callable[[_Connection], bool], times: int) -> None:
        with self._lock:
            self._faults.append(_Fault(re.compile(pattern), act, times))

    def _each(self, pattern: str, function: Callable[[_Connection], None]) -> int:
        with self._lock:
            found = [one for one in self._connections if re.search(pattern, one.request)]
        for connection in found:
            function(connection)
        return len(found)

    def count(self, pattern: str) -> int:
        """Return how many requests there were that match."""
        return sum(bool(re.search(pattern, request)) for request in list(self.requests))

    def wait_for(self, pattern: str, count: int = 1, seconds: float = 20) -> None:
        """Wait until there were so many requests that match; not for the event loop's thread."""
        deadline = time.monotonic() + seconds
        while self.count(pattern) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{pattern}: {self.requests}")
            time.sleep(0.01)

    # -- connections -----------------------------------------------------------------------

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            upstream = socket.socket(socket.AF_UNIX)
            try:
                upstream.connect(self.upstream)
            except OSError:
                upstream.close()
                client.close()
                continue
            connection = _Connection(client, upstream)
            with self._lock:
                if self._listener is not listener:
                    connection.close()
                    return
                self._connections.add(connection)
            for target in (self._forth, self._back):
                threading.Thread(target=target, args=[connection], daemon=True).start()

    def _end(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.discard(connection)
        connection.close()

    def _forth(self, connection: _Connection) -> None:
        """Client → engine, request by request."""
        try:
            while True:
                head = connection.take_until(b"\r\n\r\n")
                text = head.decode("latin-1")
                method, path, _ = text.split(" ", 2)
                body = connection.take_body(text)
                connection.request = f"{method} {_VERSION.sub('', path)}"
                self.requests.append(connection.request)
                if self._passes(connection) and connection.engine is not None:
                    connection.engine.sendall(head + body)
        except (OSError, _ClosedError):
            pass
        finally:
            self._end(connection)

    def _passes(self, connection: _Connection) -> bool:
        with self._lock:
            fault = next(
                (f for f in self._faults if f.times and f.pattern.search(connection.request)), None
            )
            if fault is not None and fault.times > 0:
                fault.times -= 1
        return fault is None or fault.act(connection)

    def _back(self, connection: _Connection) -> None:
        """Engine → client."""
        try:
            while connection.engine is not None and (data := connection.engine.recv(_BLOCK)):
                if not connection.frozen:
                    connection.client.sendall(data)
        except OSError:
            pass
        finally:
            if not connection.frozen:
                self._end(connection)


class ProxiedEngine(OwnEngine):
    """The engine behind a proxy; build containers get its real socket.

    Args:
        proxy: the way to it.
        timeout: seconds that one call may take.
    """

    def __init__(self, proxy: EngineProxy, timeout: float = 60) -> None:
        kwargs: dict[str, Any] = {"base_url": f"unix://{proxy.path}", "timeout": timeout}
        super().__init__(kwargs)
        self._upstream = proxy.upstream

    @property
    def socket(self) -> str:
        return self._upstream
