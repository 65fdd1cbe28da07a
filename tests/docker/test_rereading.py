"""The whole log for who comes late, from the engine that keeps it."""

from __future__ import annotations

import json
from dataclasses import replace

from testbed.scripted import ScriptBench, scripted_plan

from repo2dockerspawner.builds.build import Build
from repo2dockerspawner.builds.rereading import Rereader
from repo2dockerspawner.launching import Launch

COUNT = 15_000
LINE = "line %d of a build that prints much"
RECORD = json.dumps({"message": f"{LINE}\n", "phase": "building"})
SCRIPT = f"""
awk -v record='{RECORD.replace(chr(92), chr(92) * 2)}\\n' \
    'BEGIN {{ for (n = 0; n < {COUNT}; n++) printf record, n }}'
exit 3
"""


async def lines_of(launch: Launch) -> list[str]:
    return [line async for one in launch.progress() for line in one["message"].split("\n")]


async def ended(build: Build, launch: Launch) -> None:
    async for event in build.follow():
        launch.forward(event)
    launch.close()


async def test_who_comes_late_is_told_every_line_while_the_engine_keeps_the_log(
    scripts: ScriptBench,
) -> None:
    plan = replace(scripted_plan(SCRIPT), retention=300)
    build = scripts.pool.join(plan, "ann")
    early, late = Launch(), Launch()
    early.rest = late.rest = Rereader(scripts.engine).of(build)
    await ended(build, early)
    scripts.pool.leave(build)
    # joins when most of it is out of the hub's memory
    await ended(build, late)
    printed = [LINE % number for number in range(COUNT)]
    for launch in (early, late):
        lines = await lines_of(launch)
        assert [line for line in lines if line.startswith("line ")] == printed
        assert not [line for line in lines if "left out" in line]

    scripts.client.api.remove_container(plan.container, force=True)
    for launch in (early, late):
        lines = await lines_of(launch)
        assert [line for line in lines if "left out" in line]
        assert lines[-2] == printed[-1]
