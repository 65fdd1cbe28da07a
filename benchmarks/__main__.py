"""Runs the cases and prints one table: ``scripts/bench [case…] [--runs N] [--quick]``."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import requests
from testbed import engine, names
from testbed.hub import HubError
from testbed.hubclient import ClientError

from . import (
    build_overhead,
    cached_launch,
    fan_out,
    fifty_launches,
    form,
    line_delay,
    log_flood,
    long_history,
    many_builds,
    poll_while_full,
    refusal,
    soak,
)
from .bed import Bed, CaseError, Options
from .figures import Row, table

_MODULES = (
    cached_launch,
    build_overhead,
    line_delay,
    long_history,
    fifty_launches,
    fan_out,
    log_flood,
    many_builds,
    soak,
    poll_while_full,
    refusal,
    form,
)
CASES: dict[str, Callable[[Bed, Options], list[Row]]] = {
    module.CASE: module.measure for module in _MODULES
}
_RESULT = names.ROOT / ".testbed" / "bench.json"
_EXPECTED = (CaseError, HubError, ClientError, TimeoutError, requests.RequestException)


def _main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="What Repo2DockerSpawner costs, in one table."
    )
    parser.add_argument("case", nargs="*", help=f"one of {', '.join(CASES)} (default: all)")
    parser.add_argument("--runs", type=int, help="runs of each side, in place of the case's own")
    parser.add_argument("--quick", action="store_true", help="only look that the cases work")
    arguments = parser.parse_args()
    if unknown := [case for case in arguments.case if case not in CASES]:
        parser.error(f"there is no case {unknown[0]}: {', '.join(CASES)}")
    if arguments.runs is not None and arguments.runs < 1:
        parser.error("--runs takes a number of 1 or more")
    options = Options(arguments.runs, arguments.quick)
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        # the way out ends hubs and containers, so neither may be ignored or end us at once
        signal.signal(number, signal.default_int_handler)
    try:
        _run(arguments.case or list(CASES), options, rows, failed)
    except (CaseError, engine.EngineMissingError) as error:
        print(error, file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        failed["what is not in the table"] = "interrupted"
    print(f"\n{table(rows)}")
    for case, said in failed.items():
        print(f"\n{case} could not run: {said}", file=sys.stderr)
    print(f"\nAll samples: {_RESULT}")
    return 1 if failed else 0


def _run(cases: list[str], options: Options, rows: list[Row], failed: dict[str, str]) -> None:
    with Bed() as bed:
        for case in cases:
            print(f"== {case}", flush=True)
            started = time.monotonic()
            try:
                rows += CASES[case](bed, options)
            except _EXPECTED as error:
                failed[case] = str(error)
            except Exception:  # noqa: BLE001  one case's trouble is not the others'
                failed[case] = traceback.format_exc()
            bed.remove_built()
            _save(_RESULT, rows, failed, options)
            print(f"  {time.monotonic() - started:.0f} s", flush=True)


def _save(path: Path, rows: list[Row], failed: dict[str, str], options: Options) -> None:
    client = engine.client()
    try:
        version = client.version()["Version"]
    finally:
        client.close()
    packages = ("jupyterhub", "dockerspawner", "docker")
    result = {
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "quick": options.quick,
        "machine": {"cores": os.cpu_count(), "engine": version, "load": os.getloadavg()},
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "rows": [row.as_json() for row in rows],
        "failed": failed,
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(_main())
