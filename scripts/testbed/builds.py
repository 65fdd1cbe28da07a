"""Builds on a real engine without a hub: repositories that build in seconds, and a pool."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.builds.pool import BuildPool
from repo2dockerspawner.engine import Engine
from repo2dockerspawner.images import Images
from repo2dockerspawner.keys import BuildInputs, build_key, container_name, image_name, labels

from .gitserver import GitServer
from .names import NETWORKS, REPO2DOCKER_IMAGE, SINGLEUSER_IMAGE

__all__ = ["DOCKERFILE", "Bench", "build"]

DOCKERFILE = f"""FROM {SINGLEUSER_IMAGE}
COPY --chown=1000:1000 . /home/jovyan/
"""


@dataclass
class Bench:
    """A pool on the real engine, and what makes plans for it."""

    engine: Engine
    images: Images
    pool: BuildPool
    git: GitServer

    def repository(self, **files: str) -> tuple[str, str]:
        """Create a repository nobody has built yet; return its URL and commit."""
        name = f"bench/{uuid.uuid4().hex[:12]}"
        content = {"Dockerfile": DOCKERFILE, **{k.replace("__", "."): v for k, v in files.items()}}
        commit = self.git.create(name, content)
        return self.git.url(name), commit

    def plan(self, url: str, commit: str, build_image: str = REPO2DOCKER_IMAGE) -> BuildPlan:
        """Return the plan of a build, as the spawner makes it."""
        inputs = BuildInputs("git", url, commit, "", build_image)
        key = build_key(inputs)
        return BuildPlan(
            key=key,
            container=container_name(key),
            image=image_name(key, url.rsplit("/", 1)[-1], prefix="r2d-test-"),
            labels=labels(key, repo=url, ref="", commit=commit, subdir=""),
            provider="git",
            url=url,
            content_id=commit,
            build_image=build_image,
            protocols=("http",),
            guarded=True,
            allowed_networks=NETWORKS,
            size_limit=2**30,
            timeout=90,
            retention=0,
            title="a repository",
        )

    async def build(self, plan: BuildPlan) -> tuple[str, list[Event]]:
        """Build, and return the image and all events."""
        return await build(self.pool, plan)


async def build(
    pool: BuildPool, plan: BuildPlan, user: str = "somebody"
) -> tuple[str, list[Event]]:
    """Build in a pool as a person who waits; return the image and all events.

    Raises:
        Repo2DockerError: why there is no image.
    """
    one = pool.join(plan, user)
    try:
        events = [event async for event in one.follow()]
        return await one.result(), events
    finally:
        pool.leave(one)
