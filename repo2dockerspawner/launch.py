"""What a person asked for (form, query or REST) → a launch request; and the options form.

Knows neither Docker nor the network. The form and `user_options` have the same names, so one
set of rules serves the form, a link and the REST API.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from .errors import LaunchError
from .repos import RepoSpec, parse_repo

__all__ = [
    "FIELDS",
    "LaunchRequest",
    "LaunchRules",
    "launch_request",
    "options_from_fields",
    "render",
]

FIELDS = ("repo", "ref", "subdir", "path", "urlpath", "environment", "profile", "image")
"""The names in `user_options`, in the form, and in links."""

_REPO_FIELDS = ("ref", "subdir", "path", "urlpath")
_MAX_LENGTH = 2048


@dataclass(frozen=True)
class LaunchRules:
    """What this hub allows.

    Attributes:
        allowed_schemes: how repositories may be fetched (``https``, ``ssh``).
        content_providers: repo2docker's providers that may be used (``git``).
    """

    allowed_schemes: Collection[str] = ("https", "ssh")
    content_providers: Collection[str] = ("git",)


@dataclass(frozen=True)
class LaunchRequest:
    """A launch that may be tried.

    Attributes:
        repo: the repository to build, or ``None`` for a ready image.
        image: DockerSpawner's ``image`` option; ``""`` is the default image.
    """

    repo: RepoSpec | None = None
    image: str = ""


def options_from_fields(fields: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Return `user_options` from a form's or a query's fields, without the empty ones.

    Args:
        fields: name → values, as JupyterHub hands them over. A name may begin with ``opt-``.
            The names of the first Repo2DockerSpawner (``use_r2d``, ``repourl``, ``reporef``)
            are understood.
    """
    given: dict[str, str] = {}
    for name, values in fields.items():
        value = values[0] if values else ""
        if isinstance(value, str) and value.strip():
            given.setdefault(name.removeprefix("opt-"), value.strip())
    return _with_present_names(given)


def _with_present_names(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of ours, the first Repo2DockerSpawner's names replaced."""
    found = {name: options[name] for name in FIELDS if options.get(name)}
    for old, name in (("repourl", "repo"), ("reporef", "ref")):
        if options.get(old):
            found.setdefault(name, options[old])
    if options.get("use_r2d") in ("no", False, ["no"]):
        for name in ("repo", *_REPO_FIELDS):
            found.pop(name, None)
    return found


def launch_request(options: Any, rules: LaunchRules) -> LaunchRequest:
    """Check `user_options` and return what they ask for. Nothing of ours means the default image.

    Options that aren't ours are left to others (an administrator's hooks).

    Raises:
        LaunchError: they can't be understood, contradict each other, or aren't allowed here.
    """
    if not isinstance(options, Mapping):
        raise LaunchError("The options of a server are names and values; send a JSON object.")
    found = _with_present_names(options)
    for name, value in found.items():
        if not isinstance(value, str):
            raise LaunchError(f"The option {name} has to be a text.", field=name)
        if len(value) > _MAX_LENGTH:
            message = f"The option {name} is longer than {_MAX_LENGTH} characters."
            raise LaunchError(message, field=name)
    for name in ("environment", "profile"):
        if found.get(name):
            message = f"This hub has no {name} to choose; leave {name} out."
            raise LaunchError(message, field=name)
    image = found.get("image", "")
    if not found.get("repo"):
        stray = [name for name in _REPO_FIELDS if found.get(name)]
        if stray:
            raise LaunchError(
                f"There is a {_NAMES[stray[0]]}, but no repository: fill in the repository's "
                "address, or empty the other fields.",
                field="repo",
            )
        return LaunchRequest(image=image)
    if image:
        raise LaunchError(
            "Choose one of them: a repository's address, or a ready image (then leave the "
            "repository empty).",
            field="image",
        )
    spec = parse_repo(
        found["repo"],
        **{name: found.get(name, "") for name in _REPO_FIELDS},
        allowed_schemes=rules.allowed_schemes,
        content_providers=rules.content_providers,
    )
    return LaunchRequest(repo=spec)


_NAMES = {
    "ref": "branch, tag or commit",
    "subdir": "folder",
    "path": "file to open",
    "urlpath": "URL to open",
}


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("repo2dockerspawner"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **values: Any) -> str:
    """Render one of our templates; every value is escaped."""
    return _templates().get_template(template).render(**values)
