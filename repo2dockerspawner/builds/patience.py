"""Calls of the engine that are made again where it can't be reached for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import requests
from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay
from tenacity.nap import sleep_using_event
from tenacity.stop import stop_when_event_set
from tenacity.wait import wait_exponential

from ..engine import APIError, Engine
from ..errors import EngineError

__all__ = ["Midway", "passing", "patiently"]

T = TypeVar("T")

_SERVER_ERROR = 500
# Seconds and calls before a build has begun: somebody waits for the answer.
_SECONDS, _ATTEMPTS = 10, 3
# Seconds that an engine may take to come back in the middle of a build.
_PATIENCE = 60


def _unreachable(error: BaseException) -> bool:
    """Return whether the engine couldn't be reached."""
    if isinstance(error, EngineError):
        return error.reason == EngineError.reason
    return isinstance(error, requests.exceptions.ConnectionError)


def passing(error: BaseException) -> bool:
    """Return whether the same call may do better in a moment."""
    if isinstance(error, APIError):
        return (error.status_code or 0) >= _SERVER_ERROR
    return _unreachable(error) or isinstance(error, requests.exceptions.Timeout)


def patiently(
    engine: Engine,
    function: Callable[[Any], T],
    *,
    midway: bool = False,
    again: Callable[[BaseException], bool] = _unreachable,
    until: threading.Event | None = None,
    before_again: Callable[[], None] = lambda: None,
) -> T:
    """Return ``function(client)``, called again where the engine can't be reached. On a thread.

    Args:
        engine: the engine.
        function: what to call.
        midway: whether a build is under way, which is worth waiting a minute for.
        again: tells of what it raised whether to call it again.
        until: ends the waiting at once when it is set.
        before_again: called before each further call.

    Raises:
        Exception: what the last call raised.
    """
    until = until or threading.Event()
    seconds, attempts = (_PATIENCE, _PATIENCE) if midway else (_SECONDS, _ATTEMPTS)
    retrying = Retrying(
        stop=stop_after_attempt(attempts) | stop_after_delay(seconds) | stop_when_event_set(until),
        sleep=sleep_using_event(until),
        wait=wait_exponential(multiplier=0.2, max=2),
        retry=retry_if_exception(again),
        before_sleep=lambda _: before_again(),
        reraise=True,
    )
    return retrying(lambda: function(engine.client))


class Midway:
    """The engine in the middle of one build: asked patiently, and known to have been away.

    Args:
        until: ends the waiting at once when it is set.

    Attributes:
        interrupted: whether a connection broke or the engine couldn't be reached.
    """

    def __init__(self, engine: Engine, until: threading.Event) -> None:
        self._engine = engine
        self._until = until
        self.interrupted = False

    def call(self, function: Callable[[Any], T]) -> T:
        """Return ``function(client)``, as `patiently` does midway."""
        return patiently(
            self._engine,
            function,
            midway=True,
            until=self._until,
            before_again=self.was_away,
        )

    def was_away(self) -> None:
        """Note that it was."""
        self.interrupted = True
