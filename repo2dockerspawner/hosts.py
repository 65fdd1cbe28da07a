"""The pages of the forges and archives that we know, as a table: pure, no network.

A page's address is read as the forge itself reads it. Which part of ``/tree/feature/x/docs`` is
the branch can't be told from the address; then the border is left open (``Page.tail``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from .errors import RepoSpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["CASELESS", "FULL_COMMIT", "Page", "Record", "forge_of", "read_page", "read_record"]

FULL_COMMIT = re.compile(r"[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")
"""A commit's id in full: SHA-1, or SHA-256 (git's ``extensions.objectFormat``)."""

CASELESS = frozenset({"github.com", "gist.github.com", "gitlab.com", "bitbucket.org"})
"""Hosts on which ``Owner/Repo`` and ``owner/repo`` are one repository."""

_FILE_VIEWS = frozenset({"tree", "blob", "raw", "edit", "blame", "commits"})
_GITHUB_NOT_OWNERS = frozenset(
    {
        *("about", "apps", "collections", "enterprise", "events", "explore", "features"),
        *("issues", "join", "login", "marketplace", "new", "notifications", "orgs", "pricing"),
        *("pulls", "search", "security", "settings", "sponsors", "stars", "topics"),
        *("trending", "users"),
    }
)
_GITHUB_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,99}")
_NAME = re.compile(r"[A-Za-z0-9_.\-+]{1,255}")
_LIKE_GITHUB = re.compile(
    r"(tree|blob|releases/tag)/.+|commit/[0-9a-fA-F]{4,64}|pull/[0-9]+(/.*)?", re.DOTALL
)
_LIKE_GITEA = re.compile(r"(src|raw|commits)/(branch|tag|commit)/.+|pulls/[0-9]+(/.*)?", re.DOTALL)
_ZENODO_DOI = re.compile(r"10\.5281/zenodo\.([0-9]{1,18})(?:\.svg)?")
_ARCHIVE_END = re.compile(r"\.(?:zip|tar\.gz|tar\.bz2|tar|bundle)\Z")
_GIST = re.compile(r"[0-9a-fA-F]{1,64}")


@dataclass(frozen=True)
class Page:
    """What a page of a forge shows.

    Attributes:
        repo: the repository's path on the host, without ``/`` at its ends and without ``.git``.
        ref: the ref, where the address says where it ends.
        path: the file or folder, where ``ref`` is known.
        tail: ``REF/PATH`` where it does not say.
    """

    repo: str
    ref: str = ""
    path: str = ""
    tail: str = ""


@dataclass(frozen=True)
class Record:
    """A record of an archive: ``provider`` as repo2docker calls it, and what to hand to it."""

    provider: str
    url: str


def forge_of(host: str) -> str:
    """The name that the forge at ``host`` goes by (``www.`` dropped), or ``""``: not in the table.

    Gists and raw files have hosts of their own.
    """
    name = host.removeprefix("www.")
    return name if name in _FORGES or name == "gist.github.com" else ""


def read_page(
    host: str, segments: Sequence[str], *, web: bool = True, query: str = ""
) -> Page | None:
    """What the page at ``host`` shows.

    Args:
        host: lower case; ``www.`` is dropped where the forge is known.
        segments: the parts of the path, each decoded.
        web: ``False`` for ssh and git addresses, which have no pages.
        query: what follows the ``?``, as written.

    Returns:
        ``None`` where the host is not in the table and the path has no form that we know: it
        is the plain address of a repository.

    Raises:
        RepoSpecError: a page of a known forge that belongs to no repository.
    """
    forge = forge_of(host)
    if forge == "gist.github.com":
        return _gist(list(segments))
    if not web:
        return Page(_repo(segments)) if forge else None
    if forge:
        return _FORGES[forge](list(segments))
    return _bitbucket_server(list(segments), query) or _unknown(list(segments))


def read_record(host: str, path: str, segments: Sequence[str]) -> Record | None:
    """The archive's record whose page this is; ``None`` if ``host`` is no archive that we know.

    Args:
        host: lower case.
        path: as written in the address.
        segments: its parts, each decoded.

    Raises:
        RepoSpecError: a page of a known archive that shows no record.
    """
    name = host.removeprefix("www.")
    rest = list(segments)
    match name, rest:
        case (("zenodo.org" | "sandbox.zenodo.org"), _):
            if page := _zenodo(rest):
                return Record("zenodo", f"https://{name}/{page}")
        case "data.caltech.edu", ["records", number, *_]:
            if re.fullmatch(r"[A-Za-z0-9\-]{1,64}", number):
                return Record("zenodo", f"https://{name}/records/{number}")
        case "figshare.com", _:
            found = re.fullmatch(
                r"(/(?:account/)?articles/(?:[a-z_]+/)?[^/]+/[0-9]+)(?:/([0-9]+))?", path
            )
            if found:
                return Record("figshare", f"https://{name}{path}")
        case "hydroshare.org", ["resource", number, *_]:
            if re.fullmatch(r"[0-9a-fA-F]{32}", number):
                return Record("hydroshare", f"https://www.{name}/resource/{number.lower()}")
        case _:
            pass
    if name in _ARCHIVES:
        raise _refused(f"That page of {name} shows no single record; open the record and paste it.")
    return None


def _zenodo(parts: list[str]) -> str:
    match parts:
        case ["record" | "records" as kind, number, *_] if re.fullmatch(r"[0-9]{1,18}", number):
            return f"{kind}/{number}"
        case ["doi", *doi] | ["badge", "DOI", *doi]:
            # The id of the record is the end of the DOI.
            found = _ZENODO_DOI.fullmatch("/".join(doi))
            return f"records/{found[1]}" if found else ""
        case _:
            return ""


_ARCHIVES = frozenset(
    {
        "zenodo.org",
        "sandbox.zenodo.org",
        "data.caltech.edu",
        "figshare.com",
        "hydroshare.org",
        "archive.softwareheritage.org",
        "doi.org",
        "dx.doi.org",
    }
)


def _repo(parts: Sequence[str]) -> str:
    if len(parts) < 2:  # noqa: PLR2004 (owner and name)
        raise _refused(
            "The address has to name an owner and a repository: https://host/owner/repo."
        )
    *owners, name = parts
    while name.lower().endswith(".git"):
        name = name[:-4]
    names = [*owners, name]
    if not all(_NAME.fullmatch(part) and part not in {".", ".."} for part in names):
        raise _refused("The owner or the name of the repository has characters that none can have.")
    return "/".join(names)


def _open(repo: str, parts: Sequence[str], kind: str = "") -> Page:
    """The page that shows ``parts``: a ref (of the ``kind`` ``refs/heads/``, …) and a path."""
    if not parts:
        return Page(repo)
    first, *rest = parts
    if not kind and (FULL_COMMIT.fullmatch(first) or first == "HEAD"):
        return Page(repo, first, "/".join(rest))
    if "/" in first or not rest:
        # An encoded slash says that the whole part is the ref.
        return Page(repo, kind + first, "/".join(rest))
    return Page(repo, tail=kind + "/".join(parts))


def _pull(repo: str, number: str, pattern: str) -> Page:
    if not re.fullmatch(r"[0-9]{1,12}", number):
        raise _refused("The address names a pull or merge request, but not by its number.")
    return Page(repo, pattern.format(number))


def _github(parts: list[str]) -> Page:
    repo = _repo(parts[:2])
    if not _GITHUB_OWNER.fullmatch(parts[0]) or parts[0].lower() in _GITHUB_NOT_OWNERS:
        raise _refused("That page of GitHub belongs to no repository; open the repository's page.")
    return _github_view(repo, parts[2:])


def _github_view(repo: str, view: list[str]) -> Page:
    match view:
        case [kind, *rest] if kind in _FILE_VIEWS:
            return _open(repo, rest)
        case ["commit", ref, *_] | ["pull", _, "commits", ref, *_]:
            return Page(repo, ref)
        case ["pull", number, *_]:
            return _pull(repo, number, "refs/pull/{}/head")
        case _:
            # Issues, wiki, actions and the like: the repository is what they belong to.
            return Page(repo, _downloaded(view))


def _downloaded(view: list[str]) -> str:
    """The ref of a release's page or of what can be downloaded; ``""`` for other pages."""
    match view:
        case ["releases", "tag", *rest] if rest:
            return "refs/tags/" + "/".join(rest)
        case ["releases", "download", tag, _]:
            return f"refs/tags/{tag}"
        case ["archive" | "zipball" | "tarball", *rest]:
            return _ARCHIVE_END.sub("", "/".join(rest))
        case _:
            return ""


