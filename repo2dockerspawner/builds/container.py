"""A build as a container that runs repo2docker: the one room that talks to Docker about builds.

The container's name is made from the build key, so the engine itself sees to it that one thing
is built once, whoever asks: two users, the hub and another process, this hub and the one after
a restart. Who finds the name taken attaches to it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import requests
from docker.types import LogConfig
from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay
from tenacity.nap import sleep_using_event
from tenacity.stop import stop_when_event_set
from tenacity.wait import wait_exponential

from ..engine import APIError, Engine, ImageNotFound, NotFound, engine_error
from ..errors import BuildError, EngineError
from ..keys import LABEL_PREFIX, container_name
from .events import Event
from .follower import Follower
from .logs import LogEvent, LogParser
from .outcome import Outcome
from .plan import BuildPlan, archive, arguments, container_labels
from .pulling import pull
from .sweeping import sweep

__all__ = ["ContainerBuilder", "Outcome"]

log = logging.getLogger(__name__)

_NOT_FOUND = 404
_CONFLICT = 409
# What the engine answers about a container that is gone, or just going.
_GONE = (_NOT_FOUND, _CONFLICT)
# Times that a container is made anew that somebody removes before it is started.
_STARTS = 5
_SERVER_ERROR = 500
# The output is bounded inside (inside/repo2docker_config.py). This is for what gets past that:
# a log that is rotated while it is read loses lines (tried on engine 20.10), so it is far above.
_LOG_CONFIG = {"max-size": "64m", "max-file": "2"}
# Seconds within which whoever created a container starts it; after that, its creator is gone.
_START_GRACE = 30.0
# Seconds between a log's end and its container's, after which the log was merely cut off.
_END_GRACE = 3
# Looks, and seconds before each, after a failure: an engine that ends lets its containers fail
# first, and answers for another moment.
_LOOKS, _LOOK_AGAIN = 4, 0.3
# Seconds that an engine may take to come back in the middle of a build.
_PATIENCE = 60
# Seconds before something that was in the way is looked at again, and at most.
_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


class _BrokenError(Exception):
    """A log's stream has ended, and the log has not."""


def _unreachable(error: BaseException) -> bool:
    if isinstance(error, EngineError):
        return error.reason == EngineError.reason
    return isinstance(error, requests.exceptions.ConnectionError)


