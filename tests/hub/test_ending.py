"""Builds that are stopped in the middle: by the hub's end, by their person, in line."""

from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path
from typing import Any

import docker
import pytest
from testbed import names
from testbed.containerevents import ContainerEvents
from testbed.engine import remove_containers
from testbed.engineproxy import EngineProxy
from testbed.hub import HubProcess
from testbed.hubclient import ClientError, Event, HubClient, SpawnFailedError, error_text
from testbed.kinds import LogIn, MakeHub, MakeRepo
from testbed.recipes import Repository
from testbed.waiting import wait_until
from testbed.watch import builds_begun, builds_going_on, wait_until_gone

from repo2dockerspawner.keys import container_name

# 15 seconds: longer than a hub needs to start on a busy machine
SLOW = "RUN for i in $(seq 75); do echo slow-line-$i-$((40 + 2)); sleep 0.2; done"
ENDLESS = "RUN echo slow-line-0-$((40 + 2)) && sleep 120"


@pytest.fixture(scope="session")
def make_repo(make_quick_repo: MakeRepo) -> MakeRepo:
    """Of what a server is, nothing here depends on."""
    return make_quick_repo


@pytest.fixture(scope="module")
def narrow(make_hub: MakeHub) -> HubProcess:
    """A hub that builds one at a time."""
    return make_hub("c.Repo2DockerSpawner.concurrent_builds_limit = 1")


class Following(threading.Thread):
    """A tab with the pending page: reads the events until they end."""

    def __init__(self, client: HubClient) -> None:
        # a killed hub's proxy leaves it waiting
        super().__init__(daemon=True)
        self._client = client
        self.events: list[Event] = []
        self.start()

    def run(self) -> None:
        try:
            self.events += self._client.progress()
        except (OSError, TimeoutError, ClientError) as error:  # the hub went away in the middle
            self.events.append(Event({"message": f"broken off: {error}"}, time.time()))

    def until(self, text: str, seconds: float = 20) -> None:
        def told() -> str:
            return "\n".join(str(event.get("message")) for event in self.events)

        wait_until(lambda: text in told() or not self.is_alive(), seconds, said=told)
        assert text in told()


def begin(client: HubClient, repo: Repository) -> None:
    answer = client.spawn_form({"repo": repo.url})
    assert client.started(answer), error_text(answer.text)


def test_a_hub_that_ends_leaves_the_build_and_its_next_process_joins_it(
    make_hub: MakeHub,
    log_in: LogIn,
    make_repo: MakeRepo,
    docker_client: docker.DockerClient,
    engine_events: ContainerEvents,
) -> None:
    hub = make_hub()
    client = log_in(hub=hub)
    repo = make_repo({"which.txt": "survived"}, SLOW)
    began = time.time()
    begin(client, repo)
    tab = Following(client)
    tab.until("slow-line-3-42")

    took = hub.stop()

    tab.join(10)
    assert builds_going_on(docker_client, repo.url) == ["running"]

    hub.start()
    begin(client, repo)
    events = client.wait_ready()

    log = "\n".join(str(event.get("message")) for event in events)
    assert "slow-line-1-42" in log
    assert "slow-line-75-42" in log
    assert client.get("files/which.txt").text == "survived"
    assert builds_begun(engine_events, repo.url, began) == 1
    # on a busy machine any end takes long
    idle = hub.stop()
    assert took < max(2, idle + 1)


@pytest.mark.any_jupyterhub
def test_a_hub_that_is_killed_leaves_the_build_to_its_next_process(
    make_hub: MakeHub,
    log_in: LogIn,
    make_repo: MakeRepo,
    docker_client: docker.DockerClient,
    engine_events: ContainerEvents,
) -> None:
    hub = make_hub()
    client = log_in(hub=hub)
    repo = make_repo({"which.txt": "survived"}, "RUN echo slow-line-0-$((40 + 2)) && sleep 4")
    began = time.time()
    begin(client, repo)
    tab = Following(client)
    tab.until("slow-line-0-42")

    hub.kill()
    # all that is left of the build happens while no hub is there
    wait_until_gone(docker_client, repo.url, 15)
    hub.start()
    begin(client, repo)
    client.wait_ready()

    assert client.get("files/which.txt").text == "survived"
    assert builds_begun(engine_events, repo.url, began) == 1


