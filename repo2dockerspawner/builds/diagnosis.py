"""A build that made no image → what went wrong, in one sentence, and the lines that matter."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import BuildError
from .container import Outcome
from .logs import failure_lines
from .plan import BuildPlan

__all__ = ["SIGNALLED", "diagnose", "fell_silent", "timed_out"]

SIGNALLED = 128
"""Exit codes above this tell that a signal ended the program."""

_LINES = 20


def diagnose(outcome: Outcome, plan: BuildPlan, log: Sequence[str]) -> BuildError:
    """Return the error of a build that ended without a usable image.

    Args:
        outcome: how the container ended.
        plan: what it was to do.
        log: the last lines that it printed, oldest first.
    """
    lines = failure_lines(log, limit=_LINES)
    what = plan.title or plan.url
    if outcome.out_of_memory:
        return BuildError(
            f"Building {what} ran out of memory. Make the repository need less, or ask an "
            "administrator of this hub for more memory for builds.",
            reason="build_out_of_memory",
            lines=lines,
        )
    if outcome.exit_code is None:
        return BuildError(
            f"The build of {what} was removed from outside before it had ended. Start again.",
            reason="build_lost",
            lines=lines,
        )
    if outcome.exit_code == 0:
        return BuildError(
            f"repo2docker ended well, but the image of {what} is not on this hub's Docker "
            "engine. An administrator of this hub has to look at how repo2docker is set up "
            "(build_extra_args).",
            reason="image_missing",
            status=500,
            lines=lines,
        )
    if outcome.exit_code > SIGNALLED:
        return BuildError(
            f"The build of {what} was killed from outside. Start again.",
            reason="build_killed",
            lines=lines,
        )
    return BuildError(
        f"Building {what} failed. The lines below say where; correct the repository and start "
        "again.",
        lines=lines,
    )


def timed_out(plan: BuildPlan, log: Sequence[str]) -> BuildError:
    """Return the error of a build that took longer than it may."""
    return BuildError(
        f"Building {plan.title or plan.url} took longer than the {_duration(plan.timeout)} that "
        "this hub allows (build_timeout) and was ended. Make the repository smaller, or ask an "
        "administrator of this hub for a longer limit.",
        reason="build_timeout",
        lines=list(log)[-_LINES:],
    )


def fell_silent(plan: BuildPlan, log: Sequence[str]) -> BuildError:
    """Return the error of a build that has printed nothing for longer than it may."""
    return BuildError(
        f"Building {plan.title or plan.url} printed nothing for {_duration(plan.idle_timeout)}, "
        "longer than this hub allows (build_idle_timeout), and was ended. Start again, or ask an "
        "administrator of this hub for a longer limit.",
        reason="build_idle_timeout",
        lines=list(log)[-_LINES:],
    )


def _duration(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004 - below two minutes seconds read better
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes"
