"""Patterns of repositories, as several traits have them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from traitlets import TraitError

__all__ = ["check_patterns"]


def check_patterns(trait: str, patterns: Sequence[str]) -> list[str]:
    """Return the patterns, each of them ``host/owner/repo`` with ``*``.

    Raises:
        TraitError: one has no host, or a scheme, or can never match.
    """
    for pattern in patterns:
        if re.match(r"gist\.github\.com/.*/.", pattern, re.IGNORECASE):
            message = (
                f"Repo2DockerSpawner.{trait}: a gist's address doesn't say whose it is, so "
                f"{pattern!r} matches none; give 'gist.github.com/*', or a gist's own id."
            )
            raise TraitError(message)
        if not re.fullmatch(r"(?:[\w.+\-]+@)?[A-Za-z0-9.\-:\[\]]+(?<!:)/.+", pattern, re.ASCII):
            message = (
                f"Repo2DockerSpawner.{trait}: a pattern begins with the host and has no "
                f"https://, as in 'github.com/our-university/*'; got {pattern!r}."
            )
            raise TraitError(message)
    return list(patterns)