def test_a_hub_without_any_server_sweeps_what_a_killed_one_has_left(
    make_hub: MakeHub, docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    key = uuid.uuid4().hex * 2
    labels = {f"{names.LABEL_PREFIX}key": key, f"{names.LABEL_PREFIX}retention": "0"}
    api = docker_client.api
    ours = api.create_container(names.BASE_IMAGE, "true", name=container_name(key), labels=labels)
    # the name says that it is somebody else's
    others = api.create_container(names.BASE_IMAGE, "true", labels=labels)

    def there() -> list[str]:
        return [one["Id"] for one in api.containers(all=True)]

    try:
        for one in (ours, others):
            api.start(one)
            api.wait(one)
        # what this hub does is seen at a proxy: another one on the engine sweeps as well
        with EngineProxy(tmp_path / "engine.sock") as proxy:
            config = "from repo2dockerspawner import configure\nconfigure(c)\n"
            hub = make_hub(config, env={"DOCKER_HOST": f"unix://{proxy.path}"})
            proxy.wait_for("GET /containers/json.*repo2dockerspawner.key", seconds=30)
            wait_until(lambda: ours["Id"] not in there(), 30)
            assert others["Id"] in there()
            hub.stop()
    finally:
        remove_containers(docker_client, [ours["Id"], others["Id"]])


def test_a_build_ends_when_its_person_stops_it(
    make_repo: MakeRepo, client: HubClient, docker_client: docker.DockerClient
) -> None:
    repo = make_repo(None, ENDLESS)
    begin(client, repo)
    tab = Following(client)
    tab.until("slow-line-0-42")
    models: list[dict[str, Any] | None] = []
    stopped = threading.Event()

    def look() -> None:
        with HubClient(client.base_url) as looking:
            looking.login(client.username)
            while not stopped.is_set():
                models.append(looking.server_model())
                time.sleep(0.05)

    looker = threading.Thread(target=look)
    looker.start()
    time.sleep(0.3)
    started = time.monotonic()
    answer = client.delete()
    took = time.monotonic() - started
    wait_until_gone(docker_client, repo.url)
    stopped.set()
    looker.join()
    tab.join(10)

    assert answer.status_code == 204, answer.text
    assert took < 2.2
    assert models
    assert not any(model and model["ready"] for model in models)
    assert not any(event.get("ready") for event in tab.events)
    assert client.server_model() is None or not client.server_model()["ready"]  # type: ignore[index]

    begin(client, make_repo({"which.txt": "after"}))
    client.wait_ready()
    assert client.get("files/which.txt").text == "after"


@pytest.mark.any_jupyterhub
def test_stopping_one_of_two_that_wait_leaves_the_build_to_the_other(
    make_repo: MakeRepo, log_in: LogIn, engine_events: ContainerEvents
) -> None:
    first, second = log_in(), log_in()
    repo = make_repo({"which.txt": "still"}, SLOW.replace("75", "20"))
    began = time.time()
    begin(first, repo)
    begin(second, repo)
    tab = Following(second)
    tab.until("slow-line-2-42")

    assert first.delete().status_code == 204

    tab.join(60)
    assert tab.events[-1].get("ready"), tab.events[-1]
    assert second.get("files/which.txt").text == "still"
    assert builds_begun(engine_events, repo.url, began) == 1


@pytest.mark.any_jupyterhub
def test_the_same_build_can_be_started_again_right_after_it_was_stopped(
    make_repo: MakeRepo, client: HubClient
) -> None:
    repo = make_repo({"which.txt": "again"}, "RUN echo slow-line-0-$((40 + 2)) && sleep 3")
    begin(client, repo)
    tab = Following(client)
    tab.until("slow-line-0-42")
    assert client.delete().status_code == 204
    tab.join(10)

    begin(client, repo)
    client.wait_ready()

    assert client.get("files/which.txt").text == "again"


@pytest.mark.any_jupyterhub
@pytest.mark.parametrize("after", [0.0, 0.1, 0.3, 0.7, 1.2])
def test_stopping_at_any_moment_leaves_nothing(
    make_repo: MakeRepo, client: HubClient, docker_client: docker.DockerClient, after: float
) -> None:
    repo = make_repo(None, ENDLESS)
    pressed = threading.Thread(target=client.spawn_form, args=({"repo": repo.url},))
    pressed.start()
    with HubClient(client.base_url) as other_tab:
        other_tab.login(client.username)
        wait_until(lambda: (other_tab.server_model() or {}).get("pending"), 5)
        time.sleep(after)

        answer = other_tab.delete()

        assert answer.status_code == 204, answer.text
        pressed.join()
        wait_until_gone(docker_client, repo.url, 5)
        assert not (other_tab.server_model() or {}).get("ready")


@pytest.mark.any_jupyterhub
def test_who_waits_in_line_sees_the_place_and_can_leave_it(
    narrow: HubProcess, log_in: LogIn, make_repo: MakeRepo, engine_events: ContainerEvents
) -> None:
    first, second, third = (log_in(hub=narrow) for _ in range(3))
    long, short, never = make_repo(None, SLOW), make_repo({"which.txt": "short"}), make_repo()
    began = time.time()
    begin(first, long)
    Following(first).until("slow-line-1-42")

    begin(second, never)
    waiting = Following(second)
    waiting.until("1st in line")
    begin(third, short)
    behind = Following(third)
    behind.until("2nd in line")

    assert second.delete().status_code == 204
    behind.until("1st in line")
    assert first.delete().status_code == 204
    behind.join(60)

    assert behind.events[-1].get("ready"), behind.events[-1]
    assert third.get("files/which.txt").text == "short"
    assert builds_begun(engine_events, never.url, began) == 0


@pytest.mark.any_jupyterhub
def test_a_person_who_does_not_wait_in_line_starts_at_once(
    narrow: HubProcess, log_in: LogIn, make_repo: MakeRepo
) -> None:
    ready = make_repo({"which.txt": "ready"})
    first, second = log_in(hub=narrow), log_in(hub=narrow)
    begin(second, ready)
    second.wait_ready()
    second.visit(second.server_url())
    second.stop_server()
    begin(first, make_repo(None, ENDLESS))
    Following(first).until("slow-line-0-42")

    begin(second, ready)
    try:
        second.wait_ready(timeout=20)
    except SpawnFailedError as error:
        pytest.fail(str(error))
    finally:
        first.delete()

    assert second.get("files/which.txt").text == "ready"
