"""What the test bed's web servers have in common: threads, a free port, the requests that came."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["WebServer", "answer_empty"]

Kept = TypeVar("Kept")


class _Threads(ThreadingHTTPServer):
    # a test that ends while a request is being answered waits for it
    daemon_threads = False
    block_on_close = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], owner: WebServer[object]) -> None:
        self.owner = owner
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Threads
    timeout = 60

    def do_GET(self) -> None:
        self.server.owner.answer(self)

    do_HEAD = do_POST = do_CONNECT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Silent: ``WebServer.requests`` is the log."""


class WebServer(ABC, Generic[Kept]):
    """Serves HTTP while the ``with`` block runs; each request has a thread of its own.

    Args:
        host: the address to listen on.
        port: 0 for a free one.

    Attributes:
        host: as given.
        port: where it listens.
        requests: what :meth:`note` kept of those that came, in their order.
        lock: for whoever reads ``requests`` while more may come.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.requests: list[Kept] = []
        self.lock = threading.Lock()
        self._server = _Threads((host, port), self)  # type: ignore[arg-type]
        self.host, self.port = host, int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving; no process, thread or socket stays."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self.break_off()
        self._server.server_close()

    @abstractmethod
    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request, on its thread."""

    def break_off(self) -> None:
        """End what still answers; the server waits for its threads after this."""

    def note(self, kept: Kept) -> None:
        """Keep what is worth knowing of a request."""
        with self.lock:
            self.requests.append(kept)


def answer_empty(request: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    """Answer with no body; ``WWW_Authenticate="Basic"`` is the header ``WWW-Authenticate``."""
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", "0")
    request.end_headers()
