"""Look after builds from the hub's start, though nobody starts a server.

JupyterHub makes a spawner only for servers that are there. A hub that was killed in the middle of
builds, and has no server left, would look after them only when the next person comes. It has no
hook for its start either; but it makes its Jinja environments then, and these their extensions.
"""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

from jinja2 import Environment
from jinja2.ext import Extension
from jupyterhub.app import JupyterHub

from .mixin import Repo2DockerMixin

__all__ = ["STARTUP_EXTENSION", "LookAfterBuilds", "look_after_builds"]

STARTUP_EXTENSION = "repo2dockerspawner.startup.LookAfterBuilds"
"""For ``JupyterHub.jinja_environment_options``; `configure` puts it there."""

log = logging.getLogger(__name__)


class LookAfterBuilds(Extension):
    """Jinja extension: calls `look_after_builds` when the hub makes its environments."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # somebody else's environment: a hub's loop runs by then
            return
        look_after_builds()


def look_after_builds() -> bool:
    """Begin to take up and to sweep builds in a hub that has our spawner; on its event loop.

    Returns:
        Whether there is such a hub. What goes wrong is logged, and no reason not to start.
    """
    if not JupyterHub.initialized():
        return False
    hub = JupyterHub.instance()
    if not issubclass(hub.spawner_class, Repo2DockerMixin):
        return False
    try:
        # it has the settings that each one has; DockerSpawner writes its user's name into some
        nobody = SimpleNamespace(name="nobody", settings={})
        hub.spawner_class(config=hub.config, user=nobody).look_after_builds()
    except Exception:
        log.exception("Builds can't be looked after")
    return True
