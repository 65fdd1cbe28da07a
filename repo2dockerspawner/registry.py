"""Ask the registry of DOIs where a record is: a chain of redirects, bounded in time and length."""

from __future__ import annotations

import asyncio
import os
import re
import time
from urllib.parse import quote, urljoin, urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.simple_httpclient import SimpleAsyncHTTPClient

from .builds.inside.way import goes_by_proxy
from .errors import ResolveError
from .reach import CheckedResolver, Reach, check_host, refused

__all__ = ["follow_doi", "is_exact"]

_MAX_HOPS = 10
_MAX_URL = 2048
_NOT_FOUND = 404
# Seconds by which a request may end later than it should, and the least that it is given.
_GRACE, _LEAST = 1.0, 0.001
# Records of these never change: a new version gets a new number (Zenodo) or is numbered (Figshare).
_EXACT = re.compile(
    r"https?://(?:www\.)?(?:"
    r"(?:sandbox\.)?zenodo\.org/records?/[0-9]+"
    r"|data\.caltech\.edu/records/[A-Za-z0-9\-]+"
    r"|figshare\.com/(?:account/)?articles/(?:[a-z_]+/)?[^/?#]+/[0-9]+/[0-9]+"
    r")/?"
)


def is_exact(url: str) -> bool:
    """Whether the record at ``url`` can never change."""
    return _EXACT.fullmatch(url) is not None


async def follow_doi(doi: str, *, timeout: float, resolver: str, reach: Reach | None = None) -> str:
    """Return the URL to which ``resolver`` leads for ``doi``; the page itself is not read.

    Args:
        doi: ``10.…/…``.
        timeout: seconds, for all hops together.
        resolver: what the DOI is appended to, e.g. ``https://doi.org/``.
        reach: the addresses that may be asked, None for any.

    Raises:
        ResolveError: no such DOI, no answer, no end of redirects, or one that is not http(s).
        PolicyError: it leads to an address that may not be reached.
    """
    first = resolver + quote(doi, safe="/:;()")
    try:
        end = time.monotonic() + timeout
        # the requests end by themselves, and with them their connections; this is for all the rest
        return await asyncio.wait_for(_follow(doi, first, reach, end), timeout + _GRACE)
    except asyncio.TimeoutError:
        raise ResolveError(
            f"The DOI {doi} could not be looked up within {timeout:g} seconds; try again later.",
            reason="resolve_timeout",
            status=504,
            field="repo",
        ) from None


async def _follow(doi: str, url: str, reach: Reach | None, end: float) -> str:
    client, checked = _client(url, reach)
    try:
        for hop in range(_MAX_HOPS):
            if reach is not None and checked is None:
                await check_host(url, reach)
            response = await _head(client, doi, url, checked, end)
            location = response.headers.get("Location", "")
            if not 300 <= response.code < 400 or not location:  # noqa: PLR2004 (redirects)
                # Landing pages refuse robots in many ways; that they are there is enough.
                if response.code == _NOT_FOUND:
                    raise _missing(doi, at_registry=hop == 0)
                return url
            url = _next(doi, url, location)
    finally:
        client.close()
    raise _unreachable(doi, "leads from one page to the next without an end")


def _client(url: str, reach: Reach | None) -> tuple[AsyncHTTPClient, CheckedResolver | None]:
    """Return a client of its own, for the hub's has its own queue, and its resolver, if checked."""
    # Only the hub's kind (curl) can go by a proxy, which does the looking up then.
    if reach is None or goes_by_proxy(url, os.environ):
        return AsyncHTTPClient(force_instance=True), None
    checked = CheckedResolver(reach=reach)
    return SimpleAsyncHTTPClient(force_instance=True, resolver=checked), checked


async def _head(
    client: AsyncHTTPClient, doi: str, url: str, checked: CheckedResolver | None, end: float
) -> HTTPResponse:
    # Tornado's connections don't end when who waits for them goes away: without a limit of its own
    # one to a server that never answers would stay for ever.
    left = max(end - time.monotonic(), _LEAST)
    request = HTTPRequest(
        url, method="HEAD", follow_redirects=False, connect_timeout=left, request_timeout=left
    )
    try:
        return await client.fetch(request, raise_error=False)
    # Whatever the network, TLS or a broken server makes of it: sockets, ssl and tornado raise
    # errors that have no common base.
    except Exception as error:
        if checked is not None and checked.refused:
            raise refused(f"The DOI {doi}", checked.refused[0]) from error
        if time.monotonic() >= end:
            raise asyncio.TimeoutError from error
        raise _unreachable(doi, "could not be looked up") from error


def _next(doi: str, url: str, location: str) -> str:
    try:
        target = quote(urljoin(url, location), safe="!#$%&'()*+,/:;=?@[]~")
        parts = urlsplit(target)
        fine = (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
        )
    except ValueError:
        fine = False
    if not fine or len(target) > _MAX_URL:
        raise _unreachable(doi, "leads to an address that can't be used")
    return target


def _missing(doi: str, *, at_registry: bool) -> ResolveError:
    what = "is not registered" if at_registry else "leads to a page that is gone"
    return ResolveError(f"The DOI {doi} {what}; check it.", reason="repo_not_found", field="repo")


def _unreachable(doi: str, what: str) -> ResolveError:
    return ResolveError(
        f"The DOI {doi} {what}; try again later, or paste the address of the record's page.",
        reason="host_unreachable",
        status=502,
        field="repo",
    )
