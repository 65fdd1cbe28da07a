"""git and ssh get a credential for its place, and nobody else gets anything.

Real git against a server that demands passwords from everybody, real ssh against a real server.
"""

from __future__ import annotations

import ast
import base64
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
from testbed.gitserver import GitServer
from testbed.hostileserver import HostileServer
from testbed.sshserver import SshServer

from repo2dockerspawner.builds.inside import gitaccess
from repo2dockerspawner.builds.inside.gitaccess import GitAccess
from repo2dockerspawner.credentials import Credential

ODD = "p\"a\\s's%d $(id) `id` é;#"


def given(*credentials: Credential) -> list[dict[str, str]]:
    return [asdict(one) for one in credentials]


def git(
    access: GitAccess, *arguments: str, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
        **access.environment,
    }
    return subprocess.run(
        ["git", *access.options, *arguments],
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def hostile() -> Iterator[HostileServer]:
    with HostileServer() as server:
        yield server


@pytest.fixture(scope="module")
def canary() -> Iterator[HostileServer]:
    with HostileServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    before = psutil.Process().num_fds()
    yield
    # the servers' threads close their connections a moment later
    deadline = time.monotonic() + 5
    while psutil.Process().num_fds() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert psutil.Process().num_fds() <= before


def sent(server: HostileServer, since: int = 0) -> list[str]:
    """What came as a user name and password, as text."""
    found = [one.authorization for one in server.requests[since:] if one.authorization]
    return [base64.b64decode(one.removeprefix("Basic ")).decode() for one in found]


# -- where it is sent -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "url", "comes"),
    [
        ("http://127.0.0.1:{port}", "http://127.0.0.1:{port}/group/one.git", True),
        ("http://127.0.0.1:{port}/", "http://127.0.0.1:{port}/group/one.git", True),
        ("http://127.0.0.1:{port}/group", "http://127.0.0.1:{port}/group/one.git", True),
        ("http://127.0.0.1:{port}/group/", "http://127.0.0.1:{port}/group/one.git", True),
        ("http://127.0.0.1:{port}/group", "http://127.0.0.1:{port}/group", True),
        ("http://127.0.0.1:{port}/group/one", "http://127.0.0.1:{port}/group/one/", True),
        ("http://LOCALHOST:{port}/group", "http://localhost:{port}/group/one.git", True),
        # several slashes are one to git, as to most servers
        ("http://127.0.0.1:{port}/group", "http://127.0.0.1:{port}//group/one.git", True),
        # look-alikes
        ("http://127.0.0.1:{port}/group", "http://127.0.0.1:{port}/group-evil/one.git", False),
        ("http://127.0.0.1:{port}/group", "http://127.0.0.1:{port}/groups", False),
        ("http://127.0.0.1:{port}/group", "http://127.0.0.1:{port}/", False),
        ("http://127.0.0.1:{port}/group", "http://127.0.0.1:{port}/group/../evil/one.git", False),
        ("http://127.0.0.1:{port}/group", "http://127.0.0.1:{port}/group/%2e%2e/evil/one", False),
        ("http://127.0.0.1:{port}/group", "http://127.0.0.1:{port}/Group/one.git", False),
        ("http://127.0.0.1:{port}/group", "http://127.0.0.1:{port}/evil/group/one.git", False),
        ("http://127.0.0.1:{port}", "http://localhost:{port}/group/one.git", False),
        ("http://127.0.0.1", "http://127.0.0.1:{port}/group/one.git", False),
        ("http://127.0.0.1:1", "http://127.0.0.1:{port}/group/one.git", False),
        ("https://127.0.0.1:{port}", "http://127.0.0.1:{port}/group/one.git", False),
        ("http://local:{port}", "http://localhost:{port}/group/one.git", False),
        ("http://host:{port}", "http://localhost:{port}/group/one.git", False),
        ("http://localhost.evil.org:{port}", "http://localhost:{port}/group/one.git", False),
        ("http://127.0.0.1:{port}@evil.org", "http://127.0.0.1:{port}/group/one.git", False),
        ("http://example.org:{port}", "http://example.org:{port}@127.0.0.1:{port}/one", False),
    ],
)
def test_it_is_sent_to_its_place_alone(
    hostile: HostileServer, place: str, url: str, comes: bool
) -> None:
    since = len(hostile.requests)
    credential = Credential(place.format(port=hostile.port), "ann", ODD)
    with GitAccess(given(credential)) as access:
        done = git(access, "ls-remote", url.format(port=hostile.port))
    assert done.returncode
    assert len(hostile.requests) > since
    found = sent(hostile, since)
    # what an address brings itself is the address's own
    assert [one for one in found if ODD in one] == ([f"ann:{ODD}"] if comes else [])


