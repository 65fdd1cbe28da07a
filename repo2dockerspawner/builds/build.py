"""One build, as the event loop sees it: its state, its events, who waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from ..errors import BuildError, Repo2DockerError
from .events import Event, EventLog
from .plan import BuildPlan
from .state import ENDS, TRANSITIONS, State

__all__ = ["Build"]

_PHASES = {"fetching": State.FETCHING, "building": State.BUILDING, "pushing": State.PUSHING}


class Build:
    """One build: queued → fetching → building → (pushing) → done, or failed, or cancelled.

    Made by the pool, which alone moves it. Belongs to one event loop.

    Attributes:
        plan: what it is to do.
        user: who asked first: whose place in the queue it takes.
        groups: in whose limits it counts: of that user's groups those that have one.
        state: where it is.
        heard_at: when something of it was read last (`time.monotonic`).
        log: its events.
        waiters: how many wait for it.
        told: what was last said of its place in line.
        image: name of the image, once done.
        error: why there is none, once failed or cancelled.
        run_began: lines that had been printed when its present container began.
    """

    def __init__(
        self,
        plan: BuildPlan,
        user: str,
        record: Callable[[Build, Event], None] | None = None,
        *,
        groups: Iterable[str] = (),
    ) -> None:
        self.plan = plan
        self.user = user
        self.groups = frozenset(groups)
        self.state = State.QUEUED
        self.log = EventLog()
        self.waiters = 0
        self.told = ""
        self.image = ""
        self.error: Repo2DockerError | None = None
        self.asked_at = time.monotonic()
        self.started_at: float | None = None
        self.heard_at = self.asked_at
        self.ended_at: float | None = None
        self.run_began = 0
        self._printed = 0
        self._progress = 0.0
        self._phase = "waiting"
        self._record = record
        self._ended = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in ENDS

    @property
    def seconds(self) -> float:
        """How long it has been under way, or was, without its time in line."""
        if self.started_at is None:
            return 0.0
        return (self.ended_at or time.monotonic()) - self.started_at

    def move(self, state: State) -> None:
        """Go to a state. The only place where the state changes.

        Raises:
            BuildError: the state may not follow the present one (a mistake of ours).
        """
        if state is self.state:
            return
        if state not in TRANSITIONS[self.state]:
            message = f"A build can't go from {self.state.value} to {state.value}."
            raise BuildError(message, reason="internal", status=500)
        self.state = state
        if state is State.FETCHING:
            self.started_at = self.heard_at = time.monotonic()
        if state in _PHASES.values():
            self._phase = state.value
        if state in ENDS:
            self.ended_at = time.monotonic()
            self.log.close()
            self._ended.set()

    def say(self, text: str, place: int | None = None) -> None:
        """Add a sentence of ours to the log; ``place`` in line, where that is what it says."""
        self._append(Event(text, self._progress, self._phase, place=place))

    def begin_anew(self, why: str) -> None:
        """Say that another container builds it now."""
        self.run_began = self._printed
        self.say(f"{why}; building anew.")

    def receive(self, events: Sequence[Event]) -> None:
        """Take what the worker thread has read."""
        self.heard_at = time.monotonic()
        for event in events:
            if self.ended:
                return
            state = _PHASES.get(event.phase)
            # only ever forwards, whatever a log says
            if state is not None and state in TRANSITIONS[self.state]:
                self.move(state)
            self._append(event)

    def _append(self, event: Event) -> None:
        self._progress = max(self._progress, min(event.progress, 1.0))
        if event.is_log:
            self._printed += event.lines
            event = event._replace(progress=self._progress, printed=self._printed)
        elif event.progress != self._progress:
            event = event._replace(progress=self._progress)
        self.log.append(event)
        if self._record is not None:
            self._record(self, event)

    def succeed(self, image: str) -> None:
        """End with an image."""
        self.image = image
        self._progress = 1.0
        self.say(f"The image {image} is ready.")
        self.move(State.DONE)

    def fail(self, error: Repo2DockerError, *, state: State = State.FAILED) -> None:
        """End without an image."""
        self.error = error
        self.say(error.message)
        self.move(state)

    def follow(self) -> AsyncIterator[Event]:
        """Yield all events of the build, from the first one on, until it has ended."""
        return self.log.follow()

    async def result(self) -> str:
        """Wait for the end and return the image's name.

        Raises:
            Repo2DockerError: there is none; says why.
        """
        await self._ended.wait()
        if self.error is not None:
            raise self.error
        return self.image
