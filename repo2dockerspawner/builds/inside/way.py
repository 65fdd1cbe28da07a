"""What sends git through the guard: options, variables, and a program for what is not HTTP.

Used on the hub, and put into build containers under repo2docker's own Python (>= 3.9, standard
library alone).
"""

from __future__ import annotations

import shlex
import sys
import urllib.parse
import urllib.request
from collections.abc import Mapping, MutableMapping
from pathlib import Path

__all__ = [
    "THROUGH",
    "git_options",
    "goes_by_proxy",
    "host_of",
    "send_through",
    "stay_with_proxy",
    "write_wrapper",
]

THROUGH = Path(__file__).with_name("through.py")

_HTTP = ("http", "https")
_NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_VARIABLES = frozenset({*_NAMES, *map(str.upper, _NAMES)})
_DEFAULT_PORTS = {"http": 80, "https": 443, "ssh": 22, "git": 9418}


def host_of(url: str) -> tuple[str, int]:
    """Return host and port of a repository's address (``https://…``, ``ssh://…``, ``git://…``).

    Raises:
        ValueError: it has none.
    """
    parts = urllib.parse.urlsplit(url)
    if not parts.hostname:
        raise ValueError(f"no host in {url}")
    return parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme, 443)


def goes_by_proxy(url: str, environ: Mapping[str, str]) -> bool:
    """Return whether an administrator's proxy is set for an address, by the usual variables.

    That proxy looks names up, so what is checked before it is all that can be checked.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in _HTTP or not parts.hostname:
        return False
    # HTTP_PROXY counts for nobody: a CGI program's client could set it
    names = [f"{parts.scheme}_proxy", "HTTPS_PROXY"][: 1 + (parts.scheme == "https")]
    if not any(environ.get(name) for name in (*names, "all_proxy", "ALL_PROXY")):
        return False
    without = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return not urllib.request.proxy_bypass_environment(parts.netloc, {"no": without})  # type: ignore[attr-defined]


def git_options(port: int) -> list[str]:
    """Return git's options for HTTP; its submodules and git-lfs have them from it."""
    return ["-c", f"http.proxy=socks5h://127.0.0.1:{port}"]


def send_through(environ: MutableMapping[str, str], port: int, wrapper: str = "") -> None:
    """Change git's environment so that all goes through the guard.

    Args:
        environ: git's; a ``GIT_SSH_COMMAND`` in it is added to.
        port: the guard's.
        wrapper: of `write_wrapper`, where git's own protocol is allowed.
    """
    for name in _VARIABLES & environ.keys():
        del environ[name]
    # percent signs are ssh's own
    program = " ".join(map(shlex.quote, _program(port))).replace("%", "%%")
    option = shlex.quote(f"ProxyCommand={program} %h %p")
    environ["GIT_SSH_COMMAND"] = f"{environ.get('GIT_SSH_COMMAND') or 'ssh'} -o {option}"
    # a program that is not there: then git's own protocol goes nowhere
    environ["GIT_PROXY_COMMAND"] = wrapper or "/nonexistent"


def stay_with_proxy(environ: MutableMapping[str, str]) -> None:
    """Change git's environment so that all goes by an administrator's proxy.

    Where hosts are left out of it, a redirect to one of them would go there directly.
    """
    for name in ("no_proxy", "NO_PROXY"):
        environ.pop(name, None)


def write_wrapper(folder: str, port: int) -> str:
    """Write the program that git runs for its own protocol; returns its path."""
    path = Path(folder, "through")
    path.write_text(f'#!/bin/sh\nexec {shlex.join(_program(port))} "$@"\n', encoding="utf-8")
    path.chmod(0o700)
    return str(path)


def _program(port: int) -> list[str]:
    return [sys.executable, "-I", "-S", str(THROUGH), str(port)]
