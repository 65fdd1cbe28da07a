"""A hub's view of two engines: one builds, the other runs the servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import docker

from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.keys import LABEL_PREFIX
from repo2dockerspawner.shared import Shared, shared

from .builds import build
from .secondengine import SecondEngine

__all__ = ["Two"]


@dataclass
class Two:
    """Both engines, and what a hub has of them.

    Attributes:
        here: what the hub has.
        servers: the engine that runs the servers.
        builds: the engine that builds.
    """

    here: Shared
    servers: docker.DockerClient
    builds: docker.DockerClient

    @classmethod
    def of(cls, engine: SecondEngine, servers: docker.DockerClient) -> Two:
        """Build on ``engine``; both clients are the caller's."""
        return cls(cls.shared_of(f"unix://{engine.socket}"), servers, engine.client())

    @staticmethod
    def shared_of(host: str, tls_config: Mapping[str, Any] | None = None) -> Shared:
        """Return what a hub has, whose ``build_docker_host`` and ``build_tls_config`` these are.

        The same one as long as it is not closed.
        """
        return shared(
            client_kwargs={},
            tls_config={},
            limit=4,
            log_file="",
            build_docker_host=host,
            build_tls_config=tls_config,
        )

    async def build(self, plan: BuildPlan) -> list[Event]:
        """Build, and return all events, or raise why there is no image."""
        _, events = await build(self.here.pool, plan)
        return events

    def images(self, client: docker.DockerClient, plan: BuildPlan) -> list[str]:
        """Return the ids of the plan's images, named or not."""
        label = {"label": f"{LABEL_PREFIX}key={plan.key}"}
        return [str(one["Id"]) for one in client.api.images(filters=label)]

    def containers(self, client: docker.DockerClient, plan: BuildPlan) -> list[str]:
        """Return the states of the plan's containers."""
        found = client.api.containers(all=True, filters={"name": f"^/{plan.container}$"})
        return [str(one["State"]) for one in found]
