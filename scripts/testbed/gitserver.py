"""A real smart-HTTP git server: ``git http-backend`` behind the standard library's server."""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from .webserver import WebServer, answer_empty

__all__ = ["Content", "GitServer"]

Content = str | bytes | None
"""A file's content; ``None`` takes the file away. A symlink's is its target."""

# The first commit of every repository is of this second, so that ids are the same in every run.
_EPOCH = 1_700_000_000
_IDENTITY = "Test Bed <testbed@example.org>"
_CHUNK = 64 * 1024
_AUTHORIZATION_PARTS = 2


def _git_environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    isolated = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8"}
    return {**kept, **isolated, **more}


class GitServer(WebServer[str]):
    """Bare repositories in a directory, served over HTTP while the ``with`` block runs.

    Args:
        root: the directory; made if it is not there.
        host: address to listen on; the bridge's gateway lets containers in too.
        port: 0 for a free one.

    Attributes:
        requests: ``"GET /name.git/info/refs"`` and so on, in the order they came.
        accounts: repository name to the (user, password) it asks for.
    """

    def __init__(self, root: Path, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(host, port)
        self.root = root
        self.root.mkdir(parents=True, exist_ok=True)
        self.accounts: dict[str, tuple[str, str]] = {}
        self._running: set[subprocess.Popen[bytes]] = set()

    def break_off(self) -> None:
        """Kill the git processes that still answer."""
        with self.lock:
            for process in self._running:
                process.kill()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Hand a request to ``git http-backend`` as the CGI program it is."""
        parts = urlsplit(request.path)
        path = unquote(parts.path)
        self.note(f"{request.command} {path}")
        name = path.lstrip("/").partition(".git")[0]
        user = _user(request.headers.get("Authorization", ""), self.accounts.get(name))
        if user is None:
            answer_empty(request, 401, WWW_Authenticate='Basic realm="test bed"')
            return
        with tempfile.TemporaryFile() as body:
            _read_body(request, body)
            environment = _git_environment(
                GIT_PROJECT_ROOT=str(self.root),
                GIT_HTTP_EXPORT_ALL="1",
                PATH_INFO=path,
                QUERY_STRING=parts.query,
                REQUEST_METHOD=request.command,
                REMOTE_USER=user,
                REMOTE_ADDR=str(request.client_address[0]),
                CONTENT_TYPE=request.headers.get("Content-Type", ""),
                CONTENT_LENGTH=str(body.seek(0, os.SEEK_END)),
                HTTP_CONTENT_ENCODING=request.headers.get("Content-Encoding", ""),
                GIT_PROTOCOL=request.headers.get("Git-Protocol", ""),
            )
            body.seek(0)
            # A client that leaves in mid-answer is its own business.
            with contextlib.suppress(ConnectionError), self._backend(body, environment) as answer:
                _pass_on(answer, request)

    @contextlib.contextmanager
    def _backend(self, body: BinaryIO, environment: Mapping[str, str]) -> Iterator[BinaryIO]:
        """Run ``git http-backend`` on a request's body; yields its answer, headers first."""
        with subprocess.Popen(
            ["git", "http-backend"],
            stdin=body,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        ) as process:
            with self.lock:
                self._running.add(process)
            try:
                if process.stdout is None:
                    raise RuntimeError("git http-backend was started without a pipe")
                yield process.stdout  # type: ignore[misc]
            finally:
                with self.lock:
                    self._running.discard(process)
                process.kill()

    def url(self, name: str) -> str:
        """The address to clone from."""
        return f"http://{self.host}:{self.port}/{name}.git"

    def requests_of(self, name: str) -> list[str]:
        """Those of :attr:`requests` that were for one repository."""
        with self.lock:
            return [line for line in self.requests if line.split()[1].startswith(f"/{name}.git/")]

    def require_auth(self, name: str, user: str, password: str) -> None:
        """Answer 401 to whoever does not bring these (HTTP basic)."""
        self.accounts[name] = (user, password)

    def create(
        self, name: str, files: Mapping[str, Content], *, branch: str = "main", message: str = "one"
    ) -> str:
        """Make a repository with one commit on its default branch.

        Args:
            name: may hold slashes (``owner/repo``).
            files: path to content; see :meth:`commit`.
            branch: the default branch, where ``HEAD`` points.
            message: of the commit.

        Returns:
            The commit, 40 hex digits.
        """
        path = self._path(name)
        command = ["git", "init", "--quiet", "--bare", f"--initial-branch={branch}", str(path)]
        subprocess.run(command, check=True, env=_git_environment(), capture_output=True)
        return self.commit(name, files, branch=branch, message=message)

    def commit(
        self,
        name: str,
        files: Mapping[str, Content],
        *,
        branch: str = "main",
        message: str = "more",
        parent: str | None = None,
        modes: Mapping[str, str] | None = None,
    ) -> str:
        """Add a commit that changes these files and keeps the others.

        Args:
            name: the repository.
            files: path to content; ``None`` deletes the file. A submodule (mode ``160000``)
                has a commit as its content.
            branch: where the commit goes; made if it is not there.
            message: of the commit.
            parent: what it stands on instead of the branch's last commit.
            modes: path to git's mode, where it is not ``100644``.

        Returns:
            The commit, 40 hex digits.
        """
        ref = f"refs/heads/{branch}"
        before = parent or self._find(name, ref)
        count = int(self._git(name, "rev-list", "--count", "--all"))
        lines = [f"commit {ref}".encode(), f"committer {_IDENTITY} {_EPOCH + count} +0000".encode()]
        lines.append(_data(message.encode()))
        if before:
            lines.append(f"from {before}".encode())
        for path, content in files.items():
            mode = (modes or {}).get(path, "100644")
            if content is None:
                lines.append(f"D {path}".encode())
            elif mode == "160000":
                commit = content if isinstance(content, str) else content.decode()
                lines.append(f"M {mode} {commit} {path}".encode())
            else:
                raw = content.encode() if isinstance(content, str) else content
                lines += [f"M {mode} inline {path}".encode(), _data(raw)]
        self._git(name, "fast-import", "--quiet", "--force", stdin=b"\n".join(lines) + b"\n")
        return self.head(name, branch)

    def branch(self, name: str, branch: str, commit: str) -> None:
        """Let a branch (new or not) point to a commit."""
        self._git(name, "update-ref", f"refs/heads/{branch}", commit)

    def tag(self, name: str, tag: str, commit: str, *, annotated: bool = False) -> str:
        """Let a tag point to a commit.

        Returns:
            What the ref holds: the commit, or the id of the tag object where annotated.
        """
        target = commit
        if annotated:
            text = f"object {commit}\ntype commit\ntag {tag}\n"
            text += f"tagger {_IDENTITY} {_EPOCH} +0000\n\n{tag}\n"
            target = self._git(name, "mktag", stdin=text.encode())
        self._git(name, "update-ref", f"refs/tags/{tag}", target)
        return target

    def delete_ref(self, name: str, ref: str) -> None:
        """Take a ref away (``refs/heads/main``)."""
        self._git(name, "update-ref", "-d", ref)

    def head(self, name: str, branch: str = "main") -> str:
        """The commit a branch points to."""
        return self._git(name, "rev-parse", "--verify", f"refs/heads/{branch}^{{commit}}")

    def path(self, name: str) -> Path:
        """The bare repository's directory, for what the helpers here do not do."""
        return self._path(name)

    def _path(self, name: str) -> Path:
        return self.root / f"{name}.git"

    def _find(self, name: str, ref: str) -> str:
        return self._git(name, "for-each-ref", "--format=%(objectname)", ref)

    def _git(self, name: str, *arguments: str, stdin: bytes = b"") -> str:
        done = subprocess.run(
            ["git", f"--git-dir={self._path(name)}", *arguments],
            input=stdin,
            capture_output=True,
            env=_git_environment(),
            check=False,
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise RuntimeError(f"git {' '.join(arguments)} failed in {name}: {said}")
        return done.stdout.decode().strip()


def _data(raw: bytes) -> bytes:
    return b"data %d\n%s" % (len(raw), raw)


def _user(authorization: str, account: tuple[str, str] | None) -> str | None:
    if account is None:
        return ""
    words = authorization.split()
    if len(words) != _AUTHORIZATION_PARTS or words[0].lower() != "basic":
        return None
    try:
        given = base64.b64decode(words[1]).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return account[0] if given == ":".join(account) else None


def _read_body(request: BaseHTTPRequestHandler, body: BinaryIO) -> None:
    if request.headers.get("Transfer-Encoding", "").lower() == "chunked":
        while size := int(request.rfile.readline().split(b";")[0], 16):
            body.write(request.rfile.read(size))
            request.rfile.readline()
        request.rfile.readline()
    else:
        body.write(request.rfile.read(int(request.headers.get("Content-Length") or 0)))


def _pass_on(answer: BinaryIO, request: BaseHTTPRequestHandler) -> None:
    headers: list[tuple[str, str]] = []
    while line := answer.readline().strip():
        key, _, value = line.decode("latin-1").partition(":")
        headers.append((key, value.strip()))
    status = dict(headers).get("Status", "200" if headers else "500")
    request.send_response(int(status.split()[0]))
    for key, value in headers:
        if key != "Status":
            request.send_header(key, value)
    request.end_headers()
    shutil.copyfileobj(answer, request.wfile, _CHUNK)
