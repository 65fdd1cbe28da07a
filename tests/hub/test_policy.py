"""Who may build what, and how much at once: lists, hook, groups, limits; who asks for too much."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import psutil
import pytest
import requests
from bs4 import BeautifulSoup
from testbed.containerevents import ContainerEvents
from testbed.gitserver import GitServer
from testbed.hub import HubProcess
from testbed.hubclient import HubClient, error_text
from testbed.kinds import LogIn, MakeHub, MakeRepo
from testbed.ready import make_ready_image
from testbed.recipes import dockerfile
from testbed.waiting import wait_until
from testbed.watch import builds_begun, builds_going_on, server_container, wait_until_gone

MEGABYTE = 2**20
# Requests of one who asks for too much.
MANY = int(os.environ.get("R2D_MANY", "40"))
READERS = 200

# How often one that is too large is sent.
LARGE = 5

CONFIG = """
from repo2dockerspawner import configure
configure(c)
# else each start over REST is waited for, for ten seconds
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 3}}
c.JupyterHub.load_groups = {{
    "staff": {{"users": ["sue"]}},
    "class": {{"users": ["kim", "lee"]}},
}}
c.Repo2DockerSpawner.allowed_repos = ["{place}/*"]
c.Repo2DockerSpawner.denied_repos = ["{place}/denied*"]
c.Repo2DockerSpawner.builds_per_user_limit = 1
c.Repo2DockerSpawner.builds_per_group_limit = {{"class": 1}}
c.Repo2DockerSpawner.builds_queue_limit = 2
c.Repo2DockerSpawner.concurrent_builds_limit = 1
c.Spawner.group_overrides = {{
    "staff": {{
        "groups": ["staff"],
        "spawner_override": {{"builds_per_user_limit": 3, "allowed_repos": []}},
    }},
}}

async def check(spawner, resolved):
    name = resolved.spec.name
    if "refused" in name:
        return f"{{spawner.user.name}} may not have {{name}} at {{resolved.content_id[:7]}}."
    if "broken" in name:
        raise RuntimeError("the course list is gone")

c.Repo2DockerSpawner.repo_hook = check
"""


@pytest.fixture(scope="module")
def hub(make_hub: MakeHub, git_server: GitServer) -> HubProcess:
    return make_hub(CONFIG.format(place=f"{git_server.host}:{git_server.port}"))


def start(client: HubClient, repo: str, server: str = "") -> requests.Response:
    return client.start_server({"repo": repo}, server)


def begin(client: HubClient, repo: str) -> None:
    """Start what takes long. The spawn page waits for a second, the REST API for three."""
    answer = client.spawn_form({"repo": repo})
    assert client.started(answer), error_text(answer.text)


def memory(hub: HubProcess) -> float:
    """The hub's resident memory, in MiB."""
    return float(psutil.Process(hub.pid).memory_info().rss / MEGABYTE)


def told(what: str, **figures: float) -> None:
    """Say what was measured; pytest shows it with -s."""
    said = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
    print(f"\n{what}: {said}")


def wait_until_running(client: docker.DockerClient, url: str) -> None:
    wait_until(lambda: "running" in builds_going_on(client, url), 20)


def test_what_is_not_allowed_comes_back_beside_its_field_and_rest_is_told_the_same(
    client: HubClient,
    git_server: GitServer,
    make_repo: MakeRepo,
    engine_events: ContainerEvents,
) -> None:
    denied = make_repo(name="x").url.replace("/t", "/denied-t")
    began = time.time()
    for url, trait in ((denied, "denied_repos"), ("https://github.com/a/b", "allowed_repos")):
        answer = client.spawn_form({"repo": url})
        assert not client.started(answer)
        soup = BeautifulSoup(answer.text, "html.parser")
        said = soup.find(id="repo2docker-repo-error")
        assert said is not None
        assert trait in said.get_text()
        told = start(client, url)
        assert told.status_code == 403
        assert trait in told.json()["message"]
    assert builds_begun(engine_events, denied, began) == 0
    assert not [line for line in git_server.requests if "/denied-t" in line], "not even looked up"


