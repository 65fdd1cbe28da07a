"""Where the hub goes when it looks a repository up, with real git and a server that counts.

The servers are all on this machine: the git server is allowed by a name, the canary by nothing.
"""

from __future__ import annotations

import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from testbed.canary import Canary
from testbed.gitserver import GitServer

from repo2dockerspawner.builds.inside.guard import Refusal
from repo2dockerspawner.errors import PolicyError, Repo2DockerError, ResolveError
from repo2dockerspawner.gitremote import ls_remote
from repo2dockerspawner.reach import CheckedResolver, Reach, check_host, refused
from repo2dockerspawner.repos import RepoSpec
from repo2dockerspawner.resolve import resolve

SCHEMES = ("https", "http", "ssh", "git")
ALLOWED = "git.test"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names are looked up to; the system is asked for all others."""
    table = {ALLOWED: ["127.0.0.1"]}
    real = socket.getaddrinfo

    def lookup(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        if host not in table:
            return real(host, port, *rest, **more)
        return [found for one in table[host] for found in real(one, port, *rest, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return table


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with GitServer(tmp_path_factory.mktemp("git")) as running:
        running.create("demo", {"README": "hello"})
        yield running


@pytest.fixture
def canary() -> Iterator[Canary]:
    with Canary("127.0.0.1") as running:
        yield running


def at(server: GitServer, name: str, host: str = ALLOWED) -> str:
    return server.url(name).replace("127.0.0.1", host)


async def ask(url: str, *allowed: str, guarded: bool = True, **more: Any) -> str:
    reach = Reach(allowed or [ALLOWED]) if guarded else None
    refs = await ls_remote(
        url, ["HEAD"], **{"timeout": 10, "allowed_schemes": SCHEMES, "reach": reach, **more}
    )
    return refs.commit("HEAD")


async def not_reached(url: str, *allowed: str, **more: Any) -> Repo2DockerError:
    with pytest.raises(Repo2DockerError) as caught:
        await ask(url, *allowed, **more)
    return caught.value


@pytest.mark.usefixtures("names")
async def test_what_is_allowed_is_read_as_before(server: GitServer) -> None:
    assert await ask(at(server, "demo")) == server.head("demo")
    assert await ask(server.url("demo"), "127.0.0.0/8") == server.head("demo")


@pytest.mark.usefixtures("names")
async def test_who_is_refused_is_told_so(server: GitServer) -> None:
    error = await not_reached(server.url("demo"))
    assert isinstance(error, PolicyError)
    assert (error.reason, error.status, error.field) == ("address_not_allowed", 403, "repo")
    assert error.message == (
        f"{server.url('demo')} is at an address that is not on the internet, and this hub fetches"
        " no repositories from such addresses; its administrator can allow it (allowed_networks)."
    )


# Spellings of this machine's address, and of others from where a canary could be asked.
WAYS = [
    *("127.0.0.1", "127.1", "127.0.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1"),
    *("017700000001", "0", "0.0.0.0", "localhost", "LOCALHOST", "localhost.", "127.0.0.1."),
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::1]", "[::]", "[64:ff9b::127.0.0.1]"),
    *("private.test", "PRIVATE.test", "git.test.private.test", "127.0.0.2", "both.test"),
    *(
        "x@127.0.0.1",
        "git.test@127.0.0.1",
        "\uff11\uff12\uff17.0.0.1",
        "127\u30020\u30020\u30021",
        "%31%32%37.0.0.1",
    ),
]


@pytest.mark.parametrize("host", WAYS)
async def test_a_canary_is_never_reached_by_its_address(
    canary: Canary, names: dict[str, list[str]], host: str
) -> None:
    for name in ("private.test", "PRIVATE.test", "git.test.private.test"):
        names[name] = ["127.0.0.1"]
    names["both.test"] = ["127.0.0.1", "::1"]
    await not_reached(f"http://{host}:{canary.port}/x.git")
    assert canary.requests == []


async def test_the_canary_would_be_reached(canary: Canary) -> None:
    """Else the other tests would show nothing."""
    reached = 0
    for host in ("127.0.0.1", "127.1", "0x7f.1", "2130706433", "localhost", "0"):
        before = len(canary.requests)
        await not_reached(f"http://{host}:{canary.port}/x.git", guarded=False)
        reached += len(canary.requests) > before
    assert reached == 6


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_leads_to_no_canary(canary: Canary, code: int) -> None:
    target = f"http://127.0.0.1:{canary.port}/x.git/info/refs?service=git-upload-pack"
    with Canary("127.0.0.1", redirect=(code, target)) as redirecting:
        url = f"http://{ALLOWED}:{redirecting.port}/x.git"
        error = await not_reached(url)
        assert redirecting.requests
        assert canary.requests == []
        assert error.reason == "address_not_allowed"
        assert error.message.startswith(f"{url} leads to 127.0.0.1, which is at an address that")
        if code != 303:
            await not_reached(url.replace(ALLOWED, "127.0.0.1"), guarded=False)
            assert canary.requests


@pytest.mark.usefixtures("names")
async def test_a_redirect_to_what_is_allowed_is_followed(server: GitServer) -> None:
    target = at(server, "demo") + "/info/refs?service=git-upload-pack"
    with Canary("127.0.0.1", redirect=(301, target)) as redirecting:
        url = f"http://{ALLOWED}:{redirecting.port}/renamed.git"
        assert await ask(url) == server.head("demo")


async def test_a_name_is_looked_up_once(
    server: GitServer, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that says another address the second time gains nothing."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def lookup(host: Any, *rest: Any, **more: Any) -> Any:
        if host == "rebinding.test":
            asked.append(host)
            host = "8.8.8.8" if len(asked) == 1 else "127.0.0.1"
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    await not_reached(f"http://rebinding.test:{canary.port}/x.git", timeout=1)
    assert asked == ["rebinding.test"]
    assert canary.requests == []


@pytest.mark.parametrize(
    ("url", "reason", "status"),
    [
        ("http://nowhere.invalid/x", "host_not_found", 404),
        ("https://nowhere.invalid/x", "host_not_found", 404),
        ("ssh://git@nowhere.invalid/x", "host_not_found", 404),
        ("git://nowhere.invalid/x", "host_not_found", 404),
        ("http://git.test:1/x", "host_unreachable", 502),
        ("https://git.test:1/x", "host_unreachable", 502),
        ("ssh://git@git.test:1/x", "host_unreachable", 502),
        ("git://git.test:1/x", "host_unreachable", 502),
    ],
)
@pytest.mark.usefixtures("names")
async def test_what_can_not_be_reached_is_said_as_without_a_guard(
    url: str, reason: str, status: int
) -> None:
    error = await not_reached(url)
    assert isinstance(error, ResolveError)
    assert (error.reason, error.status) == (reason, status)


class Listener:
    """Counts connections, and keeps what was said first."""

    def __init__(self) -> None:
        self.said: list[bytes] = []
        listener = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.settimeout(2)
                self.request.sendall(b"SSH-2.0-canary\r\n")
                listener.said.append(self.request.recv(100))

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = False
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    made.thread.start()
    yield made
    made.server.shutdown()
    made.thread.join()
    made.server.server_close()


@pytest.mark.usefixtures("names")
async def test_ssh_goes_through_the_guard(listener: Listener) -> None:
    error = await not_reached(f"ssh://git@127.0.0.1:{listener.port}/x.git")
    assert error.reason == "address_not_allowed"
    assert listener.said == []
    await not_reached(f"ssh://git@{ALLOWED}:{listener.port}/x.git")
    [said] = listener.said
    assert said.startswith(b"SSH-2.0-OpenSSH")


@pytest.mark.usefixtures("names")
async def test_ssh_goes_through_the_guard_with_a_command_of_ones_own_too(
    listener: Listener,
) -> None:
    environment = {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
    url = f"ssh://git@127.0.0.1:{listener.port}/x.git"
    assert (await not_reached(url, environment=environment)).reason == "address_not_allowed"
    assert listener.said == []


@contextmanager
def git_daemon(folder: Path) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["git", "daemon", "--export-all", "--listen=127.0.0.1", f"--port={port}"]
    with subprocess.Popen(
        [*command, f"--base-path={folder}", "--reuseaddr"], stderr=subprocess.DEVNULL
    ) as process:
        try:
            deadline = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)
            yield port
        finally:
            process.terminate()


@pytest.mark.usefixtures("names")
async def test_gits_own_protocol_goes_through_the_guard(server: GitServer) -> None:
    with git_daemon(server.root) as port:
        assert await ask(f"git://{ALLOWED}:{port}/demo.git") == server.head("demo")
        error = await not_reached(f"git://127.0.0.1:{port}/demo.git")
    assert error.reason == "address_not_allowed"


# -- behind an administrator's proxy -----------------------------------------------------------


@pytest.mark.usefixtures("names")
async def test_a_proxy_is_used_and_what_it_would_be_asked_is_looked_at_before(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{canary.port}")
    for host in ("127.0.0.1", "0x7f.1", "localhost", "10.0.0.1"):
        assert (await not_reached(f"http://{host}/x.git")).reason == "address_not_allowed"
    assert canary.requests == []
    await not_reached("http://known-to-the-proxy.invalid/x.git")
    assert canary.requests[0].startswith("GET http://known-to-the-proxy.invalid/x.git")


async def test_a_redirect_goes_by_the_proxy_too(
    canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the administrator has said that its target needs none."""
    with Canary("127.0.0.1", redirect=(302, f"http://127.0.0.1:{canary.port}/x")) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        await not_reached("http://known-to-the-proxy.invalid/x.git")
        assert len(proxy.requests) > 1
    assert canary.requests == []


