"""How many builds somebody may have under way: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import PolicyError

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """The limits for one who asks for a build.

    Attributes:
        per_user: builds that they may have waiting or running; 0 is any number.
        per_group: of their groups those that have a limit, and how many the members of each may
            have, all together.
        in_line: builds that may wait in line, of all users together; 0 is any number.
    """

    per_user: int = 0
    per_group: Mapping[str, int] = field(default_factory=dict)
    in_line: int = 0

    def check(self, theirs: int, groups: Iterable[Collection[str]], waiting: int) -> None:
        """Pass if one more build may be asked for.

        Args:
            theirs: builds that the user has waiting or running.
            groups: of each build that waits or runs, the groups in which it counts.
            waiting: builds in line.

        Raises:
            PolicyError: it may not; ``reason`` is ``builds_per_user``, ``builds_per_group`` or
                ``builds_queue``.
        """
        if self.per_user and theirs >= self.per_user:
            raise PolicyError(
                f"You have {_builds(theirs)} under way, and this hub allows each user no more at "
                "once (builds_per_user_limit). Wait until one has ended, or stop one.",
                reason="builds_per_user",
                status=429,
            )
        of_group = Counter(group for of_build in groups for group in of_build)
        for group, limit in sorted(self.per_group.items()):
            if of_group[group] >= limit:
                raise PolicyError(
                    f"The group {group} has {_builds(of_group[group])} under way, and this hub "
                    "allows it no more at once (builds_per_group_limit). Start again when one has "
                    "ended.",
                    reason="builds_per_group",
                    status=429,
                )
        if self.in_line and waiting >= self.in_line:
            raise PolicyError(
                f"{_builds(waiting)} are waiting in line, and this hub lets no more wait "
                "(builds_queue_limit). Start again in a few minutes.",
                reason="builds_queue",
                status=503,
            )


def _builds(number: int) -> str:
    return "1 build" if number == 1 else f"{number} builds"
