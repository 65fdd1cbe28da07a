"""One build and 50 who wait for it: what one more of them costs the hub's process.

``(processor time with 50 - with 1) / 49``, for a log of usual length, as it comes. All of them
have to see the same, whole log.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from testbed import names
from testbed.hubclient import HubClient

from repo2dockerspawner.builds.build import Build
from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.follower import Follower
from repo2dockerspawner.builds.outcome import Outcome
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.builds.pool import BuildPool
from repo2dockerspawner.images import Image, Images
from repo2dockerspawner.launching import Launch

from .bed import Bed, CaseError, Options, launch
from .figures import Aim, Row, median
from .hubside import samples

CASE = "fan-out"
_LINES = 300
# Seconds between two lines: a batch of some is handed over twenty times a second.
_BETWEEN = 0.01
_MARK = "line-of-the-log"
_NUMBERED = re.compile(rf"\b{_MARK}-(\d+)")
# Seconds in which all have asked and are listening, before the build prints.
_GATHERING = 20.0
# The processor time is written down every 20 ms, and the last lines take a moment to all.
_EDGE = 0.5
_DOCKERFILE = f"""\
FROM {names.BASE_IMAGE}
COPY nonce /nonce
RUN sleep {_GATHERING:g}; \
for i in $(seq {_LINES}); do echo {_MARK}-$i; sleep {_BETWEEN}; done; sleep 2; exit 1
"""
_SPAWN_SECONDS = 120


def measure(bed: Bed, options: Options) -> list[Row]:
    """At the pool, with a page for each, and through a hub."""
    many = options.size(50, 8)
    asyncio.run(_at_pool(many, paged=True))  # warms up: templates, threads
    rows = []
    for what, paged in (("listener at the pool", False), ("launch and its page's events", True)):
        runs = [
            (asyncio.run(_at_pool(1, paged=paged)), asyncio.run(_at_pool(many, paged=paged)))
            for _ in range(options.repeat(5))
        ]
        rows.append(_row(f"one more {what}", many, runs))
        bed.say(f"one more {what}: {rows[-1].ours:.3f} ms")
    runs = [_through_hub(bed, many) for _ in range(options.repeat(3))]
    rows.append(_row("one more person at the hub", many, runs))
    bed.say(f"one more person at the hub: {rows[-1].ours:.3f} ms")
    return rows


def _row(what: str, many: int, runs: list[tuple[float, float]]) -> Row:
    each = [(all_of_them - one) / (many - 1) for one, all_of_them in runs]
    return Row(
        CASE,
        f"{what}: processor time, {_LINES} lines in {_LINES * _BETWEEN:g} s, {many} at once",
        median(each),
        unit="ms",
        aim=Aim(5, "ours"),
        samples={"ours": each},
        note="(time with all - time with one) / (all - 1); each has seen the whole log",
    )


# -- without a hub -----------------------------------------------------------------------------


class _Prints:
    """A builder in memory, which prints when it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def run(self, plan: BuildPlan, follower: Follower) -> Outcome:  # noqa: ARG002
        self.go.wait()
        for line in range(1, _LINES + 1):
            follower.emit(
                Event(f"#7 0.1 {_MARK}-{line}", line / _LINES, "building", True, step=(2, 3))
            )
            time.sleep(_BETWEEN)
        return Outcome(0, ours=True)

    def kill(self, plan: BuildPlan) -> None:
        """Nothing here is cancelled."""


class _Built:
    """No image, until it is built."""

    def __init__(self, builder: _Prints) -> None:
        self._builder = builder

    async def find(self, key: str, *names: str) -> Image | None:
        return Image(f"sha256:{key}", names[0]) if self._builder.go.is_set() else None


