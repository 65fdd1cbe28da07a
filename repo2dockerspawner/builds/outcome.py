"""How a build ended, as data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """How a build container ended.

    Attributes:
        exit_code: repo2docker's; ``None`` where the container is gone without telling.
        out_of_memory: whether the kernel killed it for its memory.
        image: the image's name as the log told it, or ``None``.
        ours: whether this process created the container.
        detached: whether following ended, and the build goes on by itself.
        interrupted: whether the engine went away in between.
    """

    exit_code: int | None = None
    out_of_memory: bool = False
    image: str | None = None
    ours: bool = False
    detached: bool = False
    interrupted: bool = False
