"""The traits that administrators set as ``c.Repo2DockerSpawner.…``."""

from __future__ import annotations

from typing import Any

from traitlets import TraitType

from .builds import START_MARGIN, BuildTraits
from .pages import PageTraits
from .policy import PolicyTraits
from .private import PrivateTraits

__all__ = ["PARTS", "START_MARGIN", "BuildTraits", "Traits", "our_traits"]

PARTS = (BuildTraits, PolicyTraits, PrivateTraits, PageTraits)
"""The classes that hold the traits, in the order in which the documentation has them."""


class Traits(BuildTraits, PolicyTraits, PrivateTraits, PageTraits):
    """All that an administrator can set beyond the spawner's own."""

    def _is_ours(self, name: str) -> bool:
        return name in our_traits()


def our_traits() -> dict[str, TraitType[Any, Any]]:
    """Return the traits by name, in the order in which they are written."""
    found: dict[str, TraitType[Any, Any]] = {}
    for part in PARTS:
        own = part.class_own_traits(config=True)
        found |= {name: own[name] for name in vars(part) if name in own}
    return found
