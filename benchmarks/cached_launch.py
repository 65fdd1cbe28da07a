"""A launch whose image is ready, beside plain DockerSpawner starting the same image."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from testbed import names
from testbed.containerevents import ContainerEvents
from testbed.hub import HubProcess
from testbed.hubclient import HubClient

from .bed import Bed, CaseError, Options, launch
from .figures import Row, row_of_medians

CASE = "cached-launch"


def measure(bed: Bed, options: Options) -> list[Row]:
    """Two hubs side by side, runs in pairs; from the request to container's start and ready."""
    dockerfile = f"FROM {names.SINGLEUSER_IMAGE}\nCOPY . /home/jovyan\n"
    url = bed.repository("cached", {"Dockerfile": dockerfile})
    image = bed.plan("cached", bed.git.head("cached")).image
    with (
        ContainerEvents() as events,
        bed.hub() as ours,
        bed.user(ours) as our_client,
    ):
        _, progress = launch(our_client, {"repo": url})
        last = list(progress)[-1]
        if not last.get("ready"):
            raise CaseError(f"The first launch failed: {last.get('message')}")
        our_client.stop_server()
        bed.client.images.get(image)
        with bed.hub(spawner="docker", image=image) as plain, bed.user(plain) as plain_client:
            sides = [
                partial(_run, events, ours, our_client, {"repo": url}),
                partial(_run, events, plain, plain_client, {}),
            ]
            for side in sides:
                side()
            return _pairs(bed, options, sides)


def _pairs(bed: Bed, options: Options, sides: list[partial[tuple[float, float]]]) -> list[Row]:
    times: list[list[tuple[float, float]]] = [[], []]
    runs = options.repeat(15)
    for run in range(runs):
        # who goes first takes turns, so that what one leaves behind hits both alike
        for side in (0, 1) if run % 2 else (1, 0):
            times[side].append(sides[side]())
        bed.say(f"{run + 1}/{runs}: {times[0][-1][1]:.2f} s, plain {times[1][-1][1]:.2f} s")
    to_start, to_ready = ([[pair[i] for pair in side] for side in times] for i in (0, 1))
    return [
        row_of_medians(CASE, "request to container's start", *to_start),
        row_of_medians(CASE, "request to ready", *to_ready, aim=1.05),
    ]


def _run(
    events: ContainerEvents, hub: HubProcess, client: HubClient, options: Mapping[str, str]
) -> tuple[float, float]:
    posted, progress = launch(client, options)
    last = list(progress)[-1]
    if not last.get("ready"):
        raise CaseError(f"A launch failed: {last.get('message')}")
    started = events.first(
        "start", lambda container: container["name"].startswith(f"{hub.prefix}-"), posted
    )
    client.stop_server()
    return started - posted, last.arrived - posted
