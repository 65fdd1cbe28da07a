"""How far a builder is, from its output: both of Docker's builders.

::

    classic     Step 4/9 : RUN …            then RUN's own output as it is
    BuildKit    #7 [stage-1 4/9] RUN …      then RUN's own output as "#7 0.234 text"
                #7 DONE 2.3s | #7 CACHED
                #9 exporting to image
                #9 naming to docker.io/library/NAME done

With BuildKit a step can't write such a line. With the classic builder it can, so there the steps
have to come one by one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

__all__ = ["Steps"]

_MOST_STAGES: Final = 256
_MOST_VERTICES: Final = 10_000
# What of a step may be taken for done while it still runs; of all, before the first one is known.
_NEAR: Final = 0.9
_NEAR_NOTHING: Final = 0.01

_CLASSIC: Final = re.compile(r"Step (\d{1,4})/(\d{1,4}) : ", re.ASCII)
_BUILT: Final = re.compile(r"Successfully built [0-9a-f]{12,64}")
_TAGGED: Final = re.compile(r"Successfully tagged (\S+)")
# Not "#7 0.234 text", what a step prints: nearly every line.
_VERTEX: Final = re.compile(r"#(\d{1,6}) (?:\[([^\]]*)\] |(?!\d)(.*))", re.ASCII)
_OF: Final = re.compile(r"(\d{1,4})/(\d{1,4})", re.ASCII)
_DONE: Final = re.compile(r"(?:DONE \d+\.\d+s|CACHED)")
_NAMING: Final = re.compile(r"naming to (\S+?)(?: \d+(?:\.\d+)?s)? done")
_PUSHING: Final = re.compile(r"pushing (?:layers|manifest)\b")


@dataclass
class _Stage:
    total: int
    at: int = 0
    done: int = 0


@dataclass
class Steps:
    """The steps seen so far; which builder it is, the first line of either one decides.

    Attributes:
        step: (which step, of how many), over all stages; None before the first one.
        done: the part of the steps that is done, 0.0 - 1.0; falls where a new stage turns up.
        near: how far the steps that run now may seem to get before they end, 0.0 - 1.0.
        exporting: all steps are done, the image is being written.
        pushing: the image is being sent to a registry (BuildKit).
        image: the image's name as the builder reported it, as it stands there.
    """

    step: tuple[int, int] | None = None
    done: float | None = None
    near: float = _NEAR_NOTHING
    exporting: bool = False
    pushing: bool = False
    image: str | None = None
    _builder: str = ""
    _built: bool = False
    _stages: dict[tuple[str, int], _Stage] = field(default_factory=dict)
    _vertices: dict[int, tuple[_Stage, int]] = field(default_factory=dict)
    _exports: set[int] = field(default_factory=set)

    def _count(self) -> None:
        """Add up the stages: when one of them has moved, since a flood has other lines."""
        stages = self._stages.values()
        total = sum(stage.total for stage in stages)
        self.step = sum(stage.at for stage in stages), total
        self.done = sum(max(stage.done, stage.at - 1) for stage in stages) / total
        self.near = min(1.0, self.done + _NEAR / total)

    def read(self, line: str) -> None:
        """Takes in one clean line of the builder's output."""
        if self._builder != "buildkit":
            self._read_classic(line)
        if self._builder != "classic":
            self._read_buildkit(line)

    def _read_classic(self, line: str) -> None:
        begun = _CLASSIC.match(line)
        if begun:
            self._built = False
            self._begin_classic(int(begun[1]), int(begun[2]))
            return
        if self._builder != "classic":
            return
        if _BUILT.fullmatch(line):
            self._built = True
            return
        tagged = _TAGGED.fullmatch(line)
        step = self.step
        if tagged and self._built and step and step[0] == step[1]:
            self.exporting = True
            self.image = tagged[1]

    def _begin_classic(self, number: int, total: int) -> None:
        if not 1 <= number <= total:
            return
        stage = self._stages.get(("", total))
        if stage is None and not self._stages:
            # Not always 1: what is read may be the rest of a log whose beginning is gone.
            stage = self._stages["", total] = _Stage(total, at=number - 1)
        if stage is not None and number == stage.at + 1:
            self._builder = "classic"
            stage.at = number
            self._count()

    def _read_buildkit(self, line: str) -> None:
        vertex = _VERTEX.match(line)
        if vertex is None:
            return
        number, title, text = int(vertex[1]), vertex[2], vertex[3]
        if title is not None:
            self._builder = "buildkit"
            self._begin(number, title.split())
        elif text.startswith("building with "):
            self._builder = "buildkit"
        elif text.startswith("exporting to "):
            self.exporting = True
            self._exports.add(number)
        elif number in self._exports:
            self._read_export(text)
        elif number in self._vertices and _DONE.fullmatch(text):
            stage, step = self._vertices[number]
            stage.done = max(stage.done, step)
            self._count()

    def _begin(self, vertex: int, title: list[str]) -> None:
        """``title``: the words in the brackets, ``stage-1 4/9`` or ``internal``."""
        of = _OF.fullmatch(title[-1]) if title else None
        if of is None or len(self._vertices) >= _MOST_VERTICES:
            return
        number, total = int(of[1]), int(of[2])
        key = (" ".join(title[:-1]), total)
        if not 1 <= number <= total or (key not in self._stages and self._full):
            return
        stage = self._stages.setdefault(key, _Stage(total))
        stage.at = max(stage.at, number)
        self._count()
        self._vertices[vertex] = stage, number

    @property
    def _full(self) -> bool:
        return len(self._stages) >= _MOST_STAGES

    def _read_export(self, text: str) -> None:
        naming = _NAMING.fullmatch(text)
        if naming:
            self.image = naming[1]
        if _PUSHING.match(text):
            self.pushing = True
