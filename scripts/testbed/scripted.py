"""Builds on a real engine whose repo2docker is a shell script of the test's."""

from __future__ import annotations

import io
import os
import tarfile
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import docker
import docker.errors

from repo2dockerspawner.builds.container import ContainerBuilder
from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.builds.pool import BuildPool
from repo2dockerspawner.engine import Engine
from repo2dockerspawner.images import Image, Images
from repo2dockerspawner.keys import container_name, image_name, labels

from .builds import build
from .names import BASE_IMAGE, LABEL_PREFIX, TESTBED_PREFIX

__all__ = [
    "OURS",
    "SCRIPTED_ADDRESS",
    "SCRIPTED_IMAGE",
    "OwnEngine",
    "ScriptBench",
    "UnbuiltImages",
    "printed",
    "ready_image",
    "said",
    "scripted_image",
    "scripted_plan",
]

SCRIPTED_IMAGE = f"{TESTBED_PREFIX}scripted-{uuid.uuid4().hex[:8]}"
"""An image whose ``jupyter-repo2docker`` runs what stands in ``SCRIPT``."""

SCRIPTED_ADDRESS = f"https://script.test/{os.getpid()}-{uuid.uuid4().hex[:8]}"
"""What this process's builds say they build; tells them from those of other test runs."""

OURS = {"repo2dockerspawner-testbed.of": SCRIPTED_ADDRESS}
"""The label by which `OwnEngine` knows a container of a test's that isn't labelled as a build."""

_PROGRAM = b'#!/bin/sh\nexec sh -c "$SCRIPT"\n'


@contextmanager
def scripted_image(client: docker.DockerClient) -> Iterator[str]:
    """Make the image, and remove it afterwards."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        entry = tarfile.TarInfo("usr/local/bin/jupyter-repo2docker")
        entry.size, entry.mode = len(_PROGRAM), 0o755
        tar.addfile(entry, io.BytesIO(_PROGRAM))
    made = client.containers.create(BASE_IMAGE, "true")
    try:
        made.put_archive("/", stream.getvalue())
        made.commit(repository=SCRIPTED_IMAGE)
    finally:
        made.remove(force=True)
    try:
        yield SCRIPTED_IMAGE
    finally:
        client.images.remove(SCRIPTED_IMAGE, force=True)


def scripted_plan(script: str, environment: Mapping[str, str] | None = None) -> BuildPlan:
    """Return the plan of a build, of a key of its own, that runs a shell script."""
    key = uuid.uuid4().hex * 2
    return BuildPlan(
        key=key,
        container=container_name(key),
        image=image_name(key, "scripted", prefix="r2d-test-"),
        labels=labels(key, repo=SCRIPTED_ADDRESS, ref="", commit="c" * 40, subdir=""),
        provider="git",
        url=SCRIPTED_ADDRESS,
        content_id="c" * 40,
        build_image=SCRIPTED_IMAGE,
        environment={"SCRIPT": script, **(environment or {})},
        timeout=60,
        title="a script",
    )


@contextmanager
def ready_image(client: docker.DockerClient, plan: BuildPlan) -> Iterator[None]:
    """Make the image that the plan's build is to leave, and remove it afterwards."""
    conf: Any = {"Labels": dict(plan.labels)}
    made = client.containers.create(BASE_IMAGE, "true")
    try:
        made.commit(repository=plan.image, conf=conf)
    finally:
        made.remove(force=True)
    try:
        yield
    finally:
        with suppress(docker.errors.ImageNotFound):
            client.images.remove(plan.image, force=True)


class OwnEngine(Engine):
    """The real engine, but its list has no containers but those of this process's tests.

    For what looks at all of them, as a sweep does: other tests on the same engine have theirs.
    """

    def _made(self, kwargs: dict[str, Any]) -> docker.APIClient:
        client = super()._made(kwargs)
        listed = client.containers

        def own(*arguments: Any, **more: Any) -> list[dict[str, Any]]:
            return [one for one in listed(*arguments, **more) if _is_own(one["Labels"] or {})]

        client.containers = own  # type: ignore[method-assign]
        return client


def _is_own(labels: Mapping[str, str]) -> bool:
    says = unquote(labels.get(f"{LABEL_PREFIX}repo", ""))
    return says == SCRIPTED_ADDRESS or labels.items() >= OURS.items()


class UnbuiltImages(Images):
    """Doesn't see a scripted build's image before the build: it is there from the first.

    No script makes an image, so a test makes it beforehand; the pool looks whether it is there
    before it begins.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._looked: set[str] = set()

    async def find(self, key: str, *names: str) -> Image | None:
        if key not in self._looked:
            self._looked.add(key)
            return None
        return await super().find(key, *names)


@dataclass
class ScriptBench:
    """A pool on an engine, for builds that are scripts.

    Attributes:
        engine: the engine as the pool sees it, through a proxy where a test wants faults.
        client: the engine itself.
    """

    engine: Engine
    images: Images
    builder: ContainerBuilder
    pool: BuildPool
    client: docker.DockerClient

    @classmethod
    def on(cls, engine: Engine, client: docker.DockerClient, limit: int = 4) -> ScriptBench:
        images, builder = UnbuiltImages(engine), ContainerBuilder(engine)
        pool = BuildPool(builder, images, limit=limit)
        return cls(engine, images, builder, pool, client)

    async def build(self, plan: BuildPlan, user: str = "somebody") -> list[Event]:
        """Build; return all events, or raise why there is no image."""
        _, events = await build(self.pool, plan, user)
        return events

    def state(self, plan: BuildPlan) -> str:
        """Return the state of the plan's container (``running``, …), ``""`` where there is none."""
        try:
            return str(self.client.api.inspect_container(plan.container)["State"]["Status"])
        except docker.errors.NotFound:
            return ""

    async def close(self) -> None:
        await self.pool.close()
        self.engine.close()


def printed(events: Iterable[Event]) -> list[str]:
    """Return the lines that a build printed."""
    return [line for event in events if event.is_log for line in event.text.split("\n")]


def said(events: Iterable[Event]) -> list[str]:
    """Return the sentences of ours."""
    return [event.text for event in events if not event.is_log]
