"""The guard in a build container: git's way out, and look-ups of repo2docker's own process."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testbed.canary import Canary

from repo2dockerspawner.builds.inside.guard import Refusal
from repo2dockerspawner.builds.inside.guarding import (
    GuardError,
    Reach,
    Way,
    check_host,
    guard_lookups,
    says,
    trusted_hosts,
)


@pytest.fixture
def canary() -> Iterator[Canary]:
    with Canary("127.0.0.1") as running:
        yield running


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def way_for() -> Iterator[Callable[..., Way]]:
    made: list[Way] = []

    def make(*allowed: str) -> Way:
        made.append(Way(allowed))
        return made[-1]

    yield make
    for way in made:
        way.close()


WayFor = Callable[..., Way]


def fetch(way: Way, url: str, folder: Path) -> str:
    """Fetches as OneCommit does; returns what git says."""
    way.choose(url)
    environ = {**os.environ, "GIT_ALLOW_PROTOCOL": "http:git:ssh", "GIT_TERMINAL_PROMPT": "0"}
    way.prepare(environ)
    command = ["git", *way.options(), "ls-remote", url]
    done = subprocess.run(
        command, env=environ, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode
    return done.stderr


@pytest.mark.parametrize("scheme", ["http", "git", "ssh"])
def test_what_is_refused_is_remembered(
    way_for: WayFor, canary: Canary, tmp_path: Path, scheme: str
) -> None:
    way = way_for()
    assert way.refusal() == ""
    fetch(way, f"{scheme}://127.0.0.1:{canary.port}/x", tmp_path)
    assert way.refusal() == "it leads to 127.0.0.1, which is not on the internet"
    assert canary.requests == []


def test_what_is_allowed_is_reached(way_for: WayFor, canary: Canary, tmp_path: Path) -> None:
    way = way_for("127.0.0.1")
    fetch(way, f"http://127.0.0.1:{canary.port}/x", tmp_path)
    assert canary.requests == ["GET /x/info/refs?service=git-upload-pack"]
    assert way.refusal() == ""


def test_an_administrator_s_proxy_is_the_way(
    way_for: WayFor, canary: Canary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{canary.port}")
    way = way_for()
    fetch(way, "http://known-to-the-proxy.invalid/x", tmp_path)
    assert canary.requests[0].startswith("GET http://known-to-the-proxy.invalid/x")
    with pytest.raises(GuardError) as caught:
        way.choose("http://0x7f.1/x")
    assert says(caught.value.refusal) == (
        "it leads to 0x7f.1 (127.0.0.1), which is not on the internet"
    )
    # a choice holds for one repository
    way.choose("https://127.0.0.1/x")
    assert way.options()


def test_a_host_is_checked_for_a_program_that_connects_by_itself() -> None:
    check_host("https://nowhere.invalid/x", Reach())
    check_host("https://localhost/x", Reach(["localhost"]))
    with pytest.raises(GuardError, match="localhost"):
        check_host("https://localhost/x", Reach())
    with pytest.raises(ValueError, match="no host"):
        check_host("/etc", Reach())


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the process's own look-ups are refused, with 127.0.0.9 and a host allowed."""
    said: list[str] = []
    monkeypatch.setattr(socket, "getaddrinfo", socket.getaddrinfo)
    guard_lookups(Reach(["127.0.0.9"]), {"localhost"}, said.append)
    return said


@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f.1", "2130706433", "::1", b"127.1", None])
def test_this_process_finds_no_private_host(told: list[str], host: Any) -> None:
    with pytest.raises(OSError, match="is at"):
        socket.getaddrinfo(host, 80)
    assert told[0].endswith(", which is not on the internet")


def test_this_process_connects_to_nothing_that_it_does_not_find(
    told: list[str], canary: Canary
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", canary.port)
    with pytest.raises(OSError, match="is at"):
        connection.request("GET", "/")
    assert canary.requests == []
    trusted = http.client.HTTPConnection("localhost", canary.port)
    trusted.request("GET", "/")
    trusted.getresponse().read()
    trusted.close()
    assert canary.requests == ["GET /"]
    assert told == ["it leads to 127.0.0.1, which is not on the internet"]


@pytest.mark.usefixtures("told")
def test_this_process_finds_what_is_allowed() -> None:
    assert socket.getaddrinfo("127.0.0.9", 80)
    assert socket.getaddrinfo("8.8.8.8", 80)


def test_hosts_that_an_administrator_has_set_are_trusted() -> None:
    environ = {
        "DOCKER_HOST": "tcp://engine.corp:2376",
        "HTTPS_PROXY": "http://user:word@proxy.corp:3128",
        "http_proxy": "http://other.corp",
        "all_proxy": "",
    }
    assert trusted_hosts(environ) == {"engine.corp", "proxy.corp", "other.corp"}
    assert trusted_hosts({"DOCKER_HOST": "unix:///var/run/docker.sock"}) == set()


def test_a_refusal_has_name_and_address() -> None:
    assert says(Refusal("a.corp", "10.0.0.5")) == (
        "it leads to a.corp (10.0.0.5), which is not on the internet"
    )
