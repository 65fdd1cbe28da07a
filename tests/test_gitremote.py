from __future__ import annotations

import asyncio
import gc
import http.server
import inspect
import socket
import stat
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from testbed.gitserver import GitServer
from testbed.sshserver import SshServer

from repo2dockerspawner.builds.inside.reach import Reach
from repo2dockerspawner.credentials import Credential
from repo2dockerspawner.errors import ResolveError
from repo2dockerspawner.gitremote import MAX_OUTPUT, explain, ls_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

URL = "https://example.org/certificate/timed-out.git"
NO_RIGHTS = (
    "fatal: Could not read from remote repository.\n\n"
    "Please make sure you have the correct access rights\nand the repository exists.\n"
)

# Said by git 2.39.5 with curl 7.88 (GnuTLS) and OpenSSH 9.2 unless another is named.
SAID = [
    (
        "dns-https",
        f"fatal: unable to access '{URL}/': Could not resolve host: example.org",
        "host_not_found",
        404,
    ),
    (
        "dns-git",
        "fatal: unable to look up example.org (port 9418) (Name or service not known)",
        "host_not_found",
        404,
    ),
    (
        "dns-ssh",
        "ssh: Could not resolve hostname example.org: Name or service not known\n" + NO_RIGHTS,
        "host_not_found",
        404,
    ),
    (
        "dns-later",
        "ssh: Could not resolve hostname x: Temporary failure in name resolution\n" + NO_RIGHTS,
        "host_not_found",
        404,
    ),
    (
        "proxy",
        f"fatal: unable to access '{URL}/': Could not resolve proxy: proxy.example",
        "host_unreachable",
        502,
    ),
    (
        "refused",
        (
            f"fatal: unable to access '{URL}/': Failed to connect to example.org port 443:"
            " Couldn't connect to server"
        ),
        "host_unreachable",
        502,
    ),
    (
        "refused-git",
        (
            "fatal: unable to connect to example.org:\nexample.org[0: 192.0.2.1]:"
            " errno=Connection refused\n"
        ),
        "host_unreachable",
        502,
    ),
    (
        "refused-ssh",
        "ssh: connect to host example.org port 22: Connection refused\n" + NO_RIGHTS,
        "host_unreachable",
        502,
    ),
    (
        "route",
        "ssh: connect to host 192.0.2.1 port 22: No route to host\n" + NO_RIGHTS,
        "host_unreachable",
        502,
    ),
    (
        "slow-ssh",
        "ssh: connect to host 192.0.2.1 port 22: Connection timed out\n" + NO_RIGHTS,
        "resolve_timeout",
        504,
    ),
    (
        "slow-https",
        (
            f"fatal: unable to access '{URL}/': Failed to connect to example.org port 443 after"
            " 129 ms: Connection timed out"
        ),
        "resolve_timeout",
        504,
    ),
    (
        "tls-gnutls",
        (
            f"fatal: unable to access '{URL}/': server certificate verification failed."
            " CAfile: /etc/ssl/certs/ca-certificates.crt CRLfile: none"
        ),
        "host_unreachable",
        502,
    ),
    (
        "tls-openssl",
        f"fatal: unable to access '{URL}/': SSL certificate problem: self-signed certificate",
        "host_unreachable",
        502,
    ),
    (
        "tls-none",
        (
            f"fatal: unable to access '{URL}/': gnutls_handshake() failed: An unexpected TLS packet"
            " was received."
        ),
        "host_unreachable",
        502,
    ),
    (
        "tls-routines",
        f"fatal: unable to access '{URL}/': OpenSSL SSL_connect: SSL_ERROR_SYSCALL",
        "host_unreachable",
        502,
    ),
    (
        "hostkey",
        "No ED25519 host key is known for example.org and you have requested strict checking.\n"
        "Host key verification failed.\n" + NO_RIGHTS,
        "host_unreachable",
        502,
    ),
    ("404", f"fatal: repository '{URL}/' not found", "repo_not_found", 404),
    (
        "404-github",
        f"remote: Repository not found.\nfatal: repository '{URL}/' not found",
        "repo_not_found",
        404,
    ),
    ("404-ssh", "ERROR: Repository not found.\n" + NO_RIGHTS, "repo_not_found", 404),
    (
        "404-gitlab",
        "remote: \nremote: ERROR: The project you were looking for could not be found or you"
        " don't have permission to view it.\n" + NO_RIGHTS,
        "repo_not_found",
        404,
    ),
    (
        "404-daemon",
        "fatal: remote error: access denied or repository not exported: /x.git",
        "repo_not_found",
        404,
    ),
    (
        "404-path",
        "fatal: '/srv/certificate.git' does not appear to be a git repository\n" + NO_RIGHTS,
        "repo_not_found",
        404,
    ),
    (
        "401",
        "fatal: could not read Username for 'https://example.org': terminal prompts disabled",
        "repo_not_found",
        404,
    ),
    (
        "401-token",
        f"remote: HTTP Basic: Access denied\nfatal: Authentication failed for '{URL}/'",
        "repo_not_found",
        404,
    ),
    (
        "403",
        f"fatal: unable to access '{URL}/': The requested URL returned error: 403",
        "repo_not_found",
        404,
    ),
    (
        "410",
        f"fatal: unable to access '{URL}/': The requested URL returned error: 410",
        "repo_not_found",
        404,
    ),
    (
        "denied-ssh",
        "git@example.org: Permission denied (publickey).\n" + NO_RIGHTS,
        "repo_not_found",
        404,
    ),
    (
        "429",
        f"fatal: unable to access '{URL}/': The requested URL returned error: 429",
        "host_unreachable",
        502,
    ),
    (
        "500",
        f"fatal: unable to access '{URL}/': The requested URL returned error: 500",
        "host_unreachable",
        502,
    ),
    (
        "503",
        f"fatal: unable to access '{URL}/': The requested URL returned error: 503",
        "host_unreachable",
        502,
    ),
    (
        "html",
        (
            f"fatal: {URL}/info/refs not valid: could not determine hash algorithm; is this a git"
            " repository?"
        ),
        "repo_not_found",
        404,
    ),
    ("scheme", "fatal: transport 'http' not allowed", "scheme_not_allowed", 400),
    (
        "redirected",
        f"fatal: unable to access '{URL}/': Protocol \"http\" not supported or disabled in libcurl",
        "scheme_not_allowed",
        400,
    ),
    (
        "no-ssh",
        "error: cannot run ssh: No such file or directory\nfatal: unable to fork",
        "git_missing",
        500,
    ),
    ("no-https", "git: 'remote-https' is not a git command. See 'git --help'.", "git_missing", 500),
    ("hung-up", "fatal: the remote end hung up unexpectedly", "host_unreachable", 502),
    ("garbage", "fatal: protocol error: bad line length character: HTTP", "host_unreachable", 502),
    ("unknown", "fatal: something new", "host_unreachable", 502),
    ("nothing", "", "host_unreachable", 502),
]


