"""Ask a git server for its refs: one ``git ls-remote``, bounded in time and size.

git runs as if on an empty machine: no configuration of the system or the account, no ``.netrc``,
no credential helper, no key, no prompt. Nothing of the hub's own is ever offered to a server that
a user names; what may be is handed over as a credential for one place.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, cast

from .addresses import SUPPORTED_SCHEMES, has_unseen
from .builds.inside.gitaccess import GitAccess
from .builds.inside.redaction import Redactor
from .credentials import secrets_of
from .errors import Repo2DockerError, ResolveError
from .fields import is_ref
from .reach import GitWay, Reach, git_way, refused

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from .credentials import Credential

__all__ = ["MAX_OUTPUT", "RemoteRefs", "explain", "ls_remote"]

MAX_OUTPUT = 32 * 2**20
"""Bytes that a server may send as its list of refs (about 400,000 of them)."""

_MAX_STDERR = 2**16

_END_WAIT = 0.5
"""Seconds that a killed git has to be gone; more would leave JupyterHub's cancel hanging."""

# The hub's environment holds secrets (JUPYTERHUB_CRYPT_KEY, CONFIGPROXY_AUTH_TOKEN); only what
# finds programs, proxies and certificates is passed on.
_PASSED_ON = frozenset(
    {
        *("PATH", "LD_LIBRARY_PATH", "TMPDIR"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
        *("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"),
    }
)
_SSH = (
    "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes"
    " -o IdentityAgent=none -o ControlMaster=no -o ControlPath=none -o ForwardAgent=no"
    " -o ClearAllForwardings=yes -o PermitLocalCommand=no"
)
_NO_KEY = " -o PubkeyAuthentication=no"
_LINE = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64})\t(.+)")
_WORD = re.compile(r"[^\s']+")
_QUOTED = re.compile(r"'[^'\n]*'")
_SYMREF = re.compile(r"ref: (\S+)\tHEAD")


@dataclass(frozen=True)
class RemoteRefs:
    """What a server has.

    Attributes:
        ids: full ref name (``refs/heads/main``, ``HEAD``) -> id in full; the commit behind an
            annotated tag is under its name with ``^{}`` added.
        head: full name of the branch that HEAD is, ``""`` where it is none or was not asked for.
    """

    ids: Mapping[str, str]
    head: str = ""

    def commit(self, name: str) -> str:
        """The commit that the ref of exactly this name stands for, ``""`` if there is none."""
        return self.ids.get(f"{name}^{{}}", "") or self.ids.get(name, "")


async def ls_remote(
    url: str,
    names: Sequence[str] = (),
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    git: str = "git",
    allowed_schemes: Collection[str] = ("https", "ssh"),
    limit: int = MAX_OUTPUT,
    credential: Credential | None = None,
    reach: Reach | None = None,
) -> RemoteRefs:
    """Return the refs of these full ``names``; without names, all branches and tags.

    Args:
        url: from :func:`.repos.parse_repo`.
        names: exact; what ``git ls-remote`` finds besides (it compares the ends of names) is
            left out.
        timeout: seconds, for all of it.
        environment: added to git's, wins over ours; e.g. a ``GIT_SSH_COMMAND`` with a key.
        git: the program.
        allowed_schemes: the transports that git may use, also where it is redirected.
        limit: bytes.
        reach: the addresses that git may connect to, also where it is redirected; None for any.
        credential: sent to its place alone, and only where the server asks for it.

    Raises:
        ResolveError: with a sentence and a reason for whatever went wrong.
        PolicyError: it is at, or leads to, an address that may not be reached.
    """
    arguments = ["ls-remote", "--symref"]
    arguments += [] if names else ["--heads", "--tags"]
    arguments += ["--", url]
    for name in names:
        arguments += [name, f"{name}^{{}}"]
    env = _environment(environment, allowed_schemes, timeout)
    given = [asdict(credential)] if credential is not None else []
    async with git_way(url, reach) as way:
        with GitAccess(given, ssh=_ssh(timeout)) as access:
            env |= access.environment
            way.send_through(env)
            # An empty helper empties the list of helpers that git would ask.
            options = ["-c", "credential.helper=", *access.options, *way.options]
            command = [git, *options, *arguments]
            code, out, err = await _run(command, env, url, timeout=timeout, limit=limit)
    if code:
        secrets = secrets_of([credential]) if credential is not None else []
        raise _error(Redactor(secrets).text(err), url, way)
    return _parse(out, names)