def _raw_github(parts: list[str]) -> Page:
    return _open(_repo(parts[:2]), parts[2:])


def _packed_github(parts: list[str]) -> Page:
    # codeload.github.com/OWNER/REPO/zip/REF
    return Page(_repo(parts[:2]), "/".join(parts[3:]))


def _raw_gist(parts: list[str]) -> Page:
    # USER/ID/raw[/REVISION]/FILE
    revisions = [part for part in parts[3:4] if FULL_COMMIT.fullmatch(part)]
    return _gist([*parts[:2], *revisions])


def _gist(parts: list[str]) -> Page:
    # USER/ID[/REVISION] or ID: the id alone is enough to clone it.
    names = [part.removesuffix(".git") for part in parts]
    at = 0 if names and len(names) == 1 else 1
    if len(names) <= at or not _GIST.fullmatch(names[at]):
        raise _refused("That page shows no single gist; open the gist and paste its address.")
    revision = names[at + 1] if len(names) > at + 1 else ""
    return Page(names[at], revision if FULL_COMMIT.fullmatch(revision) else "")


def _gitlab(parts: list[str]) -> Page:
    if "-" in parts:
        at = parts.index("-")
        return _gitlab_view(_repo(parts[:at]), parts[at + 1 :])
    # Until GitLab 12 there was no "-"; these names are reserved and can't be a project's.
    for at in range(2, len(parts)):
        if parts[at] in _FILE_VIEWS | {"commit", "merge_requests", "tags"}:
            return _gitlab_view(_repo(parts[:at]), parts[at:])
    return Page(_repo(parts))