@pytest.mark.parametrize(
    ("said", "reason", "status"), [row[1:] for row in SAID], ids=[row[0] for row in SAID]
)
def test_what_git_says_becomes_a_sentence(said: str, reason: str, status: int) -> None:
    error = explain(said, URL)
    assert (error.reason, error.status) == (reason, status)
    assert error.message.endswith((".", ")."))
    assert "fatal" not in error.message
    assert "\n" not in error.message


@pytest.mark.parametrize("char", ["x", "@", "'", ":", "\n", "/"])
def test_no_complaint_is_so_long_that_the_hub_stands_still(char: str) -> None:
    begun = time.monotonic()
    explain(char * 2**20, URL)
    assert time.monotonic() - begun < 1


def test_the_lines_of_git_are_kept_short_and_clean() -> None:
    error = explain("fatal: \x1b[31m\u202ered\n" * 50 + "x" * 10**6, URL)
    assert error.lines[0] == "fatal: [31mred"
    assert len(error.lines) <= 10
    assert all(len(line) <= 300 for line in error.lines)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with GitServer(tmp_path_factory.mktemp("git")) as running:
        running.create("demo", {"README": "hello"})
        yield running


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], str]:
    """Makes a program in git's place out of a line of shell."""

    def make(line: str) -> str:
        path = tmp_path / "git"
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return make


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """No process, no file descriptor, and no transport that complains when it is collected."""
    if not inspect.iscoroutinefunction(request.function):
        yield
        return
    me = psutil.Process()
    before = me.num_fds()
    yield
    gc.collect()
    assert me.children(recursive=True) == []
    assert me.num_fds() <= before + 1


