"""Many people launch one new repository at once, beside one build and as many plain starts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from testbed import names
from testbed.containerevents import ContainerEvents
from testbed.hub import HubProcess
from testbed.hubclient import HubClient

from .bed import SERVER, Bed, CaseError, Options, launch
from .figures import Aim, Row, median

CASE = "fifty-launches"
_DOCKERFILE = f"""\
FROM {names.BASE_IMAGE}
COPY nonce /nonce
RUN for i in 1 2 3 4 5; do echo "step $i"; sleep 0.4; done
COPY jupyterhub-singleuser /usr/local/bin/jupyterhub-singleuser
RUN chmod 755 /usr/local/bin/jupyterhub-singleuser
"""
_SPAWN_SECONDS = 300


def measure(bed: Bed, options: Options) -> list[Row]:
    """Count the build containers; time from the first request to the last server that is ready.

    The servers are a few lines of Python: fifty notebook servers would measure the machine.
    """
    people = options.size(50, 6)
    files = {"Dockerfile": _DOCKERFILE, "jupyterhub-singleuser": SERVER, "nonce": "0"}
    url = bed.repository("course", files)
    ours: list[float] = []
    plain: list[float] = []
    built: list[float] = []
    runs = options.repeat(3)
    for run in range(runs):
        plan = bed.plan("course", bed.new_commit("course"))
        with ContainerEvents() as events, bed.hub() as hub:
            began = time.time()
            ours.append(_all(hub, people, {"repo": url}))
            built.append(len(events.of("start", partial(_is, plan.container), began)))
        plan = bed.plan("course", bed.new_commit("course"))
        by_hand = bed.by_hand(plan)
        with bed.hub(spawner="docker", image=plan.image) as hub:
            starts = _all(hub, people, {})
        plain.append(by_hand + starts)
        bed.say(
            f"{run + 1}/{runs}: {ours[-1]:.1f} s, {built[-1]:.0f} build; "
            f"by hand {by_hand:.1f} s and plain starts {starts:.1f} s"
        )
    return [
        Row(
            CASE,
            f"build containers for {people} launches of one new repository",
            max(built),
            unit="",
            aim=Aim(1, "ours"),
            samples={"ours": built},
        ),
        Row(
            CASE,
            f"first request to {people}th server ready; one build, then {people} plain starts",
            median(ours),
            median(plain),
            samples={"ours": ours, "beside": plain},
            note=f"{runs} runs each",
        ),
    ]


def _is(name: str, container: Mapping[str, str]) -> bool:
    return container["name"] == name


def _all(hub: HubProcess, people: int, options: Mapping[str, str]) -> float:
    """Let all start at once; returns the seconds until the last one's server is ready."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(people) as threads:
        clients = [stack.enter_context(HubClient(hub.url)) for _ in range(people)]
        for number, client in enumerate(clients):
            client.login(f"u{number}")
        began = time.time()
        return max(threads.map(lambda client: _ready(client, options), clients)) - began


def _ready(client: HubClient, options: Mapping[str, str]) -> float:
    _, progress = launch(client, options, timeout=_SPAWN_SECONDS)
    last = list(progress)[-1]
    if not last.get("ready"):
        raise CaseError(f"A launch failed: {last.get('message')}")
    return last.arrived
