"""A repository with a long history and a small tree, beside stock repo2docker by hand."""

from __future__ import annotations

import asyncio
import os

from testbed import names

from .bed import Bed, Options
from .build_overhead import through_pool
from .figures import Row, row_of_medians

CASE = "long-history"
_NAME = "old"


def measure(bed: Bed, options: Options) -> list[Row]:
    """200 MB of incompressible blobs in old commits, none of them in the newest one's tree."""
    dockerfile = f"FROM {names.BASE_IMAGE}\nCOPY . /home/jovyan\n"
    megabytes = options.size(200, 20)
    _make(bed, dockerfile, megabytes)
    ours: list[float] = []
    stock: list[float] = []
    runs = options.repeat(5)
    for run in range(runs):
        for side in (0, 1) if run % 2 else (1, 0):
            plan = bed.plan(_NAME, bed.new_commit(_NAME))
            if side:
                stock.append(bed.stock(plan, plan.content_id))
            else:
                ours.append(asyncio.run(through_pool(plan)))
        bed.say(f"{run + 1}/{runs}: {ours[-1]:.2f} s, stock {stock[-1]:.2f} s")
        bed.remove_built()
    what = f"{megabytes} MB of history, join to image found; stock --ref COMMIT by hand"
    return [row_of_medians(CASE, what, ours, stock, aim=0.1)]


def _make(bed: Bed, dockerfile: str, megabytes: int) -> None:
    bed.repository(_NAME, {"Dockerfile": dockerfile, "nonce": "0"})
    bed.say(f"making {megabytes} MB of history")
    for commit in range(megabytes // 2):
        bed.git.commit(_NAME, {f"data-{commit % 10}": os.urandom(2_000_000)})
    bed.git.commit(_NAME, {f"data-{file}": None for file in range(10)})
