"""Pasted text -> repo spec: pure, no network.

Every string is either understood as exactly one repository or refused with a sentence; nothing is
ever passed on unread. To teach it another kind of page, add it to :mod:`.hosts`; another
service's link to a repository, to :mod:`.links`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .addresses import (
    SUPPORTED_SCHEMES,
    Address,
    check_scheme,
    clean_text,
    decode_segment,
    read_address,
)
from .errors import RepoSpecError
from .fields import check_ref, check_subdir, check_urlpath, relative_path
from .hosts import CASELESS, Page, forge_of, read_page, read_record
from .links import Link, read_link, without_badge

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ["RepoSpec", "check_ref", "parse_repo"]


_DOI_PROVIDERS = ("zenodo", "figshare", "dataverse", "hydroshare")
# Registrants that give out DOIs for one kind of archive only; the others can't be told apart
# without asking doi.org.
_DOI_OF = {
    "10.5281": "zenodo",
    "10.5072": "zenodo",
    "10.22002": "zenodo",
    "10.6084": "figshare",
    "10.7910": "dataverse",
    "10.4211": "hydroshare",
}
# Hosts that have the files of another one's repositories.
_RAW_HOSTS = {
    "raw.githubusercontent.com": "github.com",
    "codeload.github.com": "github.com",
    "gist.githubusercontent.com": "gist.github.com",
}
_LABELS = {
    "git": "git repositories",
    "zenodo": "Zenodo",
    "figshare": "Figshare",
    "dataverse": "Dataverse",
    "hydroshare": "HydroShare",
    "swhid": "Software Heritage",
    "ckan": "CKAN",
    "mercurial": "Mercurial repositories",
}

_DOI_LEAD = re.compile(r"(?:doi:|(https?://)?(?:dx\.|www\.)?doi\.org/)", re.IGNORECASE)
_DOI = re.compile(r"(10\.[0-9]{4,9}(?:\.[0-9]+)*)/[\-._;()/:A-Za-z0-9+]{1,255}")
_SWH_LEAD = re.compile(
    r"(?:https?://)?archive\.softwareheritage\.org/(?:browse/)?(?=swh(:|%3a))", re.IGNORECASE
)
_SWH_BROWSE = re.compile(
    r"(?:https?://)?archive\.softwareheritage\.org/browse/(directory|revision)/([0-9a-f]{40})/?"
    r"(?:[?#].*)?",
    re.IGNORECASE,
)
_SWHID = re.compile(r"(swh:1:(?:dir|rev):[0-9a-f]{40})(?:;.*)?", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-fA-F\-]{36}")
_SCP_LEAD = re.compile(r"\A[^@]*@(?:\[[^\]]*\]|[^:]*):")
_IN_ADDRESS = "path in the address"
_OWNER_REPO = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.\-+]*")


@dataclass(frozen=True)
class RepoSpec:
    """What somebody asked for.

    Attributes:
        provider: repo2docker's name of the content provider it is for: ``git``, ``zenodo``,
            ``figshare``, ``dataverse``, ``hydroshare``, ``swhid``, ``ckan``, ``mercurial``; or
            ``doi``: one of the four archives, which one only the DOI's registry knows.
        url: for git and Mercurial the canonical address to fetch from (a URL, or
            ``user@host:path`` where the path is relative to the account); else the DOI
            (``10.…/…``), the SWHID, or the record's page, as repo2docker takes them.
        ref: as asked; ``""`` is the default branch.
        subdir: folder to build from, relative to the top, ``""`` is the top.
        path: file or folder to open after the start, relative to the top.
        urlpath: URL under the server to open instead, without ``/`` in front.
        tail: ``REF/PATH`` of a pasted page where the border between the two is not known without
            asking the repository; else ``""``. May begin with ``refs/heads/`` or ``refs/tags/``
            where the page says which it is. With ``ref`` set it only tells the path.
    """

    provider: str
    url: str
    ref: str = ""
    subdir: str = ""
    path: str = ""
    urlpath: str = ""
    tail: str = ""

    @property
    def identity(self) -> str:
        """The string that stands for the repository in a build key.

        Two spellings of one repository give the same where the host is known not to tell case
        apart. One repository over ssh and over https gives two: who may read it differs.
        """
        if self.provider in {"doi", *_DOI_PROVIDERS} and self.url.startswith("10."):
            return self.url.lower()
        if self.provider == "zenodo":
            return self.url.replace("/record/", "/records/")
        return self.url.lower() if self.host in CASELESS else self.url

    @property
    def host(self) -> str:
        """The host that is asked, lower case, no port; ``""`` for a DOI or SWHID."""
        found = re.match(r"(?:[a-z]+://)?(?:[^@/]*@)?(\[[^\]]*\]|[^@/:]+)", self.url)
        return found[1] if found and self._has_host else ""

    @property
    def scheme(self) -> str:
        """``https``, ``ssh``, …; ``""`` for a DOI or SWHID."""
        if not self._has_host:
            return ""
        return self.url.partition("://")[0] if "://" in self.url else "ssh"

    @property
    def name(self) -> str:
        """Readable: ``owner/repo``, the last two parts of a longer path, or the DOI or SWHID."""
        if not self._has_host:
            return self.url
        path = self.url.partition("://")[2].partition("/")[2] or _SCP_LEAD.sub("", self.url)
        parts = [part for part in path.partition("?")[0].split("/") if part]
        return "/".join(parts[-2:]).removesuffix(".git") or self.url

    @property
    def ref_label(self) -> str:
        """The ref as people say it: ``refs/heads/main`` is ``main``."""
        return re.sub(r"\Arefs/(?:heads|tags)/", "", self.ref)

    @property
    def _has_host(self) -> bool:
        return not self.url.startswith("10.") and not self.url.startswith("swh:")


def parse_repo(
    text: str,
    *,
    ref: str = "",
    subdir: str = "",
    path: str = "",
    urlpath: str = "",
    allowed_schemes: Collection[str] = ("https", "ssh"),
    content_providers: Collection[str] = ("git",),
    default_host: str = "github.com",
) -> RepoSpec:
    """Understand ``text``, whatever of it was pasted.

    Args:
        text: ``owner/repo``, ``owner/repo@ref``, the address of a repository or of a page of it,
            a DOI, a SWHID; ``hg+https://…`` is a Mercurial repository; a Binder, nbgitpuller or
            launch link, or a badge of one.
        ref: filled in by hand, as are the next three; wins over what ``text`` says.
        subdir: folder to build from.
        path: file or folder to open.
        urlpath: URL under the server to open.
        allowed_schemes: of :data:`.addresses.SUPPORTED_SCHEMES`; others are never used.
        content_providers: repo2docker's names of those that are on.
        default_host: where ``owner/repo`` is.

    Raises:
        RepoSpecError: it can't be understood or used; ``field`` says which entry is wrong. No
            other exception, for any strings.
    """
    text = clean_text(without_badge(text))
    link = read_link(text) or Link(text)
    provider, url, page = _read(
        clean_text(link.text), allowed_schemes, frozenset(content_providers), default_host
    )
    page = _said_by_link(link, page)
    ref = ref.strip()
    if ref:
        check_ref(ref)
    path = relative_path(path, "path", "path to open")
    asked, shown, tail = _merge(page, ref, path)
    opened = check_urlpath(urlpath)
    if not opened and not path:
        opened = _in_address(check_urlpath, link.urlpath)
    return RepoSpec(
        provider=provider,
        url=url,
        ref=asked,
        subdir=check_subdir(subdir) or _in_address(check_subdir, link.subdir),
        path=shown,
        urlpath=opened,
        tail=tail,
    )


def _said_by_link(link: Link, page: Page) -> Page:
    """The page that the link leads to, with what the link says besides."""
    if not link.ref and not link.path:
        return page
    ref, path, tail = _merge(page, link.ref.strip(), relative_path(link.path, "repo", _IN_ADDRESS))
    return replace(page, ref=ref, path=path, tail=tail)


def _in_address(check: Callable[[str], str], text: str) -> str:
    """Check what a link says: where it can't be used, that is about the address."""
    try:
        return check(text)
    except RepoSpecError as error:
        raise _refused(f"The address can't be used: {error.message}") from error


