"""The administrator's profiles: settings of a server that a person chooses by name. Pure.

A profile holds for one launch. What it sets on the spawner is taken back afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import PolicyError

__all__ = ["Profile", "Settings", "chosen_profile", "profiles_of", "read_profiles"]

_KEYS = ("slug", "display_name", "description", "default", "groups", "settings")
_SLUG = re.compile(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*")


@dataclass(frozen=True)
class Profile:
    """One entry of the list.

    Attributes:
        slug: what `user_options` and links have.
        name: what people read.
        description: a sentence beside it, or ``""``.
        default: whether it holds where none is chosen.
        groups: of JupyterHub; empty is everybody.
        settings: trait of the spawner → value.
    """

    slug: str
    name: str
    description: str = ""
    default: bool = False
    groups: frozenset[str] = frozenset()
    settings: Mapping[str, Any] = field(default_factory=dict)


def read_profiles(
    given: Iterable[Any], check: Callable[[str, Any], object] = lambda _name, _value: None
) -> list[Profile]:
    """Read the trait ``profiles``.

    Args:
        given: dicts as the trait's help has them.
        check: called with the name and value of each setting; raises ValueError where the
            spawner has no such setting or can't take the value.

    Raises:
        ValueError: a sentence that names the profile.
    """
    found = [_read(number, entry, check) for number, entry in enumerate(given, 1)]
    slugs = [profile.slug for profile in found]
    for slug in slugs:
        if slugs.count(slug) > 1:
            raise ValueError(f"there are two profiles with the slug {slug!r}")
    return found


def _read(number: int, entry: Any, check: Callable[[str, Any], object]) -> Profile:
    if not isinstance(entry, Mapping):
        raise ValueError(f"profile {number} is no dict, but {entry!r}")  # noqa: TRY004 - one kind
    name = entry.get("display_name") or entry.get("slug") or ""
    slug = entry.get("slug") or re.sub(r"[^a-z0-9]+", "-", str(name).lower()).strip("-")
    who = f"profile {number} ({slug or name})"

    def refuse(why: str) -> ValueError:
        return ValueError(f"{who} {why}")

    if unknown := [key for key in entry if key not in _KEYS]:
        raise refuse(f"has a {unknown[0]!r}; a profile has {', '.join(_KEYS)}")
    if not isinstance(name, str) or not name:
        raise refuse("has no display_name")
    if not isinstance(slug, str) or not _SLUG.fullmatch(slug):
        raise refuse("needs a slug of lower-case letters, digits and hyphens")
    groups, settings = entry.get("groups", ()), entry.get("settings", {})
    if isinstance(groups, str) or not all(isinstance(group, str) for group in groups):
        raise refuse("has to have a list of names as its groups")
    if not isinstance(settings, Mapping):
        raise refuse("has to have a dict as its settings")
    for setting, value in settings.items():
        try:
            check(setting, value)
        except ValueError as error:
            raise refuse(f"can't set {setting}: {error}") from error
    return Profile(
        slug=slug,
        name=name,
        description=str(entry.get("description", "")),
        default=bool(entry.get("default", False)),
        groups=frozenset(groups),
        settings=dict(settings),
    )


def profiles_of(profiles: Iterable[Profile], groups: Collection[str]) -> list[Profile]:
    """The profiles that a member of these groups may choose."""
    return [
        profile
        for profile in profiles
        if not profile.groups or not profile.groups.isdisjoint(groups)
    ]


def chosen_profile(allowed: Sequence[Profile], slug: str) -> Profile | None:
    """The profile of that slug; for ``""`` the default one, or ``None`` where there is none.

    Raises:
        PolicyError: there is no such profile for this person; ``field`` is ``profile``. Whether
            others have it isn't said.
    """
    if not slug:
        return next((profile for profile in allowed if profile.default), None)
    for profile in allowed:
        if profile.slug == slug:
            return profile
    names = ", ".join(profile.slug for profile in allowed)
    raise PolicyError(
        f"You can't choose the profile {slug} here; choose one of {names}."
        if names
        else f"You can't choose the profile {slug} here; leave the profile out.",
        field="profile",
    )


class Settings:
    """What a profile has set on one spawner, and what was there before."""

    def __init__(self) -> None:
        self._set: dict[str, tuple[Any, Any]] = {}

    def apply(self, target: Any, settings: Mapping[str, Any]) -> None:
        """Set them; a dict is merged into the one that is there, its own names winning."""
        for name, value in settings.items():
            before = getattr(target, name)
            if isinstance(before, Mapping) and isinstance(value, Mapping):
                setattr(target, name, {**before, **value})
            else:
                setattr(target, name, value)
            self._set[name] = (before, getattr(target, name))

    def take_back(self, target: Any) -> None:
        """Put back what was there; what others have set since then stays."""
        for name, (before, ours) in self._set.items():
            if getattr(target, name) == ours:
                setattr(target, name, before)
        self._set.clear()
