"""The arithmetic of the benchmarks: medians, percentiles, ratios, aims, and the table of them.

Pure: nothing here measures.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Aim", "Row", "median", "percentile", "row_of_medians", "table"]


def median(samples: Sequence[float]) -> float:
    """The median.

    Raises:
        statistics.StatisticsError: there are no samples.
    """
    return float(statistics.median(samples))


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that ``percent`` % of all are not above (nearest rank).

    Raises:
        ValueError: there are no samples, or ``percent`` is not in 0 … 100.
    """
    if not samples or not 0 <= percent <= 100:
        raise ValueError(f"no {percent}th percentile of {len(samples)} samples")
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


@dataclass(frozen=True)
class Aim:
    """What a figure should not exceed.

    Attributes:
        at_most: the limit.
        of: ``ratio`` (ours to what is beside it) or ``ours`` (in the row's unit).
    """

    at_most: float
    of: Literal["ratio", "ours"] = "ratio"


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        case: whose.
        what: what was measured.
        ours: with Repo2DockerSpawner, in ``unit``.
        beside: without it, in ``unit``; ``None`` where there is nothing to compare.
        unit: ``s``, ``ms``, ``KiB`` and so on; ``""`` for a count.
        aim: the limit, if there is one.
        samples: what the figures were computed from, by side.
        note: what a reader has to know about this figure.
    """

    case: str
    what: str
    ours: float
    beside: float | None = None
    unit: str = "s"
    aim: Aim | None = None
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours to what is beside it; ``None`` where that can't be said."""
        return self.ours / self.beside if self.beside else None

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; ``None`` where there is none."""
        if self.aim is None:
            return None
        value = self.ratio if self.aim.of == "ratio" else self.ours
        return value is not None and value <= self.aim.at_most

    def as_json(self) -> dict[str, Any]:
        """All of it, for `json.dump`."""
        return {
            "case": self.case,
            "what": self.what,
            "unit": self.unit,
            "ours": self.ours,
            "beside": self.beside,
            "ratio": self.ratio,
            "aim": None if self.aim is None else {"of": self.aim.of, "at_most": self.aim.at_most},
            "met": self.met,
            "note": self.note,
            "samples": {side: list(values) for side, values in self.samples.items()},
        }


def row_of_medians(
    case: str,
    what: str,
    ours: Sequence[float],
    beside: Sequence[float],
    *,
    aim: float | None = None,
    note: str = "",
) -> Row:
    """A row of two sides' medians, in seconds, with a limit for their ratio."""
    return Row(
        case,
        what,
        median(ours),
        median(beside),
        aim=None if aim is None else Aim(aim),
        samples={"ours": ours, "beside": beside},
        note=f"{len(ours)} runs each{'; ' if note else ''}{note}",
    )


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return "-"
    digits = 0 if value == int(value) and not unit else 3 if abs(value) < 10 else 1
    return f"{value:,.{digits}f}{' ' if unit else ''}{unit}"


def _cells(row: Row) -> list[str]:
    aim = "-"
    if row.aim is not None:
        limit = _number(row.aim.at_most, "" if row.aim.of == "ratio" else row.unit)
        aim = f"{'ratio' if row.aim.of == 'ratio' else 'ours'} ≤ {limit}"
    met = {True: "yes", False: "NO", None: "-"}[row.met]
    beside = _number(row.beside, row.unit)
    return [
        row.case,
        row.what,
        _number(row.ours, row.unit),
        beside,
        "-" if row.ratio is None else f"{row.ratio:.3f}",
        aim,
        met,
    ]


def table(rows: Sequence[Row]) -> str:
    """The rows as a table of Markdown, padded so that it reads well on a terminal too."""
    head = ["case", "figure", "ours", "beside it", "ratio", "aim", "met"]
    cells = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    lines = [_line(line, widths) for line in cells]
    return "\n".join([lines[0], _line(["-" * width for width in widths], widths), *lines[1:]])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"