def _gitlab_view(repo: str, view: list[str]) -> Page:
    match view:
        case [kind, *rest] if kind in _FILE_VIEWS:
            return _open(repo, rest)
        case ["commit", ref, *_]:
            return Page(repo, ref)
        case ["merge_requests", number, *_] if number != "new":
            return _pull(repo, number, "refs/merge-requests/{}/head")
        case ["tags" | "releases", *rest] if rest:
            return Page(repo, "refs/tags/" + "/".join(rest))
        case ["archive", *rest, _] if rest:
            return Page(repo, "/".join(rest))
        case _:
            return Page(repo)


def _bitbucket(parts: list[str]) -> Page:
    repo = _repo(parts[:2])
    match parts[2:]:
        case ["src" | "raw", *rest]:
            return _open(repo, rest)
        case ["commits", ref, *_]:
            return Page(repo, ref)
        case ["branch", *rest] if rest:
            return Page(repo, "refs/heads/" + "/".join(rest))
        case ["pull-requests", *rest] if rest:
            raise _refused("Bitbucket gives no access to pull requests by git; name the branch.")
        case _:
            return Page(repo)


def _bitbucket_server(parts: list[str], query: str) -> Page | None:
    # Bitbucket Data Center: /projects/KEY/repos/NAME/browse/PATH?at=REF; fetched from /scm/….git
    match parts:
        case ["projects" | "users" as kind, key, "repos", name, *view]:
            pass
        case _:
            return None
    if not _NAME.fullmatch(key) or not _NAME.fullmatch(name):
        return None
    repo = f"scm/{'~' if kind == 'users' else ''}{key.lower()}/{name}.git"
    ref = dict(parse_qsl(query, errors="replace")).get("at", "")
    match view:
        case ["browse" | "raw", *path]:
            return Page(repo, ref, "/".join(path))
        case ["commits", commit, *_]:
            return Page(repo, commit)
        case ["pull-requests", *rest] if rest:
            raise _refused("Bitbucket gives no access to pull requests by git; name the branch.")
        case _:
            return Page(repo, ref)


def _gitea(parts: list[str]) -> Page:
    return _gitea_view(_repo(parts[:2]), parts[2:]) or Page(_repo(parts[:2]))


def _gitea_view(repo: str, view: list[str]) -> Page | None:
    match view:
        case ["src" | "raw" | "commits", "branch" | "tag" as kind, *rest] if rest:
            return _open(repo, rest, "refs/tags/" if kind == "tag" else "refs/heads/")
        case ["src" | "raw", "commit", ref, *rest]:
            return Page(repo, ref, "/".join(rest))
        case ["commit", ref]:
            return Page(repo, ref)
        case ["pulls", number, *_]:
            return _pull(repo, number, "refs/pull/{}/head")
        case _:
            ref = _downloaded(view)
            return Page(repo, ref) if ref else None


def _unknown(parts: list[str]) -> Page | None:
    """The page of a GitLab, Gitea, or GitHub Enterprise of somebody's own, by its form alone."""
    if "-" in parts[2:-1]:
        return _gitlab(parts)
    view = "/".join(parts[2:])
    if _LIKE_GITHUB.fullmatch(view):
        return _github_view(_repo(parts[:2]), parts[2:])
    if _LIKE_GITEA.fullmatch(view):
        return _gitea_view(_repo(parts[:2]), parts[2:])
    return None


_FORGES: dict[str, Callable[[list[str]], Page]] = {
    "github.com": _github,
    "raw.githubusercontent.com": _raw_github,
    "codeload.github.com": _packed_github,
    "gist.githubusercontent.com": _raw_gist,
    "gitlab.com": _gitlab,
    "bitbucket.org": _bitbucket,
    "codeberg.org": _gitea,
}


def _refused(message: str) -> RepoSpecError:
    return RepoSpecError(message, field="repo")
