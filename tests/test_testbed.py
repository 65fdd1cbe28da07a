"""The test bed's own helpers, as far as they go without an engine."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from testbed import names
from testbed.gitserver import GitServer
from testbed.hubclient import ClientError, error_text, form_fields
from testbed.traces import found_in
from testbed.waiting import until, wait_until


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with GitServer(tmp_path / "repositories") as running:
        yield running


def git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin:/usr/local/bin", "GIT_TERMINAL_PROMPT": "0"},
    )
    return done.stdout


def test_the_same_files_make_the_same_commits(server: GitServer) -> None:
    first = server.create("one", {"README.md": "hello"})
    second = server.create("two", {"README.md": "hello"})

    assert first == second
    assert len(first) == 40


def test_a_clone_has_the_files_of_every_commit(server: GitServer, tmp_path: Path) -> None:
    server.create("owner/repo", {"README.md": "hello\n", "old.bin": b"\x00\xff"})
    server.commit(
        "owner/repo",
        {"old.bin": None, "run": "#!/bin/sh\n", "link": "run"},
        modes={"run": "100755", "link": "120000"},
    )

    git("clone", "--quiet", server.url("owner/repo"), str(tmp_path / "clone"))

    found = {path.name for path in (tmp_path / "clone").iterdir()} - {".git"}
    assert found == {"README.md", "run", "link"}
    assert (tmp_path / "clone/link").read_text() == "#!/bin/sh\n"
    assert (tmp_path / "clone/run").stat().st_mode & 0o100


def test_refs_are_listed_with_annotated_tags_peeled(server: GitServer) -> None:
    first = server.create("repo", {"a": "1"})
    second = server.commit("repo", {"a": "2"}, branch="feature/x")
    server.branch("repo", "v1", second)
    plain = server.tag("repo", "v1", first)
    annotated = server.tag("repo", "v2", second, annotated=True)

    listed = dict(
        reversed(line.split("\t")) for line in git("ls-remote", server.url("repo")).splitlines()
    )

    assert plain == first != annotated
    assert listed == {
        "HEAD": first,
        "refs/heads/main": first,
        "refs/heads/feature/x": second,
        "refs/heads/v1": second,
        "refs/tags/v1": first,
        "refs/tags/v2": annotated,
        "refs/tags/v2^{}": second,
    }


def test_a_commit_that_no_ref_names_can_be_fetched_by_its_id(
    server: GitServer, tmp_path: Path
) -> None:
    first = server.create("repo", {"a": "1"})
    server.commit("repo", {"a": "2"})
    git("init", "--quiet", str(tmp_path / "here"))

    fetch = ["fetch", "--quiet", "--depth=1", server.url("repo"), first]
    git("-C", str(tmp_path / "here"), *fetch)

    assert git("-C", str(tmp_path / "here"), "rev-parse", "FETCH_HEAD").strip() == first


def test_a_private_repository_opens_for_its_password_alone(server: GitServer) -> None:
    server.create("open", {"a": "1"})
    server.create("private", {"a": "1"})
    server.require_auth("private", "ada", "secret")
    address = f"{server.url('private')}/info/refs?service=git-upload-pack"

    assert requests.get(address, timeout=10).status_code == 401
    assert requests.get(address, auth=("ada", "wrong"), timeout=10).status_code == 401
    assert requests.get(address, auth=("ada", "secret"), timeout=10).status_code == 200
    assert git("ls-remote", server.url("open"))


def test_requests_are_counted_by_repository(server: GitServer) -> None:
    server.create("one", {"a": "1"})
    server.create("two", {"a": "1"})

    git("ls-remote", server.url("one"))

    asked = ["GET /one.git/info/refs", "POST /one.git/git-upload-pack"]
    assert server.requests_of("one") == asked
    assert server.requests_of("two") == []


def test_a_repository_that_is_not_there_is_not_found(server: GitServer) -> None:
    assert requests.get(f"{server.url('no')}/info/refs", timeout=10).status_code == 404


def test_form_fields_are_what_a_browser_would_send() -> None:
    page = """
      <form action="/other"></form>
      <form id="spawn_form" action="/hub/spawn?_xsrf=x">
        <input name="repo" value="https://example.org/a?b&amp;c"><input type="hidden" name="_xsrf"
        value="t"><select name="image"><option value="1">one</option><option value="2" selected>two
        </option></select><textarea name="text">words</textarea>
        <input type="radio" name="kind" value="a"><input type="radio" name="kind" value="b" checked>
        <input type="checkbox" name="off"><input name="gone" disabled><button name="b">Go</button>
      </form>"""

    action, fields = form_fields(page, "form#spawn_form")

    assert action == "/hub/spawn?_xsrf=x"
    assert fields == {
        "repo": "https://example.org/a?b&c",
        "_xsrf": "t",
        "image": "2",
        "text": "words",
        "kind": "b",
    }


def test_a_page_without_the_form_is_an_error() -> None:
    with pytest.raises(ClientError, match="no form: 404"):
        form_fields("<div class='error'><h1>x</h1><p>404</p></div>")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        pytest.param(
            "<p class='spawn-error-msg alert'>Error: No such &lt;ref&gt;.</p><form></form>",
            "No such <ref>.",
            id="the form's alert",
        ),
        pytest.param(
            "<div class='error'><h1>400 : Bad Request</h1><p>No such ref.</p></div>",
            "No such ref.",
            id="the error page",
        ),
        pytest.param(
            "<div class='text-center'><h1>Spawn failed</h1><p>The latest attempt to start your"
            " server x has failed.</p><p>The build failed.</p><p>Would you like to retry"
            " starting it?</p><a id='start'>Relaunch</a></div>",
            "The build failed.",
            id="a failed spawn's page",
        ),
        pytest.param(
            "<div class='modal'><p class='alert-danger'>The error</p></div><h1>Home</h1>",
            "",
            id="no error",
        ),
    ],
)
def test_the_error_of_a_page_is_its_sentence(html: str, text: str) -> None:
    assert error_text(html) == text


def test_bash_and_python_read_the_same_names() -> None:
    command = f'. {names.IMAGES_DIR / "images.env"} && printf %s "$REPO2DOCKER_OLD_REQUIREMENTS"'

    said = subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True)

    assert said.stdout == names.IMAGE_SETTINGS["REPO2DOCKER_OLD_REQUIREMENTS"]


def test_a_changed_parent_changes_the_recipes_that_stand_on_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from testbed.images import recipes

    before = {recipe.name: recipe.hash for recipe in recipes(official=False)}
    monkeypatch.setitem(names.IMAGE_SETTINGS, "BASE_PACKAGES", "python3")
    after = {recipe.name: recipe.hash for recipe in recipes(official=False)}

    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before)


async def test_who_waits_in_vain_is_told_what_there_is_to_say() -> None:
    with pytest.raises(AssertionError, match="it is held"):
        wait_until(lambda: False, 0.03, said=lambda: "it is held")
    with pytest.raises(AssertionError, match="it is held"):
        await until(lambda: False, 0.03, said=lambda: "it is held")


async def test_who_waits_asks_once_more_however_long_an_answer_took() -> None:
    def slow(answers: Iterator[bool]) -> bool:
        time.sleep(0.03)
        return next(answers)

    answers = iter([False, True, False, True])
    wait_until(lambda: slow(answers), 0.01)
    await until(lambda: slow(answers), 0.01)
    assert not list(answers)


@pytest.mark.parametrize(
    "written",
    [
        "{token}",
        "https://me:{token}@h.example/o/r",
        "tok%2D3c%2F5a",
        "Authorization: Basic bWU6dG9rLTNjLzVhMWY=",
        '{{"password": "dG9rLTNjLzVhMWY="}}',
    ],
    ids=["as it is", "in an address", "encoded", "in a header", "in base64"],
)
def test_a_token_is_found_in_whatever_form_it_is_written(written: str) -> None:
    token = "tok-3c/5a" if "%" in written else "tok-3c/5a1f"
    places = {"one": written.format(token=token), "another": "tok-3c"}
    assert found_in(places, token, "me") == ["one"]