def test_the_hook_is_asked_and_a_broken_one_lets_nothing_through(
    hub: HubProcess, client: HubClient, make_repo: MakeRepo, engine_events: ContainerEvents
) -> None:
    refused, broken = make_repo(name="refused"), make_repo(name="broken")
    began = time.time()
    answer = start(client, refused.url)
    assert answer.status_code == 403
    sentence = f"{client.username} may not have {refused.name} at {refused.commit[:7]}."
    assert answer.json()["message"] == sentence
    answer = start(client, broken.url)
    assert "An administrator of this hub has to look" in answer.text
    assert "course list" not in answer.text
    assert "RuntimeError: the course list is gone" in hub.log
    for repo in (refused, broken):
        assert builds_begun(engine_events, repo.url, began) == 0


def test_limits_hold_for_users_groups_and_the_line(
    hub: HubProcess, log_in: LogIn, make_repo: MakeRepo, docker_client: docker.DockerClient
) -> None:
    busy, sue, other, kim, lee = map(log_in, (None, "sue", None, "kim", "lee"))
    repos = [make_repo(None, "RUN sleep 200"), *(make_repo() for _ in range(4))]
    running, one, two, three, four = (repo.url for repo in repos)

    # a host that isn't there was looked up, so it was allowed: by the rules of her group
    elsewhere = "https://nowhere.invalid/a/b"
    assert "allowed_repos" in start(other, elsewhere).text
    assert "allowed_repos" in other.spawn_form({"repo": elsewhere}).text
    assert "There is no host" in start(sue, elsewhere).text
    assert "allowed_repos" not in sue.spawn_form({"repo": elsewhere}).text

    begin(busy, running)
    wait_until_running(docker_client, running)

    # a group's members share its limit, and may join
    begin(kim, one)
    answer = start(lee, two)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert "The group class has 1 build under way" in answer.json()["message"]
    begin(lee, one)
    for client in (kim, lee):
        client.stop_all()

    # one user's limit is not another's, and the line is everybody's
    begin(sue, two)
    begin(other, three)
    answer = start(sue, four, "two")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "builds_queue_limit" in answer.text

    # A18: who asks for many has one
    before = memory(hub)

    def ask(number: int) -> tuple[int, str, float]:
        began = time.perf_counter()
        answer = start(other, four, f"s{number}")
        return answer.status_code, answer.text, time.perf_counter() - began

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(MANY)))
    assert {code for code, *_ in answers} == {429}
    assert all("builds_per_user_limit" in text for _, text, _ in answers)
    seconds = sorted(took for *_, took in answers)
    p50, p95 = seconds[MANY // 2], seconds[MANY * 95 // 100]
    told("refusals", p50=p50, p95=p95, memory=memory(hub) - before)
    assert memory(hub) - before <= 20
    assert builds_going_on(docker_client, four) == []

    for client in (sue, other, busy):
        client.stop_all()
    for repo in repos:
        wait_until_gone(docker_client, repo.url, 5)


FORMAT = "{raw_username.__class__}{0}{username}"


@pytest.mark.any_jupyterhub
def test_what_is_entered_is_no_format_string(  # noqa: PLR0917 - fixtures
    hub: HubProcess,
    client: HubClient,
    make_repo: MakeRepo,
    git_server: GitServer,
    base_image: str,
    docker_client: docker.DockerClient,
) -> None:
    """A15: DockerSpawner formats its settings with the user's name and more."""
    repo = make_repo()
    files: dict[str, Any] = {f"{FORMAT}/Dockerfile": dockerfile(base_image), f"{FORMAT}/a": "1"}
    git_server.commit(repo.name, files, branch=FORMAT)
    answer = client.start_server(
        {"repo": repo.url, "ref": FORMAT, "subdir": FORMAT, "urlpath": f"lab/tree/{FORMAT}"}
    )
    assert answer.status_code in {201, 202}, answer.text
    client.wait_ready()
    found = server_container(docker_client, hub, client.username)
    assert found is not None
    env = dict(item.split("=", 1) for item in found["Config"]["Env"])
    assert env["JUPYTERHUB_DEFAULT_URL"] == f"/lab/tree/{FORMAT}"
    assert client.get("files/a").text == "1"
    assert "<class" not in repr(found)


def test_a_ready_environment_of_what_may_not_be_built_is_neither_shown_nor_started(
    client: HubClient, log_in: LogIn, docker_client: docker.DockerClient
) -> None:
    repo = f"t{secrets.token_hex(4)}/repo"
    ready = make_ready_image(docker_client, repo)
    try:
        # her group may start anything
        assert repo in log_in("sue").spawn_page().text
        assert repo not in client.spawn_page().text
        for asked in (ready.key, ready.key[:12], repo):
            answer = client.start_server({"environment": asked})
            assert answer.status_code == 403, answer.text
            assert "allowed_repos" in answer.text
    finally:
        docker_client.images.remove(ready.name, force=True)


@pytest.mark.parametrize(
    ("options", "status", "sentence"),
    [
        ({"repo": "x" * 10_000}, 400, "The option repo is longer than 2048 characters."),
        ({"repo": "x" * 1_000_000}, 413, "may have 65,536 characters together"),
        ({"repo": "-x"} | dict.fromkeys(map(str, range(60_000)), "x"), 413, "65,536 characters"),
    ],
    ids=["10,000 characters", "a million", "60,000 names"],
)
def test_entries_that_are_too_large_are_refused_at_once_and_not_kept(
    hub: HubProcess, client: HubClient, options: dict[str, Any], status: int, sentence: str
) -> None:
    """A18."""
    file = hub.directory / "hub.sqlite"
    before, size = memory(hub), file.stat().st_size
    began = time.perf_counter()
    for _ in range(LARGE):
        answer = client.start_server(options)
        assert answer.status_code == status
        assert sentence in answer.json()["message"]
        assert len(answer.text) < 1000
    told(
        "a large entry", seconds=(time.perf_counter() - began) / LARGE, memory=memory(hub) - before
    )
    assert memory(hub) - before <= 20
    assert file.stat().st_size - size < 100_000


def test_a_request_that_is_longer_than_the_limit_is_not_read(
    hub: HubProcess, client: HubClient
) -> None:
    """A18: 1 MiB by default; nobody has to be logged in to send one."""
    before = memory(hub)
    for body in ("x" * MEGABYTE, "x" * 50 * MEGABYTE):
        with contextlib.suppress(requests.ConnectionError):
            answer = client.start_server({"repo": body})
            assert answer.status_code in {400, 503}
            assert "longer than" not in answer.text
    told("a long request", memory=memory(hub) - before)
    assert memory(hub) - before <= 20
    assert client.server_model() is None
    assert client.start_server({"repo": "-x"}).status_code == 400


def test_readers_that_do_not_read_hold_nothing_up(
    hub: HubProcess, client: HubClient, make_repo: MakeRepo, docker_client: docker.DockerClient
) -> None:
    """A18: event streams of one build that nobody takes anything from."""
    lines = 2000
    talk = f"i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo line-$i-{'x' * 90}; done"
    repo = make_repo(None, f"RUN sleep 5; {talk}; sleep 100")
    begin(client, repo.url)
    before = memory(hub)
    address = f"{hub.url}hub/api/users/{client.username}/server/progress"
    token = {"X-XSRFToken": client._xsrf(f"{hub.url}hub/")}
    with contextlib.ExitStack() as stack:
        for _ in range(READERS):
            answer = client.session.get(address, headers=token, stream=True, timeout=30)
            stack.enter_context(answer)
            assert answer.ok
        # one who reads gets all of it, beside those
        last = f"line-{lines}-"
        assert any(last in str(event.get("message")) for event in client.progress())
        waits = []
        for _ in range(20):
            began = time.perf_counter()
            assert requests.get(f"{hub.url}hub/health", timeout=10).ok
            waits.append(time.perf_counter() - began)
        told("readers", memory=memory(hub) - before, health=max(waits))
        assert memory(hub) - before <= 20
        assert sorted(waits)[10] < 0.5
    client.stop_all()
    wait_until_gone(docker_client, repo.url, 5)
