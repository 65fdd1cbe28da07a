"""A server that wants everybody's password and sends people elsewhere; it notes what it got."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["HostileServer", "Request"]


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        path: with the query.
        host: the header.
        authorization: the header, ``""`` where there is none: what may never come here.
        text: all of the request's head.
    """

    path: str
    host: str
    authorization: str
    text: str


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, address: tuple[str, int], hostile: HostileServer) -> None:
        self.hostile = hostile
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 60

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent: ``HostileServer.requests`` is the log."""

    def _answer(self) -> None:
        hostile = self.server.hostile
        headers = self.headers
        request = Request(
            self.path,
            headers.get("Host", ""),
            headers.get("Authorization", ""),
            f"{self.requestline}\n{headers}",
        )
        with hostile.lock:
            hostile.requests.append(request)
        for path, target in hostile.redirects.items():
            if self.path.startswith(path):
                self.send_response(301)
                self.send_header("Location", target + self.path.removeprefix(path))
                break
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="your password, please"')
        self.send_header("Content-Length", "0")
        self.end_headers()


class HostileServer:
    """Answers 401 to everything while the ``with`` block runs, but for what it redirects.

    Attributes:
        requests: those that came.
        redirects: beginning of a path to what takes its place; a path or a whole address.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.requests: list[Request] = []
        self.redirects: dict[str, str] = {}
        self.lock = threading.Lock()
        self._server = _Server((host, 0), self)
        self.host, self.port = host, int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def url(self, path: str, *, host: str = "") -> str:
        """An address here, under another ``host`` name if one is given."""
        return f"http://{host or self.host}:{self.port}/{path}"

    def answered(self, path: str) -> list[Request]:
        """The requests whose path begins so."""
        with self.lock:
            return [request for request in self.requests if request.path.startswith(path)]
