"""Builds of two processes on one engine, in any order of requests, ends, faults and restarts.

Everything is real but the engine (`testbed.fakeengine`) and the time. Where calls are held, each
is let through by itself, so that whatever may come between two of them does. Which rules may
follow never depends on what threads have done, or Hypothesis would take the test for flaky.

``HYPOTHESIS_PROFILE=deep`` looks for minutes, where usually it looks for seconds.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tenacity import wait_none
from testbed.fakeclient import FakeClient, FakedEngine, KilledError
from testbed.fakeengine import Clock, FakeContainer, FakeEngine, Script

from repo2dockerspawner.builds import build as build_module
from repo2dockerspawner.builds import container as container_module
from repo2dockerspawner.builds import follower as follower_module
from repo2dockerspawner.builds import patience as patience_module
from repo2dockerspawner.builds import pool as pool_module
from repo2dockerspawner.builds import reading as reading_module
from repo2dockerspawner.builds import sweeping as sweeping_module
from repo2dockerspawner.builds.build import Build
from repo2dockerspawner.builds.container import ContainerBuilder
from repo2dockerspawner.builds.limits import Limits
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.builds.pool import BuildPool
from repo2dockerspawner.builds.state import State
from repo2dockerspawner.errors import EngineError, Repo2DockerError
from repo2dockerspawner.images import Images
from repo2dockerspawner.keys import container_name, image_name, labels

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
SETTINGS = settings(
    max_examples=int(os.environ.get("R2D_EXAMPLES", "3000")) if DEEP else 60,
    stateful_step_count=60 if DEEP else 30,
    deadline=None,
    # a failure may hang for seconds, and shrinking repeats it hundreds of times
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)

BUILD_IMAGE = "repo2docker:1"
LIMIT = 2
PER_USER = 2
PER_GROUP = 2
IN_LINE = 1
# Ann and Dan are in a group that has a limit, Cid is an administrator without any.
OTHER = Limits(per_user=PER_USER, in_line=IN_LINE)
MEMBER = Limits(per_user=PER_USER, per_group={"course": PER_GROUP}, in_line=IN_LINE)
LIMITS = {"ann": MEMBER, "bob": OTHER, "cid": Limits(), "dan": MEMBER}
TIMEOUT = 300.0
SILENCE = 100.0
RETENTION = 50.0
DAY = 86400.0
# Seconds that threads may take for what is theirs to do.
SETTLE = 0.1
BOUND = 5.0


def plan(digit: str) -> BuildPlan:
    key = digit * 64
    return BuildPlan(
        key=key,
        container=container_name(key),
        image=image_name(key, "repo"),
        labels=labels(key, repo="https://x/y", ref="", commit="c" * 40, subdir=""),
        provider="git",
        url="https://x/y",
        content_id="c" * 40,
        build_image=BUILD_IMAGE,
        timeout=TIMEOUT,
        idle_timeout=SILENCE if digit == "b" else 0,
        retention=RETENTION if digit == "c" else 0,
        title=f"owner/{digit}",
    )


PLANS = {digit: plan(digit) for digit in "abc"}

DIGITS = st.sampled_from(sorted(PLANS))
PROCESSES = st.sampled_from([0, 1])
USERS = st.sampled_from(["ann", "bob", "dan"])


class Loop(asyncio.SelectorEventLoop):
    """An event loop of the test's clock."""

    def __init__(self, clock: Clock) -> None:
        self._of_test = clock
        super().__init__()

    def time(self) -> float:
        return self._of_test.monotonic()


class Process:
    """What one process has: a client, an engine, a pool."""

    def __init__(self, engine: FakeEngine, name: str) -> None:
        self.client = FakeClient(engine, name)
        # what the pool asks for is seen in its builds; what others ask for is counted
        self.own = FakedEngine(self.client)
        self.engine = FakedEngine(self.client)
        self.images = Images(self.engine)
        self.builder = ContainerBuilder(self.engine)
        self.pool = BuildPool(self.builder, Images(self.own), limit=LIMIT)

    @property
    def busy(self) -> int:
        """Builds and calls that a thread is at."""
        if self.pool.detached:
            threads = sum(thread.is_alive() for thread in self.pool._executor._threads)
        else:
            threads = len(self.pool._running)
        return threads + self.engine.under_way

    async def close(self) -> None:
        await self.pool.close()
        self.engine.close()
        self.own.close()


