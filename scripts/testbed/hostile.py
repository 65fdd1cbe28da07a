"""Hostile texts: what a shell, a Dockerfile, a template or a command could take for something."""

from __future__ import annotations

import itertools
import random

__all__ = ["spelled", "texts"]

_HOSTILE = "\"'\\$`\n\r\t #{}%=;&|<>\0\x1b\u2028\u202e\ud800/:@.-_AZaz09é數"
_LENGTH = 24
_MOSTLY = 200


def spelled(code: bytes) -> str:
    """A text of up to 23 characters out of 24 bytes: mostly of what is hostile, else of any."""
    pairs = zip(code[1:], code[2:] + b"\0", strict=True)
    found = (
        _HOSTILE[one % len(_HOSTILE)] if one < _MOSTLY else chr(one * 256 + other)
        for one, other in pairs
    )
    return "".join(itertools.islice(found, code[0] % _LENGTH))


def texts(count: int, seed: int = 1) -> list[str]:
    """So many of them, the same in every run."""
    chosen = random.Random(seed)
    return [spelled(chosen.randbytes(_LENGTH)) for _ in range(count)]
