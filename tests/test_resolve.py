from __future__ import annotations

import http.server
import re
import socket
import threading
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import pytest
from testbed.gitserver import GitServer

from repo2dockerspawner import Repo2DockerSpawner
from repo2dockerspawner.credentials import PUBLIC
from repo2dockerspawner.errors import ResolveError
from repo2dockerspawner.planning import build_plan
from repo2dockerspawner.repos import RepoSpec, parse_repo
from repo2dockerspawner.resolve import Resolved, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHA = "0123456789abcdef0123456789abcdef01234567"


class Repository:
    """One repository with everything that can be confused in it; commits by name."""

    def __init__(self, server: GitServer) -> None:
        self.server = server
        name = "demo"
        one = server.create(name, {"a": "1"}, branch="dev")
        two = server.commit(name, {"a": "2"}, branch="dev")
        self.commits = {"one": one, "dev": two}
        for branch in (
            *("main", "feature/main", "feature/x", "both", "same", "pull/1/head"),
            *("docs", "docs-old", "2024", "feature/deep/er"),
        ):
            self.commits[branch] = server.commit(
                name, {"branch": branch}, branch=branch, parent=two, message=branch
            )
        server.tag(name, "v1", one)
        self.tag_object = server.tag(name, "v2", one, annotated=True)
        server.tag(name, "both", one, annotated=True)
        server.tag(name, "same", self.commits["same"])
        server.tag(name, "rel/1.0", self.commits["docs"])
        self.commits["pull"] = server.commit(name, {"p": "q"}, branch="gone", parent=one)
        server._git(name, "update-ref", "refs/pull/3/head", self.commits["pull"])
        server._git(name, "update-ref", "refs/merge-requests/4/head", self.commits["pull"])
        server.delete_ref(name, "refs/heads/gone")
        self.url = server.url(name)

    async def resolve(self, ref: str = "", **more: str) -> Resolved:
        return await ask(RepoSpec("git", self.url, ref, **more))


async def ask(spec: RepoSpec, **more: Any) -> Resolved:
    return await resolve(spec, **{"timeout": 20, "allowed_schemes": ["http"], **more})


async def refused(spec: RepoSpec, **more: Any) -> ResolveError:
    with pytest.raises(ResolveError) as caught:
        await ask(spec, **more)
    return caught.value


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    with GitServer(tmp_path_factory.mktemp("git")) as running:
        yield running


@pytest.fixture(scope="module")
def repository(server: GitServer) -> Repository:
    return Repository(server)


@pytest.mark.parametrize(
    ("ref", "commit", "name"),
    [
        ("", "dev", "refs/heads/dev"),
        ("HEAD", "dev", "refs/heads/dev"),
        ("main", "main", "refs/heads/main"),
        ("feature/x", "feature/x", "refs/heads/feature/x"),
        ("feature/main", "feature/main", "refs/heads/feature/main"),
        ("refs/heads/feature/main", "feature/main", "refs/heads/feature/main"),
        ("heads/main", "main", "refs/heads/main"),
        ("tags/v1", "one", "refs/tags/v1"),
        ("v1", "one", "refs/tags/v1"),
        ("v2", "one", "refs/tags/v2"),
        ("refs/tags/v2", "one", "refs/tags/v2"),
        ("rel/1.0", "docs", "refs/tags/rel/1.0"),
        ("both", "one", "refs/tags/both"),
        ("refs/heads/both", "both", "refs/heads/both"),
        ("same", "same", "refs/tags/same"),
        ("2024", "2024", "refs/heads/2024"),
        ("refs/pull/3/head", "pull", "refs/pull/3/head"),
        ("refs/merge-requests/4/head", "pull", "refs/merge-requests/4/head"),
        ("pull/3/head", "pull", "refs/pull/3/head"),
    ],
)
async def test_a_ref_is_taken_by_its_exact_name(
    repository: Repository, ref: str, commit: str, name: str
) -> None:
    found = await repository.resolve(ref)
    assert found.content_id == repository.commits[commit]
    assert found.ref_name == name
    assert found.exact
    assert found.spec.ref == ref


