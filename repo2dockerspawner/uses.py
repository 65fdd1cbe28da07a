"""When a server was last started from an image, as Docker itself remembers it.

Docker keeps no time of use, but for each image the time when it was last given a name. So each
use gives the image its own name again, which changes nothing else, and every process sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from time import monotonic, time
from typing import Any

from .engine import Engine, NotFound, split_image

__all__ = ["Uses"]

# Seconds of one listing that looking at images takes at most; a page waits for it. What is not
# looked at then is at the next one.
_LOOKING = 0.5


class Uses:
    """Knows of each build key when a server was last started from its image."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._when: dict[str, float] = {}
        self._looked: frozenset[str] = frozenset()

    def last(self, key: str) -> float:
        """Return when that was, in seconds since 1970; 0 where it isn't known."""
        return self._when.get(key, 0.0)

    def note(self, key: str, image: str) -> None:
        """Remember that a server is being started from the key's image, here and on the engine.

        Returns at once. An engine that doesn't take it costs the memory of this use, no more.
        """
        self._when[key] = time()
        repository, tag = split_image(image)
        # by its name, so that one that was made anew meanwhile keeps it
        self._engine.submit(lambda client: client.tag(image, repository, tag))

    def learn(self, client: Any, images: Sequence[tuple[str, str]]) -> None:
        """Ask the engine about images that this process hasn't asked about; on a thread.

        Args:
            client: the engine's.
            images: id and build key of all that are there, those first that matter first.
        """
        end = monotonic() + _LOOKING
        looked = self._looked & {image for image, _ in images}
        for image, key in images:
            if image in looked:
                continue
            if monotonic() > end:
                break
            try:
                said = client.inspect_image(image).get("Metadata") or {}
            except NotFound:
                continue
            self._when[key] = max(self.last(key), _moment(said.get("LastTagTime") or ""))
            looked |= {image}
        self._looked = looked
        # those of images that are gone; one that was used since they were listed is looked at again
        for key in self._when.keys() - {key for _, key in images}:
            self._when.pop(key, None)


def _moment(text: str) -> float:
    """Read a moment as Docker writes it; 0 where it is none (``0001-01-01T00:00:00Z``)."""
    try:
        when = datetime.fromisoformat(text[:19]).replace(tzinfo=timezone.utc)
    except ValueError:
        return 0.0
    return max(0.0, when.timestamp())
