"""A server that wants everybody's password and sends people elsewhere; it notes what it got."""

from __future__ import annotations

from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler

from .webserver import WebServer, answer_empty

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


class HostileServer(WebServer[Request]):
    """Answers 401 to everything, but for what it redirects.

    Attributes:
        requests: those that came.
        redirects: beginning of a path to what takes its place; a path or a whole address.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__(host)
        self.redirects: dict[str, str] = {}

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        headers, at = request.headers, request.path
        self.note(
            Request(
                at,
                headers.get("Host", ""),
                headers.get("Authorization", ""),
                f"{request.requestline}\n{headers}",
            )
        )
        for path, target in self.redirects.items():
            if at.startswith(path):
                answer_empty(request, 301, Location=target + at.removeprefix(path))
                return
        answer_empty(request, 401, WWW_Authenticate='Basic realm="your password, please"')

    def url(self, path: str, *, host: str = "") -> str:
        """An address here, under another ``host`` name if one is given."""
        return f"http://{host or self.host}:{self.port}/{path}"

    def answered(self, path: str) -> list[Request]:
        """The requests whose path begins so."""
        with self.lock:
            return [request for request in self.requests if request.path.startswith(path)]
