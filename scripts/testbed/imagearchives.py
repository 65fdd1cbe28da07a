"""Archives of images as engines write them, for tests of what is done with one."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

__all__ = [
    "CONFIG",
    "LAYER",
    "VICTIM",
    "Members",
    "file",
    "folder",
    "link",
    "manifest",
    "new",
    "old",
    "packed",
]

LAYER = "a" * 64
CONFIG = f"{'b' * 64}.json"
VICTIM = "jupyter/server:latest"
"""The name that the image in them has."""

Members = list[tuple[tarfile.TarInfo, bytes]]


def file(name: str, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    """A file with an owner, a time and a mode."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.uid, entry.mtime, entry.mode = len(content), 7, 7, 0o4777
    return entry, content


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry, b""


def folder(name: str) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.DIRTYPE
    return entry, b""


def packed(members: Members) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for entry, content in members:
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def manifest(**more: Any) -> bytes:
    return json.dumps(
        [{"Config": CONFIG, "RepoTags": [VICTIM], "Layers": [f"{LAYER}/layer.tar"], **more}]
    ).encode()


def old(content: bytes = b"layer") -> Members:
    """As engine 20.10 saves an image by its name."""
    return [
        folder(LAYER),
        file(f"{LAYER}/VERSION", b"1.0"),
        file(f"{LAYER}/layer.tar", content),
        link(f"{'c' * 64}/layer.tar", f"../{LAYER}/layer.tar"),
        file(CONFIG, b"{}"),
        file("manifest.json", manifest()),
        file("repositories", json.dumps({"jupyter/server": {"latest": LAYER}}).encode()),
    ]


def new() -> Members:
    """As engines since 25 save it."""
    described = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": "sha256:" + "d" * 64,
        "size": 3,
        "annotations": {"io.containerd.image.name": VICTIM},
    }
    index = {"schemaVersion": 2, "manifests": [described], "annotations": {"name": VICTIM}}
    return [
        folder("blobs"),
        folder("blobs/sha256"),
        file(f"blobs/sha256/{'d' * 64}", b"abc"),
        file("index.json", json.dumps(index).encode()),
        file("manifest.json", manifest()),
        file("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
        file("repositories", b"{}"),
    ]
