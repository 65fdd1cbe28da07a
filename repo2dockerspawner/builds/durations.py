"""About how long a build takes, from the earlier ones of the same repository."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import datetime
from statistics import median
from typing import Any

from ..engine import Engine, NotFound
from ..errors import EngineError
from ..keys import LABEL_PREFIX, container_name, read_labels
from .plan import BuildPlan

__all__ = ["Durations"]

# Builds of one repository that count: the newest, because what it needs changes.
_COUNTED = 9
_REPOSITORIES = 1000
# Seconds that the answer is waited for; it is worth no more.
_PATIENCE = 2.0

_REPO = LABEL_PREFIX + "repo"


class Durations:
    """Knows the builds that ended well: this process's, and those whose containers are kept.

    A repository is its address and folder, whatever the commit.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # repository -> key and seconds of its builds, the newest last
        self._ended: dict[tuple[str, str], deque[tuple[str, float]]] = {}

    def note(self, plan: BuildPlan, seconds: float) -> None:
        """Remember a build that ended well."""
        repository = _repository(plan)
        # at the end of the line of those that are forgotten
        ended = self._ended.pop(repository, None) or deque(maxlen=_COUNTED)
        ended.append((plan.key, seconds))
        self._ended[repository] = ended
        while len(self._ended) > _REPOSITORIES:
            del self._ended[next(iter(self._ended))]

    async def about(self, plan: BuildPlan) -> float | None:
        """Return the median of the seconds that earlier builds took; None where none is known."""
        own = list(self._ended.get(_repository(plan), ()))
        try:
            kept = await asyncio.wait_for(
                self._engine.call(lambda one: _kept(one, plan)), _PATIENCE
            )
        except (EngineError, NotFound, asyncio.TimeoutError):
            kept = []
        noted = {key for key, _ in own}
        others = [seconds for key, seconds in kept if key not in noted]
        known = [*(seconds for _, seconds in own), *others][:_COUNTED]
        return median(known) if known else None


def _repository(plan: BuildPlan) -> tuple[str, str]:
    words = read_labels(plan.labels)
    return words.get("repo", ""), words.get("subdir", "")


def _kept(client: Any, plan: BuildPlan) -> list[tuple[str, float]]:
    """Return key and seconds of the newest builds whose containers are there, ended well."""
    repo = plan.labels.get(_REPO, "")
    if not repo:
        return []
    filters = {"label": f"{_REPO}={repo}", "status": "exited", "exited": "0"}
    found: list[tuple[str, float]] = []
    for summary in client.containers(all=True, filters=filters):
        words = read_labels(summary["Labels"])
        # servers have the labels of their image
        ours = f"/{container_name(words.get('key', ''))}" in (summary["Names"] or ())
        if not ours or words.get("subdir", "") != _repository(plan)[1]:
            continue
        try:
            state = client.inspect_container(summary["Id"])["State"]
        except NotFound:
            continue
        took = _moment(state["FinishedAt"]) - _moment(state["StartedAt"])
        found.append((words["key"], took.total_seconds()))
        if len(found) == _COUNTED:
            break
    return found


def _moment(text: str) -> datetime:
    """Read a moment as Docker writes it (nanoseconds, UTC), to the second."""
    return datetime.fromisoformat(text[:19])
