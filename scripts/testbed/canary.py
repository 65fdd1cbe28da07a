"""A web server that nothing may reach: it counts who does. Or one that leads to it."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler

from .webserver import WebServer, answer_empty

__all__ = ["Canary"]


class Canary(WebServer[str]):
    """Answers everything, with 403, and keeps what it was asked.

    Args:
        host: the address to listen on.
        redirect: status and target, where it is to lead somewhere else.

    Attributes:
        requests: ``"GET /x.git/info/refs"`` and so on, in the order they came.
        redirect: as given; it may be changed.
    """

    def __init__(self, host: str, redirect: tuple[int, str] | None = None) -> None:
        super().__init__(host)
        self.redirect = redirect

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.note(f"{request.command} {request.path}")
        if self.redirect:
            status, target = self.redirect
            answer_empty(request, status, Location=target)
        else:
            answer_empty(request, 403)