async def _at_pool(listeners: int, *, paged: bool) -> float:
    """Return the processor time, in ms, of a build that so many follow."""
    builder = _Prints()
    pool = BuildPool(builder, cast(Images, _Built(builder)))
    try:
        plan = BuildPlan("a" * 64, "build", "image", {}, "git", "https://example.org/a", "c" * 40)
        builds = [pool.join(plan, f"u{number}") for number in range(listeners)]
        listen = _page if paged else _listen
        tasks = [asyncio.create_task(listen(build)) for build in builds]
        await asyncio.sleep(0.1)
        before = time.process_time()
        builder.go.set()
        seen = await asyncio.gather(*tasks)
        taken = time.process_time() - before
        for build in builds:
            pool.leave(build)
        _check(seen)
        return taken * 1000
    finally:
        await pool.close()


async def _listen(build: Build) -> str:
    return "\n".join([event.text async for event in build.follow() if event.is_log])


async def _page(build: Build) -> str:
    """What a person costs the hub, but for the connection: a launch, and its events as JSON."""
    told = Launch()

    async def forward() -> None:
        async for event in build.follow():
            told.forward(event)
        told.close()

    task = asyncio.create_task(forward())
    logs = []
    async for message in told.progress():
        json.dumps(message)
        logs += [message["message"]] if message.get("is_log") else []
    await task
    return "\n".join(logs)


# -- through a hub -----------------------------------------------------------------------------


def _through_hub(bed: Bed, many: int) -> tuple[float, float]:
    """Return the hub's processor time, in ms, with one person and with many.

    The build fails in the end, so that no server's start is in it.
    """
    url = bed.repository("loud", {"Dockerfile": _DOCKERFILE, "nonce": "0"})
    path = bed.folder / "processor"
    path.unlink(missing_ok=True)
    config = f"from benchmarks.hubside import probe_processor\nprobe_processor({str(path)!r})\n"
    found = []
    with bed.hub(config) as hub, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(HubClient(hub.url)) for _ in range(many)]
        for number, client in enumerate(clients):
            client.login(f"u{number}")
        for people in (clients[:1], clients):
            bed.new_commit("loud")
            with ThreadPoolExecutor(len(people)) as threads:
                told = list(threads.map(lambda client: _log(client, {"repo": url}), people))
            _check(["\n".join(text for text, _ in one) for one in told])
            found.append(_window(told))
        time.sleep(2)  # until the probe has written its last samples
        spent = [samples(path, began, ended) for began, ended in found]
    if not all(spent):
        raise CaseError("The hub has not written down its processor time.")
    one, all_of_them = (times[-1] - times[0] for times in spent)
    return one, all_of_them


def _log(client: HubClient, options: Mapping[str, str]) -> list[tuple[str, float]]:
    """Return the log that a person sees, and when each part of it arrived (since 1970)."""
    _, progress = launch(client, options, timeout=_SPAWN_SECONDS)
    return [(str(event["message"]), event.arrived) for event in progress if event.get("is_log")]


def _window(told: list[list[tuple[str, float]]]) -> tuple[float, float]:
    """From before the first line of the log to after the last one has reached all, since 1970.

    Raises:
        CaseError: somebody came after the build had begun to print.
    """
    first = [_when(log, 1) for log in told]
    if max(first) - min(first) > _LINES * _BETWEEN:
        raise CaseError("Not all were listening when the build began to print.")
    return min(first) - _EDGE, max(_when(log, _LINES) for log in told) + _EDGE


def _when(log: list[tuple[str, float]], number: int) -> float:
    return next(when for text, when in log if number in _printed(text))


def _printed(text: str) -> set[int]:
    return {int(number) for number in _NUMBERED.findall(text)}


def _check(logs: list[str]) -> None:
    """Make sure that all have seen the same, and all of it."""
    if len(set(logs)) != 1:
        raise CaseError("Those who waited for one build have seen different logs.")
    if len(_printed(logs[0])) != _LINES:
        raise CaseError(f"{len(_printed(logs[0]))} of {_LINES} lines have been seen.")