@pytest.mark.parametrize("ref", ["x", "deep/er", "er", "1.0", "head", "refs/heads", "ain", "Main"])
async def test_the_end_of_a_name_is_not_the_name(repository: Repository, ref: str) -> None:
    error = await refused(RepoSpec("git", repository.url, ref))
    assert (error.reason, error.status, error.field) == ("ref_not_found", 404, "ref")


async def test_a_tag_beats_a_branch_and_it_is_said(repository: Repository) -> None:
    assert (await repository.resolve("both")).note == (
        "both is a tag and a branch; the tag was taken, as git does:"
        " for the branch give refs/heads/both."
    )
    assert (await repository.resolve("same")).note == ""
    assert (await repository.resolve("refs/heads/both")).note == ""


@pytest.mark.parametrize(
    ("tail", "ref", "path"),
    [
        ("main/docs/a.ipynb", "main", "docs/a.ipynb"),
        ("feature/main/docs", "feature/main", "docs"),
        ("feature/x/feature/main", "feature/x", "feature/main"),
        ("feature/deep/er", "feature/deep/er", ""),
        ("feature/deep/er/a", "feature/deep/er", "a"),
        ("docs/docs-old", "docs", "docs-old"),
        ("rel/1.0/README.md", "rel/1.0", "README.md"),
        ("refs/heads/both/a b", "refs/heads/both", "a b"),
        ("refs/tags/rel/1.0/a", "refs/tags/rel/1.0", "a"),
        ("refs/pull/3/head/a", "refs/pull/3/head", "a"),
        ("main/a..b/c~d", "main", "a..b/c~d"),
        ("main/" + "/".join("x" * 200), "main", "/".join("x" * 200)),
    ],
    ids=lambda text: text[:40],
)
async def test_the_border_between_ref_and_path_is_found(
    repository: Repository, tail: str, ref: str, path: str
) -> None:
    found = await repository.resolve(tail=tail)
    assert (found.spec.ref, found.spec.path, found.spec.tail) == (ref, path, "")
    assert found.exact


async def test_the_border_costs_one_request(server: GitServer, repository: Repository) -> None:
    server.requests.clear()
    await repository.resolve(tail="feature/deep/er/a/b/c")
    assert len([line for line in server.requests if line.startswith("GET")]) == 1


async def test_a_kind_that_the_page_says_is_kept(repository: Repository) -> None:
    found = await repository.resolve(tail="refs/heads/both/x")
    assert found.content_id == repository.commits["both"]
    error = await refused(RepoSpec("git", repository.url, tail="refs/tags/main/x"))
    assert error.reason == "ref_not_found"


async def test_what_was_filled_in_by_hand_stays(repository: Repository) -> None:
    found = await repository.resolve(tail="feature/x/a", path="b")
    assert (found.spec.ref, found.spec.path) == ("feature/x", "b")
    found = await repository.resolve("v1", tail="feature/x/a")
    assert (found.spec.ref, found.spec.path) == ("v1", "a")
    assert found.content_id == repository.commits["one"]
    found = await repository.resolve("v1", tail="gone/a/b")
    assert (found.spec.ref, found.spec.path) == ("v1", "a/b")
    found = await repository.resolve(SHA, tail="feature/x/a")
    assert (found.content_id, found.spec.path) == (SHA, "a")


async def test_a_commit_in_full_needs_no_network() -> None:
    for commit in (SHA, SHA.upper(), SHA + "0" * 24):
        found = await resolve(RepoSpec("git", "https://nonexistent.invalid/x", commit), git="none")
        assert (found.content_id, found.ref_name, found.exact) == (commit.lower(), "", True)


