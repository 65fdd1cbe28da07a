"""What the spawn page costs the hub: rendering its form with 20 and with 1,000 environments."""

from __future__ import annotations

import time

from repo2dockerspawner.formview import FormView, environment_choice
from repo2dockerspawner.images import Environment, Image

from .bed import Bed, Options
from .figures import Aim, Row, median

CASE = "form"
_AIMS = {20: 5.0, 1000: 50.0}


def measure(bed: Bed, options: Options) -> list[Row]:  # noqa: ARG001  no hub, no engine
    """From what is known of the images to the HTML; the engine's answer is no part of it."""
    return [_row(count, aim, options.repeat(50)) for count, aim in _AIMS.items()]


def _row(count: int, aim: float, runs: int) -> Row:
    now = time.time()
    found = [_environment(number, now) for number in range(count)]
    samples = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        FormView(built=[environment_choice(one, now) for one in found]).html()
        samples.append((time.perf_counter() - began) * 1000)
    samples = samples[1:]  # the first one reads the templates, once in a hub's life
    return Row(
        CASE,
        f"the spawn page's form with {count:,} environments",
        median(samples),
        unit="ms",
        aim=Aim(aim, "ours"),
        samples={"ours": samples},
    )


def _environment(number: int, now: float) -> Environment:
    return Environment(
        key=f"{number:064x}",
        image=Image("sha256:0", f"r2d-owner-repo-{number}"),
        name=f"owner/repo-{number}",
        repo=f"https://github.com/owner/repo-{number}",
        ref="main",
        commit=f"{number:040x}",
        built=now - number * 3600,
    )
