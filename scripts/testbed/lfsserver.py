"""A git server with Git LFS: our own, and before it one that has the large files."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING

from testbed.gitserver import GitServer

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LfsServer"]

_LFS = ".git/info/lfs/objects/"
_BATCH = _LFS + "batch"
_PASSED_ON = ("Authorization", "Content-Type", "Content-Encoding", "Git-Protocol", "Accept")


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, address: tuple[str, int], lfs: LfsServer) -> None:
        self.lfs = lfs
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 60

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent: ``LfsServer.requests`` is the log."""

    def _answer(self) -> None:
        lfs = self.server.lfs
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        name, found, _ = self.path.lstrip("/").partition(_LFS)
        if not found:
            self._pass_on(body)
            return
        lfs.requests.append(f"{self.command} {self.path}")
        account = lfs.git.accounts.get(name)
        wanted = base64.b64encode(":".join(account).encode()).decode() if account else ""
        if account and self.headers.get("Authorization") != f"Basic {wanted}":
            self._send(401, b"", {"WWW-Authenticate": 'Basic realm="test bed"'})
        elif self.path.endswith(_BATCH):
            kind = {"Content-Type": "application/vnd.git-lfs+json"}
            self._send(200, lfs.batch(name, body), kind)
        else:
            content = lfs.files.get(self.path.rsplit("/", 1)[1])
            self._send(404 if content is None else 200, content or b"", {})

    def _pass_on(self, body: bytes) -> None:
        git = self.server.lfs.git
        connection = http.client.HTTPConnection(git.host, git.port, timeout=60)
        try:
            headers = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            told = ("Content-Type", "WWW-Authenticate")
            headers = {name: value for name in told if (value := answer.getheader(name))}
            self._send(answer.status, answer.read(), headers)
        finally:
            connection.close()

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class LfsServer:
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
        self.git = git
        self.files: dict[str, bytes] = {}
        self.store = ""
        self.requests: list[str] = []
        self._server = _Server((git.host, 0), self)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

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
