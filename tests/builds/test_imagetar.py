"""An image's archive loses its names on the way, and nothing else; what is no image is refused."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from testbed.imagearchives import (
    CONFIG,
    LAYER,
    VICTIM,
    Members,
    file,
    link,
    manifest,
    new,
    old,
    packed,
)

from repo2dockerspawner.builds.imagetar import ImageArchiveError, without_names


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def sent(members: Members, size: int = 2**20) -> bytes:
    return b"".join(without_names(pieces(packed(members), size)))


def unpacked(data: bytes) -> dict[str, Any]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert all((one.uid, one.mtime, one.mode & 0o7000) == (0, 0, 0) for one in tar)
        files = {one.name: tar.extractfile(one) for one in tar if one.isreg()}
        links = {one.name: one.linkname for one in tar if one.issym()}
        return {name: one.read() for name, one in files.items() if one} | links


@pytest.mark.parametrize("make", [old, new])
def test_the_image_arrives_and_its_names_do_not(make: Any) -> None:
    data = sent(make())
    assert b"jupyter/server" not in data
    found, before = unpacked(data), unpacked_anyhow(make())
    lists = {"manifest.json", "index.json"}
    assert set(found) == set(before) - {"repositories"}
    assert {k: v for k, v in found.items() if k not in lists} == {
        k: v for k, v in before.items() if k not in {*lists, "repositories"}
    }
    (told,) = json.loads(found["manifest.json"])
    assert told == {"Config": CONFIG, "Layers": [f"{LAYER}/layer.tar"], "RepoTags": None}
    if "index.json" in found:
        (image,) = json.loads(found["index.json"])["manifests"]
        assert sorted(image) == ["digest", "mediaType", "size"]


def unpacked_anyhow(members: Members) -> dict[str, Any]:
    with tarfile.open(fileobj=io.BytesIO(packed(members))) as tar:
        files = {one.name: tar.extractfile(one) for one in tar if one.isreg()}
        links = {one.name: one.linkname for one in tar if one.issym()}
        return {name: one.read() for name, one in files.items() if one} | links


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=5000), st.integers(1, 3000))
def test_it_is_the_same_however_it_is_cut(content: bytes, size: int) -> None:
    assert sent(old(content), size) == sent(old(content))
    assert unpacked(sent(old(content), size))[f"{LAYER}/layer.tar"] == content


def test_a_large_layer_passes_piece_by_piece() -> None:
    members = old(bytes(20 * 2**20))
    assert max(map(len, without_names([packed(members)]))) <= 2**20


@pytest.mark.parametrize(
    "name",
    ["RepoTags", "repotags", "REPOTAGS", "RepoTag\u017f", "repo\u212aags"],
)
def test_a_name_under_another_spelling_of_its_key_is_gone_too(name: str) -> None:
    members = [file("manifest.json", manifest(**{name: [VICTIM]}))]
    assert b"jupyter/server" not in sent(members)


@pytest.mark.parametrize("name", ["./manifest.json", "x/../manifest.json", ".//manifest.json"])
def test_a_list_by_a_way_around_is_the_list(name: str) -> None:
    data = sent([file(name, manifest())])
    assert list(unpacked(data)) == ["manifest.json"]
    assert b"jupyter/server" not in data


HOSTILE = {
    "no manifest": [file(CONFIG, b"{}")],
    "two images": [file("manifest.json", json.dumps([{}, {}]).encode())],
    "no image": [file("manifest.json", b"[]")],
    "a manifest that is none": [file("manifest.json", b"{")],
    "a manifest of another shape": [file("manifest.json", b'{"RepoTags": ["x"]}')],
    "a deep manifest": [file("manifest.json", b"[" * 100_000)],
    "a huge manifest": [file("manifest.json", b" " * (2**22 + 1))],
    "an index of two": [*old(), file("index.json", b'{"manifests": [{}, {}]}')],
    "an index of another shape": [*old(), file("index.json", b"[]")],
    "a list twice": [*old(), file("./manifest.json", manifest())],
    "outside": [*old(), file("../x", b"")],
    "far outside": [*old(), file("a/../../x", b"")],
    "from the root": [*old(), file("/manifest.json", manifest())],
    "a linked list": [*old()[:-2], link("manifest.json", "x"), file("x", manifest())],
    "a hard link": [*old(), link("x", "manifest.json", tarfile.LNKTYPE)],
    "a linked folder": [link("layer.tar", "."), file("layer.tar/manifest.json", manifest())],
    "a link to elsewhere": [*old(), link(f"{'e' * 64}/layer.tar", "/etc/shadow")],
    "a link to a list": [*old(), link(f"{'e' * 64}/layer.tar", "../manifest.json")],
    "a file below a link": [*old(), file(f"{'c' * 64}/layer.tar/x", b"")],
    "a file with holes": [*old(), link("x", "", tarfile.GNUTYPE_SPARSE)],
    "a device": [*old(), link("x", "", tarfile.CHRTYPE)],
    "a fifo": [*old(), link("x", "", tarfile.FIFOTYPE)],
    "too many": [*old(), *(file(f"x{number}", b"") for number in range(10_000))],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_no_engine_writes_is_refused(members: Members) -> None:
    with pytest.raises(ImageArchiveError):
        sent(members)


def test_a_header_that_would_fill_the_memory_is_refused() -> None:
    entry = tarfile.TarInfo("x")
    entry.type, entry.size = tarfile.XHDTYPE, 2**32
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        yield entry.tobuf(tarfile.USTAR_FORMAT)
        while True:
            read += 2**20
            yield bytes(2**20)

    with pytest.raises(ImageArchiveError):
        for _ in without_names(endless()):
            pass
    assert read <= 2**23


def test_an_archive_that_ends_before_its_list_is_refused() -> None:
    data = packed(old(bytes(5000)))
    for cut in range(0, data.index(b"manifest.json"), 333):
        with pytest.raises(ImageArchiveError):
            b"".join(without_names([data[:cut]]))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=4000))
def test_noise_is_refused_and_nothing_else_raised(noise: bytes) -> None:
    with pytest.raises(ImageArchiveError):
        b"".join(without_names([noise]))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 8000), st.binary(min_size=1, max_size=20))
def test_a_spoilt_archive_is_refused_or_names_nothing(at: int, noise: bytes) -> None:
    data = bytearray(packed(old()))
    data[at : at + len(noise)] = noise
    try:
        found = unpacked(b"".join(without_names([bytes(data)])))
    except ImageArchiveError:
        return
    assert "repositories" not in found
    assert json.loads(found["manifest.json"])[0]["RepoTags"] is None
