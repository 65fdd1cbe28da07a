"""Build key, names and labels: pure functions of what makes an image what it is.

Same key, same image. The key holds the whole content id, because seven hex digits (what
repo2docker puts into its own names) can be forged by a commit pushed to a fork. It is made with
the hub's secret, because a Dockerfile may name any image of the engine in its ``FROM``: who knows
a private repository's address must not know its image's name.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from urllib.parse import quote, unquote_to_bytes

from ._version import __version__

__all__ = [
    "LABEL_PREFIX",
    "BuildInputs",
    "blanked",
    "build_key",
    "container_name",
    "decode_label",
    "encode_label",
    "image_name",
    "image_proof",
    "labels",
    "names_key",
    "proves",
    "read_labels",
    "short",
]

LABEL_PREFIX = "repo2dockerspawner."
"""All labels of ours begin with this."""

#: Digits of the key in names: 128 bits, beyond any chance of two meeting.
_NAME_DIGITS = 32
_SLUG_LENGTH = 40
# What a label's value may hold as it is. Everything else is percent-encoded, because
# repo2docker writes labels into a Dockerfile without escaping (buildpacks/base.py).
_LABEL_SAFE = "/:@.,+~_-"


@dataclass(frozen=True)
class BuildInputs:
    """Everything that makes an image what it is.

    Attributes:
        provider: the content provider (``git``).
        identity: the canonical address, so written that one repository has one spelling.
        content_id: the whole commit, or what the provider has in its place.
        subdir: the folder that is built, ``""`` for the top.
        build_image: the repo2docker image.
        build_args: name and value of each build argument.
        extra_args: further arguments of repo2docker, in their order.
        clone_depth: commits of history that land in the image, 0 for all.
        owner: where the repository is private, whose access made the image
            (`credentials.Access.scope`); else ``""``.
    """

    provider: str
    identity: str
    content_id: str
    subdir: str
    build_image: str
    build_args: tuple[tuple[str, str], ...] = ()
    extra_args: tuple[str, ...] = ()
    clone_depth: int = 1
    owner: str = ""


def _encode(value: object) -> bytes:
    """Encode a value so that no two values have one encoding (lengths, not separators)."""
    if isinstance(value, tuple):
        inner = b"".join(_encode(item) for item in value)
        return b"t%d:%s" % (len(value), inner)
    data = str(value).encode("utf-8", "surrogatepass")
    return b"s%d:%s" % (len(data), data)


def build_key(inputs: BuildInputs, secret: bytes = b"") -> str:
    """Return the build key: 64 hex digits (HMAC-SHA256 with the hub's secret).

    Build arguments count by name, whatever order they were given in.
    """
    digest = hmac.new(secret, b"repo2dockerspawner key 1", "sha256")
    for field in fields(inputs):
        value = getattr(inputs, field.name)
        if field.name == "build_args":
            value = tuple(sorted(value))
        digest.update(_encode(field.name))
        digest.update(_encode(value))
    return digest.hexdigest()


def image_proof(key: str, secret: bytes = b"") -> str:
    """Return what an image of the key has in its label ``proof``: 64 hex digits.

    A label alone proves nothing, because anybody's Dockerfile can have it (``LABEL``).
    """
    return hmac.new(secret, b"repo2dockerspawner proof " + key.encode(), "sha256").hexdigest()


def proves(label: str, key: str, secret: bytes = b"") -> bool:
    """Whether a label ``proof`` is the one of the key."""
    return hmac.compare_digest(label.encode(), image_proof(key, secret).encode())


def short(key: str) -> str:
    """Return the first 12 digits of a key, as people see it."""
    return key[:12]


def container_name(key: str) -> str:
    """Return the name of the key's build container: the lock that makes a build single."""
    return f"r2d-build-{key[:_NAME_DIGITS]}"


def image_name(key: str, name: str, *, prefix: str = "", registry: str = "") -> str:
    """Return the image's name, ``{registry/}{prefix}{slug of name}-{32 digits of the key}``.

    It is a valid Docker reference without a tag for any ``name``.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower().encode("ascii", "ignore").decode())
    slug = slug.strip("-")[:_SLUG_LENGTH].strip("-")
    digits = key[:_NAME_DIGITS]
    tail = f"{slug}-{digits}" if slug else digits
    where = registry.rstrip("/") + "/" if registry else ""
    return f"{where}{prefix}{tail}"


def names_key(image: str, key: str) -> bool:
    """Whether an image's name, with or without a tag, is one that `image_name` gives the key."""
    if not re.fullmatch(r"[0-9a-f]{64}", key):
        return False
    name = image.rpartition("/")[2].partition(":")[0]
    return name.endswith(key[:_NAME_DIGITS])


def encode_label(value: str) -> str:
    r"""Encode a label's value: no quote, ``$``, backslash, white space or newline is left."""
    return quote(value.encode("utf-8", "surrogatepass"), safe=_LABEL_SAFE)


def decode_label(value: str) -> str:
    """Undo `encode_label`."""
    data = unquote_to_bytes(value.encode("utf-8", "surrogatepass"))
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # none of ours
        return data.decode("utf-8", "replace")


def labels(
    key: str,
    *,
    repo: str,
    ref: str,
    commit: str,
    subdir: str,
    name: str = "",
    owner: str = "",
    place: str = "",
    secret: bytes = b"",
) -> dict[str, str]:
    """Return the labels of a build container and of its image, encoded.

    ``owner`` or ``place`` is filled where the repository is private, see `credentials.Access`. What
    is empty is there too, or a repository's Dockerfile, or the image that it is made from, could
    have it say something.
    """
    values = {
        "key": key,
        "repo": repo,
        "ref": ref,
        "commit": commit,
        "subdir": subdir,
        "owner": owner,
        "place": place,
        "name": name,
        "proof": image_proof(key, secret),
        "version": __version__,
    }
    return {LABEL_PREFIX + word: encode_label(value) for word, value in values.items()}


def read_labels(found: Mapping[str, str] | None) -> dict[str, str]:
    """Return our labels among ``found``, decoded, without their prefix."""
    items: Iterable[tuple[str, str]] = (found or {}).items()
    return {
        name.removeprefix(LABEL_PREFIX): decode_label(value)
        for name, value in items
        if name.startswith(LABEL_PREFIX)
    }


def blanked(found: Mapping[str, str] | None) -> dict[str, str]:
    """Return those among ``found`` that are ours, each with an empty value.

    A container has the labels of its image. They can't be taken away from it, but a label that is
    given when it is created counts more than the image's.
    """
    return {name: "" for name in found or {} if name.startswith(LABEL_PREFIX)}
