"""What goes wrong is told in a sentence, is nobody's failure but its own, and leaves nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import docker
import jupyterhub
import pytest
from bs4 import BeautifulSoup
from testbed import names
from testbed.containerevents import ContainerEvents
from testbed.hub import HubProcess
from testbed.hubclient import HubClient, SpawnFailedError, error_text, form_fields
from testbed.kinds import LogIn, MakeHub, MakeRepo
from testbed.quickbuilds import QuickImages
from testbed.recipes import fake_server
from testbed.watch import builds_begun, builds_going_on, server_container, wait_until_gone

_COUNTED = re.compile(
    r"^jupyterhub_server_spawn_duration_seconds_count\{(?P<labels>.*)\} (?P<count>[\d.]+)$",
    re.MULTILINE,
)

on_hub_6 = pytest.mark.skipif(
    jupyterhub.version_info[0] < 6,
    reason="JupyterHub 5 counts every exception of a spawn, whatever its status",
)


@pytest.fixture(scope="session")
def make_repo(make_quick_repo: MakeRepo) -> MakeRepo:
    """Of what a server is, nothing here depends on."""
    return make_quick_repo


@pytest.fixture(scope="module")
def hub(make_hub: MakeHub, quick: QuickImages) -> HubProcess:
    return make_hub(image=quick.server)


def fails(client: HubClient, fields: Mapping[str, str]) -> tuple[str, BeautifulSoup]:
    """Launch what can't succeed; return the last event's message, and the page after a reload."""
    answer = client.spawn_form(fields)
    assert client.started(answer), error_text(answer.text)
    with pytest.raises(SpawnFailedError) as failed:
        client.wait_ready()
    last = failed.value.events[-1]
    assert last["failed"]
    page = client.pending_page()
    assert 400 <= page.status_code < 500
    for text in (page.text, *(str(event) for event in failed.value.events)):
        assert "Traceback" not in text
        assert "LaunchFailed" not in text
    said = str(last["message"])
    assert said.removeprefix("Spawn failed: ") in error_text(page.text)
    return said + "\n" + str(last.get("html_message", "")), BeautifulSoup(page.text, "html.parser")


def starts_again(client: HubClient) -> None:
    assert client.started(client.spawn_form({"repo": ""}))
    client.wait_ready()
    client.visit(client.server_url())


def counted(hub: HubProcess, label: str) -> float:
    """Return how many spawns have ended with a label (``status="error"``)."""
    answer = hub.api("GET", "../metrics")
    assert answer.ok, answer.text
    return sum(
        float(found["count"])
        for found in _COUNTED.finditer(answer.text)
        if label in found["labels"]
    )


# --- builds and servers that fail


def test_a_failing_build_is_told_with_the_lines_that_matter(
    client: HubClient, make_repo: MakeRepo, docker_client: docker.DockerClient
) -> None:
    repo = make_repo(None, "RUN echo 'E: no package named frobnicate' && exit 3")

    said, page = fails(client, {"repo": repo.url})

    assert f"Building {repo.name} at {repo.commit[:7]} failed" in said
    lines = page.find("pre")
    assert lines is not None
    assert "E: no package named frobnicate" in lines.get_text()
    assert len(lines.get_text().splitlines()) <= 20
    wait_until_gone(docker_client, repo.url)
    starts_again(client)


@on_hub_6
def test_a_failing_build_is_no_error_of_the_hub(
    hub: HubProcess, client: HubClient, make_repo: MakeRepo
) -> None:
    errors, failures = 'status="error"', 'status="failure"'
    before = counted(hub, errors), counted(hub, failures)

    fails(client, {"repo": make_repo(None, "RUN exit 1").url})

    assert (counted(hub, errors), counted(hub, failures)) == (before[0], before[1] + 1)


@on_hub_6
def test_a_hub_that_ends_after_failures_of_its_own_survives_those_of_its_users(
    make_hub: MakeHub, log_in: LogIn, make_repo: MakeRepo, quick: QuickImages
) -> None:
    careful = make_hub("c.Spawner.consecutive_failure_limit = 2", image=quick.server)
    client = log_in(hub=careful)
    repo = make_repo(None, "RUN exit 1")
    for fields in (
        {"repo": repo.url},
        {"repo": repo.url, "ref": "nope"},
        {"repo": repo.url + "x"},
        {"repo": repo.url},
    ):
        if client.started(client.spawn_form(fields)):
            with pytest.raises(SpawnFailedError):
                client.wait_ready()

    careful.check()
    starts_again(client)


@pytest.mark.any_jupyterhub
def test_an_image_without_jupyterhub_is_told_at_once(
    client: HubClient, make_repo: MakeRepo
) -> None:
    repo = make_repo({"Dockerfile": f"FROM {names.BASE_IMAGE}\nRUN echo {time.time()}\n"})
    started = time.monotonic()

    said, _ = fails(client, {"repo": repo.url})

    assert time.monotonic() - started < 15
    assert "has no jupyterhub-singleuser" in said
    assert "RUN pip install jupyterhub" in said
    starts_again(client)


def test_a_server_that_dies_says_why(client: HubClient, make_repo: MakeRepo) -> None:
    script = "echo starting up\necho 'no settings in lab.toml <b>' >&2\nexit 1"
    repo = make_repo(fake_server(names.BASE_IMAGE, script))
    started = time.monotonic()

    said, page = fails(client, {"repo": repo.url})

    assert time.monotonic() - started < 15
    assert "ended while it was starting" in said
    lines = page.find("pre")
    assert lines is not None
    assert "no settings in lab.toml <b>" in lines.get_text()
    starts_again(client)


@pytest.fixture(scope="module")
def impatient(make_hub: MakeHub, quick: QuickImages) -> HubProcess:
    config = "c.Spawner.http_timeout = 4\nc.Repo2DockerSpawner.build_timeout = 8"
    return make_hub(config, image=quick.server)


@pytest.mark.any_jupyterhub
def test_a_server_that_never_answers_is_given_up(
    impatient: HubProcess, log_in: LogIn, make_repo: MakeRepo, docker_client: docker.DockerClient
) -> None:
    client = log_in(hub=impatient)
    script = "trap exit TERM\necho waiting for the database\nsleep 600 & wait"
    repo = make_repo(fake_server(names.BASE_IMAGE, script))

    said, _ = fails(client, {"repo": repo.url})

    assert "did not answer within 4 seconds" in said
    assert "waiting for the database" in said
    assert server_container(docker_client, impatient, client.username) is None
    starts_again(client)


@pytest.mark.any_jupyterhub
def test_a_build_that_takes_too_long_is_ended(
    impatient: HubProcess, log_in: LogIn, make_repo: MakeRepo, docker_client: docker.DockerClient
) -> None:
    client = log_in(hub=impatient)
    repo = make_repo(None, "RUN echo going to sleep && sleep 60")
    began = time.monotonic()

    said, _ = fails(client, {"repo": repo.url})

    assert 7 < time.monotonic() - began < 14
    assert "took longer than the 8 seconds" in said
    wait_until_gone(docker_client, repo.url)
    starts_again(client)


# --- what can't be found


@pytest.mark.parametrize(
    ("fields", "says", "status"),
    [
        pytest.param({"ref": "nope"}, "has no branch, tag or other ref nope", 404, id="no ref"),
        pytest.param(
            {"ref": "<b>nope</b>"}, "no branch, tag or other ref <b>nope</b>", 404, id="HTML in it"
        ),
        pytest.param({"subdir": "../x"}, "inside the repository", 400, id="out of the repository"),
        pytest.param({"repo": "MISSING"}, "There is no repository at", 404, id="no repository"),
        pytest.param({"repo": "nonsense"}, "", 400, id="no address"),
        pytest.param({"repo": "file:///etc"}, "", 400, id="a local path"),
        pytest.param({"repo": "", "ref": "main"}, "no repository", 400, id="a ref alone"),
    ],
)
@pytest.mark.parametrize("server_name", ["", "lab"], ids=["default server", "named server"])
def test_a_wrong_entry_comes_back_on_the_form(  # noqa: PLR0917 - fixtures
    client: HubClient,
    make_repo: MakeRepo,
    fields: dict[str, str],
    says: str,
    status: int,
    server_name: str,
) -> None:
    repo = make_repo()
    typed = {"repo": repo.url, "path": "x.txt", **fields}
    if typed["repo"] == "MISSING":
        typed["repo"] = repo.url.replace("repo.git", "other.git")

    answer = client.spawn_form(typed, server_name)

    assert not client.started(answer)
    assert answer.status_code == status
    sentence = error_text(answer.text)
    assert says in sentence
    assert sentence.rstrip().endswith((".", "?)."))
    assert "Traceback" not in answer.text
    _, kept = form_fields(answer.text, "form#spawn_form")
    assert {name: kept[name] for name in typed} == typed


def test_a_host_that_is_not_there_is_told(client: HubClient) -> None:
    fields = {"repo": "https://no-such-host.invalid/owner/repo"}
    answer = client.spawn_form(fields)
    if client.started(answer):
        with pytest.raises(SpawnFailedError) as failed:
            client.wait_ready()
        said = str(failed.value)
    else:
        said = error_text(answer.text)

    assert "no-such-host.invalid" in said
    assert "Traceback" not in said
    starts_again(client)


def test_entries_are_one_persons_own(log_in: LogIn, make_repo: MakeRepo) -> None:
    first, second = log_in(), log_in()
    first.spawn_form({"repo": make_repo().url, "ref": "private-plans"})

    assert "private-plans" not in second.spawn_page().text


# --- starts that don't pass the form

GOOD = "https://github.com/owner/repo"

REFUSED = [
    *(
        pytest.param({"repo": text}, id=f"repo {text!r}"[:60])
        for text in (
            "-x",
            " -x",
            "\t--x",
            "--upload-pack=touch /tmp/x",
            "--config=alias.identify=!touch /tmp/x",
            "/",
            "/etc",
            "/root/.ssh",
            ".",
            "..",
            "../x",
            "~",
            "~root/x",
            "C:\\x",
            "\\\\host\\x",
            "file:///",
            "file:///etc/passwd",
            "FILE:///etc",
            "ext::sh -c x",
            "ext::sh -c touch% /tmp/x",
            "fd::17/foo",
            "git://example.org/a/b",
            "ftp://example.org/a/b",
            "javascript:alert(1)",
            "data:text/html,x",
            "svn://example.org/a",
            "rsync://example.org/a",
            "https://",
            "https:///a/b",
            "https://user:secret@example.org/a/b",
            "https://good.org@evil.org/a/b",
            "https://example.org/a\r\nb",
            "https://example.org/a\x00b",
            "https://example.org/\x1b[31ma/b",
            "https://example.org/a\u202eb/c",
            "https://example.org:0/a/b",
            "https://example.org:99999/a/b",
            "ssh://-oProxyCommand=x/a",
            "-oProxyCommand=x:a/b",
            "git@-oProxyCommand=x:a/b",
            "$(touch /tmp/x)",
            "`touch /tmp/x`",
            "a b c",
            "x" * 5000,
        )
    ),
    *(
        pytest.param({"repo": GOOD, **more}, id=str(more)[:60])
        for more in (
            {"ref": "-b"},
            {"ref": "--config=x"},
            {"ref": "a..b"},
            {"ref": "@{u}"},
            {"ref": "main\n--y"},
            {"ref": "a b"},
            {"ref": "x" * 300},
            {"subdir": "/etc"},
            {"subdir": "../x"},
            {"subdir": "-x"},
            {"path": "../../x"},
            {"urlpath": "https://evil.org/"},
            {"urlpath": "//evil.org/"},
            {"ref": ["main"]},
            {"repo": {"a": 1}},
            {"repo": 7},
            {"image": "busybox"},
            {"environment": "x"},
        )
    ),
]


@pytest.fixture(scope="module")
def refused_client(hub: HubProcess) -> Iterator[HubClient]:
    with HubClient(hub.url) as client:
        client.login("refused")
        yield client


@pytest.mark.any_jupyterhub
@pytest.mark.parametrize("options", REFUSED)
def test_rest_refuses_what_must_not_reach_git(
    hub: HubProcess,
    refused_client: HubClient,
    docker_client: docker.DockerClient,
    engine_events: ContainerEvents,
    options: dict[str, Any],
) -> None:
    began = time.time()

    answer = refused_client.start_server(options)

    assert 400 <= answer.status_code < 500, answer.text
    assert "Traceback" not in answer.text
    assert "secret" not in answer.text
    assert server_container(docker_client, hub, "refused") is None
    if isinstance(options["repo"], str):
        assert builds_begun(engine_events, options["repo"], began) == 0


def test_a_refused_person_can_start_afterwards(refused_client: HubClient) -> None:
    starts_again(refused_client)
    refused_client.stop_server()


def test_a_form_without_its_token_starts_nothing(
    client: HubClient,
    make_repo: MakeRepo,
    docker_client: docker.DockerClient,
    engine_events: ContainerEvents,
) -> None:
    repo = make_repo()
    began = time.time()

    answer = client.session.post(
        f"{client.base_url}hub/spawn/{client.username}", data={"repo": repo.url}, timeout=30
    )

    assert answer.status_code == 403
    assert builds_begun(engine_events, repo.url, began) == 0
    assert builds_going_on(docker_client, repo.url) == []
