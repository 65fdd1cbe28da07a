"""Repository and commit → the page of its host that shows just that: pure, no network."""

from __future__ import annotations

from urllib.parse import quote

from .hosts import FULL_COMMIT, forge_of
from .repos import RepoSpec

__all__ = ["commit_page"]

# As the forges' own links have it; the folder goes to the end.
_FORMS = {
    "github.com": "https://github.com/{repo}/tree/{commit}",
    "gitlab.com": "https://gitlab.com/{repo}/-/tree/{commit}",
    "bitbucket.org": "https://bitbucket.org/{repo}/src/{commit}",
    "codeberg.org": "https://codeberg.org/{repo}/src/commit/{commit}",
    "gist.github.com": "https://gist.github.com/{repo}/{commit}",
}


def commit_page(spec: RepoSpec, content_id: str) -> str:
    """Return the address of the page that shows what is started; ``""`` where none is known.

    Only hosts that we know (`hosts.forge_of`) and archives: what a stranger's server shows at an
    address of our making nobody can tell. The result is always an https address.
    """
    if spec.provider == "swhid":
        return "https://archive.softwareheritage.org/" + quote(spec.url, safe=":")
    if spec.url.startswith("10."):
        return "https://doi.org/" + quote(spec.url, safe="/:;()")
    if spec.provider != "git":
        return spec.url if spec.url.startswith("https://") else ""
    forge = forge_of(spec.host)
    if forge not in _FORMS or not FULL_COMMIT.fullmatch(content_id):
        return ""
    repo = _path(spec.url)
    if not repo:
        return ""
    page = _FORMS[forge].format(repo=quote(repo), commit=content_id)
    if spec.subdir and forge != "gist.github.com":
        page += "/" + quote(spec.subdir)
    return page


def _path(url: str) -> str:
    """Return ``owner/repo`` of a URL or of ``user@host:owner/repo``."""
    _, slashes, rest = url.partition("://")
    path = rest.partition("/")[2] if slashes else url.partition(":")[2]
    return path.strip("/").removesuffix(".git")