def _error(stderr: str, url: str, way: GitWay) -> Repo2DockerError:
    refusal = way.refusal()
    return explain(stderr, url) if refusal is None else refused(url, refusal)


def explain(stderr: str, url: str) -> ResolveError:
    """The error for what git said when it could not read ``url``; pure."""
    stderr = stderr[:_MAX_STDERR]
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    shown = ["".join(c for c in line[:300] if not has_unseen(c)) for line in lines[:10]]
    # What the address is called must not decide (a repository may be named "certificate").
    said = _QUOTED.sub("''", _WORD.sub(_without_address, stderr))
    for pattern, reason, status, sentence in _EXPLAINED:
        if pattern.search(said):
            message = sentence.format(url=url)
            return ResolveError(message, reason=reason, status=status, lines=shown, field="repo")
    return ResolveError(
        f"git could not read {url}; check the address, or ask the hub's administrator,"
        " whose log has what git said.",
        reason="host_unreachable",
        status=502,
        lines=shown,
        field="repo",
    )


def _without_address(word: re.Match[str]) -> str:
    return "" if "://" in word[0] or "@" in word[0] else word[0]


def _environment(
    given: Mapping[str, str] | None, allowed_schemes: Collection[str], timeout: float
) -> dict[str, str]:
    usable = [scheme for scheme in SUPPORTED_SCHEMES if scheme in allowed_schemes]
    return {
        **{name: value for name, value in os.environ.items() if name in _PASSED_ON},
        # No directory, so no .netrc, which curl would offer to its hosts.
        "HOME": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GIT_ALLOW_PROTOCOL": ":".join(usable),
        "GIT_SSH_COMMAND": _ssh(timeout) + _NO_KEY,
        **(given or {}),
        # Below this the sentences depend on it.
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
        "LANGUAGE": "C",
    }


def _ssh(timeout: float) -> str:
    return f"{_SSH} -o ConnectTimeout={max(1, round(timeout))}"


