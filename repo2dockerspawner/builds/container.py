"""A build as a container that runs repo2docker: the one room that talks to Docker about builds.

The container's name is made from the build key, so the engine itself sees to it that one thing
is built once, whoever asks: two users, the hub and another process, this hub and the one after
a restart. Who finds the name taken attaches to it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import requests
from docker.types import LogConfig
from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay
from tenacity.wait import wait_exponential

from ..engine import APIError, Engine, ImageNotFound, NotFound, engine_error
from ..errors import BuildError, EngineError
from ..keys import LABEL_PREFIX, container_name
from .events import Event
from .follower import Follower
from .logs import LogEvent, LogParser
from .plan import BuildPlan, archive, arguments, container_labels
from .pulling import pull
from .sweeping import sweep

__all__ = ["ContainerBuilder", "Outcome"]

_CONFLICT = 409
# The output is bounded inside (inside/repo2docker_config.py). This is for what gets past that:
# a log that is rotated while it is read loses lines (tried on engine 20.10), so it is far above.
_LOG_CONFIG = {"max-size": "64m", "max-file": "2"}
# Seconds within which whoever created a container starts it; after that, its creator is gone.
_START_GRACE = 30.0
# Seconds between a log's end and its container's, after which the log was merely cut off.
_END_GRACE = 3
# Seconds that an engine may take to come back in the middle of a build.
_PATIENCE = 60


@dataclass(frozen=True)
class Outcome:
    """How a build container ended.

    Attributes:
        exit_code: repo2docker's; ``None`` where the container is gone without telling.
        out_of_memory: whether the kernel killed it for its memory.
        image: the image's name as the log told it, or ``None``.
        ours: whether this process created the container.
        detached: whether following ended, and the build goes on by itself.
        interrupted: whether the engine went away in between.
    """

    exit_code: int | None = None
    out_of_memory: bool = False
    image: str | None = None
    ours: bool = False
    detached: bool = False
    interrupted: bool = False


def _unreachable(error: BaseException) -> bool:
    if isinstance(error, EngineError):
        return error.reason == EngineError.reason
    return isinstance(error, requests.exceptions.ConnectionError)


class ContainerBuilder:
    """Runs builds on a Docker engine. `run` belongs on a worker thread; it blocks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # -- on a worker thread ----------------------------------------------------------------

    def run(self, plan: BuildPlan, follower: Follower) -> Outcome:
        """Create the build container, or attach to the one that is there, and follow it.

        Returns when the container has ended, or when the follower is detached.

        Raises:
            EngineError: the engine can't be reached or refuses.
            BuildError: the build can't be started.
        """
        try:
            return self._run(plan, follower)
        except (APIError, requests.exceptions.RequestException) as error:
            raise engine_error(error) from error

    def _run(self, plan: BuildPlan, follower: Follower) -> Outcome:
        container = self._take(plan, follower)
        if container is None:
            return Outcome(detached=follower.detached.is_set())
        if follower.cancelled.is_set() and follower.ours:
            self._remove(container)
            return Outcome(ours=True)
        parser = LogParser()
        interrupted = self._read(container, parser, follower)
        if follower.detached.is_set():
            return Outcome(ours=follower.ours, detached=True)
        exit_code, out_of_memory = self._ending(container)
        if plan.retention <= 0 or follower.cancelled.is_set():
            self._remove(container)
        return Outcome(
            exit_code, out_of_memory, parser.image, follower.ours, interrupted=interrupted
        )

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
                made = self._patiently(
                    lambda client: client.create_container(**self._options(plan))
                )
            except ImageNotFound:
                if pulled:
                    raise
                pull(self._engine.client, plan.build_image, follower)
                if follower.stopped:
                    return None
            except APIError as error:
                if error.status_code == _CONFLICT:
                    return None
                raise
            else:
                return str(made["Id"])
        return None

    def _patiently(self, function: Any, *, seconds: float = 10, attempts: int = 3) -> Any:
        """Call the engine, and again where it can't be reached, for a while."""
        stop = stop_after_attempt(attempts) | stop_after_delay(seconds)
        retrying = Retrying(
            stop=stop,
            wait=wait_exponential(multiplier=0.2, max=2),
            retry=retry_if_exception(_unreachable),
            reraise=True,
        )
        return retrying(lambda: function(self._engine.client))

    def _options(self, plan: BuildPlan) -> dict[str, Any]:
        host_config = self._engine.client.create_host_config(
            binds={self._engine.socket: {"bind": "/var/run/docker.sock", "mode": "rw"}},
            log_config=LogConfig(type="local", config=_LOG_CONFIG),
            security_opt=["no-new-privileges"],
            network_mode=plan.network or None,
            mem_limit=plan.memory_limit or None,
            # the same figure: no swap, which would only make it slow instead
            memswap_limit=plan.memory_limit or None,
        )
        return {
            "image": plan.build_image,
            "command": arguments(plan),
            "name": plan.container,
            "labels": container_labels(plan),
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

    def _read(self, container: str, parser: LogParser, follower: Follower) -> bool:
        """Read the log from its start to its end, or until the follower is detached.

        Where the engine goes away in between, the log is read anew from its start and what has
        been read is passed over, byte by byte: nothing is lost, nothing doubled.

        Returns:
            Whether the engine went away in between.
        """
        seen = 0
        interrupted = False
        while True:
            for chunk in self._chunks(container, follower, seen):
                seen += len(chunk)
                _tell(parser.feed(chunk), follower, parser.step)
            if follower.detached.is_set() or not self._still_runs(container):
                break
            if not interrupted:
                text = "The Docker engine was away; reading on."
                follower.emit(Event(text, parser.progress, "fetching"))
            interrupted = True
        _tell(parser.close(), follower, parser.step)
        return interrupted

    def _chunks(self, container: str, follower: Follower, skip: int) -> Iterator[bytes]:
        try:
            stream = self._patiently(
                lambda client: client.logs(container, stream=True, follow=True),
                seconds=_PATIENCE,
                attempts=_PATIENCE,
            )
        except NotFound:
            return
        follower.opened(stream)
        try:
            for chunk in stream:
                if skip < len(chunk):
                    yield chunk[skip:]
                skip = max(0, skip - len(chunk))
        except Exception:
            # closing the stream from the loop's thread ends the reading with whatever error the
            # half-read response makes of it; so does an engine that goes
            if not (follower.detached.is_set() or self._still_runs(container)):
                raise

    def _still_runs(self, container: str) -> bool:
        """Return whether a container whose log has ended goes on nevertheless."""
        try:
            self._patiently(
                lambda client: client.wait(container, timeout=_END_GRACE),
                seconds=_PATIENCE,
                attempts=_PATIENCE,
            )
        except NotFound:
            return False
        except requests.exceptions.RequestException as error:
            if "timed out" in str(error).lower():
                return True
            raise
        return False

    def _ending(self, container: str) -> tuple[int | None, bool]:
        """Return exit code and whether memory ran out; (None, False) where it is gone."""
        try:
            state = self._engine.client.inspect_container(container)["State"]
        except NotFound:
            return None, False
        return int(state["ExitCode"]), bool(state.get("OOMKilled"))

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

    async def sweep(self, followed: Collection[str]) -> list[str]:
        """Remove build containers whose time is over, of whichever process; see `sweeping`.

        Args:
            followed: names of the containers that this process follows.

        Returns:
            The names of those removed.
        """
        return await self._engine.call(lambda client: sweep(client, frozenset(followed)))

    async def log_of(self, key: str) -> list[str]:
        """Return the lines that an ended or running build has printed so far.

        Raises:
            NotFound: there is no such build container (any more).
            EngineError: the engine can't be reached.
        """
        name = container_name(key)
        raw = await self._engine.call(lambda client: client.logs(name))
        parser = LogParser()
        return [event.text for event in (*parser.feed(raw), *parser.close())]


def _tell(
    events: Iterable[LogEvent], follower: Follower, step: tuple[int, int] | None = None
) -> None:
    for event in events:
        phase = event.phase.value if event.phase is not None else "fetching"
        follower.emit(Event(event.text, event.progress, phase, is_log=True, step=step))
