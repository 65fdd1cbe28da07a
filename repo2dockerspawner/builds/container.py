"""A build as a container that runs repo2docker: the one room that talks to Docker about builds.

The container's name is made from the build key, so the engine itself sees to it that one thing
is built once, whoever asks: two users, the hub and another process, this hub and the one after
a restart. Who finds the name taken attaches to it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import requests
from docker.types import LogConfig

from ..engine import APIError, Engine, ImageNotFound, NotFound, engine_error, split_image
from ..errors import BuildError, EngineError
from ..keys import LABEL_PREFIX
from .events import Event
from .follower import Follower
from .lines import LineAssembler
from .logs import LogParser
from .plan import BuildPlan, archive, arguments

__all__ = ["ContainerBuilder", "Outcome"]

_CONFLICT = 409
# What a build prints is bounded on the engine's disk too. The driver is the one that the
# engine's own documentation recommends against full disks.
_LOG_CONFIG = {"max-size": "32m", "max-file": "2"}
# Seconds within which whoever created a container starts it; after that, its creator is gone.
_START_GRACE = 30.0
_WAIT_TIMEOUT = 30
_PULL_EVENT_PAUSE = 1.0


@dataclass(frozen=True)
class Outcome:
    """How a build container ended.

    Attributes:
        exit_code: repo2docker's; ``None`` where the container is gone without telling.
        out_of_memory: whether the kernel killed it for its memory.
        image: the image's name as the log told it, or ``None``.
        ours: whether this process created the container.
        detached: whether following ended, and the build goes on by itself.
    """

    exit_code: int | None = None
    out_of_memory: bool = False
    image: str | None = None
    ours: bool = False
    detached: bool = False


class ContainerBuilder:
    """Runs builds on a Docker engine. `run` belongs on a worker thread; it blocks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # -- on a worker thread ----------------------------------------------------------------

    def run(self, plan: BuildPlan, follower: Follower) -> Outcome:
        """Create the build container, or attach to the one that is there, and follow it.

        Returns when the container has ended and is removed, or when the follower is detached.

        Raises:
            EngineError: the engine can't be reached or refuses.
            BuildError: the build can't be started.
        """
        try:
            return self._run(plan, follower)
        except requests.exceptions.RequestException as error:
            raise engine_error(error) from error
        except APIError as error:
            raise engine_error(error) from error

    def _run(self, plan: BuildPlan, follower: Follower) -> Outcome:
        container = self._take(plan, follower)
        if container is None:
            return Outcome(detached=follower.detached.is_set())
        if follower.cancelled.is_set() and follower.ours:
            self._remove(container)
            return Outcome(ours=True)
        parser = LogParser()
        self._read(container, parser, follower)
        if follower.detached.is_set():
            return Outcome(ours=follower.ours, detached=True)
        exit_code, out_of_memory = self._ending(container)
        self._remove(container)
        return Outcome(exit_code, out_of_memory, parser.image, follower.ours)

    def _take(self, plan: BuildPlan, follower: Follower) -> str | None:
        """Return the id of the running build container, ours or another's; None if stopped."""
        created_since: float | None = None
        while not follower.stopped:
            container = self._create(plan, follower)
            if container is not None:
                follower.ours = True
                self._start(container, plan, follower)
                return container
            found = self._inspect(plan)
            if found is None:
                continue  # it went away in between
            state = found["State"]["Status"]
            if state in ("running", "paused", "restarting"):
                follower.emit(
                    Event("This repository is being built already; joining in.", 0, "fetching")
                )
                return str(found["Id"])
            if state == "created":
                # whoever made it is about to start it, or died before that
                created_since = created_since or time.monotonic()
                if time.monotonic() - created_since < _START_GRACE:
                    follower.cancelled.wait(0.1)
                    continue
            # ended, and no image of it: its result doesn't count
            self._remove(str(found["Id"]))
        return None

    def _create(self, plan: BuildPlan, follower: Follower) -> str | None:
        """Create the container and return its id, or None where its name is taken."""
        for pulled in (False, True):
            try:
                made = self._engine.client.create_container(**self._options(plan))
            except ImageNotFound:
                if pulled:
                    raise
                self._pull(plan.build_image, follower)
            except APIError as error:
                if error.status_code == _CONFLICT:
                    return None
                raise
            else:
                return str(made["Id"])
        return None

    def _options(self, plan: BuildPlan) -> dict[str, Any]:
        host_config = self._engine.client.create_host_config(
            binds={self._engine.socket: {"bind": "/var/run/docker.sock", "mode": "rw"}},
            log_config=LogConfig(type="local", config=_LOG_CONFIG),
            security_opt=["no-new-privileges"],
            network_mode=plan.network or None,
        )
        return {
            "image": plan.build_image,
            "command": arguments(plan),
            "name": plan.container,
            "labels": dict(plan.labels),
            # without it git would ask for a password at a repository that isn't public
            "environment": {"GIT_TERMINAL_PROMPT": "0", **plan.environment},
            "host_config": host_config,
        }

    def _start(self, container: str, plan: BuildPlan, follower: Follower) -> None:
        client = self._engine.client
        try:
            client.put_archive(container, "/", archive(plan))
            if not follower.cancelled.is_set():
                client.start(container)
        except BaseException:
            self._remove(container)
            raise

    def _inspect(self, plan: BuildPlan) -> dict[str, Any] | None:
        """Return what the engine says of the container of the plan's name, None if gone.

        Raises:
            BuildError: the name is taken by a container that isn't a build of this key.
        """
        try:
            found: dict[str, Any] = self._engine.client.inspect_container(plan.container)
        except NotFound:
            return None
        if (found["Config"]["Labels"] or {}).get(LABEL_PREFIX + "key") != plan.key:
            message = (
                f"A container named {plan.container} is there that is no build of this "
                "repository. An administrator of this hub has to remove it."
            )
            raise BuildError(message, reason="name_taken", status=503)
        return found

    def _pull(self, image: str, follower: Follower) -> None:
        """Pull the repo2docker image, saying how far it is.

        Raises:
            EngineError: it can't be had.
        """
        repository, tag = split_image(image)
        follower.emit(Event(f"Fetching the build image {image}…", 0, "fetching"))
        said = time.monotonic()
        layers: dict[str, tuple[int, int]] = {}
        try:
            for event in self._engine.client.pull(repository, tag, stream=True, decode=True):
                if follower.stopped:
                    return
                if "error" in event:
                    raise _no_build_image(image, str(event["error"]))
                detail = event.get("progressDetail") or {}
                if detail.get("total"):
                    layers[event["id"]] = (detail.get("current", 0), detail["total"])
                if layers and time.monotonic() - said >= _PULL_EVENT_PAUSE:
                    said = time.monotonic()
                    done, total = (sum(column) for column in zip(*layers.values(), strict=True))
                    text = f"Fetching the build image: {done / 1e6:.0f} of {total / 1e6:.0f} MB"
                    follower.emit(Event(text, 0, "fetching"))
        except APIError as error:
            raise _no_build_image(image, str(error.explanation or error)) from error

    def _read(self, container: str, parser: LogParser, follower: Follower) -> None:
        """Read the log from its start to its end, or until the follower is detached."""
        lines = LineAssembler()
        for chunk in self._chunks(container, follower):
            for line in lines.feed(chunk):
                _tell(parser, line, follower)
        for line in lines.close():
            _tell(parser, line, follower)

    def _chunks(self, container: str, follower: Follower) -> Iterator[bytes]:
        try:
            stream = self._engine.client.logs(container, stream=True, follow=True)
        except NotFound:
            return
        follower.opened(stream)
        # closing the stream from the loop's thread ends the reading, with whatever error the
        # half-read response makes of it
        try:
            yield from stream
        except Exception:
            if not follower.detached.is_set():
                raise

    def _ending(self, container: str) -> tuple[int | None, bool]:
        """Return exit code and whether memory ran out; (None, False) where it is gone."""
        try:
            code = int(self._engine.client.wait(container, timeout=_WAIT_TIMEOUT)["StatusCode"])
            state = self._engine.client.inspect_container(container)["State"]
        except NotFound:
            return None, False
        return code, bool(state.get("OOMKilled"))

    def _remove(self, container: str) -> None:
        """Remove a container, running or not; one that is gone or going is as good."""
        try:
            self._engine.client.remove_container(container, force=True, v=True)
        except NotFound:
            pass
        except APIError as error:
            if error.status_code != _CONFLICT:
                raise

    # -- from the event loop ---------------------------------------------------------------

    def kill(self, plan: BuildPlan) -> None:
        """End the build's container soon; who follows it sees its end and removes it."""

        def kill(client: Any) -> None:
            with contextlib.suppress(NotFound):
                try:
                    client.kill(plan.container)
                except APIError as error:
                    if error.status_code != _CONFLICT:  # it isn't running (any more)
                        raise

        self._engine.submit(kill)


def _tell(parser: LogParser, line: str, follower: Follower) -> None:
    for event in parser.feed_line(line):
        phase = event.phase.value if event.phase is not None else "fetching"
        follower.emit(Event(event.text, event.progress, phase, is_log=True))


def _no_build_image(image: str, said: str) -> EngineError:
    return EngineError(
        f"The build image {image} can't be fetched ({said.strip()[:200]}). An administrator of "
        "this hub has to make it available or set build_image to another one.",
        reason="builder_image_unavailable",
    )