def _read(
    text: str, allowed: Collection[str], providers: frozenset[str], default_host: str
) -> tuple[str, str, Page]:
    """The provider, the url, and what a page says besides."""
    if known := _doi(text, providers) or _swhid(text, providers):
        return (*known, Page(""))
    if mercurial := text.lower().startswith("hg+"):
        _need("mercurial", providers)
        text = text[3:]
    address = read_address(text, allowed, unchecked=("https", "http"))
    if address is None:
        return _shorthand(text, allowed, providers, default_host)
    archived = _record(address, providers) if not mercurial else None
    if archived:
        return (*archived, Page(""))
    check_scheme(address.scheme, allowed)
    if mercurial:
        return "mercurial", _plain(address), Page("")
    _need("git", providers)
    web = address.scheme in {"https", "http"}
    page = read_page(address.host, address.segments, web=web, query=address.query)
    if page is None:
        return "git", _plain(address), Page("")
    return "git", _page_url(address, page), page


def _page_url(address: Address, page: Page) -> str:
    host = forge_of(address.host)
    if not host:
        return f"{address.base}/{page.repo}"
    user = "git@" if address.scheme == "ssh" else ""
    port = f":{address.port}" if address.port is not None else ""
    host = _RAW_HOSTS.get(host, host)
    return f"{address.scheme}://{user}{host}{port}/{page.repo}"


def _plain(address: Address) -> str:
    if not address.segments:
        raise _refused("The address names a host, but no repository on it.")
    if address.query:
        raise _refused(
            "Leave out what follows the ? in the address; it is no part of a repository's."
        )
    if not address.scp:
        return address.base + address.path
    if address.path.startswith("/"):
        return address.base + address.path
    return f"{address.user}@{address.host}:{address.path}"


