"""What the spawn page shows, from what is known: pure, no hub and no Docker.

Everything that comes from people or repositories goes through the template, which escapes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from html import escape
from typing import Any
from urllib.parse import quote_plus

from .builds.lines import clean
from .images import Environment
from .keys import short
from .launch import FIELDS, LaunchRequest, render
from .profiles import Profile
from .repos import RepoSpec

__all__ = [
    "Choice",
    "FormView",
    "Summary",
    "ago",
    "badges",
    "default_choice",
    "environment_choice",
    "launch_link",
    "link_summary",
    "listed_choices",
]

_OPTIONS = ("ref", "subdir", "path", "urlpath", "profile")
_PRIVATE = ("username", "password")
_SEARCH_FROM = 9
_UNITS = (
    (31_557_600, "year"),
    (2_629_800, "month"),
    (604_800, "week"),
    (86_400, "day"),
    (3_600, "hour"),
    (60, "minute"),
)


def ago(seconds: float) -> str:
    """How long ago that is, in the largest unit that fits."""
    for length, unit in _UNITS:
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


@dataclass(frozen=True)
class Choice:
    """One ready environment on the page.

    Attributes:
        value: what is sent.
        name: what people read.
        text: beside the name: a sentence, or where it comes from.
        commit: its first digits, ``""`` where there is none.
        age: how old, in words.
        when: the same for machines, ISO 8601.
        share: the name and value in a launch link.
    """

    value: str
    name: str
    text: str = ""
    commit: str = ""
    age: str = ""
    when: str = ""
    share: tuple[str, str] = ("environment", "")


def environment_choice(found: Environment, now: float) -> Choice:
    """A built image as the page shows it. ``now`` is in seconds since 1970."""
    parts = [
        RepoSpec("git", found.repo).host or found.repo,
        found.ref.removeprefix("refs/heads/").removeprefix("refs/tags/"),
    ]
    if found.subdir:
        parts.append(f"folder {found.subdir}")
    is_commit = len(found.commit) in {40, 64} and found.commit.isalnum()
    built = datetime.fromtimestamp(found.built, timezone.utc)
    return Choice(
        value=found.key,
        # whoever has the engine's socket can label an image with anything
        name=clean(found.name),
        text=clean(" · ".join(part for part in parts if part)),
        commit=found.commit[:7] if is_commit else "",
        age=ago(max(0.0, now - found.built)),
        when=built.isoformat(timespec="seconds"),
        share=("environment", short(found.key)),
    )


@dataclass(frozen=True)
class Summary:
    """One line about what a launch link would start.

    Attributes:
        what: the repository's or environment's name.
        ref: which of it, as people say it.
        place: whose it is: the host and the owner.
        opens: what is opened.
        profile: the profile's name.
    """

    what: str
    ref: str = ""
    place: str = ""
    opens: str = ""
    profile: str = ""


def link_summary(request: LaunchRequest, named: str = "") -> Summary:
    """What a launch link would start.

    Args:
        request: what it asks for.
        named: the name of the ready environment, where it asks for one.
    """
    profile = request.profile.name if request.profile is not None else ""
    spec = request.repo
    if spec is None:
        opens = request.urlpath or request.path
        return Summary(named or request.image or "the default environment", "", "", opens, profile)
    tail = spec.tail.removeprefix("refs/heads/").removeprefix("refs/tags/")
    opens = spec.urlpath or spec.path
    return Summary(spec.name, spec.ref_label or tail, spec.host, opens, profile)


def launch_link(spawn_url: str, options: Mapping[str, str]) -> str:
    """The link that fills in the form with these options; ``""`` where there are none."""
    query = "&".join(
        f"opt-{name}={quote_plus(options[name], safe='/:@')}"
        for name in FIELDS
        if options.get(name)
    )
    return f"{spawn_url}?{query}" if query else ""


def badges(link: str, picture: str) -> list[tuple[str, str, str]]:
    """What there is to copy: an id, its label, and the text; empty texts without a link.

    Args:
        link: from `launch_link`; in it nothing is left that ends a link in any of the languages.
        picture: address of the badge.
    """
    href, src = escape(link), escape(picture)
    texts = (
        ("link", "Link", link),
        ("markdown", "Markdown", f"[![Launch]({picture})]({link})"),
        ("html", "HTML", f'<a href="{href}"><img src="{src}" alt="Launch"></a>'),
        (
            "rst",
            "reStructuredText",
            f".. image:: {picture}\n   :target: {link}\n   :alt: Launch",
        ),
    )
    return [(kind, label, text if link else "") for kind, label, text in texts]


@dataclass(frozen=True)
class FormView:
    """The spawn page's form.

    Attributes:
        entries: field → what is filled in.
        default: the default image.
        listed: images that the administrator lists.
        built: images that were built.
        note: a sentence where the list of built images can't be had.
        any_image: whether any image may be named.
        profiles: those that may be chosen.
        error: field and sentence of a refused entry.
        link: what a launch link would start.
        spawn_url: the spawn page's address, for links.
        badge_url: the badges' picture.
        archives: whether something else than git repositories may be built.
        private: whether a user name and token may be typed.
        username: the user name that was; a token is never filled in again.
        retype: whether a token was typed before.
        open_private: whether that part is unfolded although nothing is in it.
    """

    entries: Mapping[str, str] = field(default_factory=dict)
    default: Choice = field(default_factory=lambda: Choice("", "Default environment"))
    listed: Sequence[Choice] = ()
    built: Sequence[Choice] = ()
    note: str = ""
    any_image: bool = False
    profiles: Sequence[Profile] = ()
    error: tuple[str, str] | None = None
    link: Summary | None = None
    spawn_url: str = "/hub/spawn"
    badge_url: str = ""
    archives: bool = False
    private: bool = False
    username: str = ""
    retype: bool = False
    open_private: bool = False

    def html(self) -> str:
        """The form, for JupyterHub to put between its ``<form>`` and the Start button."""
        entries = {name: self.entries.get(name, "") for name in FIELDS}
        wrong, sentence = self.error or ("", "")
        if wrong == "image" and not self.any_image:
            wrong = "environment"
        chosen = self._chosen(entries)
        choices = [self.default, *self.listed, *self.built]
        link = launch_link(self.spawn_url, entries)
        lost = chosen if chosen and chosen not in {one.value for one in choices} else ""
        return render(
            "options_form.html",
            entries=entries,
            wrong=wrong,
            sentence=sentence,
            choices=choices,
            lost=lost,
            chosen=chosen,
            # with a repository filled in, none of them is chosen
            nothing_chosen=bool(entries["repo"]) and not chosen,
            open_environments=not (self.link and entries["repo"])
            or wrong in {"environment", "image"},
            search=len(choices) >= _SEARCH_FROM,
            note=self.note,
            any_image=self.any_image,
            profiles=self.profiles,
            profile=self._profile(entries["profile"]),
            open_options=wrong in _OPTIONS or any(entries[name] for name in _OPTIONS),
            link=self.link,
            shared=bool(link),
            share=badges(link, self.badge_url),
            spawn_url=self.spawn_url,
            badge_url=self.badge_url,
            archives=self.archives,
            private=self.private or wrong in _PRIVATE,
            username=self.username,
            retype=self.retype,
            open_private=self.open_private
            or wrong in _PRIVATE
            or bool(self.username)
            or self.retype,
        )

    def _chosen(self, entries: Mapping[str, str]) -> str:
        """The value of the choice that is meant; what is none of them stays as it is."""
        asked = entries["environment"] or ("" if self.any_image else entries["image"])
        if not asked or any(asked == one.value for one in self.listed):
            return asked
        meant = [one.value for one in self.built if one.value.startswith(asked)]
        return meant[0] if len(meant) == 1 else asked

    def _profile(self, asked: str) -> str:
        if any(profile.slug == asked for profile in self.profiles):
            return asked
        return next((profile.slug for profile in self.profiles if profile.default), "")


def default_choice(name: str, text: str, image: str) -> Choice:
    """The default image, with the administrator's own name and text where there are any."""
    return Choice("", name or "Default environment", text or image)


def listed_choices(listed: Mapping[str, Any]) -> list[Choice]:
    """The images of ``allowed_images``: name → image."""
    return [
        Choice(name, name, "" if image == name else str(image), share=("image", name))
        for name, image in listed.items()
    ]
