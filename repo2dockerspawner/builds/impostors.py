"""Frees an image's name that something else has, so that the build can have it."""

from __future__ import annotations

import logging
from typing import Any

from ..engine import NotFound
from ..keys import LABEL_PREFIX
from .plan import BuildPlan

__all__ = ["free_name"]

log = logging.getLogger(__name__)
_TOLD = tuple(LABEL_PREFIX + word for word in ("key", "proof"))


def free_name(client: Any, plan: BuildPlan) -> None:
    """Take the plan's name away from an image that is none of the plan's.

    repo2docker builds nothing where an image of the name is there (app.py, ``find_image``),
    whatever it is. Only somebody who has used the engine past the hub can have made one. The image
    stays if it has another name too.

    Raises:
        APIError: the engine refuses.
    """
    try:
        found = client.inspect_image(plan.image)
    except NotFound:
        return
    said = found["Config"].get("Labels") or {}
    if all(said.get(name) == plan.labels.get(name) for name in _TOLD):
        return  # ours, made by another process in this moment
    log.warning(
        "%s is the name of an image that is none of the build of %s; it is taken away from %s.",
        plan.image,
        plan.title,
        found["Id"],
    )
    # force: a container of it keeps the image, without its name
    client.remove_image(plan.image, force=True, noprune=True)
