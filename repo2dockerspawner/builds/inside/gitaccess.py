"""Hands credentials to git without a command line, an environment or a file that holds them.

git and ssh are told the paths under ``/proc`` of files in this process's memory. What is in them
is gone when they are closed. git gets them as a credential helper for the places they are for,
so that it is git itself that asks, where a server demands it, for the host it talks to then: after
a redirect that is the new one, to which a header set beforehand would have gone too.

Used on the hub, and put into build containers under repo2docker's own Python (>= 3.9, standard
library alone).
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["GitAccess"]

# What GitLab wants beside an OAuth token; the others take any name beside a token.
_ANY_NAME = "oauth2"
_HOST = re.compile(r"[A-Za-z0-9.:_-]+")
_USER = re.compile(r"[A-Za-z0-9._-]*")
_HELPER = '!f() { if test "$1" = get; then cat %s; fi; }; f'
# A setting counts where it stands first, so these are what no place has set.
_FOR_ALL_HOSTS = (
    "Match all",
    "  PubkeyAuthentication no",
    "  BatchMode yes",
    "  IdentitiesOnly yes",
    "  IdentityAgent none",
    "  StrictHostKeyChecking yes",
    "  UpdateHostKeys no",
    "  ControlMaster no",
    "  ControlPath none",
    "  ForwardAgent no",
    "  ClearAllForwardings yes",
    "  PermitLocalCommand no",
)


class GitAccess:
    """The credentials of some git commands, for as long as they run.

    Args:
        credentials: ``place``, ``username``, ``password``, ``key`` and ``known_hosts`` by name,
            as in `repo2dockerspawner.credentials.Credential`.
        ssh: the command that runs ssh.

    Attributes:
        options: for git, before its command; its submodules and git-lfs have them from it.
        environment: variables to add to git's.

    Raises:
        ValueError: a place is none, or a text would not stay one line.
    """

    def __init__(self, credentials: Sequence[Mapping[str, str]], *, ssh: str = "ssh") -> None:
        self.options: list[str] = []
        self.environment: dict[str, str] = {}
        self._files: list[_MemoryFile] = []
        # the narrowest place first: the first that answers counts
        ordered = sorted(credentials, key=lambda one: len(one["place"]), reverse=True)
        try:
            self._give_git([one for one in ordered if not one["place"].startswith("ssh:")])
            self._give_ssh([one for one in ordered if one["place"].startswith("ssh:")], ssh)
        except BaseException:
            self.close()
            raise

    def _give_git(self, credentials: Sequence[Mapping[str, str]]) -> None:
        if not credentials:
            return
        # None but these are asked. The path is compared too, and git-lfs tells it.
        lines = ["[credential]", "\thelper =", "\tuseHttpPath = true"]
        for one in credentials:
            said = f"username={_line(one['username'] or _ANY_NAME)}\n"
            said += f"password={_line(one['password'])}\n"
            helper = _HELPER % self._file(said)
            lines.append(f"[credential {_quoted(_line(one['place']))}]")
            lines.append(f"\thelper = {_quoted(helper)}")
        self.options = ["-c", "include.path=" + self._file("\n".join(lines) + "\n")]

    def _give_ssh(self, credentials: Sequence[Mapping[str, str]], ssh: str) -> None:
        if not credentials:
            return
        lines = []
        for one in credentials:
            parts = urlsplit(one["place"])
            host, user = parts.hostname or "", parts.username or ""
            if not _HOST.fullmatch(host) or not _USER.fullmatch(user):
                raise ValueError("a place for ssh is ssh://user@host")
            lines += [
                f"Match host {host}" + (f" user {user}" if user else ""),
                f"  IdentityFile {self._file(one['key'].strip() + chr(10))}",
                f"  UserKnownHostsFile {self._file(one['known_hosts'].strip() + chr(10))}",
                "  GlobalKnownHostsFile none",
                "  PubkeyAuthentication yes",
            ]
        lines += _FOR_ALL_HOSTS
        path = self._file("\n".join(lines) + "\n")
        self.environment = {"GIT_SSH_COMMAND": f"{ssh} -F {path}"}

    def _file(self, text: str) -> str:
        made = _MemoryFile(text.encode("utf-8", "surrogateescape"))
        self._files.append(made)
        return made.path

    def close(self) -> None:
        """Take everything away; git can't use it any more."""
        while self._files:
            self._files.pop().close()
        self.options, self.environment = [], {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _MemoryFile:
    """A file without a name that other processes of this account can open, at ``path``."""

    def __init__(self, data: bytes) -> None:
        self._named = ""
        if hasattr(os, "memfd_create"):
            self._fd = os.memfd_create("git")
            self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        else:
            # not Linux: a file of this account's alone, for as long as git runs
            self._fd, self._named = tempfile.mkstemp()
            self.path = self._named
        # ssh refuses a key that others could read
        os.fchmod(self._fd, 0o600)
        os.write(self._fd, data)

    def close(self) -> None:
        os.close(self._fd)
        if self._named:
            Path(self._named).unlink()


def _line(text: str) -> str:
    if any(char < " " or char == "\x7f" for char in text):
        raise ValueError("a credential may hold no control characters")
    return text


def _quoted(text: str) -> str:
    """Quote for git's configuration file."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