@dataclass(frozen=True)
class History:
    """What has happened so far: to the engine, and to the containers of one name."""

    process: Process
    broken: int
    killed: int
    removed: int
    deleted: int
    made: int


class Waiter:
    """One user who waits for one image, as the spawner does."""

    def __init__(
        self, process: Process, plan: BuildPlan, user: str, *, looked: bool = False
    ) -> None:
        self.process = process
        self.plan = plan
        self.user = user
        self.build: Build | None = None
        self.image = ""
        self.error: BaseException | None = None
        self.progress: list[float] = []
        self.left = False
        # whether it has seen already that there is no image
        self._looked = looked
        self.task = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        try:
            self.image = await self._launch()
        except Repo2DockerError as error:
            self.error = error

    async def _launch(self) -> str:
        if not self._looked:
            found = await self.process.images.find(self.plan.key, self.plan.image)
            if found is not None:
                return found.name
        build = self.build = self.process.pool.join(self.plan, self.user, LIMITS[self.user])
        try:
            async for event in build.follow():
                self.progress.append(event.progress)
            return await build.result()
        finally:
            build.left_at = CLOCK.monotonic()  # type: ignore[attr-defined]
            self.process.pool.leave(build)


def _printed(container: FakeContainer) -> list[int]:
    """The numbers of the lines that a container has printed."""
    return [int(line.split(b"line ")[1].split(b"\\n")[0]) for line in container.frames]


def _read(build: Build) -> list[int]:
    """The numbers of the lines that a build has read."""
    return [int(line.split()[-1]) for line in build.log.last_lines(10_000)]


def _ends_with(numbers: list[int], last: list[int]) -> bool:
    return numbers[len(numbers) - len(last) :] == last


ENDS = {
    "well": "",
    "no image": "image_missing",
    "failed": "build_failed",
    "memory": "build_out_of_memory",
}
"""How a build container ends → the reason that is told."""

# Mistakes of ours, and what the engine answers to them.
NEVER = {"internal", "engine_refused", "name_taken"}


