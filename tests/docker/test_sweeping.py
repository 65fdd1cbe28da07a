"""What a sweep removes of a real engine, and what it leaves alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import docker
import docker.errors
import pytest
from testbed.names import BASE_IMAGE
from testbed.scripted import OURS, ScriptBench, scripted_plan
from testbed.waiting import until

from repo2dockerspawner.builds import sweeping
from repo2dockerspawner.builds.plan import RETENTION_LABEL, TIMEOUT_LABEL, container_labels
from repo2dockerspawner.keys import LABEL_PREFIX


@dataclass
class Yard:
    """Containers as some process may have left them, removed at the end."""

    client: docker.DockerClient
    ids: list[str]

    def create(self, name: str | None, labels: dict[str, str], command: str = "true") -> str:
        made = self.client.api.create_container(
            BASE_IMAGE, ["sh", "-c", command], name=name, labels={**labels, **OURS}
        )
        self.ids.append(made["Id"])
        return str(made["Id"])

    def run(self, name: str | None, labels: dict[str, str], command: str = "true") -> str:
        made = self.create(name, labels, command)
        self.client.api.start(made)
        return made

    def ended(self, name: str | None, labels: dict[str, str]) -> str:
        made = self.run(name, labels)
        self.client.api.wait(made, timeout=10)
        return made

    def there(self, made: str) -> bool:
        try:
            self.client.api.inspect_container(made)
        except docker.errors.NotFound:
            return False
        return True


@pytest.fixture
def yard(docker_client: docker.DockerClient) -> Iterator[Yard]:
    made = Yard(docker_client, [])
    yield made
    for one in made.ids:
        with suppress(docker.errors.NotFound):
            docker_client.api.remove_container(one, force=True)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make a minute pass, and two: what is left over counts as left at once."""

    def now() -> None:
        monkeypatch.setattr(sweeping, "_UNSTARTED", 0.0)
        monkeypatch.setattr(sweeping, "_MARGIN", 0.0)

    return now


def names(retention: int = 0, timeout: int = 60) -> tuple[str, dict[str, str]]:
    """Return name and labels of a build container of some process."""
    plan = replace(scripted_plan(""), retention=retention, timeout=timeout)
    return plan.container, container_labels(plan)


async def test_an_ended_one_goes_when_it_has_been_kept_as_long_as_it_says(
    scripts: ScriptBench, yard: Yard
) -> None:
    over, kept, soon = (yard.ended(*names(retention=seconds)) for seconds in (0, 3600, 2))
    removed = await scripts.builder.sweep([])
    assert not yard.there(over)
    assert yard.there(kept)
    assert [name.startswith("r2d-build-") for name in removed]
    await asyncio.sleep(2.2)
    await scripts.builder.sweep([])
    assert not yard.there(soon)
    assert yard.there(kept)


async def test_one_that_was_never_started_goes_after_a_while(
    scripts: ScriptBench, yard: Yard, at_once: Callable[[], None]
) -> None:
    made = yard.create(*names(retention=3600))
    await scripts.builder.sweep([])
    assert yard.there(made), "who made it may be about to start it"
    at_once()
    await asyncio.sleep(1.1)
    await scripts.builder.sweep([])
    assert not yard.there(made)


async def test_a_running_one_over_its_own_time_goes_unless_it_is_followed(
    scripts: ScriptBench, yard: Yard, at_once: Callable[[], None]
) -> None:
    (followed_name, labels) = names(timeout=1)
    followed = yard.run(followed_name, labels, "sleep 60")
    over = yard.run(*names(timeout=1), "sleep 60")
    foreign = yard.run(*names(timeout=7200), "sleep 60")
    await scripts.builder.sweep([followed_name])
    assert yard.there(over), "its own follower may still be about to end it"
    await asyncio.sleep(2.2)
    at_once()
    await scripts.builder.sweep([followed_name])
    assert yard.there(followed)
    assert yard.there(foreign), "another hub allows it more time than this one"
    assert not yard.there(over)
    yard.client.api.kill(followed)
    yard.client.api.kill(foreign)


async def test_the_builds_of_this_process_are_left_alone(
    scripts: ScriptBench, at_once: Callable[[], None]
) -> None:
    at_once()
    plan = replace(scripted_plan("exec sleep 60"), timeout=60)
    build = scripts.pool.join(plan, "ann")
    await until(lambda: scripts.state(plan) == "running")
    assert scripts.pool.followed == [plan.container]
    await scripts.builder.sweep(scripts.pool.followed)
    assert scripts.state(plan) == "running"
    scripts.pool.leave(build)
    await until(lambda: not scripts.state(plan))


async def test_strangers_are_left_alone(
    scripts: ScriptBench, yard: Yard, at_once: Callable[[], None]
) -> None:
    name, labels = names()
    other, _ = names()
    strangers = [
        # a server started from a built image has its labels, and a name of its own
        yard.ended("r2d-test-jupyter-ann", labels),
        yard.ended(None, labels),
        yard.ended(name, {}),
        yard.ended(other, {f"{LABEL_PREFIX}key": "0" * 64}),
        yard.ended("r2d-test-near", {f"{LABEL_PREFIX}keys": "1", "key": "1"}),
    ]
    at_once()
    await scripts.builder.sweep([])
    assert all(yard.there(one) for one in strangers)


async def test_labels_that_make_no_sense_do_not_stop_the_sweep(
    scripts: ScriptBench, yard: Yard
) -> None:
    for number in (RETENTION_LABEL, TIMEOUT_LABEL):
        name, labels = names()
        running = yard.run(name, {**labels, number: "soon"}, "sleep 60")
    over = yard.ended(*names())
    await scripts.builder.sweep([])
    assert not yard.there(over)
    assert yard.there(running), "without a limit of its own it is left running"
    for one in yard.ids[:2]:
        yard.client.api.remove_container(one, force=True)


async def test_a_trial_run_that_somebody_left_goes(
    scripts: ScriptBench, yard: Yard, at_once: Callable[[], None]
) -> None:
    probe = yard.create(None, {f"{LABEL_PREFIX}probe": "1"})
    await scripts.builder.sweep([])
    assert yard.there(probe)
    at_once()
    await asyncio.sleep(1.1)
    await scripts.builder.sweep([])
    assert not yard.there(probe)
