"""The configuration that runs inside a build container, with a stand-in for repo2docker.

git and its servers are real; tests/docker/test_one_commit.py runs it under the real repo2docker.
"""

from __future__ import annotations

import ast
import functools
import http.server
import json
import logging
import random
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from testbed.canary import Canary
from testbed.gitserver import GitServer

from repo2dockerspawner.builds.inside.gitaccess import GitAccess

INSIDE = Path(__file__).parents[2] / "repo2dockerspawner" / "builds" / "inside"
CONFIG = INSIDE / "repo2docker_config.py"
ABSENT = "0123456789abcdef0123456789abcdef01234567"


class ContentProviderError(Exception):
    pass


class Git:
    """What repo2docker's own offers to a subclass."""

    _sha1: str

    def __init__(self) -> None:
        self.log = logging.getLogger("repo2docker")

    @property
    def content_id(self) -> str:
        return self._sha1[:7]


class State(Enum):
    FETCHING = "fetching"
    FAILED = "failed"


@pytest.fixture
def repo2docker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the stand-in in repo2docker's place, and no configuration of this machine's."""
    names = ("Zenodo", "Figshare", "Dataverse", "Hydroshare", "Swhid", "CKAN", "Mercurial")
    modules = {
        "repo2docker": {},
        "repo2docker.contentproviders": {
            "Git": Git,
            **{name: type(name, (), {}) for name in names},
        },
        "repo2docker.contentproviders.base": {"ContentProviderException": ContentProviderError},
        "repo2docker.utils": {"R2dState": State},
    }
    for name, attributes in modules.items():
        module = ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    contentproviders = sys.modules["repo2docker.contentproviders"]
    sys.modules["repo2docker"].contentproviders = contentproviders  # type: ignore[attr-defined]
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    # what the configuration puts there for itself
    monkeypatch.setattr(sys, "path", list(sys.path))


Load = Callable[..., list[Any]]


@pytest.fixture
def load(repo2docker: None, tmp_path: Path) -> Load:
    """Executes the configuration as traitlets does; returns the providers that it names."""

    def load(settings: dict[str, Any] | None = None, **more: Any) -> list[Any]:
        path = tmp_path / CONFIG.name
        source = CONFIG.read_bytes()
        shutil.copytree(INSIDE, tmp_path / "inside", dirs_exist_ok=True)
        text = json.dumps(settings if settings is not None else {"provider": "git", **more})
        path.with_name("settings.json").write_text(text, encoding="utf-8")
        config = SimpleNamespace(Repo2Docker=SimpleNamespace(content_providers=None))
        scope = {"__file__": str(path), "get_config": lambda: config, "c": config}
        exec(compile(source, str(path), "exec"), scope)
        providers = list(config.Repo2Docker.content_providers)
        sys.modules["repo2docker"].given = providers[0]  # type: ignore[attr-defined]
        return providers

    return load


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with GitServer(tmp_path_factory.mktemp("repositories")) as server:
        yield server


@dataclass(frozen=True)
class History:
    """A repository of three commits, and a fourth that no branch leads to."""

    url: str
    commits: list[str]


@pytest.fixture(scope="module")
def history(server: GitServer) -> History:
    made = [server.create("history", {"file": "1"})]
    made += [server.commit("history", {"file": str(number)}) for number in (2, 3)]
    made.append(server.commit("history", {"file": "4"}, branch="gone", parent=made[-1]))
    server._git("history", "update-ref", "refs/pull/1/head", made[-1])
    server.delete_ref("history", "refs/heads/gone")
    server.tag("history", "v1", made[0], annotated=True)
    server._git("history", "update-server-info")
    return History(server.url("history"), made)


class Fetched:
    """A checkout, and what was said on the way to it."""

    def __init__(self, provider: Any, url: str, ref: str | None, where: Path, *, capture: bool):
        where.mkdir()
        self.where = where
        self.lines: list[str] = []
        self.lines += provider.fetch({"repo": url, "ref": ref}, str(where), capture)
        self.content_id = provider.content_id

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def git(self, *arguments: str, where: str = ".") -> str:
        command = ["git", "-C", str(self.where / where), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def count(self, where: str = ".") -> int:
        return int(self.git("rev-list", "--count", "HEAD", where=where))


Fetch = Callable[..., Fetched]


@pytest.fixture
def fetch(load: Load, tmp_path: Path) -> Fetch:
    def fetch(
        url: str, ref: str | None, depth: int = 1, *, capture: bool = True, **more: Any
    ) -> Fetched:
        [provider] = load(**{"clone_depth": depth, "protocols": ["http"], **more})
        return Fetched(provider(), url, ref, tmp_path / "checkout", capture=capture)

    return fetch


def test_it_runs_under_the_oldest_python_of_a_repo2docker_image() -> None:
    ast.parse(CONFIG.read_text(encoding="utf-8"), feature_version=(3, 9))


# -- which providers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"provider": "git", "clone_depth": 1}, ["OneCommit"]),
        ({"provider": "zenodo"}, ["Zenodo"]),
        ({"provider": "figshare"}, ["Figshare"]),
        ({"provider": "dataverse"}, ["Dataverse"]),
        ({"provider": "hydroshare"}, ["Hydroshare"]),
        ({"provider": "swhid"}, ["Swhid"]),
        ({"provider": "ckan"}, ["CKAN"]),
        ({"provider": "mercurial"}, ["Mercurial"]),
        ({"provider": "doi", "providers": ["figshare", "git", "zenodo"]}, ["Zenodo", "Figshare"]),
        ({"provider": "doi", "providers": ["hydroshare"]}, ["Hydroshare"]),
    ],
    ids=lambda value: value.get("provider") if isinstance(value, dict) else "",
)
def test_a_build_gets_the_providers_that_it_needs_alone(
    load: Load, settings: dict[str, Any], names: list[str]
) -> None:
    assert [provider.__name__ for provider in load(settings)] == names


@pytest.mark.parametrize(
    "settings",
    [
        {},
        [],
        {"provider": "local"},
        {"provider": ["git"]},
        {"provider": "git"},
        {"provider": "git", "clone_depth": "many"},
        {"provider": "doi"},
        {"provider": "doi", "providers": ["git", "swhid"]},
    ],
    ids=repr,
)
def test_settings_that_say_nothing_usable_end_the_process(load: Load, settings: Any) -> None:
    # An Exception would not: traitlets logs it, and repo2docker goes on with all its providers.
    with pytest.raises(SystemExit, match="repo2dockerspawner: the build's settings"):
        load(settings)


def test_a_repo2docker_that_is_too_old_ends_the_process(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(sys.modules["repo2docker.utils"], "R2dState")
    with pytest.raises(SystemExit, match="repo2dockerspawner: this repo2docker can't be used"):
        load(clone_depth=1)


# -- one commit --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "which", "count"),
    [
        pytest.param(1, 2, 1, id="the newest alone"),
        pytest.param(1, 1, 1, id="one in the middle alone"),
        pytest.param(1, 3, 1, id="one that no branch leads to alone"),
        pytest.param(2, 1, 2, id="with one before it"),
        pytest.param(9, 2, 3, id="with more than there are"),
        pytest.param(0, 1, 2, id="with all before it"),
        pytest.param(0, 3, 4, id="one that no branch leads to, with all before it"),
    ],
)
def test_a_commit_comes_with_as_much_history_as_asked_for(
    fetch: Fetch, history: History, depth: int, which: int, count: int
) -> None:
    fetched = fetch(history.url, history.commits[which], depth)
    assert fetched.git("rev-parse", "HEAD") == history.commits[which]
    assert fetched.count() == count
    assert (fetched.where / "file").read_text() == str(which + 1)
    assert fetched.git("status", "--porcelain") == ""
    assert fetched.git("remote", "get-url", "origin") == history.url
    assert fetched.content_id == history.commits[which][:7]
    assert f"HEAD is now at {history.commits[which][:7]}" in fetched.text


def test_what_is_fetched_is_said(fetch: Fetch, server: GitServer, history: History) -> None:
    first = fetch(history.url, history.commits[1]).lines[0]
    assert first == f"Fetching commit {history.commits[1][:7]} of {server.url('history')} alone\n"


def test_the_whole_history_has_its_branches_and_tags(fetch: Fetch, history: History) -> None:
    refs = fetch(history.url, history.commits[1], 0).git("for-each-ref", "--format=%(refname)")
    assert refs.split() == ["refs/remotes/origin/main", "refs/tags/v1"]


def test_a_commit_alone_can_be_given_its_history_later(fetch: Fetch, history: History) -> None:
    fetched = fetch(history.url, history.commits[1])
    fetched.git("fetch", "--quiet", "--unshallow")
    assert fetched.count() == 2
    assert fetched.git("rev-parse", "origin/main") == history.commits[2]


def test_without_json_logs_git_prints_by_itself(fetch: Fetch, history: History) -> None:
    fetched = fetch(history.url, history.commits[1], capture=False)
    assert len(fetched.lines) == 1
    assert fetched.git("rev-parse", "HEAD") == history.commits[1]


def test_a_repository_of_longer_ids_can_be_fetched(fetch: Fetch, server: GitServer) -> None:
    path = server.path("sha256")
    init = ["git", "init", "--quiet", "--bare", "--object-format=sha256", "-b", "main", str(path)]
    subprocess.run(init, check=True)
    commit = server.commit("sha256", {"file": "1"})
    assert len(commit) == 64
    assert fetch(server.url("sha256"), commit).git("rev-parse", "HEAD") == commit


# -- servers that don't hand out a commit alone ------------------------------------------------


@pytest.fixture
def old_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """git's protocol 0, in which a server hands out the tips of its refs alone."""
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "protocol.version")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "0")


