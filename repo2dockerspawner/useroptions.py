"""What JupyterHub keeps of a server's options: no secret, and no more than a start can need.

JupyterHub writes `user_options` into its database before `start` sees them, keeps them in memory,
and shows them in its REST API; and it takes them at any length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any
from weakref import WeakSet

from jupyterhub import orm
from sqlalchemy import event

from .errors import LaunchError
from .typed import without_secrets

__all__ = ["OPTIONS_LIMIT", "are_too_large", "keep_small_and_open", "kept_options"]

OPTIONS_LIMIT = 64 * 1024
"""Characters that a server's options may have together, names and all."""


def are_too_large(options: Any, limit: int = OPTIONS_LIMIT) -> bool:
    """Whether options, as they come out of JSON, have more characters than the limit.

    Takes time and memory for no more than that, however large they are.
    """
    left = limit
    todo = [options]
    while todo:
        value = todo.pop()
        if isinstance(value, int):
            left -= value.bit_length() // 3
        elif isinstance(value, (str, bytes)):
            left -= len(value)
        elif isinstance(value, (Mapping, Sequence)):
            left -= len(value)
            if left >= 0:
                todo += chain(*value.items()) if isinstance(value, Mapping) else value
        if left < 0:
            return True
    return False


def kept_options(options: Any) -> tuple[Any, LaunchError | None]:
    """Return what may be kept of options, and where that is not all of them, why.

    Of those that are too large nothing is kept; else what may be secret is taken out.
    """
    if are_too_large(options):
        return {}, LaunchError(
            f"The options of a server may have {OPTIONS_LIMIT:,} characters together, names and "
            "all; send fewer.",
            reason="options_too_large",
            status=413,
        )
    kept, secret = without_secrets(options)
    if not secret:
        return kept, None
    return kept, LaunchError(
        "A password or token can't be sent with a server's options, because JupyterHub "
        "keeps those: type it on the spawn page, or ask the hub's administrator for "
        "credentials of the hub.",
        reason="secret_in_options",
        field="repo",
    )


_OURS: WeakSet[orm.Spawner] = WeakSet()


def keep_small_and_open(row: orm.Spawner) -> None:
    """See to it that a server's row never gets what may not be kept, whoever sets it."""
    _OURS.add(row)


@event.listens_for(orm.Spawner.user_options, "set", retval=True)
def _on_set(row: orm.Spawner, options: Any, *_: Any) -> Any:
    return kept_options(options)[0] if row in _OURS else options
