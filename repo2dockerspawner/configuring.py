"""Everything that a hub's configuration needs of us, in one line."""

from __future__ import annotations

from typing import Any

from tornado.httpserver import HTTPServer
from traitlets import TraitError

from .startup import STARTUP_EXTENSION
from .templating import EXTENSION, TEMPLATES
from .traits import PARTS, START_MARGIN, BuildTraits

__all__ = ["BODY_LIMIT", "configure"]

BODY_LIMIT = 1024**2
"""Bytes of a request's body that the hub takes, unless `configure` is told another limit."""

# Of the classes whose settings apply to ours, the later ones win.
_CLASSES = (
    *("Spawner", "DockerSpawner"),
    *(part.__name__ for part in PARTS),
    *("Traits", "Repo2DockerMixin", "Repo2DockerSpawner"),
)


def configure(
    c: Any,
    *,
    spawner: Any = "repo2docker",
    templates: bool = True,
    body_limit: int | None = BODY_LIMIT,
) -> None:
    """Set up Repo2DockerSpawner in ``jupyterhub_config.py``.

    It sets:
      - `JupyterHub.spawner_class`, to ``spawner``;
      - `JupyterHub.template_paths`: our directory of templates goes to its front;
      - `JupyterHub.jinja_environment_options`: an extension of Jinja's goes to its
        ``extensions``, by which our pages extend those of other packages, and one by which
        builds that an earlier process has left are looked after from the hub's start.

    Templates and the first extension change the pages ``spawn_pending.html``,
    ``not_running.html`` and ``spawn.html``, and nothing else. Each of these settings can be made
    by hand instead, and changed afterwards. Settings of `Repo2DockerSpawner` are made as of any
    spawner, before or after.

    JupyterHub has no setting for the size of requests, so ``body_limit`` becomes Tornado's default
    for the whole process (`HTTPServer.configure`).

    Args:
        c: the configuration object, ``get_config()``.
        spawner: an entry point's name, ``package.Class``, or a class; ``None`` leaves
            `JupyterHub.spawner_class` as it is.
        templates: whether our pages are shown; without them JupyterHub's own show the progress.
        body_limit: bytes that a request's body may have, of any request to the hub, whoever sends
            it; a larger one is answered with 400 before it is read. ``None`` leaves JupyterHub's
            100 MiB.

    Raises:
        TraitError: what is set already can't work: `start_timeout` ends before a build may.
    """
    _check_timeouts(c)
    if spawner is not None:
        c.JupyterHub.spawner_class = spawner
    _extend(c, STARTUP_EXTENSION)
    if body_limit is not None:
        HTTPServer.configure(None, max_body_size=body_limit)
    if not templates:
        return
    paths = c.JupyterHub.template_paths
    if not isinstance(paths, list) or TEMPLATES not in paths:
        paths.insert(0, TEMPLATES)
    _extend(c, EXTENSION)


def _extend(c: Any, extension: str) -> None:
    """Add an extension to Jinja's."""
    options = c.JupyterHub.jinja_environment_options
    # what is not set yet is a LazyConfigValue, which takes only what is to be added
    known = options if isinstance(options, dict) else options.to_dict().get("update", {})
    extensions = [*known.get("extensions", ())]
    if extension not in extensions:
        options.update({"extensions": [*extensions, extension]})


def _check_timeouts(c: Any) -> None:
    """Refuse now what each spawner would refuse (`BuildTraits.check_timeouts`) at its start."""
    start, start_of = _setting(c, "start_timeout")
    build, build_of = _setting(c, "build_timeout")
    if start is None:
        return  # it follows build_timeout
    if build is None:
        build, build_of = BuildTraits.build_timeout.default_value, "Repo2DockerSpawner"
    if start < build + START_MARGIN:
        message = (
            f"{start_of}.start_timeout ({start} s) has to be at least {START_MARGIN} s longer than "
            f"{build_of}.build_timeout ({build} s): leave start_timeout unset and it follows, or "
            f"set build_timeout to {max(1, start - START_MARGIN)} or less."
        )
        raise TraitError(message)


def _setting(c: Any, name: str) -> tuple[Any, str]:
    """Return what is set for our spawner, and for which class; ``(None, "")`` where nothing is."""
    for cls in reversed(_CLASSES):
        if cls in c and name in c[cls] and isinstance(c[cls][name], (int, float)):
            return c[cls][name], cls
    return None, ""