async def test_an_abbreviated_tip_is_found(repository: Repository) -> None:
    for name in ("main", "one"):
        commit = repository.commits[name]
        for length in (10, 39):
            found = await repository.resolve(commit[:length])
            assert (found.content_id, found.exact, found.ref_name) == (commit, True, "")
    commit = repository.commits["docs"]
    found = await repository.resolve(tail=f"{commit[:12].upper()}/a/b")
    assert (found.content_id, found.spec.path) == (commit, "a/b")


async def test_an_abbreviation_that_is_no_tip_is_honest(server: GitServer) -> None:
    old = server.create("history", {"a": "1"})
    server.commit("history", {"a": "2"})
    found = await ask(RepoSpec("git", server.url("history"), old[:12].upper()))
    assert (found.content_id, found.exact) == (old[:12], False)
    assert "whole history" in found.note


async def test_a_stranger_s_pull_request_is_not_an_abbreviated_commit(
    repository: Repository,
) -> None:
    found = await repository.resolve(repository.commits["pull"][:12])
    assert not found.exact


async def test_a_tag_object_is_not_an_abbreviated_commit(repository: Repository) -> None:
    assert not (await repository.resolve(repository.tag_object[:12])).exact


async def test_an_abbreviation_of_two_tips_is_ambiguous(tmp_path: Path) -> None:
    git = tmp_path / "git"
    tips = [f"abcd{digit * 36}\trefs/heads/{digit}\n" for digit in "123"]
    git.write_text(f"#!/bin/sh\ncat <<.\n{''.join(tips)}.\n")
    git.chmod(0o755)
    spec = RepoSpec("git", "https://example.org/x", "abcd")
    assert (await refused(spec, git=str(git))).reason == "ref_ambiguous"
    found = await ask(replace(spec, ref="ABCD2"), git=str(git))
    assert found.content_id == "abcd" + "2" * 36


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("master", "did you mean main?"),
        ("mian", "did you mean main?"),
        ("feature/maim", "did you mean feature/main?"),
        ("v1.", "has no branch"),
        ("zzzzzz", "check its name."),
    ],
)
async def test_no_such_ref_names_one_that_is_like_it(
    repository: Repository, ref: str, words: str
) -> None:
    error = await refused(RepoSpec("git", repository.url, ref))
    assert words in error.message
    assert f"demo has no branch, tag or other ref {ref}" in error.message


async def test_a_repository_without_commits_is_said(server: GitServer) -> None:
    server.create("empty", {"a": "b"})
    server.delete_ref("empty", "refs/heads/main")
    for ref in ("", "main", "HEAD"):
        error = await refused(RepoSpec("git", server.url("empty"), ref))
        assert error.reason == "repo_empty"


async def test_a_repository_without_default_branch_is_said(server: GitServer) -> None:
    server.create("headless", {"a": "b"})
    server.branch("headless", "other", server.head("headless"))
    server.delete_ref("headless", "refs/heads/main")
    error = await refused(RepoSpec("git", server.url("headless")))
    assert error.reason == "ref_not_found"
    assert "did you mean other?" in error.message


async def test_a_head_that_is_no_branch_is_shown_as_head(server: GitServer) -> None:
    commit = server.create("detached", {"a": "b"})
    (server.path("detached") / "HEAD").write_text(f"{commit}\n")
    found = await ask(RepoSpec("git", server.url("detached")))
    assert (found.content_id, found.ref_name) == (commit, "HEAD")


async def test_a_repository_of_sha256_is_resolved(server: GitServer) -> None:
    path = server.path("new")
    server.create("plain", {"a": "b"})
    server._git("plain", "init", "-q", "--bare", "--object-format=sha256", str(path))
    tree = server._git("new", "mktree")
    names = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    commit = server._git("new", *names, "commit-tree", tree, "-m", "x")
    server._git("new", "update-ref", "HEAD", commit)
    found = await ask(RepoSpec("git", server.url("new")))
    assert found.content_id == commit
    assert len(commit) == 64


