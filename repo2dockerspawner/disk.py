"""Whether the engine's disk has room for another build."""

from __future__ import annotations

import logging
import shutil

from .engine import Engine
from .errors import EngineError

__all__ = ["Disk"]

log = logging.getLogger(__name__)


class Disk:
    """The disk that holds an engine's images, as far as this process can see it.

    Args:
        engine: whose disk.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._folder: str | None = None

    async def check_reserve(self, reserve: int) -> None:
        """Make sure that ``reserve`` bytes are free; 0 asks nothing.

        The engine is asked once where its data lies; after that a check is one call of the
        operating system. Where the hub doesn't see that folder (it runs in a container, or the
        engine elsewhere), nothing can be said, and an administrator finds a line in the log.

        Raises:
            EngineError: there is less (reason ``disk_full``).
        """
        if not reserve:
            return
        if self._folder is None:
            info = await self._engine.call(lambda client: client.info())
            self._folder = str(info["DockerRootDir"])
        try:
            # the same folder may be here too, of another engine
            free = shutil.disk_usage(self._folder).free if self._engine.is_here else None
        except OSError:
            free = None
        if free is None:
            log.warning(
                "build_disk_reserve: the hub can't see the engine's data folder %s; mount it "
                "into the hub's container, read-only, under the same path.",
                self._folder,
            )
            return
        if free < reserve:
            log.error(
                "No build is begun: %.1f GB are free in %s, build_disk_reserve is %.1f GB. "
                "Remove images that nobody needs.",
                free / 1e9,
                self._folder,
                reserve / 1e9,
            )
            raise EngineError(
                "This hub has no room for another environment at the moment. Start one that is "
                "ready, or ask an administrator of this hub to make room.",
                reason="disk_full",
            )