class _Collector(asyncio.SubprocessProtocol):
    """Takes what a process writes; ``ended`` is done when it is gone and its pipes are closed.

    A process that writes ``limit`` bytes to its standard output is killed.
    """

    def __init__(self, limit: int, ended: asyncio.Future[None]) -> None:
        self.output: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        self.too_much = False
        self.ended = ended
        self._limits = {1: limit, 2: _MAX_STDERR}
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        taken = self.output[fd]
        taken += data[: self._limits[fd] - len(taken)]
        if fd == 1 and len(taken) >= self._limits[fd] and not self.too_much and self._transport:
            self.too_much = True
            _kill(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (its signature)
        if not self.ended.done():
            self.ended.set_result(None)


def _kill(transport: asyncio.SubprocessTransport) -> None:
    """End the process and all it started (git's helpers, ssh): they are a group of their own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(transport.get_pid(), signal.SIGKILL)


async def _run(
    arguments: Sequence[str], env: Mapping[str, str], url: str, *, timeout: float, limit: int
) -> tuple[int, str, str]:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    try:
        transport, collector = await loop.subprocess_exec(
            lambda: _Collector(limit, ended),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            env=env,
            # Not in a repository, whose configuration git would read.
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise ResolveError(
            "git can't be run on the hub's machine; ask its administrator to install git.",
            reason="git_missing",
            status=500,
            lines=[str(error)],
        ) from error
    try:
        await asyncio.wait({ended}, timeout=timeout)
        over = ended.done()
    finally:
        if not ended.done():
            _kill(transport)
            transport.close()
            await asyncio.wait({ended}, timeout=_END_WAIT)
        transport.close()
    if collector.too_much:
        raise ResolveError(
            f"{url} has more branches and tags than can be read ({limit // 2**20} MiB);"
            " give the commit in full instead.",
            reason="too_many_refs",
            status=413,
            field="ref",
        )
    if not over:
        raise ResolveError(
            f"{url} gave no answer within {timeout:g} seconds; try again later.",
            reason="resolve_timeout",
            status=504,
            field="repo",
        )
    out, err = (collector.output[fd].decode("utf-8", "surrogateescape") for fd in (1, 2))
    return transport.get_returncode() or 0, out, err


def _parse(output: str, names: Sequence[str]) -> RemoteRefs:
    wanted = {form for name in names for form in (name, f"{name}^{{}}")}
    ids: dict[str, str] = {}
    head = ""
    for line in output.split("\n"):
        if found := _LINE.fullmatch(line):
            if not wanted or found[2] in wanted:
                ids[found[2]] = found[1]
        elif (symref := _SYMREF.fullmatch(line)) and is_ref(symref[1]):
            head = symref[1]
    return RemoteRefs(ids, head)


_NO_ACCESS = (
    "There is no repository at {url}, or it is private; check the address,"
    " or ask its owner for access."
)
_TLS = (
    "The connection to {url} isn't secure: its certificate can't be checked;"
    " tell the administrator of that server."
)
_DOWN = "{url} can't be reached: its server doesn't answer properly; try again later."


def _said(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


# The first that matches counts. Texts of git 2.39 to 2.51, curl with OpenSSL and GnuTLS, OpenSSH.
_EXPLAINED = (
    (
        _said(r"transport '[^']*' not allowed|protocol .{0,80}(not supported|disabled)"),
        "scheme_not_allowed",
        400,
        (
            "{url} needs or leads to a kind of address that this hub doesn't allow"
            " (its administrator sets allowed_schemes)."
        ),
    ),
    (
        _said(r"could not resolve proxy"),
        "host_unreachable",
        502,
        "The proxy on the way to {url} can't be found; ask the hub's administrator.",
    ),
    (
        _said(
            r"could not resolve host|unable to look up|name or service not known"
            r"|name resolution|no address associated|socks5 connection to .{0,300} \(4\)"
        ),
        "host_not_found",
        404,
        "There is no host of the name in {url}; check the address.",
    ),
    (
        _said(r"host key verification failed|host key is known|remote host identification"),
        "host_unreachable",
        502,
        (
            "The hub doesn't know the ssh key of the server of {url}; use the https:// address,"
            " or ask the hub's administrator to add it to the known hosts."
        ),
    ),
    (
        _said(r"cannot run ssh|ssh: (command )?not found"),
        "git_missing",
        500,
        (
            "ssh isn't installed on the hub's machine; use the https:// address of {url},"
            " or ask the hub's administrator to install it."
        ),
    ),
    (
        _said(r"remote helper|remote-https?: not found|is not a git command"),
        "git_missing",
        500,
        (
            "git on the hub's machine is incomplete and can't fetch from {url};"
            " ask the hub's administrator to install it whole."
        ),
    ),
    (
        _said(r"certificate (problem|verif)|gnutls|openssl|\b(ssl|tls)[ _]"),
        "host_unreachable",
        502,
        _TLS,
    ),
    (
        _said(r"returned error: 429"),
        "host_unreachable",
        502,
        "The server of {url} gets too many requests from here; try again in some minutes.",
    ),
    (_said(r"returned error: 5\d\d"), "host_unreachable", 502, _DOWN),
    (
        _said(r"timed out|socks5 connection to .{0,300} \(6\)"),
        "resolve_timeout",
        504,
        "{url} gave no answer in time; try again later.",
    ),
    (
        _said(
            r"failed to connect|couldn't connect|unable to connect|connection refused"
            r"|no route to host|network is unreachable|connection reset|connection closed"
            r"|empty reply|early eof|returned error: 3\d\d|redirects|socks5 connection to"
        ),
        "host_unreachable",
        502,
        "The server of {url} can't be reached; check the address, or try again later.",
    ),
    (
        _said(r"is this a git repository|could not determine hash algorithm|not a git repository"),
        "repo_not_found",
        404,
        "What is at {url} is not a git repository; check the address.",
    ),
    (
        _said(
            r"repository '' not found|repository not found|could not read (username|password)"
            r"|authentication failed|returned error: 4\d\d|permission denied|access denied"
            r"|does not appear to be a git repository|could not be found|not authorized"
            r"|could not read from remote repository"
        ),
        "repo_not_found",
        404,
        _NO_ACCESS,
    ),
    (_said(r"hung up unexpectedly|protocol error|bad line length"), "host_unreachable", 502, _DOWN),
)