async def refused(url: str, **more: object) -> ResolveError:
    options = {"timeout": 10, "allowed_schemes": ("https", "ssh", "http", "git"), **more}
    with pytest.raises(ResolveError) as caught:
        await ls_remote(url, ["HEAD"], **options)  # type: ignore[arg-type]
    return caught.value


async def test_only_exact_names_come_back(server: GitServer) -> None:
    commit = server.create("exact", {"a": "b"})
    for branch in ("feature/main", "x/refs/heads/main", "main2"):
        server.branch("exact", branch, commit)
    refs = await ls_remote(
        server.url("exact"), ["refs/heads/main", "HEAD"], timeout=10, allowed_schemes=["http"]
    )
    assert dict(refs.ids) == {"HEAD": commit, "refs/heads/main": commit}
    assert refs.head == "refs/heads/main"


async def test_without_names_all_branches_and_tags_come_back(server: GitServer) -> None:
    commit = server.create("all", {"a": "b"})
    tag = server.tag("all", "v1", commit, annotated=True)
    server._git("all", "update-ref", "refs/pull/1/head", commit)
    refs = await ls_remote(server.url("all"), timeout=10, allowed_schemes=["http"])
    assert dict(refs.ids) == {
        "refs/heads/main": commit,
        "refs/tags/v1": tag,
        "refs/tags/v1^{}": commit,
    }
    assert refs.commit("refs/tags/v1") == commit


async def test_no_such_repository_is_said(server: GitServer) -> None:
    error = await refused(server.url("nowhere"))
    assert error.reason == "repo_not_found"


async def test_a_repository_that_asks_for_a_password_is_said(server: GitServer) -> None:
    server.create("private", {"a": "b"})
    server.require_auth("private", "me", "secret")
    assert (await refused(server.url("private"))).reason == "repo_not_found"


async def test_no_credentials_of_the_hub_are_offered(
    server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.create("tempting", {"a": "b"})
    server.require_auth("tempting", "me", "secret")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / ".gitconfig").write_text(
        '[credential]\nhelper = "!f() { echo username=me; echo password=secret; }; f"\n'
    )
    askpass = tmp_path / "askpass"
    askpass.write_text("#!/bin/sh\necho secret\n")
    askpass.chmod(0o755)
    for name in ("GIT_ASKPASS", "SSH_ASKPASS"):
        monkeypatch.setenv(name, str(askpass))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "http.extraHeader")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "Authorization: Basic bWU6c2VjcmV0")
    assert (await refused(server.url("tempting"))).reason == "repo_not_found"


async def test_what_is_handed_over_is_used(server: GitServer) -> None:
    commit = server.create("handed", {"a": "b"})
    server.require_auth("handed", "me", "secret")
    refs = await ls_remote(
        server.url("handed"),
        ["HEAD"],
        timeout=10,
        allowed_schemes=["http"],
        environment={
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{server.url('handed')}.extraHeader",
            "GIT_CONFIG_VALUE_0": "Authorization: Basic bWU6c2VjcmV0",
        },
    )
    assert refs.commit("HEAD") == commit


