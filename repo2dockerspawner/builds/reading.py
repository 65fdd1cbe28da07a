"""A build container's log, read from its start to its end over broken connections."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import requests

from ..engine import APIError, NotFound
from .events import Event
from .follower import Follower
from .logs import LogEvent, LogParser, log_event
from .patience import Midway

__all__ = ["read"]

# What the engine answers about a container that is gone, or just going.
_GONE = (404, 409)
# Seconds between a log's end and its container's, after which the log was merely cut off.
_END_GRACE = 3
# Seconds before something that was in the way is looked at again, and at most.
_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
# Lines of an ended log that are compared with what was read of it.
_COMPARED = 20


class _BrokenError(Exception):
    """A log's stream has ended, and the log has not."""


def read(midway: Midway, container: str, parser: LogParser, follower: Follower) -> None:
    """Read the log from its start to its end, or until the follower is detached.

    Where the connection breaks in between, the log is read anew from its start and what has
    been read is passed over, byte by byte: nothing is lost, nothing doubled. The same where the
    engine ends a log that it follows before its end, as 20.10 does where much is printed last.

    Raises:
        EngineError: the engine can't be reached, for too long.
        APIError: it refuses.
    """
    seen = 0
    pause = 0.0
    told = ended = False
    last: deque[bytes] = deque(maxlen=_COMPARED)
    while True:
        before = seen
        whole = True
        try:
            for chunk in _chunks(midway, container, follower, seen, follow=not ended):
                seen += len(chunk)
                last.append(chunk)
                _tell(parser.feed(chunk), follower, parser.step)
        except _BrokenError:
            whole = False
        if follower.detached.is_set():
            break
        if whole and (ended or not _still_runs(midway, container)):
            if ended or not _has_more(midway, container, b"".join(last)):
                break
            ended = True
            continue
        midway.was_away()
        if not told:
            text = "The connection to the Docker engine was lost; reading on."
            follower.emit(Event(text, parser.progress, "fetching"))
        told = True
        pause = _PAUSE if seen > before else min(2 * pause + _PAUSE, _LONGEST_PAUSE)
        follower.detached.wait(pause)
    _tell(parser.close(), follower, parser.step)


def _chunks(
    midway: Midway, container: str, follower: Follower, skip: int, *, follow: bool
) -> Iterator[bytes]:
    """Yield the log beyond its first ``skip`` bytes; while its container runs, as it comes.

    Raises:
        _BrokenError: the connection ended before the log did.
    """
    try:
        stream = midway.call(lambda client: client.logs(container, stream=True, follow=follow))
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


def _has_more(midway: Midway, container: str, seen: bytes) -> bool:
    """Return whether the engine has kept other last lines of an ended log than those seen."""
    try:
        kept: bytes = midway.call(lambda client: client.logs(container, tail=_COMPARED))
    except APIError as error:
        if error.status_code in _GONE:
            return False
        raise
    # each may begin anywhere
    size = min(len(seen), len(kept)) or len(kept)
    return seen[-size:] != kept[-size:]


def _still_runs(midway: Midway, container: str) -> bool:
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
        return not midway.call(ends)
    except NotFound:
        return False


def _tell(
    events: Iterable[LogEvent], follower: Follower, step: tuple[int, int] | None = None
) -> None:
    for event in events:
        follower.emit(log_event(event, step))
