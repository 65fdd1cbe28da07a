"""A build through the spawner, beside the same repo2docker run by hand."""

from __future__ import annotations

import asyncio
import time

from testbed.hubclient import HubClient

from repo2dockerspawner.builds.container import ContainerBuilder
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.builds.pool import BuildPool
from repo2dockerspawner.engine import Engine
from repo2dockerspawner.images import Images

from .bed import Bed, CaseError, Options, launch, stepped
from .figures import Row, row_of_medians

CASE = "build"
_STEPS = 8


def measure(bed: Bed, options: Options) -> list[Row]:
    """Four sides in turn, a commit of its own for each run, so that only the base is cached."""
    # an image that no server starts from: the launch ends right after the build
    url = bed.repository("steps", {"Dockerfile": stepped(_STEPS), "nonce": "0"})
    times: dict[str, list[float]] = {"pool": [], "hub": [], "hand": [], "stock": []}
    runs = options.repeat(8)
    with bed.hub() as hub, bed.user(hub) as client:
        for run in range(-1, runs):
            order = list(times)
            for side in order[run % 4 :] + order[: run % 4]:
                taken = _run(bed, side, client, url)
                if run >= 0:  # the first ones warm up
                    times[side].append(taken)
            if run >= 0:
                said = ", ".join(f"{side} {values[-1]:.2f}" for side, values in times.items())
                bed.say(f"{run + 1}/{runs}: {said} s")
    hand, stock = times["hand"], times["stock"]
    return [
        row_of_medians(
            CASE, "join to image found; same command by hand", times["pool"], hand, aim=1.03
        ),
        row_of_medians(
            CASE, "request to 'is ready'; same command by hand", times["hub"], hand, aim=1.03
        ),
        row_of_medians(CASE, "join to image found; stock --ref main by hand", times["pool"], stock),
        row_of_medians(
            CASE, "request to 'is ready'; stock --ref main by hand", times["hub"], stock
        ),
    ]


def _run(bed: Bed, side: str, client: HubClient, url: str) -> float:
    plan = bed.plan("steps", bed.new_commit("steps"))
    if side == "hand":
        return bed.by_hand(plan)
    if side == "stock":
        return bed.stock(plan, "main")
    if side == "pool":
        return asyncio.run(through_pool(plan))
    return through_hub(client, url, plan.image)


async def through_pool(plan: BuildPlan) -> float:
    """Build on an engine of one's own; returns the seconds from `join` to the image."""
    engine = Engine()
    # connected, as it is in a hub that runs
    await engine.call(lambda client: client.ping())
    images = Images(engine)
    pool = BuildPool(ContainerBuilder(engine), images)
    try:
        started = time.monotonic()
        build = pool.join(plan, "ada")
        async for _ in build.follow():
            pass
        image = await images.find(plan.key, await build.result())
        taken = time.monotonic() - started
        pool.leave(build)
        if image is None:
            raise CaseError("The build left no image.")
        return taken
    finally:
        await pool.close()
        engine.close()


def through_hub(client: HubClient, url: str, image: str) -> float:
    """Build by a launch; returns the seconds from the request to the image's event."""
    posted, progress = launch(client, {"repo": url})
    said = ""
    ready: float | None = None
    for event in progress:
        said = str(event.get("message"))
        if ready is None and said == f"The image {image} is ready.":
            ready = event.arrived
    if ready is None:
        raise CaseError(f"The hub told of no image {image}; its last word was: {said}")
    return ready - posted
