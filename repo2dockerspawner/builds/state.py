"""The states of a build, and which may follow which."""

from __future__ import annotations

import enum

__all__ = ["ENDS", "TRANSITIONS", "State"]


class State(str, enum.Enum):
    """Where a build is."""

    QUEUED = "queued"
    FETCHING = "fetching"
    BUILDING = "building"
    PUSHING = "pushing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDS = frozenset({State.DONE, State.FAILED, State.CANCELLED})
"""The states that nothing follows."""

_STOPS = frozenset({State.FAILED, State.CANCELLED})

TRANSITIONS: dict[State, frozenset[State]] = {
    # straight to done: somebody else made the image while this one waited
    State.QUEUED: _STOPS | {State.FETCHING, State.DONE},
    State.FETCHING: _STOPS | {State.BUILDING, State.PUSHING, State.DONE},
    State.BUILDING: _STOPS | {State.PUSHING, State.DONE},
    State.PUSHING: _STOPS | {State.DONE},
    State.DONE: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}
"""State → the states that may follow."""