async def test_no_repository_no_access_and_no_answer_are_told_apart(server: GitServer) -> None:
    server.create("private", {"a": "b"})
    server.require_auth("private", "me", "secret")
    reasons = {
        server.url("none"): "repo_not_found",
        server.url("private"): "repo_not_found",
        "http://nonexistent.invalid/x": "host_not_found",
        "http://127.0.0.1:1/x": "host_unreachable",
        "https://example.org/x": "scheme_not_allowed",
    }
    for url, reason in reasons.items():
        error = await refused(RepoSpec("git", url, "main"))
        assert (url, error.reason) == (url, reason)
    error = await refused(RepoSpec("git", server.url("none")), git="no-such-git")
    assert error.reason == "git_missing"


async def test_the_time_limit_is_for_all_of_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        spec = RepoSpec("git", f"http://127.0.0.1:{silent.getsockname()[1]}/x", "main")
        error = await refused(spec, timeout=0.4)
        assert (error.reason, error.status) == ("resolve_timeout", 504)
        assert time.monotonic() - begun < 1.4


async def test_a_pasted_page_goes_all_the_way(server: GitServer) -> None:
    commit = server.create("owner/repo", {"a": "b"}, branch="feature/x")
    url = f"http://127.0.0.1:{server.port}/owner/repo.git"
    spec = parse_repo(url, allowed_schemes=["http"])
    assert (await ask(spec)).content_id == commit
    page = f"http://127.0.0.1:{server.port}/owner/repo/-/blob/feature/x/a%20b.ipynb?x=y"
    spec = replace(parse_repo(page, allowed_schemes=["http"]), url=url)
    found = await ask(spec)
    assert (found.content_id, found.spec.path) == (commit, "a b.ipynb")


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    """A registry of DOIs: ``/10.1/…`` leads to where the last part says."""
    pages = {
        "/10.1/zenodo": "https://zenodo.org/records/12",
        "/10.1/twice": "/10.1/page",
        "/10.1/loop": "/10.1/loop",
        "/10.1/file": "file:///etc/passwd",
        "/10.1/gone": "/missing",
        "/10.1/user": "https://user:secret@example.org/",
        "/10.1/bracket": "http://[",
        "/10.1/nohost": "https:///x",
        "/10.1/long": "/" + "x" * 3000,
        "/10.1/accents": '/10.1/é "x',
        "/10.1/refused": "http://127.0.0.1:1/x",
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if self.path == "/10.1/slow":
                time.sleep(1)
            target = pages.get(self.path, "")
            found = self.path.startswith("/10.1/") and "unknown" not in self.path
            self.send_response(302 if target else 403 if found else 404)
            if target:
                self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = False
    thread = threading.Thread(target=web.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{web.server_port}/"
    web.shutdown()
    thread.join()
    web.server_close()


async def test_a_doi_is_followed_to_the_page_it_leads_to(registry: str) -> None:
    for doi, page in (("10.1/twice", "10.1/page"), ("10.1/accents", "10.1/")):
        found = await ask(RepoSpec("doi", doi), doi_resolver=registry)
        assert found.content_id.startswith(f"{registry}{page}")
        assert re.fullmatch(r"[!-~]+", found.content_id)
        assert not found.exact


@pytest.mark.parametrize(
    ("doi", "reason", "status"),
    [
        ("10.1/unknown", "repo_not_found", 404),
        ("10.1/gone", "repo_not_found", 404),
        ("10.1/loop", "host_unreachable", 502),
        ("10.1/file", "host_unreachable", 502),
        ("10.1/user", "host_unreachable", 502),
        ("10.1/bracket", "host_unreachable", 502),
        ("10.1/nohost", "host_unreachable", 502),
        ("10.1/long", "host_unreachable", 502),
        ("10.1/refused", "host_unreachable", 502),
    ],
)
async def test_a_doi_that_leads_nowhere_is_said(
    registry: str, doi: str, reason: str, status: int
) -> None:
    error = await refused(RepoSpec("zenodo", doi), doi_resolver=registry)
    assert (error.reason, error.status) == (reason, status)
    assert doi in error.message
    assert "secret" not in error.message


async def test_a_registry_that_never_answers_costs_the_time_allowed(registry: str) -> None:
    error = await refused(RepoSpec("doi", "10.1/slow"), doi_resolver=registry, timeout=0.2)
    assert (error.reason, error.status) == ("resolve_timeout", 504)
    # and no connection, which would stay for as long as the registry says nothing
    port = urlsplit(registry).port
    ours = psutil.Process().net_connections("inet")
    assert not [one for one in ours if one.raddr and one.raddr.port == port]


@pytest.mark.parametrize(
    ("provider", "url", "exact"),
    [
        ("swhid", f"swh:1:dir:{SHA}", True),
        ("zenodo", "https://zenodo.org/records/12", True),
        ("zenodo", "https://sandbox.zenodo.org/record/12", True),
        ("zenodo", "https://data.caltech.edu/records/ab-12", True),
        ("figshare", "https://figshare.com/articles/code/title/12/3", True),
        ("figshare", "https://figshare.com/articles/title/12", False),
        ("hydroshare", "https://www.hydroshare.org/resource/" + "a" * 32, False),
        ("dataverse", "https://dv.example.org/dataset.xhtml?persistentId=doi:10.1/x", False),
        ("ckan", "https://example.org/dataset/zenodo.org/records/12", False),
        ("mercurial", "https://example.org/x", False),
    ],
)
async def test_other_providers_say_what_identifies_the_version(
    provider: str, url: str, exact: bool
) -> None:
    spec = RepoSpec(provider, url)
    assert await ask(spec) == Resolved(spec, url, exact=exact)


async def test_the_ref_of_another_provider_counts() -> None:
    found = await ask(RepoSpec("mercurial", "https://example.org/x", "stable"))
    assert (found.content_id, found.exact) == ("https://example.org/x@stable", False)


# -- A12: what a branch is now, and a fork's commit under the parent's address -------------------


def key_of(resolved: Resolved) -> str:
    return build_plan(Repo2DockerSpawner(), resolved, PUBLIC, b"secret").key


async def test_a_branch_that_was_pushed_over_by_force_is_another_image(
    server: GitServer,
) -> None:
    name = f"forced/{uuid.uuid4().hex[:8]}"
    server.create(name, {"a": "1"})
    spec = RepoSpec("git", server.url(name), "main")
    before = await resolve(spec, allowed_schemes=["http"])
    # another history altogether, whose first commit it is
    orphan = server.create(f"{name}-other", {"a": "2"})
    other = server.root / f"{name}-other.git"
    server._git(name, "fetch", "--quiet", str(other), "+main:refs/heads/main")
    after = await resolve(spec, allowed_schemes=["http"])
    assert (after.content_id, after.ref_name) == (orphan, "refs/heads/main")
    assert key_of(before) != key_of(after)


async def test_a_forks_commit_is_never_the_parents_branch(server: GitServer) -> None:
    name = f"parent/{uuid.uuid4().hex[:8]}"
    parents = server.create(name, {"a": "1"})
    # as GitHub has it: a fork's commit can be fetched from the parent's address
    forks = server.commit(name, {"a": "evil"}, branch="fork")
    server._git(name, "update-ref", "refs/pull/1/head", forks)
    server.delete_ref(name, "refs/heads/fork")
    url = server.url(name)
    keys = {}
    for ref in ("", "main", "refs/heads/main", parents):
        found = await resolve(RepoSpec("git", url, ref), allowed_schemes=["http"])
        assert found.content_id == parents
        keys[ref] = key_of(found)
    assert len(set(keys.values())) == 1, "one image, whatever the branch is called"
    for ref in (forks, "refs/pull/1/head"):
        found = await resolve(RepoSpec("git", url, ref), allowed_schemes=["http"])
        assert found.content_id == forks
        assert key_of(found) not in keys.values()
    # a commit made to begin with the same digits is no branch's either
    forged = Resolved(RepoSpec("git", url), parents[:12] + "f" * 28)
    assert key_of(forged) not in keys.values()
