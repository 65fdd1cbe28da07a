"""A build that prints 200,000 lines: what the hub's loop and memory have of it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]
from testbed import names
from testbed.hub import HubProcess
from testbed.hubclient import HubClient

from .bed import Bed, Options
from .build_overhead import through_hub
from .figures import Aim, Row, median, percentile, row_of_medians
from .hubside import samples

if TYPE_CHECKING:
    from typing_extensions import Self

CASE = "log-flood"
_LINES_OF_A_STEP = 2200  # BuildKit clips a step at 2 MiB
_LINE = "x" * 80
_MIB = 1024 * 1024


def measure(bed: Bed, options: Options) -> list[Row]:
    """The hub measures its loop by itself; beside it, idle while the same build runs by hand."""
    steps = options.size(90, 6)
    url = bed.repository("flood", {"Dockerfile": _dockerfile(steps), "nonce": "0"})
    lag = bed.folder / "lag"
    config = f"from benchmarks.hubside import probe_loop\nprobe_loop({str(lag)!r})\n"
    ours: list[_Run] = []
    hand: list[_Run] = []
    runs = options.repeat(2)
    with bed.hub(config) as hub, bed.user(hub) as client:
        _warm_up(bed, client)
        for run in range(runs):
            for side in (hand, ours) if run % 2 else (ours, hand):
                side.append(_run(bed, hub, client if side is ours else None, url))
            bed.say(f"{run + 1}/{runs}: {ours[-1].seconds:.1f} s, by hand {hand[-1].seconds:.1f} s")
        time.sleep(2)  # until the probe has written its last samples
        our_lag = [ms for run in ours for ms in samples(lag, run.began, run.ended)]
        idle_lag = [ms for run in hand for ms in samples(lag, run.began, run.ended)]
    lines = f"{steps * _LINES_OF_A_STEP:,} lines"
    gained = [run.peak - run.before for run in ours]
    return [
        row_of_medians(
            CASE,
            f"{lines}: request to 'is ready'; same command by hand",
            [run.seconds for run in ours],
            [run.seconds for run in hand],
            aim=1.05,
        ),
        _lag_row("p99", our_lag, idle_lag, 99, Aim(25, "ours")),
        _lag_row("max", our_lag, idle_lag, 100, None),
        Row(
            CASE,
            "memory of the hub gained at its peak",
            max(gained),
            unit="MiB",
            aim=Aim(8, "ours"),
            samples={"ours": gained},
        ),
        Row(
            CASE,
            "memory of the hub gained 2 s after its end",
            median([run.after - run.before for run in ours]),
            unit="MiB",
        ),
    ]


@dataclass(frozen=True)
class _Run:
    """One build: seconds, times since 1970, and the hub's resident memory in MiB."""

    seconds: float
    began: float
    ended: float
    before: float
    peak: float
    after: float


def _dockerfile(steps: int) -> str:
    step = f"RUN yes {_LINE} | head -n {_LINES_OF_A_STEP}; echo"
    lines = [f"{step} {number} > /step" for number in range(steps)]
    return "\n".join([f"FROM {names.BASE_IMAGE}", "COPY nonce /nonce", *lines, ""])


def _warm_up(bed: Bed, client: HubClient) -> None:
    """Some smaller floods, so that what is gained is the large one's."""
    url = bed.repository("warm", {"Dockerfile": _dockerfile(6), "nonce": "0"})
    for _ in range(2):
        plan = bed.plan("warm", bed.new_commit("warm"))
        through_hub(client, url, plan.image)


def _run(bed: Bed, hub: HubProcess, client: HubClient | None, url: str) -> _Run:
    plan = bed.plan("flood", bed.new_commit("flood"))
    with _Memory(hub.pid) as memory:
        began = time.time()
        seconds = bed.by_hand(plan) if client is None else through_hub(client, url, plan.image)
        ended = time.time()
        time.sleep(2)
    return _Run(seconds, began, ended, memory.before, memory.peak, memory.now())


class _Memory:
    """Looks at a process's resident memory, in MiB, ten times a second."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._ended = threading.Event()
        self.before = self.peak = self.now()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def now(self) -> float:
        return float(self._process.memory_info().rss) / _MIB

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self.peak = max(self.peak, self.now())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def _lag_row(word: str, ours: list[float], idle: list[float], percent: int, aim: Aim | None) -> Row:
    return Row(
        CASE,
        f"lag of the hub's loop, {word}; idle hub, same build by hand",
        percentile(ours, percent),
        percentile(idle, percent),
        unit="ms",
        aim=aim,
        note=f"{len(ours):,} samples",
    )