class Builds(RuleBasedStateMachine):
    """The rules, and what holds after each."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = CLOCK
        self.loop = Loop(self.clock)
        self.loop.set_exception_handler(self._unhandled)
        self.unhandled: list[str] = []
        self.engine = FakeEngine(self.clock)
        self.engine.add_image(BUILD_IMAGE)
        self.engine.pullable[BUILD_IMAGE] = {}
        self.number = 0
        self.waiters: list[Waiter] = []
        self.builds: list[Build] = []
        self.tasks: list[asyncio.Task[object]] = []
        self.proven: set[str] = set()
        self.cancelled: set[Build] = set()
        # times that streams broke, and whether the engine was away for longer than that
        self.broken = 0
        self.deleted: Counter[str] = Counter()
        self.before: dict[Build, History] = {}
        # (key, reason) of what containers ended with
        self.causes: set[tuple[str, str]] = set()
        self.engine_went = False
        self.ended: list[Process] = []
        self.settled = True
        self.processes = [self.run(self._start(index)) for index in (0, 1)]

    def _unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if type(error).__name__ != "KilledError":
            self.unhandled.append(f"{context.get('message')}: {error!r}")

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(coroutine)

    async def _start(self, index: int) -> Process:
        self.number += 1
        made = Process(self.engine, f"process {index} life {self.number}")
        join = made.pool.join

        def watched(plan: BuildPlan, user: str, limits: Limits) -> Build:
            build = join(plan, user, limits)
            if build not in self.builds:
                self.builds.append(build)
                self.before[build] = self._history(made, plan)
            return build

        made.pool.join = watched  # type: ignore[method-assign]
        return made

    def _history(self, process: Process, plan: BuildPlan) -> History:
        name = plan.container
        made = sum(
            one.maker is process.client and one.name == name for one in self.engine.all_containers
        )
        return History(
            process,
            self.broken,
            self.engine.kills[name],
            self.engine.removals[name],
            self.deleted[name],
            made,
        )

    def _since(self, build: Build) -> History:
        """What has happened to a build since somebody asked for it."""
        before = self.before[build]
        now = self._history(before.process, build.plan)
        return History(
            before.process,
            now.broken - before.broken,
            now.killed - before.killed,
            now.removed - before.removed,
            now.deleted - before.deleted,
            now.made - before.made,
        )

    # -- the machinery of a step -----------------------------------------------------------

    def _quiet(self) -> bool:
        pending = any(
            follower._pending
            for process in self.processes
            for follower in process.pool._running.values()
        )
        busy = sum(process.busy for process in (*self.processes, *self.ended))
        return not pending and busy == self.engine.resting

    async def _settle(self, within: float = SETTLE) -> bool:
        """Wait until each thread waits for something that a rule brings."""
        deadline = time.monotonic() + within
        calm = 0
        while calm < 3:
            await asyncio.sleep(0)
            calm = calm + 1 if self._quiet() else 0
            if not calm:
                if time.monotonic() > deadline:
                    return False
                await asyncio.sleep(0.0002)
        return True

    def settle(self) -> None:
        self.settled = self.run(self._settle())
        self._bury()

    def _bury(self) -> None:
        for index, process in enumerate(self.processes):
            if process.client.dead:
                self._replace(index, kill=True)

    def act(self, action: Callable[[], object]) -> None:
        async def acting() -> None:
            action()
            self._no_process_follows_more_builds_than_it_may()

        self.run(acting())
        self.settle()

    # -- users -----------------------------------------------------------------------------

    @rule(requests=st.lists(st.tuples(DIGITS, USERS, PROCESSES), min_size=1, max_size=3))
    def somebody_asks(self, requests: list[tuple[str, str, int]]) -> None:
        def ask() -> None:
            for digit, user, process in requests:
                self.waiters.append(Waiter(self.processes[process], PLANS[digit], user))

        self.act(ask)

    def _waiting(self) -> list[Waiter]:
        return [one for one in self.waiters if not one.task.done()]

    @rule(index=st.integers(0, 5))
    def a_waiter_leaves(self, index: int) -> None:
        if waiting := self._waiting():
            waiter = waiting[index % len(waiting)]
            waiter.left = True
            self.act(waiter.task.cancel)

    @rule(index=st.integers(0, 5))
    def a_page_is_reloaded(self, index: int) -> None:
        waiting = [one for one in self._waiting() if one.build is not None]
        if waiting:
            old = waiting[index % len(waiting)]
            old.left = True

            def reload() -> None:
                old.task.cancel()
                self.waiters.append(Waiter(old.process, old.plan, old.user, looked=True))

            self.act(reload)

    @rule(digit=DIGITS, process=PROCESSES, again=st.booleans())
    def an_admin_cancels(self, digit: str, process: int, again: bool) -> None:
        where = self.processes[process]
        build = where.pool._builds.get(PLANS[digit].key)
        if build is None:
            return
        self.cancelled.add(build)

        def cancel() -> None:
            where.pool.cancel(build)
            if again:
                self.waiters.append(Waiter(where, build.plan, "cid", looked=True))

        self.act(cancel)

    # -- builds ----------------------------------------------------------------------------

    def _running(self, digit: str) -> FakeContainer | None:
        running = self.engine.running(PLANS[digit].key)
        return running[0] if running else None

    def _print(self, container: FakeContainer, lines: int) -> None:
        for _ in range(lines):
            self.number += 1
            text = f'{{"message": "line {self.number}\\n", "phase": "building"}}\n'
            self.engine.prints(container, text.encode())

    @rule(digit=DIGITS, lines=st.integers(1, 3))
    def a_build_prints(self, digit: str, lines: int) -> None:
        if container := self._running(digit):
            self._print(container, lines)
            self.settle()

    @rule(
        digit=DIGITS,
        how=st.sampled_from(["well", "well", "no image", "failed", "memory"]),
        lines=st.integers(0, 2),
    )
    def a_build_ends(self, digit: str, how: str, lines: int) -> None:
        container = self._running(digit)
        if container is None:
            return
        followed = [
            (process, build)
            for process in self.processes
            for build in process.pool._running
            if build.plan.key == container.key and not build.ended
        ]
        complete = self.settled and not (self.engine.held or self.engine.away)
        # its last words are still on their way when it ends
        for _ in range(lines):
            self.settle()
            self._print(container, 1)
        # an image may be deleted afterwards
        self.causes.add((container.key, ENDS[how] or "image_missing"))
        code = {"failed": 1, "memory": 137}.get(how, 0)
        self.engine.ends(container, code, makes_image=how == "well", out_of_memory=how == "memory")
        self.settle()
        # after an interruption a failure counts as the engine's, and is tried again once
        if complete and self.settled:
            for process, build in followed:
                if process.client.dead or self._since(build).broken:
                    continue
                # who reads along may find it removed before its end was seen, and builds anew
                assert build.ended or process.client is not container.maker
                if build.ended:
                    assert _ends_with(_read(build), _printed(container))
                    reason = build.error.reason if build.error else ""
                    lost = reason == "build_lost" and process.client is not container.maker
                    assert reason == ENDS[how] or lost or (build.state is State.DONE and code == 0)

    # -- faults ----------------------------------------------------------------------------

    @rule(digit=DIGITS, what=st.sampled_from(["container", "image", "build image"]))
    def something_is_deleted(self, digit: str, what: str) -> None:
        if what == "image":
            self.engine.delete_image(PLANS[digit].image)
        elif what == "build image":
            self.engine.delete_image(BUILD_IMAGE)
        elif container := self.engine.named(PLANS[digit].container):
            self.deleted[container.name] += 1
            self.engine.removes(container)
            self.settle()

    @precondition(lambda self: not self.engine.away)
    @rule(
        exit_code=st.sampled_from([None, 137, 143, 255]), back=st.sampled_from([True, True, False])
    )
    def the_engine_goes(self, exit_code: int | None, back: bool) -> None:
        self.broken += 1
        self.engine_went |= not back
        with self.engine.changed:
            self.engine.goes_away(exit_code)
            if back:
                self.engine.comes_back()
        self.settle()

    @precondition(lambda self: self.engine.away)
    @rule()
    def the_engine_comes_back(self) -> None:
        self.engine.comes_back()
        self.settle()

    @rule(index=PROCESSES, kill=st.booleans())
    def a_process_ends_and_another_begins(self, index: int, kill: bool) -> None:
        self._replace(index, kill=kill)

    @rule(
        index=PROCESSES,
        call=st.sampled_from(["create", "put", "start", "logs", "wait", "inspect", "remove"]),
    )
    def a_process_will_be_killed_at_a_call(self, index: int, call: str) -> None:
        self.processes[index].client.dies_at = call

    def _replace(self, index: int, *, kill: bool) -> None:
        process = self.processes[index]
        mine = [one for one in self._waiting() if one.process is process]
        for waiter in mine:
            waiter.left = True

        async def end() -> None:
            if kill:
                process.client.die()
            # as JupyterHub does: every task is cancelled, and the loop closed
            tasks = [waiter.task for waiter in mine]
            tasks += [*process.pool._tasks, process.pool._keeper]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert process.pool.detached

        self.run(end())
        if not (kill or self.engine.held):
            # a hub that ends has two seconds
            for thread in process.pool._executor._threads:
                thread.join(2)
                assert not thread.is_alive(), "a build holds up the end of its process"
        self.ended.append(process)
        self.processes[index] = self.run(self._start(index))
        self.settle()

    # -- time ------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.6, 11.0, 31.0, 61.0, 130.0, TIMEOUT + 1, TIMEOUT + 70]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.settle()

    @rule(index=PROCESSES)
    def a_process_sweeps(self, index: int) -> None:
        self.run(self._sweep(self.processes[index]))
        self.settle()

    async def _sweep(self, process: Process) -> None:
        async def sweep() -> object:
            try:
                return await process.builder.sweep(process.pool.followed)
            except (EngineError, KilledError) as error:
                return error

        self.tasks.append(self.loop.create_task(sweep()))

    # -- the order of the engine's calls ---------------------------------------------------

    @precondition(lambda self: not self.engine.held)
    @rule()
    def calls_are_held(self) -> None:
        self.engine.hold()

    @precondition(lambda self: self.engine.held)
    @rule(indices=st.lists(st.integers(0, 7), min_size=1, max_size=6))
    def some_calls_go_through(self, indices: list[int]) -> None:
        for index in indices:
            self.engine.let_one_through(index)
            self.settle()

    @precondition(lambda self: self.engine.held)
    @rule()
    def all_calls_go_through(self) -> None:
        self.engine.release()
        self.settle()

    # -- what holds ------------------------------------------------------------------------

    @invariant()
    def all_is_well(self) -> None:
        self.engine.check()
        assert not self.unhandled
        self._no_process_follows_more_builds_than_it_may()
        self._nobody_has_more_under_way_than_they_may()
        self._an_end_is_an_end_with_an_image_or_a_reason()
        self._progress_never_goes_back_and_no_line_is_doubled()
        if self.settled:
            self._nobody_stands_in_line_where_there_is_a_place()
            self._who_waits_for_an_ended_build_has_heard_of_it()
            self._who_follows_has_read_all_that_was_printed()
            self._no_build_goes_on_that_nobody_waits_for()
            self._no_build_runs_on_that_nobody_wants()

    def _no_process_follows_more_builds_than_it_may(self) -> None:
        for process in self.processes:
            assert len(process.pool._running) <= LIMIT
            keys = [build.plan.key for build in process.pool._running]
            assert len(keys) == len(set(keys)), "one key is followed twice"

    def _nobody_has_more_under_way_than_they_may(self) -> None:
        for process in self.processes:
            builds = process.pool._builds.values()
            counts = Counter(build.user for build in builds)
            assert all(counts[user] <= PER_USER for user in ("ann", "bob", "dan"))
            assert counts["ann"] + counts["dan"] <= PER_GROUP
            in_line = [build.user for build in process.pool._queue]
            assert len(in_line) - in_line.count("cid") <= IN_LINE

    def _nobody_stands_in_line_where_there_is_a_place(self) -> None:
        for process in self.processes:
            pool = process.pool
            going = {build.plan.key for build in pool._running}
            idle = [build for build in pool._queue if build.plan.key not in going]
            assert len(pool._running) == LIMIT or not idle

    def _an_end_is_an_end_with_an_image_or_a_reason(self) -> None:
        for name, found in self.engine.images.items():
            for one in PLANS.values():
                if name.removesuffix(":latest") == one.image and found:
                    self.proven.add(one.image)
        for build in self.builds:
            if build.state is State.DONE:
                assert build.image in self.proven
                assert build.error is None
            elif build.ended:
                assert build.error is not None
                assert build.error.message
                # deleted once more while it was being had
                gone = f"No such image: {BUILD_IMAGE}" in build.error.message
                assert gone or build.error.reason not in NEVER, build.error
                self._is_true(build, build.error.reason)

    def _is_true(self, build: Build, reason: str) -> None:
        since = self._since(build)
        if reason in ENDS.values():
            assert (build.plan.key, reason) in self.causes
        if reason == "build_killed":
            # once is made good by building anew
            assert since.broken or since.killed > 1
        if reason == "build_lost" and not since.made:
            assert since.broken or since.deleted or since.removed > 1

    def _who_waits_for_an_ended_build_has_heard_of_it(self) -> None:
        for waiter in self.waiters:
            if waiter.build is not None and waiter.build.ended and not waiter.left:
                assert waiter.task.done()
                assert (waiter.error is None) == (waiter.build.state is State.DONE)
                if waiter.build.state is State.CANCELLED:
                    assert waiter.build in self.cancelled, "nobody has cancelled it"

    def _progress_never_goes_back_and_no_line_is_doubled(self) -> None:
        for waiter in self.waiters:
            assert waiter.progress == sorted(waiter.progress)
        for build in self.builds:
            progress = [event.progress for event in (*build.log._head, *build.log._tail)]
            assert progress == sorted(progress)
            numbers = _read(build)
            assert numbers == sorted(set(numbers)), "lines are doubled or out of order"

    def _who_follows_has_read_all_that_was_printed(self) -> None:
        if self.engine.held or self.engine.away:
            return
        for process in self.processes:
            for build in process.pool._running:
                found = self.engine.named(build.plan.container)
                if found is not None and found.running and not build.ended:
                    printed = _printed(found)
                    assert _ends_with(_read(build), printed)

    def _no_build_goes_on_that_nobody_waits_for(self) -> None:
        for process in self.processes:
            for build in process.pool._builds.values():
                if not build.waiters:
                    assert CLOCK.monotonic() - build.left_at <= pool_module._GRACE + SETTLE  # type: ignore[attr-defined]

    def _no_build_runs_on_that_nobody_wants(self) -> None:
        if self.engine.held or self.engine_went:
            return
        for process in self.processes:
            followed = {build.plan.key for build in process.pool._running if not build.ended}
            for container in self.engine.running():
                if container.maker is process.client:
                    assert container.key in followed

    # -- the end ---------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            self._end()
        finally:
            self._close()

    def _end(self) -> None:
        """Let every build end well: then nobody may be left waiting, and nothing left over."""
        for process in self.processes:
            process.client.dies_at = ""
        self.engine.comes_back()
        self.engine.script = lambda _container: Script((), 0)
        self.engine.release()
        for container in self.engine.running():
            self.engine.ends(container, makes_image=True)

        async def all_hear() -> None:
            deadline = time.monotonic() + BOUND
            # who made a container and died before its start is waited for so long
            patience = 2 * container_module._START_GRACE
            every = [*self.processes, *self.ended]
            while self._waiting() or any(process.busy for process in every):
                assert time.monotonic() < deadline, (
                    [(one.plan.title, one.build and one.build.state) for one in self._waiting()],
                    [(one.client.who, one.busy) for one in every if one.busy],
                )
                await self._settle(0.01)
                self.clock.advance(min(1, patience))
                patience -= min(1, patience)

        self.run(all_hear())
        self.all_is_well()
        for build in self.builds:
            assert build.ended or not build.waiters or build not in self._live_builds()
        for process in self.processes:
            stats = process.pool.statistics()
            assert (stats.queued, stats.running) == (0, 0)
            assert not process.pool._builds
        self.clock.advance(DAY)
        for process in self.processes:
            self.run(self._sweep(process))
            self.run(asyncio.wait_for(asyncio.gather(*self.tasks), BOUND))
        assert not [one.name for one in self.engine.containers.values() if one.key]

    def _live_builds(self) -> list[Build]:
        return [build for one in self.processes for build in one.pool._builds.values()]

    def _close(self) -> None:
        self.engine.release()
        self.engine.comes_back()
        for waiter in self._waiting():
            waiter.task.cancel()
        for process in (*self.processes, *self.ended):
            self.run(asyncio.wait_for(process.close(), BOUND))
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.run(asyncio.wait(tasks, timeout=BOUND))
        self.loop.close()
        deadline = time.monotonic() + BOUND
        while threads := [one for one in threading.enumerate() if one.name.startswith("r2d-")]:
            assert time.monotonic() < deadline, threads
            time.sleep(0.001)


CLOCK = Clock()


@pytest.fixture
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's clock, and no waiting of threads that is not for something."""
    for module in (pool_module, build_module, container_module, sweeping_module):
        monkeypatch.setattr(module, "time", CLOCK)
    monkeypatch.setattr(follower_module, "_PAUSE", 0.005)
    monkeypatch.setattr(container_module, "_LOOK_AGAIN", 0.001)
    monkeypatch.setattr(container_module, "_PAUSE", 0.001)
    monkeypatch.setattr(reading_module, "_END_GRACE", 0.01)
    monkeypatch.setattr(reading_module, "_PAUSE", 0.001)
    monkeypatch.setattr(reading_module, "_LONGEST_PAUSE", 0.001)
    monkeypatch.setattr(patience_module, "_PATIENCE", 3)
    monkeypatch.setattr(patience_module, "wait_exponential", lambda **_: wait_none())


@pytest.fixture
def quiet_deaths(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread of a killed process is no thread that failed."""
    report = threading.excepthook

    def reported(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, KilledError):
            report(args)

    monkeypatch.setattr(threading, "excepthook", reported)


@pytest.mark.timeout(3600 if DEEP else 120)
@pytest.mark.usefixtures("short_times", "quiet_deaths")
def test_whatever_happens_each_key_is_built_once_and_everyone_hears_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    run_state_machine_as_test(Builds, settings=SETTINGS)