def _shorthand(
    text: str, allowed: Collection[str], providers: frozenset[str], default_host: str
) -> tuple[str, str, Page]:
    names, at, ref = text.partition("@")
    parts = names.rstrip("/").split("/")
    dotted = "." in parts[0]
    if forge_of(parts[0].lower()) or (dotted and len(parts) > 2):  # noqa: PLR2004
        # The address bar of a browser leaves out https://.
        return _read(f"https://{text}", allowed, providers, default_host)
    nested = "gitlab" in default_host
    if (
        len(parts) < 2  # noqa: PLR2004 (owner and name)
        or (len(parts) > 2 and not nested)  # noqa: PLR2004
        or not all(_OWNER_REPO.fullmatch(part) for part in parts)
    ):
        raise _refused(
            "That names no repository: give owner/repo, or the whole address with https://."
        )
    if dotted and not nested:
        raise _refused(
            "If what stands before the slash is a host, begin the address with https://."
        )
    if at:
        check_ref(ref)
    check_scheme("https", allowed)
    _need("git", providers)
    address = read_address(f"https://{default_host}/{'/'.join(parts)}", SUPPORTED_SCHEMES)
    if address is None or not address.segments:  # pragma: no cover (a URL always reads as one)
        raise _refused("That names no repository.")
    page = read_page(address.host, address.segments)
    if page is None:
        return "git", _plain(address), Page("", ref)
    return "git", _page_url(address, page), Page(page.repo, ref)


def _doi(text: str, providers: frozenset[str]) -> tuple[str, str] | None:
    lead = _DOI_LEAD.match(text)
    doi = text
    if lead:
        doi = text[lead.end() :]
        if not lead[0].lower().startswith("doi:"):
            doi = decode_segment(re.split(r"[?#]", doi)[0].rstrip("/"))
    elif not re.match(r"10\.[0-9]{4}", text):
        return None
    found = _DOI.fullmatch(doi)
    if not found:
        raise _refused("That is not a DOI that can be read; one looks like 10.5281/zenodo.1234567.")
    provider = _DOI_OF.get(found[1], "doi")
    if provider != "doi":
        _need(provider, providers)
    elif not providers.intersection(_DOI_PROVIDERS):
        raise _off("DOIs")
    return provider, doi


def _swhid(text: str, providers: frozenset[str]) -> tuple[str, str] | None:
    lead = _SWH_LEAD.match(text)
    if browsed := _SWH_BROWSE.fullmatch(text):
        text = f"swh:1:{browsed[1][:3].lower()}:{browsed[2]}"
    elif lead:
        text = decode_segment(re.split(r"[?#]", text[lead.end() :])[0].rstrip("/"))
    elif not text.lower().startswith("swh:"):
        return None
    found = _SWHID.fullmatch(text)
    if not found:
        raise _refused(
            "That Software Heritage id can't be used; one for a directory or a revision can,"
            " like swh:1:dir: and 40 hexadecimal digits."
        )
    _need("swhid", providers)
    return "swhid", found[1].lower()


def _record(address: Address, providers: frozenset[str]) -> tuple[str, str] | None:
    if address.scheme not in {"https", "http"}:
        return None
    record = read_record(address.host, address.path, address.segments)
    if record:
        _need(record.provider, providers)
        return record.provider, record.url
    if forge_of(address.host):
        return None
    query = dict(part.partition("=")[::2] for part in address.query.split("&"))
    if persistent := query.get("persistentId", ""):
        _need("dataverse", providers)
        return "dataverse", f"{address.base}{address.path}?persistentId={persistent}"
    if "ckan" in providers and "dataset" in address.segments[:-1]:
        activity = query.get("activity_id", "")
        version = f"?activity_id={activity}" if _UUID.fullmatch(activity) else ""
        return "ckan", address.base + address.path + version
    return None


def _need(provider: str, providers: frozenset[str]) -> None:
    if provider not in providers:
        raise _off(_LABELS[provider])


def _off(label: str) -> RepoSpecError:
    return _refused(
        f"This hub doesn't build from {label}; its administrator can switch it on"
        " with content_providers."
    )


def _merge(page: Page, ref: str, path: str) -> tuple[str, str, str]:
    """Ref, path, and tail, from what a page says and what was filled in by hand."""
    shown = relative_path(page.path, "repo", _IN_ADDRESS)
    tail = relative_path(page.tail, "repo", _IN_ADDRESS)
    said = page.ref
    if tail:
        depth = 3 if tail.startswith(("refs/heads/", "refs/tags/")) else 1
        said = "/".join(tail.split("/")[:depth])
    if said:
        try:
            check_ref(said)
        except RepoSpecError as error:
            raise _refused(f"The address can't be used: {error.message}") from error
    if not tail:
        return ref or page.ref, path or shown, ""
    if ref and path:
        return ref, path, ""
    if ref:
        for name in (ref, f"refs/heads/{ref}", f"refs/tags/{ref}"):
            if f"{tail}/".startswith(f"{name}/"):
                return ref, tail[len(name) + 1 :], ""
    return ref, path, tail


def _refused(message: str) -> RepoSpecError:
    return RepoSpecError(message, field="repo")
