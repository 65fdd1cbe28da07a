"""An image's archive on its way from one engine to another, with every name taken out.

An archive says what the images in it are called, and an engine that loads it moves those names
to them. So whoever holds the engine that builds could give any name of the other engine, that of
the servers' image for instance, to an image of theirs. Without names an archive names nothing.

Pure: nothing here talks to anybody. The shapes are those of ``docker save``: ``manifest.json`` and
``repositories`` (all engines), ``index.json`` (since 25, an OCI layout).
"""

from __future__ import annotations

import json
import posixpath
import re
import tarfile
from collections.abc import Iterable, Iterator
from typing import IO, Any, cast

__all__ = ["ImageArchiveError", "without_names"]

_PIECE = 2**20
_MOST_MEMBERS = 10_000
# Bytes that may be read to come to the next file, and so be held in memory: the headers of one.
_LONGEST_HEADERS = 4 * _PIECE
_LONGEST_LIST = 4 * _PIECE
_MANIFEST, _INDEX, _NAMES = "manifest.json", "index.json", "repositories"
# Old engines write a layer that occurs twice as a link to the first.
_LINKED, _LINK = "layer.tar", re.compile(r"\.\./[0-9a-f]{64}/layer\.tar")


class ImageArchiveError(ValueError):
    """The archive is none that an engine writes, or not of one image."""


class _Reader:
    """Chunks as the file that tarfile reads, as far as it is allowed to."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._left = b""
        self.allowed = 0

    def read(self, size: int) -> bytes:
        self.allowed -= size
        if self.allowed < 0:
            raise ImageArchiveError("a header in it is too long")
        parts, missing = [], size
        while missing > 0:
            if not self._left:
                self._left = next(self._chunks, b"")
                if not self._left:
                    break
            parts.append(self._left[:missing])
            self._left = self._left[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)


def without_names(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the archive again as it comes, with its image but without the image's names.

    Holds no more than some megabytes in memory, whatever comes.

    Raises:
        ImageArchiveError: it is not an engine's archive of one image.
    """
    reader = _Reader(chunks)
    seen: set[str] = set()
    try:
        reader.allowed = _LONGEST_HEADERS
        with tarfile.open(fileobj=cast("IO[bytes]", reader), mode="r|", bufsize=_PIECE) as tar:
            while member := tar.next():
                place = _place(member.name)
                _check(tar, member, place, seen)
                seen.add(place)
                for piece in _member(tar, member, place):
                    reader.allowed = _LONGEST_HEADERS
                    if piece:
                        yield piece
                reader.allowed = _LONGEST_HEADERS
                # or it would remember each
                cast("Any", tar).members.clear()
    except ImageArchiveError:
        raise
    # whatever tarfile makes of what is no archive
    except (tarfile.TarError, ValueError, OverflowError, RecursionError, EOFError) as error:
        raise ImageArchiveError(f"it can't be read: {error}") from error
    if _MANIFEST not in seen:
        raise ImageArchiveError(f"it has no {_MANIFEST}")
    yield bytes(2 * tarfile.BLOCKSIZE)


def _check(tar: tarfile.TarFile, member: tarfile.TarInfo, place: str, seen: set[str]) -> None:
    """Refuse what is more than an image, or a way to write a list past us.

    Raises:
        ImageArchiveError: it is so.
    """
    *folders, name = place.split("/")
    if len(seen) >= _MOST_MEMBERS or place in seen or tar.pax_headers:
        raise ImageArchiveError(f"{place[:80]!r} in it is there twice, or one too many")
    linked = member.issym() and name == _LINKED and _LINK.fullmatch(member.linkname)
    if _LINKED in folders or not (
        member.isdir() or linked or (member.isreg() and not member.issparse())
    ):
        raise ImageArchiveError(f"{place[:80]!r} in it is no file")


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo, place: str) -> Iterator[bytes]:
    # nothing but where, what and how long: no owner, no mode, no time
    entry = tarfile.TarInfo(place)
    entry.mode = 0o755 if member.isdir() else 0o644
    if member.isdir():
        entry.type = tarfile.DIRTYPE
        yield _header(entry)
    elif member.issym():
        entry.type, entry.linkname = tarfile.SYMTYPE, member.linkname
        yield _header(entry)
    elif place in (_MANIFEST, _INDEX):
        data = json.dumps(_unnamed(place, _list(tar, member))).encode()
        entry.size = len(data)
        yield _header(entry) + data + bytes(-len(data) % tarfile.BLOCKSIZE)
    elif place == _NAMES:
        for _ in _content(tar, member):
            yield b""
    else:
        entry.size = member.size
        yield _header(entry)
        yield from _content(tar, member)


def _place(name: str) -> str:
    """Return a member's name as there is one alone for each place.

    Raises:
        ImageArchiveError: it isn't within the archive.
    """
    place = posixpath.normpath(name)
    if place.startswith(("/", "../")) or place in {"..", "."} or "\\" in place:
        raise ImageArchiveError(f"{name[:80]!r} in it is outside of it")
    return place


def _header(entry: tarfile.TarInfo) -> bytes:
    return entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    file = cast("IO[bytes]", tar.extractfile(member))
    left = member.size
    while left:
        piece = file.read(min(_PIECE, left))
        if not piece:
            raise ImageArchiveError("it ends too early")
        left -= len(piece)
        yield piece
    yield bytes(-member.size % tarfile.BLOCKSIZE)


def _list(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    if member.size > _LONGEST_LIST:
        raise ImageArchiveError(f"{member.name} in it is too long")
    try:
        return json.loads(cast("IO[bytes]", tar.extractfile(member)).read())
    except (ValueError, RecursionError) as error:
        raise ImageArchiveError(f"{member.name} in it can't be read") from error


def _unnamed(place: str, found: Any) -> Any:
    """Return what a list says of its one image but the names.

    Only what is known is taken over: an engine reads a key in capitals as well.
    """
    if place == _MANIFEST:
        return [{**_some(_only(found), "Config", "Layers"), "RepoTags": None}]
    images = found.get("manifests") if isinstance(found, dict) else None
    image = _some(_only(images), "mediaType", "digest", "size", "platform")
    return {**_some(found, "schemaVersion", "mediaType"), "manifests": [image]}


def _only(found: Any) -> dict[str, Any]:
    if not (isinstance(found, list) and len(found) == 1 and isinstance(found[0], dict)):
        raise ImageArchiveError("it isn't of one image")
    image: dict[str, Any] = found[0]
    return image


def _some(found: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: found[name] for name in names if name in found}
