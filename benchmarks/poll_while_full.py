"""`poll()` of people's servers while builds fill the pool, beside plain DockerSpawner's."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from testbed import names
from testbed.hub import HubProcess
from testbed.hubclient import HubClient

from .bed import SERVER, Bed, CaseError, Options, launch, stepped
from .figures import Aim, Row, percentile
from .hubside import samples

CASE = "poll-while-full"
_LIMIT = 6
_WAITING = 3
_SERVERS = 5
_SERVER_DOCKERFILE = f"""\
FROM {names.BASE_IMAGE}
COPY jupyterhub-singleuser /usr/local/bin/jupyterhub-singleuser
RUN chmod 755 /usr/local/bin/jupyterhub-singleuser
"""


def measure(bed: Bed, options: Options) -> list[Row]:
    """Two hubs with servers on one engine; ours builds at its limit, with more in line."""
    seconds = options.size(40, 8)
    files = {"Dockerfile": _SERVER_DOCKERFILE, "jupyterhub-singleuser": SERVER}
    bed.repository("server", files)
    plan = bed.plan("server", bed.git.head("server"))
    bed.by_hand(plan)
    ours_file, plain_file = bed.folder / "polls-ours", bed.folder / "polls-plain"
    limit = f"c.Repo2DockerSpawner.concurrent_builds_limit = {_LIMIT}\n"
    with (
        bed.hub(_probe(ours_file) + limit, image=plan.image) as ours,
        bed.hub(_probe(plain_file), spawner="docker", image=plan.image) as plain,
        _servers(ours),
        _servers(plain),
    ):
        idle = _window(seconds / 2)
        with _building(bed, ours, seconds + 60):
            full = _window(seconds)
        time.sleep(0.5)
    ours_full, plain_full = samples(ours_file, *full), samples(plain_file, *full)
    ours_idle, plain_idle = samples(ours_file, *idle), samples(plain_file, *idle)
    note = (
        f"{_LIMIT} builds run, {_WAITING} wait; {_SERVERS} servers polled at once, 5 times a second"
    )
    return [
        Row(
            CASE,
            "poll() while the pool is full, p95; plain DockerSpawner at the same time",
            percentile(ours_full, 95),
            percentile(plain_full, 95),
            unit="ms",
            aim=Aim(50, "ours"),
            samples={"ours": ours_full, "beside": plain_full},
            note=f"{note}; {len(ours_full)} polls",
        ),
        Row(
            CASE,
            "poll() while nothing is built, p95; plain DockerSpawner at the same time",
            percentile(ours_idle, 95),
            percentile(plain_idle, 95),
            unit="ms",
        ),
    ]


def _probe(path: Path) -> str:
    return f"from benchmarks.hubside import probe_polls\nprobe_polls({str(path)!r})\n"


def _window(seconds: float) -> tuple[float, float]:
    began = time.time()
    time.sleep(seconds)
    return began, time.time()


@contextlib.contextmanager
def _servers(hub: HubProcess) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for number in range(_SERVERS):
            client = stack.enter_context(HubClient(hub.url))
            client.login(f"server{number}")
            _, progress = launch(client, {})
            if not list(progress)[-1].get("ready"):
                raise CaseError("A server of the default image did not start.")
        yield


@contextlib.contextmanager
def _building(bed: Bed, hub: HubProcess, seconds: float) -> Iterator[None]:
    """Keep the pool full: builds that sleep, in their steps, and more in line."""
    text = stepped(1, seconds=seconds)
    count = _LIMIT + _WAITING
    with contextlib.ExitStack() as stack:
        clients = []
        for number in range(count):
            bed.repository(f"sleeper{number}", {"Dockerfile": text, "nonce": str(number)})
            client = stack.enter_context(HubClient(hub.url))
            client.login(f"builder{number}")
            clients.append(client)
        readers = []
        for number, client in enumerate(clients):
            _, progress = launch(client, {"repo": bed.git.url(f"sleeper{number}")})
            reader = threading.Thread(target=lambda events=progress: list(events), daemon=True)
            reader.start()
            readers.append(reader)
        _wait_for_steps(bed)
        try:
            yield
        finally:
            for client in clients:
                client.stop_all()
            for reader in readers:
                reader.join(10)


def _wait_for_steps(bed: Bed, timeout: float = 90) -> None:
    """Wait until as many build containers run as may, and are past their own start."""
    deadline = time.monotonic() + timeout
    filters: dict[str, str | list[str] | bool] = {
        "name": "^/r2d-build-",
        "label": f"{names.LABEL_PREFIX}repo",
    }
    while True:
        running = [
            one
            for one in bed.client.containers.list(filters=filters)
            if "/sleeper" in one.labels[f"{names.LABEL_PREFIX}repo"]
            and b"step 1" in one.logs(tail=50)
        ]
        if len(running) >= _LIMIT:
            return
        if time.monotonic() > deadline:
            raise CaseError(f"Only {len(running)} of {_LIMIT} builds came to run.")
        time.sleep(0.5)
