"""A git server with Git LFS: our own, and before it one that has the large files."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from http.server import BaseHTTPRequestHandler

from .gitserver import GitServer
from .webserver import WebServer

__all__ = ["LfsServer"]

_LFS = ".git/info/lfs/objects/"
_BATCH = _LFS + "batch"
_PASSED_ON = ("Authorization", "Content-Type", "Content-Encoding", "Git-Protocol", "Accept")


class LfsServer(WebServer[str]):
    """Serves the repositories of a git server, and their large files, while the block runs.

    The large files want the same user and password as the repository.

    Args:
        git: the git server.

    Attributes:
        files: content by its SHA-256.
        store: where files are to be had, instead of here: a URL that each one's id is added to.
        requests: those for large files: ``"POST /name.git/info/lfs/objects/batch"`` and so on.
    """

    def __init__(self, git: GitServer) -> None:
        super().__init__(git.host)
        self.git = git
        self.files: dict[str, bytes] = {}
        self.store = ""

    def url(self, name: str) -> str:
        """The address to clone from."""
        return f"http://{self.git.host}:{self.port}/{name}.git"

    def add(self, content: bytes) -> str:
        """Keep a large file, and return what git keeps in its place."""
        digest = hashlib.sha256(content).hexdigest()
        self.files[digest] = content
        version = "version https://git-lfs.github.com/spec/v1"
        return f"{version}\noid sha256:{digest}\nsize {len(content)}\n"

    def batch(self, name: str, asked: bytes) -> bytes:
        """Answer the question where large files are to be had, both as the batch API has them."""
        store = self.store or f"{self.url(name).removesuffix('.git')}{_LFS}"
        objects = [
            {**one, "actions": {"download": {"href": store + one["oid"]}}}
            for one in json.loads(asked)["objects"]
        ]
        return json.dumps({"transfer": "basic", "objects": objects}).encode()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        name, found, _ = request.path.lstrip("/").partition(_LFS)
        if not found:
            self._pass_on(request, body)
            return
        self.note(f"{request.command} {request.path}")
        account = self.git.accounts.get(name)
        wanted = base64.b64encode(":".join(account).encode()).decode() if account else ""
        if account and request.headers.get("Authorization") != f"Basic {wanted}":
            _send(request, 401, b"", {"WWW-Authenticate": 'Basic realm="test bed"'})
        elif request.path.endswith(_BATCH):
            kind = {"Content-Type": "application/vnd.git-lfs+json"}
            _send(request, 200, self.batch(name, body), kind)
        else:
            content = self.files.get(request.path.rsplit("/", 1)[1])
            _send(request, 404 if content is None else 200, content or b"", {})

    def _pass_on(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        connection = http.client.HTTPConnection(self.git.host, self.git.port, timeout=60)
        try:
            headers = {
                name: request.headers[name] for name in _PASSED_ON if name in request.headers
            }
            connection.request(request.command, request.path, body, headers)
            answer = connection.getresponse()
            told = ("Content-Type", "WWW-Authenticate")
            headers = {name: value for name in told if (value := answer.getheader(name))}
            _send(request, answer.status, answer.read(), headers)
        finally:
            connection.close()


def _send(
    request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]
) -> None:
    request.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        request.send_header(name, value)
    request.end_headers()
    request.wfile.write(body)
