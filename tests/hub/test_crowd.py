"""Many at once, and limits that come from outside."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docker
import pytest
from testbed.containerevents import ContainerEvents
from testbed.hubclient import HubClient
from testbed.kinds import LogIn, MakeHub, MakeRepo
from testbed.watch import builds_begun, builds_going_on, wait_until_gone

CROWD = 6


def start(client: HubClient, repo: str) -> int:
    return client.start_server({"repo": repo} if repo else {}).status_code


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
    make_hub: MakeHub, log_in: LogIn, make_repo: MakeRepo, docker_client: docker.DockerClient
) -> None:
    # the configuration refuses this; an administrator's hook can still do it
    hub = make_hub(
        "def hurry(spawner):\n    spawner.start_timeout = 4\nc.Spawner.pre_spawn_hook = hurry\n"
    )
    client = log_in(hub=hub)
    repo = make_repo(None, "RUN echo begun && sleep 100")
    answer = client.start_server({"repo": repo.url})
    assert answer.status_code == 504
    assert "start_timeout" in answer.text
    wait_until_gone(docker_client, repo.url, 3)


def test_pending_builds_occupy_the_hubs_own_spawn_limit(
    make_hub: MakeHub, log_in: LogIn, make_repo: MakeRepo, docker_client: docker.DockerClient
) -> None:
    """A known limit: JupyterHub counts each pending spawn, so raise it on a busy hub (docs)."""
    hub = make_hub(
        "c.JupyterHub.concurrent_spawn_limit = 3\n"
        "c.Repo2DockerSpawner.concurrent_builds_limit = 1\n"
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
def test_one_user_may_have_only_so_many_builds_under_way(
    make_hub: MakeHub, log_in: LogIn, make_repo: MakeRepo, docker_client: docker.DockerClient
) -> None:
    hub = make_hub(
        "c.JupyterHub.allow_named_servers = True\nc.Repo2DockerSpawner.builds_per_user_limit = 1\n"
    )
    client = log_in(hub=hub)
    first, second = make_repo(None, "RUN sleep 100"), make_repo()
    assert start(client, first.url) in {201, 202}
    answer = client.start_server({"repo": second.url}, "other")
    assert answer.status_code == 429
    assert "builds_per_user_limit" in answer.text
    assert builds_going_on(docker_client, second.url) == []
    assert client.delete().status_code == 204
    wait_until_gone(docker_client, first.url, 5)


@pytest.mark.any_jupyterhub
def test_a_reserve_of_disk_that_is_gone_refuses_a_build_but_no_ready_image(
    make_hub: MakeHub, log_in: LogIn, make_repo: MakeRepo, engine_events: ContainerEvents
) -> None:
    ready = make_repo({"which.txt": "ready"})
    plenty = make_hub()
    client = log_in(hub=plenty)
    assert start(client, ready.url) in {201, 202}
    client.wait_ready()
    client.stop_server()

    full = make_hub("c.Repo2DockerSpawner.build_disk_reserve = '1000T'\n")
    client = log_in(hub=full)
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
    make_hub: MakeHub, log_in: LogIn, make_repo: MakeRepo, tmp_path: Path
) -> None:
    file = tmp_path / "builds.log"
    hub = make_hub(f"c.Repo2DockerSpawner.build_log_file = {str(file)!r}\n")
    repo = make_repo(None, "RUN echo a-line-of-the-build-$((40 + 2))")
    client = log_in(hub=hub)
    assert start(client, repo.url) in {201, 202}
    client.wait_ready()
    lines = file.read_text(encoding="utf-8").splitlines()
    assert any("a-line-of-the-build-42" in line for line in lines)
    builds = {line.split()[1] for line in lines}
    assert len(builds) == 1
    assert len(builds.pop()) == 12