def test_of_two_places_the_narrower_one_counts_in_whatever_order(hostile: HostileServer) -> None:
    base = f"http://127.0.0.1:{hostile.port}"
    wide, narrow = Credential(base, "ann", "wide"), Credential(f"{base}/group", "", "narrow")
    for credentials in ([wide, narrow], [narrow, wide]):
        since = len(hostile.requests)
        with GitAccess(given(*credentials)) as access:
            git(access, "ls-remote", f"{base}/group/one.git")
            git(access, "ls-remote", f"{base}/other/one.git")
        assert sent(hostile, since) == ["oauth2:narrow", "ann:wide"]


def test_a_redirect_within_the_place_is_followed_with_it(
    hostile: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as GitLab does with an address without .git
    monkeypatch.setitem(hostile.redirects, "/group/moved/", "/group/moved.git/")
    since = len(hostile.requests)
    credential = Credential(f"http://127.0.0.1:{hostile.port}", "ann", "tok")
    with GitAccess(given(credential)) as access:
        git(access, "ls-remote", f"http://127.0.0.1:{hostile.port}/group/moved")
    assert sent(hostile, since) == ["ann:tok"]
    assert hostile.requests[-1].path.startswith("/group/moved.git/")


@pytest.mark.parametrize("way", ["other port", "other name", "other path", "after a login"])
def test_a_redirect_to_elsewhere_is_followed_without_it(
    hostile: HostileServer, canary: HostileServer, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    base = f"http://127.0.0.1:{hostile.port}"
    target = {
        "other port": canary.url("x/"),
        "other name": hostile.url("x/", host="localhost"),
        "other path": "/elsewhere/x/",
        "after a login": canary.url("x/", host="localhost"),
    }[way]
    monkeypatch.setitem(hostile.redirects, "/group/away.git/", target)
    since = len(hostile.requests), len(canary.requests)
    with GitAccess(given(Credential(f"{base}/group", "ann", "tok"))) as access:
        done = git(access, "ls-remote", f"{base}/group/away.git")
    assert done.returncode
    assert len(hostile.requests) + len(canary.requests) - sum(since) >= 2
    assert sent(hostile, since[0]) == sent(canary, since[1]) == []


def test_it_opens_a_repository_and_its_submodules_at_the_same_place_alone(
    tmp_path: Path, canary: HostileServer
) -> None:
    with GitServer(tmp_path / "served") as server:
        inner = server.create("group/inner", {"file": "inner"})
        modules = f'[submodule "inner"]\n\tpath = inner\n\turl = {server.url("group/inner")}\n'
        files = {".gitmodules": modules, "inner": inner}
        server.create("group/outer", {"file": "outer"})
        good = server.commit("group/outer", files, modes={"inner": "160000"})
        evil = server.commit(
            "group/outer",
            {".gitmodules": modules.replace(server.url("group/inner"), canary.url("inner"))},
        )
        for name in ("group/inner", "group/outer"):
            server.require_auth(name, "ann", ODD)
        base = f"http://{server.host}:{server.port}"
        since = len(canary.requests)
        with GitAccess(given(Credential(base, "ann", ODD))) as access:
            for commit, folder, code in ((good, "good", 0), (evil, "evil", 1)):
                where = tmp_path / folder
                git(access, "init", "-q", str(where))
                fetched = git(access, "fetch", "-q", server.url("group/outer"), commit, cwd=where)
                assert fetched.returncode == 0, fetched.stderr
                git(access, "checkout", "-q", "FETCH_HEAD", cwd=where)
                done = git(access, "submodule", "update", "--init", "--recursive", cwd=where)
                assert done.returncode == code, done.stderr
    assert (tmp_path / "good/inner/file").read_text() == "inner"
    asked = canary.requests[since:]
    assert asked
    assert not [one for one in asked if one.authorization]
    for folder in ("good", "evil"):
        for path in (tmp_path / folder).rglob("*"):
            assert not path.is_file() or ODD.encode() not in path.read_bytes()


# -- where it can be seen -------------------------------------------------------------------------


def test_no_command_line_and_no_environment_has_it(hostile: HostileServer) -> None:
    place = f"http://127.0.0.1:{hostile.port}"
    with GitAccess(given(Credential(place, "ann", ODD))) as access:
        assert ODD not in repr(access.options) + repr(access.environment)
        # of all processes, and the files that git's children have open
        script = "!cat /proc/*/cmdline /proc/*/environ 2>/dev/null; env; ls -l /proc/self/fd"
        done = git(access, "-c", f"alias.seen={script}", "seen")
        assert access.options[1] in done.stdout
    assert ODD not in done.stdout + done.stderr
    assert "memfd" not in done.stdout


def test_after_its_end_nothing_can_be_read_any_more() -> None:
    access = GitAccess(given(Credential("https://host", "ann", ODD), key_credential("git", "host")))
    paths = [
        access.options[1].removeprefix("include.path="),
        access.environment["GIT_SSH_COMMAND"].split()[-1],
    ]
    paths += [
        word.rstrip(";") for word in Path(paths[0]).read_text().split() if word.startswith("/proc/")
    ]
    assert len(paths) == 3
    assert ODD in Path(paths[2]).read_text()
    for path in paths:
        assert Path(path).stat().st_mode & 0o777 == 0o600
    access.close()
    assert not [path for path in paths if Path(path).exists()]
    assert access.options == []
    assert access.environment == {}


def test_where_memory_files_are_missing_a_file_of_one_account_takes_their_place(
    hostile: HostileServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr(gitaccess.tempfile, "tempdir", str(tmp_path))
    since = len(hostile.requests)
    place = f"http://127.0.0.1:{hostile.port}"
    with GitAccess(given(Credential(place, "ann", ODD))) as access:
        files = list(tmp_path.iterdir())
        assert [path.stat().st_mode & 0o777 for path in files] == [0o600] * 2
        git(access, "ls-remote", f"{place}/one")
    assert sent(hostile, since) == [f"ann:{ODD}"]
    assert not list(tmp_path.iterdir())


# -- what can't be handed over --------------------------------------------------------------------


@pytest.mark.parametrize("char", ["\n", "\r", "\0", "\x1b", "\x7f", "\t"])
@pytest.mark.parametrize("name", ["place", "username", "password"])
def test_a_text_that_would_begin_a_line_of_its_own_is_refused(name: str, char: str) -> None:
    credential = {"place": "https://host", "username": "ann", "password": "secret"}
    credential[name] += f"{char}host = evil"
    with pytest.raises(ValueError, match="control characters") as caught:
        GitAccess([credential])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "place",
    ["ssh://git@ho st", "ssh://git@*", "ssh://git@a,b", "ssh://g*t@host", "ssh://", "ssh://!a"],
)
def test_a_place_that_would_be_a_pattern_of_ssh_is_refused(place: str) -> None:
    with pytest.raises(ValueError, match="ssh://user@host"):
        GitAccess([{"place": place, "key": "k", "known_hosts": "h"}])


def test_without_credentials_there_is_nothing() -> None:
    with GitAccess([]) as access:
        assert access.options == []
        assert access.environment == {}


def test_it_runs_alone_and_under_the_oldest_python_of_repo2docker() -> None:
    tree = ast.parse(Path(gitaccess.__file__).read_text(encoding="utf-8"), feature_version=(3, 9))
    imported = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not [name for name in imported if name is None or "repo2docker" in name]
    assert not [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.level]


# -- ssh ------------------------------------------------------------------------------------------


def key_credential(user: str, host: str, **more: Any) -> Credential:
    return Credential(f"ssh://{user}@{host}", **{"key": "key", "known_hosts": "host key", **more})


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    root = tmp_path_factory.mktemp("ssh")
    with GitServer(root / "served") as server:
        server.create("group/one", {"file": "1"})
    with SshServer(root / "served") as made:
        yield made


def test_a_deploy_key_opens_its_host(ssh: SshServer) -> None:
    credential = key_credential("git", "127.0.0.1", key=ssh.key, known_hosts=ssh.known_hosts)
    with GitAccess(given(credential)) as access:
        done = git(access, "ls-remote", ssh.url("group/one"), "refs/heads/main")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("refs/heads/main\n")


def test_two_keys_each_open_their_own_account(ssh: SshServer) -> None:
    mine = key_credential("git", "127.0.0.1", key=ssh.key, known_hosts=ssh.known_hosts)
    other = key_credential("other", "127.0.0.1", key=ssh.new_key(), known_hosts=ssh.known_hosts)
    for order in ([mine, other], [other, mine]):
        ssh.offered.clear()
        with GitAccess(given(*order)) as access:
            done = git(access, "ls-remote", ssh.url("group/one"))
        assert done.returncode == 0, done.stderr
        assert set(ssh.offered) == {("git", ssh.public_key)}


def test_a_changed_host_key_is_refused_and_the_key_not_offered(ssh: SshServer) -> None:
    changed = f"[127.0.0.1]:{ssh.port} {ssh.public(ssh.new_key())}"
    ssh.offered.clear()
    credential = key_credential("git", "127.0.0.1", key=ssh.key, known_hosts=changed)
    with GitAccess(given(credential)) as access:
        done = git(access, "ls-remote", ssh.url("group/one"))
    assert done.returncode
    assert "Host key verification failed" in done.stderr
    assert ssh.offered == []


@pytest.mark.parametrize(
    "place", ["ssh://other@127.0.0.1", "ssh://git@127.0.0.2", "ssh://git@host"]
)
def test_a_key_is_offered_to_no_other_host_or_account(
    ssh: SshServer, place: str, tmp_path: Path
) -> None:
    credential = Credential(place, key=ssh.key, known_hosts=ssh.known_hosts)
    ssh.offered.clear()
    known = tmp_path / "known"
    known.write_text(ssh.known_hosts)
    with GitAccess(given(credential), ssh=f"ssh -o UserKnownHostsFile={known}") as access:
        done = git(access, "ls-remote", ssh.url("group/one"))
    assert "Permission denied" in done.stderr
    assert ssh.offered == []
