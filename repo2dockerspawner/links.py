"""Links that lead to a repository by way of another service: pure, no network.

A Binder link, an nbgitpuller link, the page of a notebook viewer: what they name is a repository
and what to open in it, so that is what is taken from them. The service itself is never asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from .errors import RepoSpecError
from .hosts import forge_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Link", "read_link", "without_badge"]

_URL = re.compile(
    r"(?:(https?)://)?([^/?#@\s]+)(/[^?#]*)?(?:\?([^#]*))?(?:#(.*))?", re.DOTALL | re.IGNORECASE
)
# A badge as Markdown, HTML and reStructuredText have it; what it links to is what is wanted.
_BADGES = (
    re.compile(r"\[!\[[^\]]*\]\([^()\s]*\)\]\((https?://[^()\s]+)\)"),
    re.compile(r"<a\s[^>]*?href=[\"'](https?://[^\"'\s]+)[\"'][^>]*>.*", re.DOTALL),
    re.compile(r"\.\. (?:\|[^|]*\| )?image::\s.*?:target:\s*(https?://\S+).*", re.DOTALL),
    re.compile(r"\[[^\]!]*\]\((https?://[^()\s]+)\)"),
)
# Views of Jupyter's servers: what follows is a path below the folder that they show.
_VIEW = re.compile(
    r"/?(?:lab/(?:workspaces/[^/]+/)?tree|doc/tree|tree|notebooks|edit|view|retro/tree"
    r"|nbclassic/(?:tree|notebooks|edit))(?:/(?P<path>[^?#]*))?(?:[?#].*)?"
)
_SPAWN = re.compile(r"/(?:[^/]+/)*?hub/spawn(?:/[^/]+){0,2}/?")
_HYDROSHARE = re.compile(r"[0-9a-fA-F]{32}")
_GENERATORS = ("nbgitpuller.link", "nbgitpuller.readthedocs.io", "jupyterhub.github.io")
_DEPTH = 3


@dataclass(frozen=True)
class Link:
    """What a link says.

    Attributes:
        text: the repository, as somebody could have pasted it.
        ref: of it; ``""`` where the link names none.
        subdir: the folder to build.
        path: file or folder to open, relative to the repository's top.
        urlpath: URL under the server to open instead.
    """

    text: str
    ref: str = ""
    subdir: str = ""
    path: str = ""
    urlpath: str = ""


def without_badge(text: str) -> str:
    """The address that a pasted badge or Markdown link leads to; any other text as it is."""
    stripped = text.strip()
    for badge in _BADGES:
        if found := badge.fullmatch(stripped):
            return found[1].replace("&amp;", "&")
    return text


def read_link(text: str, depth: int = _DEPTH) -> Link | None:
    """What the link says; ``None`` where ``text`` is no such link.

    Understood are the links of any BinderHub (``/v2/gh/…``), of nbgitpuller and of its
    generators, of the spawn page of any hub with this spawner, of a login page that leads on to
    one of those, and of services that show what a forge has (nbviewer, Colab, github.dev, …).

    Raises:
        RepoSpecError: it is the link of such a service, but names no repository.
    """
    found = _URL.fullmatch(text)
    if not found or (not found[1] and "." not in found[2]):
        return None
    host = found[2].lower().removeprefix("www.").partition(":")[0].removesuffix(".")
    path, fragment = found[3] or "", found[5] or ""
    query = dict(parse_qsl(found[4] or "", errors="replace"))
    parts = [part for part in path.split("/") if part]
    if mirror := _MIRRORS.get(host):
        return Link(mirror(unquote(path).strip("/"), query, unquote(fragment)))
    if forge_of(host):
        return None
    link = _binder(parts, query) or _puller(host, parts, query)
    if link is None and _SPAWN.fullmatch(path):
        link = _own(query)
    onwards = query.get("next") or query.get("custom_next") or ""
    if link is None and "hub" in parts and onwards and depth:
        link = read_link(_absolute(onwards, found[2]), depth - 1)
    return link


def _absolute(onwards: str, host: str) -> str:
    return f"https://{host}{onwards}" if onwards.startswith("/") else onwards


# -- Binder -------------------------------------------------------------------------------------


def _binder(parts: list[str], query: Mapping[str, str]) -> Link | None:
    """``/v2/PROVIDER/SPEC`` below any address (binderhub's reference, "Supported providers")."""
    if "v2" not in parts[:-1]:
        return None
    at = parts.index("v2")
    provider, spec = parts[at + 1], parts[at + 2 :]
    read = _BINDER.get(provider)
    if read is None:
        return None
    if not spec:
        raise _refused("That Binder link names no repository; paste it whole.")
    text, ref = read(spec)
    path = query.get("labpath") or query.get("filepath") or ""
    urlpath = "" if path else query.get("urlpath", "")
    return Link(text, ref, path=path.removeprefix("/"), urlpath=urlpath)


def _rest(parts: list[str]) -> str:
    return unquote("/".join(parts)).strip("/")


def _binder_github(spec: list[str]) -> tuple[str, str]:
    return f"https://github.com/{'/'.join(spec[:2])}", _rest(spec[2:])


def _binder_gitlab(spec: list[str]) -> tuple[str, str]:
    # The namespace is one part, escaped; some write it as two all the same.
    taken = 1 if "/" in unquote(spec[0]) else 2
    return f"https://gitlab.com/{_rest(spec[:taken])}", _rest(spec[taken:])


def _binder_gist(spec: list[str]) -> tuple[str, str]:
    return f"https://gist.github.com/{'/'.join(spec[:2])}", _rest(spec[2:])


def _binder_git(spec: list[str]) -> tuple[str, str]:
    return unquote(spec[0]), _rest(spec[1:])


def _binder_record(spec: list[str]) -> tuple[str, str]:
    return _rest(spec), ""


def _binder_hydroshare(spec: list[str]) -> tuple[str, str]:
    found = _HYDROSHARE.search(_rest(spec))
    return (f"https://www.hydroshare.org/resource/{found[0]}" if found else _rest(spec)), ""


_BINDER: dict[str, Callable[[list[str]], tuple[str, str]]] = {
    "gh": _binder_github,
    "gl": _binder_gitlab,
    "gist": _binder_gist,
    "git": _binder_git,
    "zenodo": _binder_record,
    "figshare": _binder_record,
    "dataverse": _binder_record,
    "hydroshare": _binder_hydroshare,
    "ckan": _binder_record,
    "swhid": _binder_record,
}


# -- nbgitpuller --------------------------------------------------------------------------------


def _puller(host: str, parts: list[str], query: Mapping[str, str]) -> Link | None:
    """``…/git-pull?repo=&branch=&urlpath=``, its older forms, and what its generators have."""
    last = parts[-1] if parts else ""
    repo = query.get("repo", "")
    if last == "interact" and repo and query.get("account"):
        text = f"https://github.com/{query['account']}/{repo}"
        return Link(text, query.get("branch", ""), path=query.get("path", ""))
    if not repo or (last not in {"git-pull", "git-sync"} and host not in _GENERATORS):
        return None
    name = repo.rstrip("/").rpartition("/")[2].removesuffix(".git")
    folder = query.get("targetpath", "").strip("/") or query.get("targetPath", "") or name
    path = query.get("subPath") or query.get("filepath") or ""
    urlpath = "" if path else query.get("urlpath", "")
    inside = _inside(urlpath, folder)
    if inside is not None:
        path, urlpath = inside, ""
    return Link(repo, query.get("branch", ""), path=path.removeprefix("/"), urlpath=urlpath)


def _inside(urlpath: str, folder: str) -> str | None:
    """The path in the repository that nbgitpuller has put into ``folder``.

    Here the repository is the server's own folder, so nothing stands before it.
    """
    view = _VIEW.fullmatch(urlpath)
    if not view:
        return None
    path = unquote(view["path"] or "").strip("/")
    if path == folder:
        return ""
    return path[len(folder) + 1 :] if path.startswith(f"{folder}/") else None


# -- a hub like this one ------------------------------------------------------------------------


def _own(query: Mapping[str, str]) -> Link | None:
    given = {name.removeprefix("opt-"): value for name, value in query.items()}
    repo = given.get("repo") or given.get("repourl", "")
    if not repo:
        if given.get("environment") or given.get("image"):
            raise _refused("That link starts a ready environment of a hub; open it in the browser.")
        return None
    ref = given.get("ref") or given.get("reporef", "")
    names = {name: given.get(name, "") for name in ("subdir", "path", "urlpath")}
    return Link(repo, ref, **names)


# -- services that show what a forge has ----------------------------------------------------------


def _nbviewer(path: str, _query: Mapping[str, str], _fragment: str) -> str:
    kind, _, rest = path.partition("/")
    if kind == "github" and rest.count("/"):
        return f"https://github.com/{rest}"
    if kind == "gist":
        return f"https://gist.github.com/{rest}"
    if kind in {"url", "urls"} and rest:
        return f"https://{rest}"
    raise _refused("That page of nbviewer shows no repository; paste the repository's address.")


def _colab(path: str, _query: Mapping[str, str], fragment: str) -> str:
    kind, _, rest = path.partition("/")
    if kind == "github" and rest.count("/"):
        return f"https://github.com/{rest}"
    if kind == "gist" and rest:
        return f"https://gist.github.com/{rest}"
    where = fragment.removeprefix("fileId=")
    if where.startswith("https://github.com/"):
        return where
    raise _refused("That notebook of Colab is in no repository; paste a repository's address.")


def _by_query(name: str) -> Callable[[str, Mapping[str, str], str], str]:
    def read(_path: str, query: Mapping[str, str], _fragment: str) -> str:
        if query.get(name):
            return query[name]
        raise _refused("That link names no repository; paste the repository's address.")

    return read


def _by_path(lead: str) -> Callable[[str, Mapping[str, str], str], str]:
    def read(path: str, _query: Mapping[str, str], _fragment: str) -> str:
        if path.startswith(lead) and "/" in path[len(lead) :]:
            return f"https://github.com/{path[len(lead) :]}"
        raise _refused("That link names no repository; paste the repository's address.")

    return read


def _gitpod(path: str, _query: Mapping[str, str], fragment: str) -> str:
    found = re.search(r"https://.+", fragment) or re.search(r"https://.+", path)
    if found:
        return found[0]
    raise _refused("That link names no repository; paste the repository's address.")


_MIRRORS: dict[str, Callable[[str, Mapping[str, str], str], str]] = {
    "nbviewer.org": _nbviewer,
    "nbviewer.jupyter.org": _nbviewer,
    "nbviewer.ipython.org": _nbviewer,
    "colab.research.google.com": _colab,
    "githubtocolab.com": _by_path(""),
    "github.dev": _by_path(""),
    "vscode.dev": _by_path("github/"),
    "codespaces.new": _by_path(""),
    "deepnote.com": _by_query("url"),
    "kaggle.com": _by_query("src"),
    "studiolab.sagemaker.aws": _by_path("import/github/"),
    "gitpod.io": _gitpod,
}


def _refused(message: str) -> RepoSpecError:
    return RepoSpecError(message, field="repo")
