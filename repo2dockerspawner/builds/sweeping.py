"""Remove what no build needs any more, left by whichever process; and nothing else.

A container is ours where its name and its label agree about the build key, which nobody's do by
chance. How long it may run and be kept stands in its own labels, so that two hubs on one engine
don't sweep each other's builds by their own rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection
from datetime import datetime, timezone
from typing import Any, Protocol

from ..engine import APIError
from ..errors import Repo2DockerError
from ..keys import LABEL_PREFIX, container_name
from .plan import RETENTION_LABEL, TIMEOUT_LABEL

__all__ = ["keep_sweeping", "sweep"]

log = logging.getLogger(__name__)

# Seconds that any container of ours may be there without having been started.
_UNSTARTED = 120.0
# Seconds beyond its own limit before somebody else than its follower ends a build.
_MARGIN = 60.0
_PROBE_LABEL = LABEL_PREFIX + "probe"


class _Sweeper(Protocol):
    async def sweep(self, followed: Collection[str]) -> list[str]: ...


class _Followers(Protocol):
    @property
    def followed(self) -> Collection[str]: ...


async def keep_sweeping(builder: _Sweeper, pool: _Followers, every: float = 60) -> None:
    """Sweep now and every so many seconds, until cancelled; an engine that is away is waited for.

    So a hub that was killed leaves nothing for long: its next process takes up its builds.
    """
    while True:
        try:
            removed = await builder.sweep(pool.followed)
        except Repo2DockerError as error:
            log.warning("Old build containers can't be removed now: %s", error.message)
        except Exception:  # whatever it is, the next time may be better
            log.exception("Old build containers can't be removed now")
        else:
            if removed:
                log.info("Removed build containers whose time is over: %s", ", ".join(removed))
        await asyncio.sleep(every)


def sweep(client: Any, followed: frozenset[str]) -> list[str]:
    """Remove build containers whose time is over.

    - ended ones, when they have been kept for as long as they say;
    - running ones, when they are over the time they may take and nobody here follows them;
    - created ones that nobody started, and probes that somebody left.

    Returns:
        The names of those removed.
    """
    removed = []
    for found in client.containers(all=True, filters={"label": LABEL_PREFIX + "key"}):
        name = _name(found)
        labels = found["Labels"]
        if name != container_name(labels[LABEL_PREFIX + "key"]) or name in followed:
            continue
        if _is_over(client, found["Id"], labels) and _remove(client, found["Id"]):
            removed.append(name)
    old = time.time() - _UNSTARTED
    removed += [
        _name(found)
        for found in client.containers(all=True, filters={"label": _PROBE_LABEL})
        if found["Created"] < old and _remove(client, found["Id"])
    ]
    return removed


def _name(found: dict[str, Any]) -> str:
    """Return a container's name, ``""`` where it is just losing it."""
    return str((found["Names"] or [""])[0]).lstrip("/")


def _is_over(client: Any, container: str, labels: dict[str, str]) -> bool:
    try:
        info = client.inspect_container(container)
    except APIError:  # gone or going, or for the next time
        return False
    state = info["State"]
    if state["Status"] == "created":
        return _age(info["Created"]) > _UNSTARTED
    if state["Running"]:
        limit = _seconds(labels.get(TIMEOUT_LABEL))
        return limit is not None and _age(state["StartedAt"]) > limit + _MARGIN
    return _age(state["FinishedAt"]) >= (_seconds(labels.get(RETENTION_LABEL)) or 0)


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdigit() else None


def _age(moment: str) -> float:
    """Return the seconds since a moment as Docker writes it (nanoseconds, UTC)."""
    when = datetime.fromisoformat(moment[:19]).replace(tzinfo=timezone.utc)
    return time.time() - when.timestamp()


def _remove(client: Any, container: str) -> bool:
    with contextlib.suppress(APIError):  # gone or going, or for the next time
        client.remove_container(container, force=True, v=True)
        return True
    return False