def _passing(error: BaseException) -> bool:
    """Return whether the same call may do better in a moment."""
    if isinstance(error, APIError):
        return (error.status_code or 0) >= _SERVER_ERROR
    return _unreachable(error) or isinstance(error, requests.exceptions.Timeout)


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
        except (APIError, EngineError, requests.exceptions.RequestException) as error:
            if follower.detached.is_set():
                return Outcome(ours=follower.ours, detached=True)
            if isinstance(error, EngineError):
                raise
            raise engine_error(error) from error

    def _run(self, plan: BuildPlan, follower: Follower) -> Outcome:
        container = self._take(plan, follower)
        if container is None:
            return Outcome(detached=follower.detached.is_set())
        if follower.cancelled.is_set() and follower.ours:
            self._let_go(container)
            return Outcome(ours=True)
        parser = LogParser()
        interrupted = self._read(container, parser, follower)
        if follower.detached.is_set():
            return Outcome(ours=follower.ours, detached=True)
        exit_code, out_of_memory = self._ending(container, follower)
        if exit_code and not interrupted:
            interrupted = self._engine_is_going(follower)
        # who only reads along leaves it to its maker, who might not have seen yet how it ended
        if follower.ours and (plan.retention <= 0 or follower.cancelled.is_set()):
            self._let_go(container)
        return Outcome(
            exit_code, out_of_memory, parser.image, follower.ours, interrupted=interrupted
        )

    def _take(self, plan: BuildPlan, follower: Follower) -> str | None:
        """Return the id of the running build container, ours or another's; None if stopped."""
        unstarted, since = "", 0.0
        removed = 0
        while not follower.stopped:
            container = self._create(plan, follower)
            if container is not None:
                follower.ours = True
                try:
                    self._start(container, plan, follower)
                except APIError as error:
                    # removed before its start, as an administrator's prune does; but a network
                    # that isn't there looks the same
                    removed += 1
                    if error.status_code not in _GONE or removed == _STARTS:
                        raise
                    follower.ours = False
                    continue
                return container
            found = self._inspect(plan)
            if found is None:  # it went away in between, or is just going
                follower.cancelled.wait(_PAUSE)
                continue
            state = found["State"]["Status"]
            if state in ("running", "paused", "restarting"):
                follower.emit(
                    Event("This repository is being built already; joining in.", 0, "fetching")
                )
                return str(found["Id"])
            if state == "created":
                # whoever made it is about to start it, or died before that
                if unstarted != found["Id"]:
                    unstarted, since = str(found["Id"]), time.monotonic()
                if time.monotonic() - since < _START_GRACE:
                    follower.cancelled.wait(_PAUSE)
                    continue
            # ended, and no image of it: its result doesn't count
            self._remove(str(found["Id"]))
        return None

    def _create(self, plan: BuildPlan, follower: Follower) -> str | None:
        """Create the container and return its id, or None where its name is taken."""
        for pulled in (False, True):
            try:
                made = self._patiently(
                    lambda client: client.create_container(**self._options(plan)),
                    until=follower.detached,
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

    def _patiently(
        self,
        function: Any,
        *,
        seconds: float = 10,
        attempts: int = 3,
        again: Callable[[BaseException], bool] = _unreachable,
        until: threading.Event | None = None,
    ) -> Any:
        """Call the engine, and again where it can't be reached, for a while, or until an event."""
        until = until or threading.Event()
        stop = stop_after_attempt(attempts) | stop_after_delay(seconds)
        retrying = Retrying(
            stop=stop | stop_when_event_set(until),
            sleep=sleep_using_event(until),
            wait=wait_exponential(multiplier=0.2, max=2),
            retry=retry_if_exception(again),
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
            self._let_go(container)
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

        Where the connection breaks in between, the log is read anew from its start and what has
        been read is passed over, byte by byte: nothing is lost, nothing doubled.

        Returns:
            Whether the connection broke in between.
        """
        seen = 0
        pause = 0.0
        interrupted = False
        while True:
            before = seen
            whole = True
            try:
                for chunk in self._chunks(container, follower, seen):
                    seen += len(chunk)
                    _tell(parser.feed(chunk), follower, parser.step)
            except _BrokenError:
                whole = False
            if follower.detached.is_set() or (whole and not self._still_runs(container, follower)):
                break
            if not interrupted:
                text = "The connection to the Docker engine was lost; reading on."
                follower.emit(Event(text, parser.progress, "fetching"))
            interrupted = True
            pause = _PAUSE if seen > before else min(2 * pause + _PAUSE, _LONGEST_PAUSE)
            follower.detached.wait(pause)
        _tell(parser.close(), follower, parser.step)
        return interrupted

    def _chunks(self, container: str, follower: Follower, skip: int) -> Iterator[bytes]:
        """Yield the log beyond its first ``skip`` bytes.

        Raises:
            _BrokenError: the connection ended before the log did.
        """
        try:
            stream = self._patiently(
                lambda client: client.logs(container, stream=True, follow=True),
                seconds=_PATIENCE,
                attempts=_PATIENCE,
                until=follower.detached,
            )
        except APIError as error:
            if error.status_code in _GONE:
                return
            raise
        follower.opened(stream)
        try:
            # docker-py's own stream ends in the same way at the log's end and at a broken
            # connection's; the one inside it does not
            for chunk in getattr(stream, "_stream", stream):
                if skip < len(chunk):
                    yield chunk[skip:]
                skip = max(0, skip - len(chunk))
        except Exception as error:
            # closing the stream from the loop's thread ends the reading with whatever error the
            # half-read response makes of it
            if not follower.detached.is_set():
                raise _BrokenError from error

    def _still_runs(self, container: str, follower: Follower) -> bool:
        """Return whether a container whose log has ended goes on nevertheless."""

        def ends(client: Any) -> bool:
            try:
                client.wait(container, timeout=_END_GRACE)
            except requests.exceptions.RequestException as error:
                # as a ConnectionError where the engine had begun to answer
                if "timed out" in str(error).lower():
                    return False
                raise
            return True

        try:
            return not self._patiently(
                ends, seconds=_PATIENCE, attempts=_PATIENCE, until=follower.detached
            )
        except NotFound:
            return False

    def _engine_is_going(self, follower: Follower) -> bool:
        """Return whether the engine ends, which ends its containers first."""
        for _ in range(_LOOKS):
            follower.detached.wait(_LOOK_AGAIN)
            try:
                self._engine.client.ping()
            except (APIError, EngineError, requests.exceptions.RequestException):
                self._patiently(
                    lambda client: client.ping(),
                    seconds=_PATIENCE,
                    attempts=_PATIENCE,
                    until=follower.detached,
                )
                return True
        return False

    def _ending(self, container: str, follower: Follower) -> tuple[int | None, bool]:
        """Return exit code and whether memory ran out; (None, False) where it is gone."""
        try:
            found = self._patiently(
                lambda client: client.inspect_container(container),
                seconds=_PATIENCE,
                attempts=_PATIENCE,
                until=follower.detached,
            )
        except NotFound:
            return None, False
        return int(found["State"]["ExitCode"]), bool(found["State"].get("OOMKilled"))

    def _let_go(self, container: str) -> None:
        """Remove a container; where that fails, a sweep does it, and no build fails for it."""
        try:
            self._remove(container)
        except (APIError, EngineError, requests.exceptions.RequestException) as error:
            log.warning("The build container %s can't be removed now: %s", container[:12], error)

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
            try:
                client.kill(plan.container)
            except APIError as error:
                # it isn't there, or isn't running (any more)
                if error.status_code not in _GONE:
                    raise

        def patiently(_: Any) -> None:
            try:
                self._patiently(kill, seconds=_PATIENCE, attempts=_PATIENCE, again=_passing)
            except (APIError, EngineError, requests.exceptions.RequestException) as error:
                log.warning("The build of %s can't be ended: %s", plan.title, error)

        self._engine.submit(patiently)

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
