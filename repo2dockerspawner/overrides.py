"""What JupyterHub's ``group_overrides`` are going to set, where that is known before the start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["UNKNOWN", "overridden"]

UNKNOWN = object()
"""Instead of a value that only the start tells."""


def overridden(spawner: Any, name: str) -> Any:
    """Return the value that a trait is going to have when the server is started.

    JupyterHub sets the overrides after the form was read and right before ``start()``
    (spawner.py, ``apply_group_overrides``), so the form knows the trait as it is for everybody.

    Returns:
        The value, or `UNKNOWN` where a function decides.
    """
    value = getattr(spawner, name)
    overrides = getattr(spawner, "group_overrides", None) or {}
    if not isinstance(overrides, Mapping):
        return UNKNOWN
    if not overrides or spawner.user is None:
        return value
    groups = {group.name for group in spawner.user.groups}
    for key in sorted(overrides):
        settings = overrides[key]["spawner_override"]
        if name in settings and not groups.isdisjoint(overrides[key]["groups"]):
            value = settings[name]
    return UNKNOWN if callable(value) else value