async def test_the_hub_s_secrets_are_not_in_git_s_environment(
    program: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_CRYPT_KEY", "hunter2")
    monkeypatch.setenv("GIT_DIR", "/hunter2")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    names = await environment_of(program)
    assert not [name for name, value in names.items() if "hunter2" in value]
    assert names["LC_ALL"] == "C"
    assert names["GIT_TERMINAL_PROMPT"] == "0"
    assert names["GIT_ALLOW_PROTOCOL"] == "https:ssh"
    assert names["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert "BatchMode=yes" in names["GIT_SSH_COMMAND"]
    assert not {"JUPYTERHUB_CRYPT_KEY", "GIT_DIR"} & set(names)


async def environment_of(program: Callable[[str], str]) -> dict[str, str]:
    git = program('env > "$OUT"; exit 1')
    out = git + ".env"
    with pytest.raises(ResolveError):
        await ls_remote(
            "https://x.example/y", timeout=5, git=git, environment={"OUT": out, "LC_ALL": "de_DE"}
        )
    with open(out) as file:  # noqa: ASYNC230, PTH123
        return dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)


async def test_the_address_comes_after_the_options_and_is_one_argument(
    program: Callable[[str], str],
) -> None:
    git = program('for a; do printf "[%s]" "$a" >&2; done; exit 1')
    with pytest.raises(ResolveError) as caught:
        await ls_remote("https://x.example/; id", ["refs/heads/a"], timeout=5, git=git)
    assert caught.value.lines[0] == (
        "[-c][credential.helper=][ls-remote][--symref][--][https://x.example/; id]"
        "[refs/heads/a][refs/heads/a^{}]"
    )


@pytest.mark.parametrize("scheme", ["http", "git"])
async def test_git_itself_refuses_a_scheme_that_is_off(scheme: str) -> None:
    error = await refused(f"{scheme}://127.0.0.1:1/x", allowed_schemes=["https"])
    assert error.reason == "scheme_not_allowed"


@pytest.mark.parametrize("url", ["file:///", "/", "ext::sh -c id"])
async def test_git_refuses_what_no_configuration_allows(url: str) -> None:
    error = await refused(url, allowed_schemes=["file", "ext", "https"])
    assert error.reason == "scheme_not_allowed"


@pytest.mark.parametrize("scheme", ["https", "http", "git", "ssh"])
async def test_a_host_that_does_not_exist_is_said(scheme: str) -> None:
    assert (await refused(f"{scheme}://nonexistent.invalid/x.git")).reason == "host_not_found"


@pytest.mark.parametrize("scheme", ["https", "http", "git", "ssh"])
async def test_a_refused_connection_is_said(scheme: str) -> None:
    assert (await refused(f"{scheme}://127.0.0.1:1/x.git")).reason == "host_unreachable"


async def test_tls_that_is_none_is_said(server: GitServer) -> None:
    url = server.url("demo").replace("http:", "https:")
    error = await refused(url)
    assert error.reason == "host_unreachable"
    assert "certificate" in error.message


@pytest.fixture
def answering() -> Iterator[Callable[[int, bytes, dict[str, str]], str]]:
    """Starts a web server that gives one answer to everything; returns its address."""
    running: list[tuple[http.server.ThreadingHTTPServer, threading.Thread]] = []

    def start(code: int, body: bytes, headers: dict[str, str]) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(code)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        web.daemon_threads = False
        thread = threading.Thread(target=web.serve_forever, args=(0.02,))
        thread.start()
        running.append((web, thread))
        return f"http://127.0.0.1:{web.server_port}/x"

    yield start
    for web, thread in running:
        web.shutdown()
        thread.join()
        web.server_close()


PAGE = b"<html>\n<head><title>\thello</title></head>\n" + b"x\n" * 100


@pytest.mark.parametrize(
    ("code", "body", "reason"),
    [
        (200, PAGE, "repo_not_found"),
        (403, PAGE, "repo_not_found"),
        (404, PAGE, "repo_not_found"),
        (429, b"", "host_unreachable"),
        (500, PAGE, "host_unreachable"),
        (503, b"", "host_unreachable"),
    ],
)
async def test_an_answer_that_is_not_git_s_is_said(
    answering: Callable[[int, bytes, dict[str, str]], str], code: int, body: bytes, reason: str
) -> None:
    url = answering(code, body, {"Content-Type": "text/html"})
    assert (await refused(url)).reason == reason


async def test_a_redirect_to_a_scheme_that_is_off_is_not_followed(
    answering: Callable[[int, bytes, dict[str, str]], str],
) -> None:
    url = answering(302, b"", {"Location": "file:///etc/passwd"})
    assert (await refused(url, allowed_schemes=["http"])).reason in {
        "scheme_not_allowed",
        "host_unreachable",
    }


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def helpers() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def remote_helpers() -> list[psutil.Process]:
    return [process for process in helpers() if "remote-http" in " ".join(process.cmdline())]


async def test_a_server_that_never_answers_costs_the_time_allowed(silent: int) -> None:
    begun = time.monotonic()
    error = await refused(f"http://127.0.0.1:{silent}/x.git", timeout=0.5)
    assert (error.reason, error.status) == ("resolve_timeout", 504)
    assert "0.5 seconds" in error.message
    assert time.monotonic() - begun < 1.5
    assert helpers() == []


async def test_cancelling_ends_git_and_its_helpers_at_once(silent: int) -> None:
    task = asyncio.create_task(
        ls_remote(
            f"http://127.0.0.1:{silent}/x.git", ["HEAD"], timeout=30, allowed_schemes=["http"]
        )
    )
    while not remote_helpers():  # noqa: ASYNC110 (a process does not say that it is there)
        await asyncio.sleep(0.02)
    begun = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - begun < 0.5
    assert helpers() == []


async def test_a_helper_that_stays_behind_is_ended_too(
    program: Callable[[str], str], tmp_path: Path
) -> None:
    git = program(f"sleep 60 & echo $! > {tmp_path}/pid; exit 1")
    error = await refused("https://example.org/x", git=git, timeout=0.5)
    assert error.reason == "resolve_timeout"
    deadline = time.monotonic() + 2
    while is_running(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def is_running(number: int) -> bool:
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_an_endless_answer_is_cut_off(program: Callable[[str], str]) -> None:
    git = program("yes 0123456789012345678901234567890123456789")
    begun = time.monotonic()
    error = await refused("https://example.org/x", git=git, timeout=20)
    assert error.reason == "too_many_refs"
    assert f"{MAX_OUTPUT // 2**20} MiB" in error.message
    assert time.monotonic() - begun < 5


async def test_endless_complaints_are_not_kept(program: Callable[[str], str]) -> None:
    git = program("yes fatal >&2 & sleep 0.3; kill $!; exit 1")
    error = await refused("https://example.org/x", git=git, timeout=20)
    assert len(error.lines) <= 10


@pytest.mark.parametrize(
    "line",
    [
        "xyz",
        "0123\\tHEAD",
        "ref: a b\\tHEAD",
        "ref: --x\\tHEAD",
        "\\377\\376\\tHEAD",
        "\\t",
        "ref:",
    ],
)
async def test_nonsense_from_a_server_is_ignored(program: Callable[[str], str], line: str) -> None:
    git = program(f"printf '{line}\\n'")
    refs = await ls_remote("https://example.org/x", ["HEAD"], timeout=5, git=git)
    assert (dict(refs.ids), refs.head) == ({}, "")


@pytest.mark.parametrize("git", ["/nonexistent/git", "/", "no-such-git"])
async def test_a_machine_without_git_is_said(git: str) -> None:
    error = await refused("https://example.org/x", git=git)
    assert (error.reason, error.status) == ("git_missing", 500)
    assert "install git" in error.message


async def test_many_at_once_leave_nothing_behind(server: GitServer) -> None:
    urls = [server.url("demo") if number % 2 else server.url("none") for number in range(12)]
    found = await asyncio.gather(
        *(ls_remote(url, ["HEAD"], timeout=20, allowed_schemes=["http"]) for url in urls),
        return_exceptions=True,
    )
    assert sum(isinstance(one, ResolveError) for one in found) == 6


# -- with a credential ----------------------------------------------------------------------------

TOKEN = 'to+k/en="0123456789'


@pytest.fixture(scope="module")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    """A server whose one repository wants a password."""
    with GitServer(tmp_path_factory.mktemp("private")) as server:
        server.create("group/private", {"file": "1"})
        server.require_auth("group/private", "ann", TOKEN)
        yield server


@pytest.mark.parametrize("reach", [None, Reach(("127.0.0.1",))], ids=["free", "through the guard"])
async def test_a_credential_opens_a_private_repository(
    guarded_server: GitServer, reach: Reach | None
) -> None:
    url = guarded_server.url("group/private")
    place = url.removesuffix("/private.git")
    more: dict[str, Any] = {"timeout": 20, "allowed_schemes": ["http"], "reach": reach}
    found = await ls_remote(url, ["HEAD"], credential=Credential(place, "ann", TOKEN), **more)
    assert found.commit("HEAD") == guarded_server.head("group/private")
    for refused in (
        None,
        Credential(place, "ann", "wrong-token"),
        Credential(f"{place}-x", "ann", TOKEN),
    ):
        with pytest.raises(ResolveError) as caught:
            await ls_remote(url, ["HEAD"], credential=refused, **more)
        assert caught.value.reason == "repo_not_found"
        assert "token" not in str(caught.value.lines) + caught.value.message
        assert TOKEN not in repr(caught.value) + str(caught.value.lines)


@pytest.mark.parametrize("reach", [None, Reach(("127.0.0.1",))], ids=["free", "through the guard"])
async def test_a_deploy_key_opens_a_private_repository(
    guarded_server: GitServer, reach: Reach | None
) -> None:
    with SshServer(guarded_server.root) as server:
        place = f"ssh://git@{server.host}"
        key = Credential(place, key=server.key, known_hosts=server.known_hosts)
        url = server.url("group/private")
        found = await ls_remote(url, ["HEAD"], timeout=30, credential=key, reach=reach)
        assert found.commit("HEAD") == guarded_server.head("group/private")
        known = server.known_hosts.split()[0]
        strange = replace(key, known_hosts=f"{known} {server.public(server.new_key())}")
        with pytest.raises(ResolveError) as caught:
            await ls_remote(url, ["HEAD"], timeout=30, credential=strange, reach=reach)
        assert "doesn't know the ssh key" in caught.value.message
        server.offered.clear()
        with pytest.raises(ResolveError):
            await ls_remote(url, ["HEAD"], timeout=30, reach=reach)
        assert server.offered == []


async def test_what_git_says_of_a_secret_is_redacted(tmp_path: Path) -> None:
    """A program in git's place that prints what it asks the helper for."""
    script = tmp_path / "git"
    script.write_text(
        "#!/bin/sh\n"
        "for each; do case $each in include.path=*) config=${each#include.path=};; esac; done\n"
        "path=$(sed -n 's/.*cat \\(.*\\); fi.*/\\1/p' $config); cat $path >&2; exit 1\n"
    )
    script.chmod(0o700)
    given = Credential("https://host", "ann", TOKEN)
    with pytest.raises(ResolveError) as caught:
        await ls_remote("https://host/x", timeout=20, git=str(script), credential=given)
    assert list(caught.value.lines) == ["username=ann", "password=***"]
