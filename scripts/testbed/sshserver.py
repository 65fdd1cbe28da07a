"""A real ssh server that serves git repositories to who has a key: asyncssh on a thread."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import threading
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import asyncssh

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["SshServer"]

_KIND = "ssh-ed25519"
_CHUNK = 64 * 1024


class SshServer:
    """Serves ``ROOT/NAME.git`` to the account ``git`` while the ``with`` block runs.

    Args:
        root: directory of bare repositories.
        host: address to listen on.

    Attributes:
        key: the private key that opens it, as OpenSSH writes it.
        public_key: its public half.
        known_hosts: the line that knows the server.
        offered: account and public key of each attempt.
    """

    def __init__(self, root: Path, host: str = "127.0.0.1") -> None:
        self.root, self.host, self.port = root, host, 0
        self.offered: list[tuple[str, str]] = []
        self.key = self.new_key()
        self.public_key = self.public(self.key)
        self.known_hosts = ""
        self._ready: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    @staticmethod
    def new_key() -> str:
        """A private key of nobody's."""
        return asyncssh.generate_private_key(_KIND).export_private_key().decode()

    @staticmethod
    def public(key: str) -> str:
        """Its public half: kind and base64."""
        return asyncssh.import_private_key(key).export_public_key().decode().strip()

    def url(self, name: str) -> str:
        """The address to clone from."""
        return f"ssh://git@{self.host}:{self.port}/{name}.git"

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        host_key = asyncssh.generate_private_key(_KIND)
        try:
            server = await asyncssh.listen(
                self.host,
                0,
                server_factory=lambda: _Account(self),
                server_host_keys=[host_key],
                process_factory=self._run,
                encoding=None,
            )
        except BaseException as error:
            self._ready.set_exception(error)
            raise
        self.port = server.get_port()
        line = host_key.export_public_key().decode().strip()
        self.known_hosts = f"[{self.host}]:{self.port} {line}\n"
        self._ready.set_result(self.port)
        async with server:
            await self._end.wait()

    async def _run(self, process: Any) -> None:
        words = shlex.split(process.command or "")
        if len(words) != 2 or words[0] != "git-upload-pack" or ".." in words[1]:
            process.exit(1)
            return
        git = await asyncio.create_subprocess_exec(
            *("git", "upload-pack", str(self.root / words[1].lstrip("/"))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        takes = asyncio.create_task(_pump(process.stdin, git.stdin))
        await _pump(git.stdout, process.stdout)
        takes.cancel()
        process.exit(await git.wait())

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


class _Account(asyncssh.SSHServer):
    """Lets the account ``git`` in with the one key, and notes what is offered."""

    def __init__(self, server: SshServer) -> None:
        self._server = server

    def begin_auth(self, username: str) -> bool:  # noqa: ARG002 (its signature)
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        offered = key.export_public_key().decode().strip()
        self._server.offered.append((username, offered))
        return username == "git" and offered == self._server.public_key


async def _pump(source: Any, target: Any) -> None:
    with contextlib.suppress(ConnectionError, asyncssh.Error):
        while data := await source.read(_CHUNK):
            target.write(data)
            await target.drain()
        # not closed: the exit code is yet to come, without which git takes it for a failure
        target.write_eof()
