"""How long a line takes from the build step that prints it to the event on the pending page."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

from testbed import engine, names
from testbed.hubclient import HubClient

from .bed import Bed, CaseError, Options, launch
from .figures import Aim, Row, percentile

CASE = "line-delay"
# Fast enough for batches, slow enough that each line counts.
_DOCKERFILE = """\
FROM {base}
COPY nonce /nonce
RUN for i in $(seq {lines}); do date +%s.%N; sleep 0.05; done
"""
_STAMP = re.compile(r"\b1[0-9]{9}\.[0-9]{9}\b")
_BUILDERS = {
    names.REPO2DOCKER_IMAGE: "BuildKit",
    names.REPO2DOCKER_OLD_IMAGE: "classic",
}


def measure(bed: Bed, options: Options) -> list[Row]:
    """Steps that print the time; beside it, the same lines read from the container's log."""
    text = _DOCKERFILE.format(base=names.BASE_IMAGE, lines=options.size(100, 20))
    url = bed.repository("dated", {"Dockerfile": text, "nonce": "0"})
    rows: list[Row] = []
    for image, builder in _BUILDERS.items():
        config = f"c.Repo2DockerSpawner.build_image = {image!r}\n"
        events: list[float] = []
        logged: list[float] = []
        with bed.hub(config) as hub, bed.user(hub) as client:
            runs = options.repeat(5)
            for run in range(runs):
                container = bed.plan("dated", bed.new_commit("dated"), image).container
                one, other = _run(client, url, container)
                events += one
                logged += other
                bed.say(f"{builder} {run + 1}/{runs}: {len(one)} lines, p95 {_p95(one):.0f} ms")
        rows += _rows(builder, events, logged)
    return rows


def _p95(samples: list[float]) -> float:
    return percentile(samples, 95)


def _rows(builder: str, events: list[float], logged: list[float]) -> list[Row]:
    samples = {"ours": events, "beside": logged}
    note = f"{len(events)} lines; beside it: the same line in the container's log"
    return [
        Row(
            CASE,
            f"{builder}: line printed to event, p{percent}" if percent < 100 else f"{builder}: max",
            percentile(events, percent),
            percentile(logged, percent),
            unit="ms",
            aim=Aim(300, "ours") if percent == 95 else None,
            samples=samples if percent == 95 else {},
            note=note,
        )
        for percent in (50, 95, 100)
    ]


def _run(client: HubClient, url: str, container: str) -> tuple[list[float], list[float]]:
    """Milliseconds from print to event, and from print to the container's log."""
    logged: list[float] = []
    ended = threading.Event()
    reader = threading.Thread(target=_read_log, args=(container, logged, ended), daemon=True)
    _, progress = launch(client, {"repo": url})
    reader.start()
    delays: list[float] = []
    for event in progress:
        text = str(event.get("message"))
        delays += [(event.arrived - stamp) * 1000 for stamp in _stamps(text)]
    ended.set()
    reader.join(10)
    if not delays or not logged:
        raise CaseError("No dated line came through.")
    return delays, logged


def _stamps(text: str) -> list[float]:
    return [float(stamp) for stamp in _STAMP.findall(text)]


def _read_log(container: str, delays: list[float], ended: threading.Event) -> None:
    client = engine.client()
    api: Any = client.api
    try:
        while not api.containers(filters={"name": f"^/{container}$"}):
            if ended.wait(0.05):
                return
        rest = ""
        for chunk in api.logs(container, stream=True, follow=True):
            now = time.time()
            *lines, rest = (rest + chunk.decode(errors="replace")).split("\n")
            delays += [(now - stamp) * 1000 for line in lines for stamp in _stamps(line)]
    finally:
        client.close()
