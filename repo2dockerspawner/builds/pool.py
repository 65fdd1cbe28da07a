"""The builds of one process: one per key, a bounded number at once, the others in line.

Everything here runs on one event loop, so nothing here needs a lock. Threads only follow: a
build is its container, and goes on when its thread, or this process, ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from ..errors import (
    BuildCancelledError,
    BuildError,
    EngineError,
    Repo2DockerError,
)
from ..images import Image, Images
from .build import Build
from .diagnosis import SIGNALLED, diagnose, fell_silent, timed_out
from .events import Event
from .follower import Follower
from .limits import Limits
from .outcome import Outcome
from .plan import BuildPlan
from .state import State
from .statistics import PoolStatistics, Tally

__all__ = ["BuildPool", "Builder", "default_limit"]

# Seconds a build goes on after its last waiter has left: long enough for a page that was
# reloaded to come back, and for a hub that shuts down to say so.
_GRACE = 0.5
# Seconds after a kill when its place is free, whether or not the engine has answered.
_KILL_GRACE = 10.0
_DIAGNOSIS_LINES = 400
_NO_LIMITS = Limits()

log = logging.getLogger(__name__)


class Builder(Protocol):
    """What runs builds: `ContainerBuilder`, or something else that keeps them."""

    def run(self, plan: BuildPlan, follower: Follower) -> Outcome:
        """Run the build, or attach to it, and follow it to its end. On a worker thread."""

    def kill(self, plan: BuildPlan) -> None:
        """End the build soon; returns at once."""


def default_limit() -> int:
    """Return `concurrent.futures.ThreadPoolExecutor`'s own default for its threads."""
    return min(32, (os.cpu_count() or 1) + 4)