@pytest.mark.usefixtures("names")
async def test_what_needs_no_proxy_is_guarded(
    canary: Canary, server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{canary.port}")
    monkeypatch.setenv("no_proxy", f"{ALLOWED},127.0.0.1")
    assert await ask(at(server, "demo")) == server.head("demo")
    assert (await not_reached(server.url("demo"))).reason == "address_not_allowed"
    assert canary.requests == []


# -- DOIs --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("hops", [0, 1])
async def test_a_doi_leads_to_no_canary(canary: Canary, hops: int) -> None:
    async def follow(resolver: str, **more: Any) -> Repo2DockerError:
        with pytest.raises(Repo2DockerError) as caught:
            await resolve(RepoSpec("doi", "10.1/x"), timeout=5, doi_resolver=resolver, **more)
        return caught.value

    target = f"http://127.0.0.1:{canary.port}/"
    with Canary("127.0.0.1", redirect=(302, target)) as registry:
        start = f"http://{ALLOWED}:{registry.port}/" if hops else target
        error = await follow(start, reach=Reach([ALLOWED]))
        assert error.reason == "address_not_allowed"
        assert error.message.startswith("The DOI 10.1/x leads to 127.0.0.1, which is at an")
        assert len(registry.requests) == hops
    assert canary.requests == []


@pytest.mark.usefixtures("names")
async def test_a_doi_is_followed_where_it_may() -> None:
    target = f"http://{ALLOWED}:{{}}/p"
    with Canary("127.0.0.1") as page, Canary("127.0.0.1") as registry:
        registry.redirect = (302, target.format(page.port))
        found = await resolve(
            RepoSpec("doi", "10.1/x"),
            doi_resolver=f"http://{ALLOWED}:{registry.port}/",
            reach=Reach([ALLOWED]),
        )
        assert page.requests == ["HEAD /p"]
    assert found.content_id == target.format(page.port)


async def test_a_checked_lookup_gives_what_is_allowed_alone(names: dict[str, list[str]]) -> None:
    names["both.test"] = ["127.0.0.1", "127.0.0.2", "::1"]
    resolver = CheckedResolver(reach=Reach(["127.0.0.2", "::1"]))
    assert await resolver.resolve("both.test", 80) == [
        (socket.AF_INET, ("127.0.0.2", 80)),
        (socket.AF_INET6, ("::1", 80, 0, 0)),
    ]
    four = await resolver.resolve("both.test", 80, socket.AF_INET)
    assert four == [(socket.AF_INET, ("127.0.0.2", 80))]


# -- sentences ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "refusal", "begin"),
    [
        ("https://a.b/c", Refusal("a.b", "10.0.0.5"), "https://a.b/c is at 10.0.0.5, an address"),
        ("https://a.b/c", Refusal("d", "10.0.0.5"), "https://a.b/c leads to d, which is at 10.0"),
        ("https://10.0.0.5/", Refusal("10.0.0.5", "10.0.0.5"), "https://10.0.0.5/ is at an addr"),
        ("The DOI 10.1/x", Refusal("d", "::1"), "The DOI 10.1/x leads to d, which is at ::1, an"),
    ],
)
def test_a_refusal_is_one_sentence(url: str, refusal: Refusal, begin: str) -> None:
    message = refused(url, refusal).message
    assert message.startswith(begin)
    assert message.endswith("its administrator can allow it (allowed_networks).")


async def test_a_host_is_checked_for_who_connects_by_other_means(
    names: dict[str, list[str]],
) -> None:
    names["private.test"] = ["10.0.0.5"]
    await check_host("https://nowhere.invalid/x", Reach())
    await check_host("https://private.test/x", Reach(["private.test"]))
    with pytest.raises(PolicyError, match=r"is at 10\.0\.0\.5"):
        await check_host("https://private.test/x", Reach())
