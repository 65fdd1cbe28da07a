"""A token as no other text is, and the search for it."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable

__all__ = ["Marker"]


class Marker:
    """A token as no other text is, and what shows it in any form.

    The odd characters at its ends are written differently everywhere. The digits in between are the
    same as they are, in a URL, in JSON and in HTML; in base64 they are one of three texts.

    Attributes:
        token: the token.
        patterns: one of these is in whatever has the token in any form.
    """

    def __init__(self) -> None:
        digits = uuid.uuid4().hex
        self.token = f'r2d+/{digits}="é'
        self.patterns = [digits.encode()]
        for before in range(3):
            text = base64.b64encode(bytes(before) + digits.encode())
            self.patterns.append(text[4:40])

    def is_in(self, data: bytes) -> bool:
        """Whether the token, or a form of it, is in the data."""
        return any(pattern in data for pattern in self.patterns)

    def is_in_stream(self, chunks: Iterable[bytes]) -> bool:
        """The same of data in pieces, also where a border goes through it."""
        kept = b""
        for chunk in chunks:
            if self.is_in(kept + chunk):
                return True
            kept = (kept + chunk)[-100:]
        return False