class BuildPool:
    """Runs builds on a bounded `ThreadPoolExecutor`.

    Args:
        builder: what runs a build.
        images: what knows whether the image is there.
        limit: builds at once; 0 means `default_limit`.
        record: told each event of each build, for the log file.
        took: told the seconds of each build of ours that ended well.

    Guarantees:
      - one build per key at any time in this process, however many ask for it;
      - a build in line holds no thread;
      - who asks for many does not keep another's first one waiting;
      - a build ends when its last waiter has left, unless somebody else started it or this
        process ends.
    """

    def __init__(
        self,
        builder: Builder,
        images: Images,
        *,
        limit: int = 20,
        record: Callable[[BuildPlan, Event], None] | None = None,
        took: Callable[[BuildPlan, float], None] | None = None,
    ) -> None:
        self.limit = limit or default_limit()
        self._tally = Tally()
        self._builder = builder
        self._images = images
        self._record = record
        self._took = took
        self._executor = ThreadPoolExecutor(self.limit, thread_name_prefix="r2d-build")
        self._builds: dict[str, Build] = {}
        self._queue: list[Build] = []
        # when each user who has something here was last given a place
        self._served: dict[str, float] = {}
        self._running: dict[Build, Follower] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_resorts: dict[Build, asyncio.TimerHandle] = {}
        self.detached = False
        # cancelled with all other tasks when the hub shuts down, and by nothing else: so it
        # tells a shutdown from a person's cancelling, which start() can't
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.detach()

    # -- waiters ---------------------------------------------------------------------------

    def has(self, key: str) -> bool:
        """Return whether a build of the key is under way here."""
        return key in self._builds

    def join(self, plan: BuildPlan, user: str, limits: Limits = _NO_LIMITS) -> Build:
        """Return the key's build, a new one where none is under way, and wait for it.

        Each `join` is followed by one `leave`.

        Args:
            plan: what to build.
            user: who asks.
            limits: how much they may ask for.

        Raises:
            BuildError: this process ends.
            PolicyError: a limit is reached; a build that is under way anyway can be joined by
                anybody.
        """
        if self.detached:
            message = "This hub is shutting down. Start again in a minute."
            raise BuildError(message, reason="detached", status=503)
        build = self._builds.get(plan.key)
        if build is None:
            under_way = self._builds.values()
            limits.check(
                sum(one.user == user for one in under_way),
                (one.groups for one in under_way),
                len(self._queue),
            )
            build = Build(plan, user, self._recorded, groups=limits.per_group)
            self._builds[plan.key] = build
            self._queue.append(build)
            self._advance()
        build.waiters += 1
        return build

    def leave(self, build: Build) -> None:
        """Stop waiting for a build. Returns at once; never waits for the build's end."""
        build.waiters -= 1
        if build.waiters == 0 and not build.ended:
            asyncio.get_running_loop().call_later(_GRACE, self._abandon, build)

    def _abandon(self, build: Build) -> None:
        if build.waiters or build.ended or self.detached:
            return
        self.cancel(build)

    def cancel(self, build: Build, error: Repo2DockerError | None = None) -> None:
        """End a build; where another process started it, only this one's following of it."""
        if build.ended:
            return
        self._builds.pop(build.plan.key, None)
        follower = self._running.get(build)
        if follower is None:
            self._queue.remove(build)
            self._tell_places()
        else:
            # before `ours` is looked at: whose container is made only now sees it in time
            follower.cancel()
            # another process's is left alone: its own limits stand in its labels
            if follower.ours:
                self._builder.kill(build.plan)
                loop = asyncio.get_running_loop()
                self._last_resorts[build] = loop.call_later(_KILL_GRACE, follower.detach)
            else:
                follower.detach()
        if error is None:
            error = BuildCancelledError("The build was cancelled. Start again to build it anew.")
            self._fail(build, error, State.CANCELLED)
        else:
            self._fail(build, error)

    def _succeed(self, build: Build, image: Image) -> None:
        build.succeed(image.name)
        self._tally.ended(build, "done")

    def _fail(self, build: Build, error: Repo2DockerError, state: State = State.FAILED) -> None:
        build.fail(error, state=state)
        self._tally.ended(build, error.reason)

    # -- the queue -------------------------------------------------------------------------

    def _in_turn(self) -> list[Build]:
        """Return those in line in their order: each user's first, then their second, and so on.

        Among equals, who has been given a place longest ago comes first: else one user's many
        would all go before another's first where places are few.
        """
        taken = Counter(build.user for build in self._running)
        order: list[tuple[int, float, int, Build]] = []
        for place, build in enumerate(self._queue):
            order.append((taken[build.user], self._served.get(build.user, 0), place, build))
            taken[build.user] += 1
        return [build for *_, build in sorted(order, key=lambda item: item[:3])]

    def _advance(self) -> None:
        """Start what may start, and tell the others their place."""
        while len(self._running) < self.limit and not self.detached:
            # an older build of the key may still be going away; it has the container's name
            going = {build.plan.key for build in self._running}
            build = next((one for one in self._in_turn() if one.plan.key not in going), None)
            if build is None:
                break
            self._queue.remove(build)
            self._served[build.user] = time.monotonic()
            follower = Follower(asyncio.get_running_loop(), build.receive)
            self._running[build] = follower
            task = asyncio.get_running_loop().create_task(self._follow(build, follower))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        here = {build.user for build in (*self._queue, *self._running)}
        self._served = {user: when for user, when in self._served.items() if user in here}
        self._tell_places()

    def _tell_places(self) -> None:
        running = len(self._running)
        builds = "1 build is" if running == 1 else f"{running} builds are"
        for place, build in enumerate(self._in_turn(), start=1):
            text = f"{_ordinal(place)} in line; {builds} running."
            # each start and end of a build comes here, and few change a place
            if build.told != text:
                build.told = text
                build.say(text, place)

    # -- one build -------------------------------------------------------------------------

    async def _follow(self, build: Build, follower: Follower) -> None:
        try:
            # another process may have made it while this one waited in line
            if not await self._is_there(build):
                build.move(State.FETCHING)
                await self._within_limits(build, follower)
        except asyncio.CancelledError:
            # only a shutdown does that, and maybe before the keeper hears of it
            self.detach()
            raise
        except Repo2DockerError as error:
            follower.flush()
            if not build.ended:
                self._fail(build, error)
        except Exception:
            log.exception("Following the build of %s failed", build.plan.title)
            if not build.ended:
                message = "The build could not be followed to its end. Start again."
                self._fail(build, BuildError(message, reason="internal", status=500))
        finally:
            self._leave_place(build)

    async def _within_limits(self, build: Build, follower: Follower) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(build.plan.timeout, self._expire, build)
        ear = loop.create_task(self._listen(build)) if build.plan.idle_timeout else None
        try:
            outcome = await self._run(build, follower)
            why = _why_again(outcome)
            if why and await self._find(build, outcome) is None and not build.ended:
                build.begin_anew(why)
                outcome = await self._run(build, follower)
            if not (build.ended or outcome.detached):
                await self._judge(build, outcome)
        finally:
            timer.cancel()
            if ear is not None:
                ear.cancel()

    def _leave_place(self, build: Build) -> None:
        last_resort = self._last_resorts.pop(build, None)
        if last_resort is not None:
            last_resort.cancel()
        self._running.pop(build, None)
        if self.detached:
            return  # it goes on without us; `close` tells who still waits
        if self._builds.get(build.plan.key) is build:
            del self._builds[build.plan.key]
        self._advance()

    async def _run(self, build: Build, follower: Follower) -> Outcome:
        loop = asyncio.get_running_loop()
        run = self._builder.run
        outcome = await loop.run_in_executor(self._executor, run, build.plan, follower)
        follower.flush()
        return outcome

    async def _judge(self, build: Build, outcome: Outcome) -> None:
        """Decide by the engine, not by the log, whether there is an image."""
        image = await self._find(build, outcome)
        if build.ended:
            return
        if image is not None:
            self._succeed(build, image)
            # of one that was joined midway only its end was seen
            if self._took is not None and outcome.ours:
                self._took(build.plan, build.seconds)
            return
        self._fail(build, diagnose(outcome, build.plan, build.log.last_lines(_DIAGNOSIS_LINES)))

    async def _is_there(self, build: Build) -> bool:
        try:
            image = await self._images.find(build.plan.key, build.plan.image)
        except EngineError:  # the build itself has more patience with it
            image = None
        if image is not None and not build.ended:
            self._succeed(build, image)
        return build.ended

    async def _find(self, build: Build, outcome: Outcome) -> Image | None:
        # a container that somebody else has removed already tells nothing, its image does
        if outcome.exit_code not in (0, None):
            return None
        names = [build.plan.image, *([outcome.image] if outcome.image else [])]
        return await self._images.find(build.plan.key, *names)

    def _expire(self, build: Build) -> None:
        if not build.ended:
            self.cancel(build, timed_out(build.plan, build.log.last_lines(_DIAGNOSIS_LINES)))

    async def _listen(self, build: Build) -> None:
        """End a build that has been silent for too long."""
        limit = build.plan.idle_timeout
        while (left := build.heard_at + limit - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
        if not build.ended:
            self.cancel(build, fell_silent(build.plan, build.log.last_lines(_DIAGNOSIS_LINES)))

    def _recorded(self, build: Build, event: Event) -> None:
        if self._record is not None:
            self._record(build.plan, event)

    @property
    def followed(self) -> list[str]:
        """The names of the build containers that this process follows."""
        return [build.plan.container for build in self._running]

    def statistics(self) -> PoolStatistics:
        """Return what the pool is doing and has done."""
        return self._tally.statistics(self.limit, len(self._queue), len(self._running))

    # -- the process's end -----------------------------------------------------------------

    def detach(self) -> None:
        """Let go of all builds, which go on by themselves; the threads end at once."""
        self.detached = True
        for follower in self._running.values():
            follower.detach()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def close(self) -> None:
        """Let go of all builds and wait until the threads and tasks have ended."""
        self.detach()
        self._keeper.cancel()
        await asyncio.gather(self._keeper, *self._tasks, return_exceptions=True)
        for build in list(self._builds.values()):
            if build.ended:
                continue
            message = "This process ends; the build goes on without it. Ask for it again."
            self._fail(build, BuildError(message, reason="detached", status=503))


def _why_again(outcome: Outcome) -> str:
    """Return why a build that ended so is worth a second try, which is not its own fault."""
    if outcome.detached or outcome.exit_code == 0 or outcome.out_of_memory:
        return ""
    if outcome.exit_code is None:
        # whose waiters have all left removes the container, maybe before we saw how it ended
        return "" if outcome.ours else "The build was removed by somebody else"
    if outcome.interrupted:
        return "The connection to the Docker engine was lost in the middle of the build"
    if outcome.exit_code > SIGNALLED and not outcome.ours:
        return "The build was ended by somebody else"
    return ""


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"
