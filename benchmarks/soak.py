"""500 builds through a hub, on an engine of whose calls one in twenty fails: what stays of them.

A hub process is real, with its database, and so is all of the spawner but what `soakside` says
it stands in for. Half of the builds go well, a quarter fail, a quarter are cancelled.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from .bed import Bed, CaseError, Options
from .figures import Aim, Row

CASE = "soak"
_PEOPLE = 20
_SHARE = 0.05
_SEED = 25
_MOST_SECONDS = 300


def measure(bed: Bed, options: Options) -> list[Row]:
    """Wall time, memory, and what is left of builds, containers, threads, tasks, descriptors."""
    count = options.size(500, 60)
    report = _run(bed, count)
    bed.say(", ".join(f"{word} {report[word]}" for word in ("builds", "launches", "ended", "told")))
    bed.say(f"faults: {report['faults']}")
    if report["wrong"]:
        raise CaseError(f"What must never be: {report['wrong'][:3]}")
    note = f"{_PEOPLE} people at once, {sum(report['faults'].values())} faults, seed {_SEED}"
    return [
        Row(CASE, f"{count} builds", report["seconds"], aim=Aim(60, "ours"), note=note),
        Row(
            CASE,
            "hub's memory per build, over the later half",
            report["slope"],
            unit="KiB",
            aim=Aim(10, "ours"),
            samples={"ours": report["memory"]},
            note="the line through resident memory; the fake engine's own is in it",
        ),
        Row(
            CASE,
            f"hub's memory gained by the {count * 6 // 5} builds before these",
            report["warming"],
            unit="MiB",
        ),
        *(
            Row(CASE, what, value, unit="", aim=Aim(0, "ours"))
            for what, value in (
                ("builds that have not ended", report["not ended"]),
                ("build containers left after a sweep", report["containers"]),
                *((f"{word} left at the end", one) for word, one in report["left"].items()),
            )
        ),
    ]


def _run(bed: Bed, count: int) -> dict[str, Any]:
    path = bed.folder / "soak.json"
    path.unlink(missing_ok=True)
    config = f"""
from jupyterhub.app import JupyterHub
from benchmarks.soakside import SoakSpawner, begin
c.JupyterHub.spawner_class = SoakSpawner
c.SoakSpawner.build_image = "soak:1"
c.SoakSpawner.concurrent_builds_limit = {_PEOPLE // 2}
c.SoakSpawner.start_timeout = 3600
# else the fake engine keeps them all, in this process
c.SoakSpawner.build_log_retention = 0
begin(JupyterHub, {str(path)!r}, count={count}, people={_PEOPLE}, seed={_SEED}, share={_SHARE})
"""
    with bed.hub(config) as hub:
        return _read(path, hub.check)


def _read(path: Path, check: Any) -> dict[str, Any]:
    until = time.monotonic() + _MOST_SECONDS
    while not path.exists():
        check()
        if time.monotonic() > until:
            raise CaseError(f"The soak has not ended in {_MOST_SECONDS} s.")
        time.sleep(0.5)
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if "error" in report:
        raise CaseError(f"The soak broke off: {report['error']}")
    return report
