"""Many at once, and limits that come from outside."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor

import docker
import pytest
from testbed import names
from testbed.containerevents import ContainerEvents
from testbed.hub import HubProcess
from testbed.hubclient import HubClient
from testbed.kinds import LogIn, MakeHub, MakeRepo
from testbed.quickbuilds import QuickImages
from testbed.watch import builds_begun, built_images, wait_until_gone

CROWD = 6
BUILD_LOG = "builds.log"
CONFIG = f"""
# an administrator's hook can do what the configuration refuses
def by_name(spawner):
    if spawner.user.name == "hurried":
        spawner.start_timeout = 4
    if spawner.user.name == "full":
        spawner.build_disk_reserve = "1000T"

c.Spawner.pre_spawn_hook = by_name
c.Repo2DockerSpawner.build_log_file = {BUILD_LOG!r}
"""


@pytest.fixture(scope="module")
def hub(make_hub: MakeHub, quick: QuickImages) -> HubProcess:
    return make_hub(CONFIG, image=quick.server)


@pytest.fixture(scope="session")
def make_repo(make_quick_repo: MakeRepo) -> MakeRepo:
    """Of what a server is, nothing here depends on."""
    return make_quick_repo


def start(client: HubClient, repo: str) -> int:
    return client.start_server({"repo": repo} if repo else {}).status_code


@pytest.mark.any_jupyterhub
def test_a_crowd_on_one_new_repository_costs_one_build_and_all_see_it(
    make_repo: MakeRepo, log_in: LogIn, engine_events: ContainerEvents
) -> None:
    talk = f"RUN for i in 1 2 3 4 5 6; do echo {secrets.token_hex(4)} l-$i; sleep 1; done"
    repo = make_repo({"which.txt": "shared"}, talk)
    people = [log_in() for _ in range(CROWD)]
    began = time.time()

    with ThreadPoolExecutor(CROWD) as pool:
        codes = list(pool.map(lambda client: start(client, repo.url), people))
        events = list(pool.map(lambda client: client.wait_ready(timeout=180), people))

    assert set(codes) <= {201, 202}
    assert builds_begun(engine_events, repo.url, began) == 1
    for told in events:
        log = "\n".join(str(event.get("message")) for event in told)
        assert "l-1" in log, log
        assert "l-6" in log
    assert people[-1].get("files/which.txt").text == "shared"


def test_a_start_timeout_that_comes_first_leaves_no_build(
    log_in: LogIn, make_repo: MakeRepo, docker_client: docker.DockerClient
) -> None:
    client = log_in("hurried")
    repo = make_repo(None, "RUN echo begun && sleep 100")
    answer = client.start_server({"repo": repo.url})
    assert answer.status_code == 504
    assert "start_timeout" in answer.text
    wait_until_gone(docker_client, repo.url, 3)


def test_pending_builds_occupy_the_hubs_own_spawn_limit(
    make_hub: MakeHub,
    log_in: LogIn,
    make_repo: MakeRepo,
    docker_client: docker.DockerClient,
    quick: QuickImages,
) -> None:
    """A known limit: JupyterHub counts each pending spawn, so raise it on a busy hub (docs)."""
    hub = make_hub(
        "c.JupyterHub.concurrent_spawn_limit = 3\n"
        # else each start is waited for, for ten seconds
        'c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 1}\n'
        "c.Repo2DockerSpawner.concurrent_builds_limit = 1\n",
        image=quick.server,
    )
    repos = [make_repo(None, "RUN sleep 100") for _ in range(3)]
    waiting = [log_in(hub=hub) for _ in repos]
    with ThreadPoolExecutor(3) as pool:
        codes = list(pool.map(start, waiting, [repo.url for repo in repos]))
    assert set(codes) <= {201, 202}
    assert start(log_in(hub=hub), "") == 429
    for client in waiting:
        assert client.delete().status_code == 204
    for repo in repos:
        wait_until_gone(docker_client, repo.url, 5)
    assert start(log_in(hub=hub), "") in {201, 202}


@pytest.mark.any_jupyterhub
def test_a_reserve_of_disk_that_is_gone_refuses_a_build_but_no_ready_image(
    log_in: LogIn, make_repo: MakeRepo, engine_events: ContainerEvents
) -> None:
    ready = make_repo({"which.txt": "ready"})
    client = log_in()
    assert start(client, ready.url) in {201, 202}
    client.wait_ready()

    client = log_in("full")
    new = make_repo()
    began = time.time()
    answer = client.start_server({"repo": new.url})
    assert answer.status_code == 503
    assert "no room" in answer.text
    assert builds_begun(engine_events, new.url, began) == 0
    assert start(client, ready.url) in {201, 202}
    client.wait_ready()


@pytest.mark.any_jupyterhub
def test_every_line_of_a_build_is_in_the_build_log_file_and_says_which_build(
    hub: HubProcess, client: HubClient, make_repo: MakeRepo, docker_client: docker.DockerClient
) -> None:
    mark = f"a-line-of-{secrets.token_hex(4)}"
    repo = make_repo(None, f"RUN for i in 1 2 3; do echo {mark}-$i-$((40 + 2)); done")
    assert start(client, repo.url) in {201, 202}
    client.wait_ready()
    (image,) = built_images(docker_client, repo.url)
    key = image["Labels"][f"{names.LABEL_PREFIX}key"]
    lines = (hub.directory / BUILD_LOG).read_text(encoding="utf-8").splitlines()
    for number in (1, 2, 3):
        (line,) = [line for line in lines if f"{mark}-{number}-42" in line]
        assert line.split()[1] == key[:12]
    assert {len(line.split()[1]) for line in lines} == {12}
