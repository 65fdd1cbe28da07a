"""Takes secrets out of what goes to a log, a page or an error, in all the forms that they take.

Used on the hub, and put into build containers under repo2docker's own Python (>= 3.9, standard
library alone).
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

__all__ = ["MASK", "MIN_LENGTH", "Redactor", "forms"]

MASK = "***"
"""What stands where a secret was."""
MIN_LENGTH = 4
"""Characters below which a text is no secret: it would be found in every other word."""

# The first and last line of a private key are the same in all of them.
_FRAME = "-----"
_ESCAPED = re.compile("%[0-9A-F]{2}")


class Redactor:
    """Replaces secrets by ``***`` in a stream of bytes cut anywhere, or in whole texts.

    A secret is found as it is, URL-encoded, in base64 (alone or within a longer text), escaped
    for JSON and for HTML, and as Python's ``repr`` shows it: see `forms`. Where two overlap, both
    are gone.

    Args:
        secrets: in any order. Of one with several lines each line is a secret.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        texts = {form for secret in secrets for form in forms(secret)}
        self._patterns = tuple(text.encode("utf-8", "surrogatepass") for text in texts)
        self._longest = max(map(len, self._patterns), default=0)
        self._first = frozenset(pattern[0] for pattern in self._patterns)
        self._held = b""
        # how many of the bytes held belong to a secret whose mask is out already
        self._covered = 0

    def __bool__(self) -> bool:
        """Whether there is anything to take out."""
        return bool(self._patterns)

    def feed(self, data: bytes) -> bytes:
        """Return what of the stream is certain by now; where it was cut makes no difference.

        What may be the beginning of a secret is held back until it is clear whether it is.
        """
        if not self._patterns:
            return data
        data = self._held + data
        end = self._border(data)
        out, done = self._masked(data, end)
        self._held, self._covered = data[end:], max(0, done - end)
        return out

    def close(self) -> bytes:
        """Return what was held back, at the end of the stream."""
        out, _ = self._masked(self._held, len(self._held))
        self._held, self._covered = b"", 0
        return out

    def text(self, text: str) -> str:
        """Return a whole text without the secrets; the stream has no part in it."""
        if not self._patterns:
            return text
        whole = Redactor()
        whole._patterns = self._patterns
        raw = text.encode("utf-8", "surrogatepass")
        return whole._masked(raw, len(raw))[0].decode("utf-8", "surrogatepass")

    def _border(self, data: bytes) -> int:
        """Return where the longest end of the data starts that may become a secret."""
        # no secret has a newline in it, so that whole lines cost nothing
        least = max(len(data) - self._longest + 1, data.rfind(b"\n") + 1, 0)
        for start in range(least, len(data)):
            if data[start] in self._first:
                rest = data[start:]
                if any(len(rest) < len(one) and one.startswith(rest) for one in self._patterns):
                    return start
        return len(data)

    def _masked(self, data: bytes, end: int) -> tuple[bytes, int]:
        """Return the data before ``end``, masked, and where the last secret ends."""
        out, done = bytearray(), self._covered
        for start, stop in self._found(data):
            if start >= end:
                break
            if start >= done:
                out += data[done:start] + MASK.encode()
            done = max(done, stop)
        return bytes(out + data[done:end]), done

    def _found(self, data: bytes) -> list[tuple[int, int]]:
        """Return where secrets start and stop, in order; they may overlap."""
        places = []
        for pattern in self._patterns:
            at = data.find(pattern)
            while at >= 0:
                places.append((at, at + len(pattern)))
                at = data.find(pattern, at + 1)
        return sorted(places)


def forms(secret: str) -> set[str]:
    """Return all that a secret may look like; empty where it is too short to be one."""
    found: set[str] = set()
    for line in re.split(r"[\r\n]+", secret):
        if len(line) >= MIN_LENGTH and not line.startswith(_FRAME):
            found |= _forms_of_line(line)
    return {form for form in found if len(form) >= MIN_LENGTH}


def _forms_of_line(text: str) -> set[str]:
    raw = text.encode("utf-8", "surrogatepass")
    encoded = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    # RFC 3986 leaves both cases of the digits to who encodes
    encoded |= {_ESCAPED.sub(lambda found: found[0].lower(), one) for one in encoded}
    in_base64 = _in_base64(raw)
    encoded |= in_base64 | {quote(one, safe="") for one in in_base64}
    escaped = {repr(text)[1:-1], ascii(text)[1:-1], repr(raw)[2:-1]}
    escaped |= {html.escape(text), html.escape(text, quote=False)}
    # as MarkupSafe, and so Jinja, does it
    escaped.add(html.escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"))
    found = {text} | encoded | escaped
    # a record of repo2docker's holds any of these once more escaped, JSON too
    for _ in range(2):
        for one in tuple(found):
            found |= {json.dumps(one)[1:-1], json.dumps(one, ensure_ascii=False)[1:-1]}
    return found


def _in_base64(raw: bytes) -> set[str]:
    """Return its base64, and what it puts into that of any longer text, in both alphabets."""
    found = set()
    for alphabet in (None, b"-_"):
        whole = base64.b64encode(raw, alphabet).decode()
        found |= {whole, whole.rstrip("=")}
        for before in range(3):
            shifted = base64.b64encode(bytes(before) + raw, alphabet).decode()
            # without the characters to which a neighbour adds bits
            found.add(shifted[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6])
    return found
