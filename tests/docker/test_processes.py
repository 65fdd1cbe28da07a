"""Races between real processes that ask for the same key: one build, and everybody gets it."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import docker
import docker.errors
import pytest
from testbed.buildprocess import BuildProcess
from testbed.containerevents import ContainerEvents
from testbed.scripted import OwnEngine, ready_image, scripted_plan
from testbed.waiting import wait_until

from repo2dockerspawner.builds.container import ContainerBuilder

ROUNDS = 10


@pytest.fixture
def start(scripted: None) -> Iterator[Callable[[], BuildProcess]]:
    """Starts processes, which are ended at the end."""
    started: list[BuildProcess] = []

    def start() -> BuildProcess:
        started.append(BuildProcess())
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture
def two(start: Callable[[], BuildProcess]) -> list[BuildProcess]:
    return [start(), start()]


async def sweep() -> None:
    engine = OwnEngine()
    await ContainerBuilder(engine).sweep([])
    engine.close()


def created(events: ContainerEvents, name: str, since: float) -> int:
    """Return how many containers of a name have been created."""
    return len(events.of("create", lambda one: one["name"] == name, since))


def state(client: docker.DockerClient, name: str) -> str:
    try:
        return str(client.api.inspect_container(name)["State"]["Status"])
    except docker.errors.NotFound:
        return ""


def wait_for(client: docker.DockerClient, name: str, *states: str) -> None:
    wait_until(lambda: state(client, name) in states, said=lambda: state(client, name))


def test_two_processes_at_the_same_moment_make_one_container(
    two: list[BuildProcess], docker_client: docker.DockerClient, engine_events: ContainerEvents
) -> None:
    for _ in range(ROUNDS):
        plan = scripted_plan("echo one; sleep 0.7; echo two")
        with ready_image(docker_client, plan):
            since = time.time()
            for process in two:
                process.order(plan, since + 0.1)
            assert [process.result() for process in two] == [{"image": plan.image}] * 2
            assert created(engine_events, plan.container, since) == 1
            assert not state(docker_client, plan.container)


@pytest.mark.parametrize(("retention", "most"), [(60, 1), (0, 2)])
def test_a_failure_is_told_to_both_processes_as_it_is(
    two: list[BuildProcess],
    docker_client: docker.DockerClient,
    engine_events: ContainerEvents,
    retention: int,
    most: int,
) -> None:
    """Where it isn't kept, who comes too late to see how it ended builds once more to know."""
    for _ in range(3):
        plan = replace(scripted_plan("sleep 0.5; echo why; exit 1"), retention=retention)
        at = time.time() + 0.1
        for process in two:
            process.order(plan, at)
        assert [process.result()["reason"] for process in two] == ["build_failed"] * 2
        assert 1 <= created(engine_events, plan.container, at) <= most
        with suppress(docker.errors.NotFound):
            docker_client.api.remove_container(plan.container)


def test_when_one_process_is_killed_at_any_moment_the_other_gets_the_image(
    start: Callable[[], BuildProcess],
    docker_client: docker.DockerClient,
    engine_events: ContainerEvents,
) -> None:
    survivor = start()
    for moment in [0.0, 0.03, 0.1, *(random.uniform(0, 1) for _ in range(3))]:
        plan = scripted_plan("echo one; sleep 0.8; echo two")
        victim = start()
        with ready_image(docker_client, plan):
            at = time.time() + 0.1
            victim.order(plan, at)
            survivor.order(plan, at + random.choice([0.0, 0.03]))
            time.sleep(max(0.0, at + moment - time.time()))
            victim.kill()
            assert survivor.result() == {"image": plan.image}, f"killed after {moment:.3f} s"
            assert created(engine_events, plan.container, at - 1) <= 2
            # one that only began after the other's end has left its own, for the next sweep
            wait_for(docker_client, plan.container, "", "exited")
            asyncio.run(sweep())
            assert not state(docker_client, plan.container)


def test_what_a_killed_process_has_left_is_taken_up_by_the_next(
    start: Callable[[], BuildProcess],
    docker_client: docker.DockerClient,
    engine_events: ContainerEvents,
) -> None:
    plan = scripted_plan("echo one; sleep 2; echo two")
    with ready_image(docker_client, plan):
        victim, following = start(), start()
        since = time.time()
        victim.order(plan)
        wait_for(docker_client, plan.container, "running")
        victim.kill()
        following.order(plan)
        events = []
        while "event" in (answer := following.next_event()):
            events.append(answer["event"])
        assert answer == {"image": plan.image}
        assert "\n".join(events).count("one") == 1, "its log is read from the start"
        assert created(engine_events, plan.container, since) == 1


def test_a_process_that_is_told_to_end_is_gone_in_two_seconds_and_its_build_goes_on(
    start: Callable[[], BuildProcess],
    docker_client: docker.DockerClient,
    engine_events: ContainerEvents,
) -> None:
    plan = scripted_plan("echo one; sleep 4; echo two")
    with ready_image(docker_client, plan):
        process, following = start(), start()
        since = time.time()
        process.order(plan)
        wait_for(docker_client, plan.container, "running")
        assert process.terminate() <= 2
        assert state(docker_client, plan.container) == "running"
        following.order(plan)
        assert following.result() == {"image": plan.image}
        assert created(engine_events, plan.container, since) == 1


@contextmanager
def removing(name: str, pause: float) -> Iterator[list[str]]:
    """Remove the container of a name whenever it doesn't run, as a prune does."""
    client = docker.from_env()
    removed: list[str] = []
    ended = threading.Event()

    def remove() -> None:
        while not ended.is_set():
            with suppress(docker.errors.APIError):
                client.api.remove_container(name)
                removed.append(name)
            ended.wait(pause)

    thread = threading.Thread(target=remove)
    thread.start()
    try:
        yield removed
    finally:
        ended.set()
        thread.join()
        client.close()


def test_a_build_whose_container_is_removed_elsewhere_is_told_right(
    two: list[BuildProcess], docker_client: docker.DockerClient
) -> None:
    plan = replace(scripted_plan("echo one"), retention=60)
    with ready_image(docker_client, plan), removing(plan.container, 0.15) as removed:
        for _ in range(ROUNDS):
            for process in two:
                process.order(plan)
            assert [process.result() for process in two] == [{"image": plan.image}] * 2
    print(f"{len(removed)} removals")
    with suppress(docker.errors.NotFound):
        docker_client.api.remove_container(plan.container)
