"""A web server that nothing may reach: it counts who does. Or one that leads to it."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Canary"]


class Canary:
    """Answers everything, with 403, while the ``with`` block runs, and keeps what it was asked.

    Args:
        host: the address to listen on.
        redirect: status and target, where it is to lead somewhere else.

    Attributes:
        hits: ``"GET /x.git/info/refs"`` and so on, in the order they came.
        port: where it listens.
        redirect: as given; it may be changed.
    """

    def __init__(self, host: str, redirect: tuple[int, str] | None = None) -> None:
        self.hits: list[str] = []
        self.redirect = redirect
        canary = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                canary.hits.append(f"{self.command} {self.path}")
                self.send_response(canary.redirect[0] if canary.redirect else 403)
                if canary.redirect:
                    self.send_header("Location", canary.redirect[1])
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_HEAD = do_POST = do_CONNECT = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Silent: ``hits`` is the log."""

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = False
        self.port = int(self._server.server_address[1])
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
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
