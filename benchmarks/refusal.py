"""A start that is refused: our own part of it, and the whole request beside DockerSpawner's."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from testbed.hubclient import HubClient

from .bed import Bed, CaseError, Options, launch, stepped
from .figures import Aim, Row, percentile
from .hubside import samples

CASE = "refusal"
_CONFIG = """
# a refusal is the answer to the request
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 5}
"""


def measure(bed: Bed, options: Options) -> list[Row]:
    """Refused over REST, again and again: what can't be read, isn't allowed, is one too many."""
    runs = options.repeat(100)
    busy = bed.repository("busy", {"Dockerfile": stepped(1, seconds=600), "nonce": "1"})
    other = bed.repository("other", {"Dockerfile": stepped(1)})
    starts = bed.folder / "starts"
    config = f"""
from benchmarks.hubside import probe_starts
probe_starts({str(starts)!r})
c.Repo2DockerSpawner.builds_per_user_limit = 1
c.Repo2DockerSpawner.denied_repos = ["github.com/denied/*"]
"""
    kinds: dict[str, tuple[int, dict[str, str]]] = {
        "what can't be read": (400, {"repo": "--upload-pack=x"}),
        "a denied repository": (403, {"repo": "https://github.com/denied/x"}),
        "one build too many, a commit": (429, {"repo": other, "ref": bed.git.head("other")}),
        "one build too many, a branch": (429, {"repo": other}),
    }
    rows = []
    with (
        bed.hub(_CONFIG + config) as ours,
        bed.hub(_CONFIG, spawner="docker") as plain,
        bed.user(ours) as our_client,
        bed.user(plain) as plain_client,
    ):
        launch(our_client, {"repo": busy})
        beside = partial(_refused, plain_client, 400, {"image": "not-listed"})
        for kind, (status, asked) in kinds.items():
            rows += _rows(kind, runs, starts, partial(_refused, our_client, status, asked), beside)
            bed.say(f"{kind}: {rows[-2].ours:.1f} ms, the whole request {rows[-1].ours:.1f} ms")
    return rows


def _refused(client: HubClient, status: int, asked: Mapping[str, str]) -> float:
    """Return the milliseconds from the request to its answer."""
    began = time.perf_counter()
    answer = client.start_server(asked, "two")
    took = (time.perf_counter() - began) * 1000
    if answer.status_code != status:
        said = answer.text[:300]
        raise CaseError(f"A start was not refused with {status} ({answer.status_code}): {said}")
    return took


def _rows(
    kind: str, runs: int, starts: Path, ours: Callable[[], float], beside: Callable[[], float]
) -> list[Row]:
    for side in (ours, beside):
        side()
    began, times = time.time(), ([], [])
    for run in range(runs):
        for side in (0, 1) if run % 2 else (1, 0):
            times[side].append((ours, beside)[side]())
    own = samples(starts, began, time.time())
    return [
        Row(
            CASE,
            f"{kind}: start() to its refusal, p95",
            percentile(own, 95),
            unit="ms",
            aim=Aim(20, "ours"),
            samples={"ours": own},
        ),
        Row(
            CASE,
            f"{kind}: the whole request, p95; plain DockerSpawner's of an image not listed",
            *(percentile(one, 95) for one in times),
            unit="ms",
            samples=dict(zip(("ours", "beside"), times, strict=True)),
            note=f"{runs} runs each",
        ),
    ]
