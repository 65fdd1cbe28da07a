"""A build as a container that runs repo2docker: the one room that talks to Docker about builds.

The container's name is made from the build key, so the engine itself sees to it that one thing
is built once, whoever asks: two users, the hub and another process, this hub and the one after
a restart. Who finds the name taken attaches to it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import requests

from ..credentials import secrets_of
from ..engine import APIError, Engine, ImageNotFound, NotFound, engine_error
from ..errors import BuildError, EngineError
from ..keys import LABEL_PREFIX, container_name
from .carrying import Carrier
from .confinement import VOLUMES, host_settings
from .events import Event
from .follower import Follower
from .handing import handing_over
from .impostors import free_name
from .inside.redaction import Redactor
from .logs import LogParser
from .outcome import Outcome
from .patience import Midway, passing, patiently
from .plan import CONFIG_DIR, BuildPlan, archive, arguments, container_labels
from .pulling import pull
from .reading import read
from .sweeping import sweep

__all__ = ["ContainerBuilder", "Outcome", "was_told_to_end"]

log = logging.getLogger(__name__)

_NOT_FOUND = 404
_CONFLICT = 409
# What the engine answers about a container that is gone, or just going.
_GONE = (_NOT_FOUND, _CONFLICT)
# How the engine tells of the signal KILL.
_KILLS = ("9", "SIGKILL")
# Seconds by which it may tell of a signal later than of the end that came of it.
_TELLS_LATER = 0.3
# Times that a container is made anew that somebody removes before it is started.
_STARTS = 5
# Seconds within which whoever created a container starts it; after that, its creator is gone.
_START_GRACE = 30.0
# Looks, and seconds before each, after somebody has told a build to end.
_LOOKS, _LOOK_AGAIN = 20, 0.3
# Seconds before something that was in the way is looked at again.
_PAUSE = 0.1
# Lines of an ended build's log that are read by default: a whole log can be tens of megabytes.
_LOG_LINES = 5000


class ContainerBuilder:
    """Runs builds on a Docker engine. `run` belongs on a worker thread; it blocks.

    Args:
        engine: where the builds run.
        carrier: copies their images from there, where the servers run on another engine.
    """

    def __init__(self, engine: Engine, carrier: Carrier | None = None) -> None:
        self._engine = engine
        self._carrier = carrier

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
            raise engine_error(error, self._engine.name) from error

    def _run(self, plan: BuildPlan, follower: Follower) -> Outcome:
        # a process that ended before it could copy it may have left it there
        if self._carrier is not None and self._carrier.carry(plan, follower):
            return Outcome(0)
        container = self._take(plan, follower)
        if container is None:
            return Outcome(detached=follower.detached.is_set())
        if follower.cancelled.is_set() and follower.ours:
            self._let_go(container)
            return Outcome(ours=True)
        parser = LogParser(redactor=Redactor(secrets_of(plan.credentials)))
        midway = Midway(self._engine, follower.detached)
        read(midway, container, parser, follower)
        if follower.detached.is_set():
            if follower.ours and follower.cancelled.is_set():
                # killed, and its log did not end with it: nobody else would come for it
                self._engine.submit(lambda _: self._let_go(container))
            return Outcome(ours=follower.ours, detached=True)
        state = _ending(midway, container)
        exit_code = None if state is None else int(state["ExitCode"])
        if state and exit_code and not midway.interrupted and not follower.cancelled.is_set():
            _look_whether_engine_goes(midway, container, state, follower)
        # who only reads along leaves it to its maker, who might not have seen yet how it ended
        if follower.ours and (plan.retention <= 0 or follower.cancelled.is_set()):
            self._let_go(container)
        if self._carrier is not None and exit_code in {0, None}:
            self._carrier.carry(plan, follower, *([parser.image] if parser.image else []))
            if follower.detached.is_set():
                return Outcome(ours=follower.ours, detached=True)
        out_of_memory = bool(state and state.get("OOMKilled"))
        return Outcome(
            exit_code, out_of_memory, parser.image, follower.ours, interrupted=midway.interrupted
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
                made = patiently(
                    self._engine,
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

    def _options(self, plan: BuildPlan) -> dict[str, Any]:
        settings = host_settings(plan, self._engine.socket)
        return {
            "image": plan.build_image,
            "command": arguments(plan),
            "name": plan.container,
            "labels": container_labels(plan),
            # without it git would ask for a password at a repository that isn't public
            "environment": {"GIT_TERMINAL_PROMPT": "0", **plan.environment},
            "host_config": self._engine.client.create_host_config(**settings),
            "volumes": list(VOLUMES),
            "stdin_open": bool(plan.credentials),
        }

    def _start(self, container: str, plan: BuildPlan, follower: Follower) -> None:
        client = self._engine.client
        try:
            free_name(client, plan)
            client.put_archive(container, CONFIG_DIR, archive(plan))
            if not follower.cancelled.is_set():
                with handing_over(client, container, plan.credentials):
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

        def kill_patiently(_: Any) -> None:
            try:
                patiently(self._engine, kill, midway=True, again=passing)
            except (APIError, EngineError, requests.exceptions.RequestException) as error:
                log.warning("The build of %s can't be ended: %s", plan.title, error)

        self._engine.submit(kill_patiently)

    async def sweep(self, followed: Collection[str]) -> list[str]:
        """Remove build containers whose time is over, of whichever process; see `sweeping`.

        Args:
            followed: names of the containers that this process follows.

        Returns:
            The names of those removed.
        """
        return await self._engine.call(lambda client: sweep(client, frozenset(followed)))

    async def log_of(self, key: str, lines: int = _LOG_LINES) -> list[str]:
        """Return the last lines that an ended or running build has printed so far.

        Args:
            key: the build key.
            lines: how many at most.

        Raises:
            NotFound: there is no such build container (any more).
            EngineError: the engine can't be reached.
        """
        name = container_name(key)
        raw = await self._engine.call(lambda client: client.logs(name, tail=lines))
        parser = LogParser()
        return [event.text for event in (*parser.feed(raw), *parser.close())][-lines:]


def _ending(midway: Midway, container: str) -> dict[str, Any] | None:
    """Return the engine's word on an ended container's state, None where it is gone."""
    try:
        found = midway.call(lambda client: client.inspect_container(container))
    except NotFound:
        return None
    return dict(found["State"])


def _look_whether_engine_goes(
    midway: Midway, container: str, state: dict[str, Any], follower: Follower
) -> None:
    """Give an engine that ends, and has told its containers to, the time to be away.

    A build that is told to end may end as if it had failed by itself; and an engine may answer
    for seconds after it has told.
    """
    with suppress(APIError):  # it ended with an error in any case
        if not midway.call(lambda client: was_told_to_end(client, container, state)):
            return
    for _ in range(_LOOKS):
        if midway.interrupted or follower.detached.wait(_LOOK_AGAIN):
            return
        midway.call(lambda client: client.ping())


def was_told_to_end(client: Any, container: str, state: dict[str, Any]) -> bool:
    """Return whether somebody has asked the container to end, as an engine does that ends.

    That is any signal but KILL, which nobody sends first who asks.
    """
    told = client.events(
        # the engine's own clock, which may not be ours: else it would wait for what is to come
        since=f"{_seconds(state['StartedAt']):.6f}",
        # the engine tells of a signal after it has sent it
        until=f"{_seconds(state['FinishedAt']) + _TELLS_LATER:.6f}",
        filters={"container": container, "event": "kill"},
        decode=True,
    )
    return any(event["Actor"]["Attributes"].get("signal") not in _KILLS for event in told)


def _seconds(moment: str) -> float:
    """Return a moment of the engine's (nanoseconds, UTC) as seconds since 1970."""
    whole = datetime.fromisoformat(moment[:19]).replace(tzinfo=timezone.utc).timestamp()
    return whole + float("0" + (moment[19:].rstrip("Z") or ".0"))