@pytest.mark.usefixtures("old_protocol")
def test_a_server_that_refuses_an_id_is_asked_for_everything(
    fetch: Fetch, history: History
) -> None:
    fetched = fetch(history.url, history.commits[1])
    assert "fetching the whole history\n" in fetched.text
    assert fetched.git("rev-parse", "HEAD") == history.commits[1]
    assert fetched.count() == 2


@pytest.fixture
def dumb_url(server: GitServer, history: History) -> Iterator[str]:
    """The same repositories from a server of files, as any web server is one."""

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    handler = functools.partial(Silent, directory=str(server.root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as files:
        thread = threading.Thread(target=files.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{files.server_address[1]}/history.git"
        files.shutdown()
        thread.join()


def test_a_server_of_files_is_asked_for_everything(
    fetch: Fetch, dumb_url: str, history: History
) -> None:
    assert fetch(dumb_url, history.commits[1]).git("rev-parse", "HEAD") == history.commits[1]


# -- abbreviated commits -----------------------------------------------------------------------


@pytest.mark.parametrize("length", [7, 12, 39])
def test_an_abbreviated_commit_is_looked_for_in_the_whole_history(
    fetch: Fetch, history: History, length: int
) -> None:
    fetched = fetch(history.url, history.commits[1][:length])
    assert fetched.git("rev-parse", "HEAD") == history.commits[1]
    assert fetched.content_id == history.commits[1][:7]


def test_an_abbreviation_of_two_commits_is_refused(fetch: Fetch, server: GitServer) -> None:
    server.create("many", {"file": "0"})
    person = "committer A <a@example.org> {} +0000\ndata 0\n"
    stream = "".join(f"commit refs/heads/all\n{person.format(at)}" for at in range(1_500))
    server._git("many", "fast-import", "--quiet", "--force", stdin=stream.encode())
    ids = server._git("many", "rev-list", "all").split()
    [(twice, count)] = Counter(commit[:4] for commit in ids).most_common(1)
    assert count > 1
    with pytest.raises(ContentProviderError, match="more than one begins so"):
        fetch(server.url("many"), twice)


def test_a_tag_named_like_an_abbreviation_is_not_taken_for_it(
    fetch: Fetch, server: GitServer
) -> None:
    commit = server.create("tagged", {"file": "1"})
    server.tag("tagged", "deadbee", commit)
    with pytest.raises(ContentProviderError, match="commit deadbee is not in this repository"):
        fetch(server.url("tagged"), "deadbee")


# -- what can't be had -------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("ref", [ABSENT, ABSENT[:8]])
def test_a_commit_that_is_not_there_is_said_in_a_line_of_its_own(
    fetch: Fetch,
    history: History,
    caplog: pytest.LogCaptureFixture,
    depth: int,
    ref: str,
) -> None:
    sentence = f"repo2dockerspawner: commit {ref} is not in this repository"
    with pytest.raises(ContentProviderError, match=sentence):
        fetch(history.url, ref, depth)
    [record] = caplog.records
    assert record.getMessage().startswith(sentence)
    assert record.getMessage().endswith("\n")
    assert vars(record)["phase"] is State.FAILED


@pytest.mark.parametrize("depth", [0, 1])
def test_a_repository_that_is_not_there_is_said_as_repo2docker_does(
    fetch: Fetch, server: GitServer, depth: int
) -> None:
    url = server.url(f"nothing-{depth}")
    with pytest.raises(ContentProviderError, match=f"Failed to clone repository from {url}."):
        fetch(url, ABSENT, depth)
    assert len(server.requests_of(f"nothing-{depth}")) == 1


def test_a_repository_that_asks_for_a_password_gets_none(fetch: Fetch, server: GitServer) -> None:
    commit = server.create("private", {"file": "1"})
    server.require_auth("private", "user", "password")
    with pytest.raises(ContentProviderError, match="Failed to clone"):
        fetch(server.url("private"), commit)


@pytest.mark.parametrize(
    "ref",
    [
        *("", None, "HEAD", "main", "abc", "ABCDEF0", "-0", "--upload-pack=touch x", "0" * 65),
        *("0123456 ", "0123456\n", "0123456:x", "0123456^{/x}", "٠١٢٣٤٥٦"),
    ],
)
def test_a_ref_that_is_no_commit_never_reaches_git(
    fetch: Fetch, tmp_path: Path, ref: str | None
) -> None:
    with pytest.raises(ContentProviderError, match="repo2dockerspawner: the ref is no commit"):
        fetch("http://127.0.0.1:1/x.git", ref)
    assert not list((tmp_path / "checkout").iterdir())


@pytest.mark.parametrize("url", ["--upload-pack=touch x", "-x", "http://x/\ny", "http://x/ y"])
def test_an_address_that_is_an_option_never_reaches_git(
    fetch: Fetch, tmp_path: Path, url: str
) -> None:
    with pytest.raises(ContentProviderError, match="repo2dockerspawner: the repository's address"):
        fetch(url, ABSENT)
    assert not list((tmp_path / "checkout").iterdir())


@pytest.mark.parametrize("protocols", [{}, {"protocols": ["http"]}], ids=["default", "http"])
@pytest.mark.parametrize("form", ["ext::touch {}", "{}", "file://{}"])
def test_git_runs_no_command_and_reads_no_folder_of_the_container(
    load: Load, server: GitServer, tmp_path: Path, form: str, protocols: dict[str, Any]
) -> None:
    commit = server.create(f"local-{tmp_path.name}", {"file": "1"})
    mark = tmp_path / "mark"
    target = mark if form.startswith("ext") else server.path(f"local-{tmp_path.name}")
    [provider] = load(clone_depth=1, **protocols)
    with pytest.raises(ContentProviderError):
        Fetched(provider(), form.format(target), commit, tmp_path / "checkout", capture=True)
    assert not mark.exists()


def test_no_hook_runs(
    fetch: Fetch,
    history: History,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = tmp_path / "template" / "hooks" / "post-checkout"
    hook.parent.mkdir(parents=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/mark\n")
    hook.chmod(0o755)
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(hook.parents[1]))
    fetch(history.url, history.commits[1])
    assert not (tmp_path / "mark").exists()


# -- submodules --------------------------------------------------------------------------------


def with_submodule(server: GitServer, name: str, url: str, commit: str) -> str:
    """Makes a repository with another one in ``inner``."""
    modules = f'[submodule "inner"]\n\tpath = inner\n\turl = {url}\n'
    server.create(name, {"file": "outer"})
    files = {".gitmodules": modules, "inner": commit}
    return server.commit(name, files, modes={"inner": "160000"})


@pytest.mark.parametrize(("depth", "count"), [(1, 1), (0, 2)])
def test_a_submodule_comes_with_as_much_history(
    fetch: Fetch, server: GitServer, history: History, depth: int, count: int
) -> None:
    commit = with_submodule(server, f"outer-{depth}", history.url, history.commits[1])
    fetched = fetch(server.url(f"outer-{depth}"), commit, depth)
    assert fetched.git("rev-parse", "HEAD", where="inner") == history.commits[1]
    assert fetched.count("inner") == count
    assert (fetched.where / "inner" / "file").read_text() == "2"


def test_a_submodule_of_a_submodule_comes_too(
    fetch: Fetch, server: GitServer, history: History
) -> None:
    middle = with_submodule(server, "middle", history.url, history.commits[1])
    outer = with_submodule(server, "outermost", server.url("middle"), middle)
    fetched = fetch(server.url("outermost"), outer)
    assert fetched.git("rev-parse", "HEAD", where="inner/inner") == history.commits[1]


@pytest.mark.usefixtures("old_protocol")
def test_a_submodule_that_its_server_refuses_alone_is_fetched_whole(
    fetch: Fetch, server: GitServer, history: History
) -> None:
    commit = with_submodule(server, "outer-old", history.url, history.commits[0])
    fetched = fetch(server.url("outer-old"), commit)
    assert "A submodule can't be fetched alone" in fetched.text
    assert fetched.git("rev-parse", "HEAD", where="inner") == history.commits[0]


def test_a_submodule_of_the_containers_own_files_is_refused(
    fetch: Fetch, server: GitServer, history: History
) -> None:
    url = f"file://{server.path('history')}"
    commit = with_submodule(server, "outer-file", url, history.commits[1])
    with pytest.raises(subprocess.CalledProcessError):
        fetch(server.url("outer-file"), commit, protocols=["http", "file"])


# -- where it may fetch from, and how much ---------------------------------------------------------


@pytest.fixture
def canary() -> Iterator[Canary]:
    with Canary("127.0.0.1") as running:
        yield running


@pytest.fixture
def guarded(fetch: Fetch) -> Iterator[Fetch]:
    """Fetches with the guard, which allows the git server by a name alone."""
    classes: list[Any] = []

    def fetch_guarded(url: str, ref: str, **more: Any) -> Fetched:
        try:
            return fetch(url, ref, guarded=True, **more)
        finally:
            classes.append(sys.modules["repo2docker"].given)

    yield fetch_guarded
    for one in classes:
        one.way.close()


def test_what_is_allowed_is_fetched_with_its_submodules(
    guarded: Fetch, server: GitServer, history: History
) -> None:
    commit = with_submodule(server, "outer-guarded", history.url, history.commits[1])
    fetched = guarded(server.url("outer-guarded"), commit, allowed_networks=["127.0.0.1"])
    assert fetched.git("rev-parse", "HEAD", where="inner") == history.commits[1]
    assert "http.proxy" not in (fetched.where / ".git" / "config").read_text()
    assert "http.proxy" not in (fetched.where / ".git/modules/inner/config").read_text()


@pytest.mark.parametrize("depth", [0, 1])
def test_what_is_refused_is_said_in_a_line_of_its_own(
    guarded: Fetch, server: GitServer, history: History, caplog: Any, depth: int
) -> None:
    before = len(server.requests)
    with pytest.raises(ContentProviderError, match=r"leads to 127\.0\.0\.1, which is not on"):
        guarded(history.url, history.commits[1], depth=depth)
    assert len(server.requests) == before
    assert [record.getMessage() for record in caplog.records] == [
        "repo2dockerspawner: it leads to 127.0.0.1, which is not on the internet\n"
    ]


@pytest.mark.parametrize("depth", [0, 1])
def test_a_submodule_leads_to_no_canary(
    guarded: Fetch, server: GitServer, history: History, canary: Canary, depth: int
) -> None:
    url = f"http://127.0.0.2:{canary.port}/x.git"
    commit = with_submodule(server, f"outer-canary-{depth}", url, history.commits[1])
    with pytest.raises(ContentProviderError, match=r"leads to 127\.0\.0\.2, which is not on"):
        guarded(
            server.url(f"outer-canary-{depth}"), commit, depth=depth, allowed_networks=["127.0.0.1"]
        )
    assert canary.requests == []


@pytest.mark.parametrize("content", ["large", "many", "submodule", "history", "checkout"])
def test_a_repository_that_is_too_large_is_refused(
    fetch: Fetch, server: GitServer, content: str, tmp_path: Path, caplog: Any
) -> None:
    name = f"large-{content}"
    noise = {"file": random.Random(1).randbytes(300_000)}
    commit = server.create(name, {"a": "b"})
    depth = 0 if content == "history" else 1
    if content == "many":
        noise = {f"{number}": random.Random(number).randbytes(3_000) for number in range(100)}
    if content == "checkout":
        noise = {"file": bytes(300_000)}
    if content == "submodule":
        server.create(f"{name}-inner", {"a": "b"})
        inner = server.commit(f"{name}-inner", noise)
        commit = with_submodule(server, f"{name}-outer", server.url(f"{name}-inner"), inner)
        name = f"{name}-outer"
    else:
        commit = server.commit(name, noise)
    if content == "history":
        commit = server.commit(name, {"file": None})
    with pytest.raises(ContentProviderError, match=r"the repository is larger than 0\.2 MiB"):
        fetch(server.url(name), commit, depth, size_limit=200_000)
    [record] = caplog.records
    assert record.getMessage() == "repo2dockerspawner: the repository is larger than 0.2 MiB\n"
    assert fetch_again(fetch, tmp_path, server.url(name), commit, depth, size_limit=2_000_000)


def fetch_again(fetch: Fetch, folder: Path, *arguments: Any, **more: Any) -> Fetched:
    shutil.rmtree(folder / "checkout")
    return fetch(*arguments, **more)


class Source:
    """One of repo2docker's own content providers, which writes by itself."""

    files = 3

    def __init__(self) -> None:
        self.log = logging.getLogger("repo2docker")

    def detect(self, source: str, ref: Any = None, extra_args: Any = None) -> Any:
        return {"source": source}

    def fetch(self, spec: Any, output_dir: str, yield_output: bool = False) -> Iterator[str]:
        for number in range(self.files):
            Path(output_dir, str(number)).write_bytes(bytes(1_000))
            yield f"file {number}\n"


@pytest.fixture
def sources(repo2docker: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # what a guard does to this process is taken back
    monkeypatch.setattr(socket, "getaddrinfo", socket.getaddrinfo)
    for name in ("Zenodo", "Mercurial"):
        module = sys.modules["repo2docker.contentproviders"]
        monkeypatch.setattr(module, name, type(name, (Source,), {}))
    return


@pytest.mark.usefixtures("sources")
@pytest.mark.parametrize(
    ("limit", "fine"), [(0, True), (3_000, True), (2_999, False), (999, False)]
)
def test_other_sources_have_a_largest_size_too(
    load: Load, tmp_path: Path, limit: int, fine: bool
) -> None:
    [provider] = load({"provider": "zenodo", "size_limit": limit})
    lines = provider().fetch(provider().detect("x"), str(tmp_path / "inside"))
    for one in (tmp_path / "inside").iterdir():
        shutil.rmtree(one) if one.is_dir() else one.unlink()
    if fine:
        assert len(list(lines)) == 3
    else:
        with pytest.raises(ContentProviderError, match="the repository is larger than 0"):
            list(lines)


@pytest.mark.usefixtures("sources")
def test_other_sources_find_no_private_host(load: Load, caplog: Any) -> None:
    load({"provider": "zenodo", "guarded": True, "allowed_networks": ["127.0.0.9"]})
    with pytest.raises(OSError, match="is at"):
        socket.getaddrinfo("127.0.0.1", 80)
    assert socket.getaddrinfo("127.0.0.9", 80)
    assert caplog.records[0].getMessage() == (
        "repo2dockerspawner: it leads to 127.0.0.1, which is not on the internet\n"
    )


@pytest.mark.usefixtures("sources")
@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("https://127.0.0.1/x", "leads to 127.0.0.1, which is not on the internet"),
        ("https://0x7f.1/x", r"leads to 0x7f.1 \(127.0.0.1\), which is not on the internet"),
        ("/etc", "address is not one that git may be given"),
    ],
)
def test_mercurial_is_not_given_a_private_host(load: Load, source: str, why: str) -> None:
    [provider] = load({"provider": "mercurial", "guarded": True})
    with pytest.raises(ContentProviderError, match=why):
        provider().detect(source, ref=None)
    assert provider().detect("https://nowhere.invalid/x", ref=None)
    [provider] = load({"provider": "mercurial", "guarded": True, "allowed_networks": ["127.0.0.1"]})
    assert provider().detect("https://127.0.0.1/x", ref=None)


# -- credentials ----------------------------------------------------------------------------------


def test_credentials_open_the_repository_and_are_gone_when_it_is_there(
    load: Load, tmp_path: Path
) -> None:
    with GitServer(tmp_path / "served") as server:
        commit = server.create("private", {"file": "1"})
        server.require_auth("private", "ann", "secret-token")
        place = f"http://{server.host}:{server.port}"
        given = {"place": place, "username": "ann", "password": "secret-token"}
        (provider,) = load(protocols=["http"], clone_depth=1)
        provider.access = GitAccess([given])
        config = Path(provider.access.options[1].removeprefix("include.path="))
        assert config.exists()
        fetched = Fetched(provider(), server.url("private"), commit, tmp_path / "in", capture=True)
        assert fetched.content_id == commit[:7]
        assert provider.access.options == []
        assert not config.exists()
        assert "secret-token" not in (tmp_path / "in/.git/config").read_text()
        # as without any
        with pytest.raises(ContentProviderError):
            Fetched(provider(), server.url("private"), commit, tmp_path / "out", capture=True)


def test_a_failed_fetch_leaves_no_credentials_either(load: Load, tmp_path: Path) -> None:
    with GitServer(tmp_path / "served") as server:
        server.create("other", {"file": "1"})
        (provider,) = load(protocols=["http"], clone_depth=1)
        provider.access = GitAccess([{"place": "http://x", "username": "ann", "password": "p"}])
        with pytest.raises(ContentProviderError):
            Fetched(provider(), server.url("other"), ABSENT, tmp_path / "in", capture=True)
        assert provider.access.options == []
