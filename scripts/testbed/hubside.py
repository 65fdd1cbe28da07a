"""What a hub under test tells of itself beyond its API; its configuration file loads this."""

from __future__ import annotations

import asyncio
from typing import Any

from tornado.web import RequestHandler

from repo2dockerspawner import shared

__all__ = ["HANDLERS"]


class _Pool(RequestHandler):
    """Tells what the pool of builds does, and the hub's own count of failures in a row.

    ``queued`` and ``running`` are the subdirectories that are built, ``phases`` what each
    person's launch is at.
    """

    def get(self) -> None:
        """Answer with one JSON object."""
        here = shared._by_loop.get(asyncio.get_running_loop(), {})  # noqa: SLF001
        pools = [one.pool for one in here.values()]
        users = self.settings["users"].values()
        self.write(
            {
                "queued": [build.plan.subdir for pool in pools for build in pool._queue],  # noqa: SLF001
                "running": [build.plan.subdir for pool in pools for build in pool._running],  # noqa: SLF001
                "phases": {
                    user.name: user.spawner.launch.phase
                    for user in users
                    if user.spawner.launch is not None
                },
                "failures": self.settings.get("failure_count", 0),
            }
        )


HANDLERS: list[tuple[str, Any]] = [(r"/testbed/pool", _Pool)]
"""For `JupyterHub.extra_handlers`."""
