"""What a person asked for (form, query or REST) → a launch request.

Knows neither Docker nor the network. The form and `user_options` have the same names, so one
set of rules serves the form, a link and the REST API.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from .errors import LaunchError
from .fields import check_urlpath, relative_path
from .hosts import FULL_COMMIT
from .policy import ANYTHING, Policy, matches_allowed
from .profiles import Profile, chosen_profile
from .repos import RepoSpec, parse_repo

__all__ = [
    "FIELDS",
    "LaunchRequest",
    "LaunchRules",
    "launch_request",
    "options_from_fields",
    "render",
    "starts_directly",
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
        profiles: those that the person may choose.
        policy: which repositories may be built.
    """

    allowed_schemes: Collection[str] = ("https", "ssh")
    content_providers: Collection[str] = ("git",)
    profiles: Sequence[Profile] = ()
    policy: Policy = ANYTHING


@dataclass(frozen=True)
class LaunchRequest:
    """A launch that may be tried.

    Attributes:
        repo: the repository to build, or ``None`` for a ready image.
        image: DockerSpawner's ``image`` option; ``""`` is the default image.
        environment: which ready environment, as it was asked for; whether there is one is not
            known here.
        profile: the profile that holds for this launch.
        path: file or folder to open in the ready environment (`RepoSpec` has its own).
        urlpath: URL under the server to open instead.
    """

    repo: RepoSpec | None = None
    image: str = ""
    environment: str = ""
    profile: Profile | None = None
    path: str = ""
    urlpath: str = ""


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
    profile = chosen_profile(rules.profiles, found.get("profile", "").strip())
    if found.get("environment"):
        return _environment_request(found, profile)
    image = found.get("image", "")
    if not found.get("repo"):
        stray = [name for name in _REPO_FIELDS if found.get(name)]
        if stray:
            raise LaunchError(
                f"There is a {_NAMES[stray[0]]}, but no repository: fill in the repository's "
                "address, or empty the other fields.",
                field="repo",
            )
        return LaunchRequest(image=image, profile=profile)
    if image:
        raise _two_choices("image")
    spec = parse_repo(
        found["repo"],
        **{name: found.get(name, "") for name in _REPO_FIELDS},
        allowed_schemes=rules.allowed_schemes,
        content_providers=rules.content_providers,
    )
    rules.policy.check(spec)
    return LaunchRequest(repo=spec, profile=profile)


def _environment_request(found: Mapping[str, str], profile: Profile | None) -> LaunchRequest:
    if found.get("repo") or found.get("image"):
        raise _two_choices("environment")
    for name in ("ref", "subdir"):
        if found.get(name):
            raise LaunchError(
                f"A ready environment is of one commit and folder already: empty the "
                f"{_NAMES[name]}, or give the repository's address in its place.",
                field=name,
            )
    return LaunchRequest(
        environment=found["environment"].strip(),
        profile=profile,
        path=relative_path(found.get("path", ""), "path", "path to open"),
        urlpath=check_urlpath(found.get("urlpath", "")),
    )


def _two_choices(field: str) -> LaunchError:
    return LaunchError(
        "Choose one of them: a repository's address, or a ready environment (then leave the "
        "repository empty).",
        field=field,
    )


def starts_directly(request: LaunchRequest, patterns: Iterable[str]) -> bool:
    """Whether a link to this may start without a person who presses Start.

    Only a branch or tag of a repository that the administrator trusts. What anybody may have
    brought there does not: a pull request, or a commit by its id, which on some hosts may be a
    fork's. Nor a URL to open that does more than to show a file.

    Args:
        request: what the link asks for.
        patterns: of ``host/owner/repo``, see `policy.matches_allowed`.
    """
    spec = request.repo
    if spec is None or "?" in spec.urlpath or "git-pull" in spec.urlpath:
        return False
    if not all(map(_is_of_the_owner, filter(None, (spec.ref, spec.tail)))):
        return False
    return matches_allowed(spec, patterns)


def _is_of_the_owner(ref: str) -> bool:
    if ref.startswith(("refs/heads/", "refs/tags/")):
        return True
    first = ref.removeprefix("refs/").split("/")[0]
    # git takes "pull/3/head" for refs/pull/3/head, so only these names are surely branches or tags
    hexadecimal = re.fullmatch(r"[0-9a-fA-F]{4,64}", first) or FULL_COMMIT.fullmatch(first)
    return not ref.startswith("refs/") and first not in _REFS_OF_OTHERS and not hexadecimal


_REFS_OF_OTHERS = frozenset(
    {
        *("pull", "pulls", "pull-requests", "merge-requests", "changes", "for", "for-review"),
        *("keep-around", "pipelines", "environments", "meta", "remotes", "notes"),
    }
)

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
