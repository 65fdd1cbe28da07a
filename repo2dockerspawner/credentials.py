"""Credentials and what they are for, as data. Pure.

A credential lives in memory and on the standard input of one build container; it is in no
command line, environment, label, file or text that is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .builds.inside.redaction import MIN_LENGTH

__all__ = ["PUBLIC", "Access", "Credential", "Reader", "secrets_of"]

# Some hosts take the token as the user name. A person's own name is no secret, and redacting it
# would leave holes in every path.
_NO_NAME = 20


@dataclass(frozen=True)
class Credential:
    """What opens repositories at one place, and is never sent anywhere else.

    Attributes:
        place: ``https://host``, with a port and a path where it is for a part of the host only
            (``https://gitlab.example.org/group``), or ``ssh://user@host``.
        username: for https.
        password: a password or token, for https.
        key: a private key's text, for ssh.
        known_hosts: lines of OpenSSH's file, for ssh.
    """

    place: str
    username: str = ""
    password: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    known_hosts: str = ""


def secrets_of(credentials: Iterable[Credential]) -> list[str]:
    """Return what may be in no text that is kept, as `redaction.Redactor` takes it."""
    found = []
    for one in credentials:
        if len(one.password) >= MIN_LENGTH:
            # as HTTP's basic authentication puts them into base64
            found += [one.password, f"{one.username}:{one.password}"]
        if len(one.username) >= _NO_NAME:
            found.append(one.username)
        found.append(one.key)
    return [text for text in found if text]


@dataclass(frozen=True)
class Access:
    """How a repository is read, and so who may use what is built of it.

    Attributes:
        credentials: what is sent, each to its own place; empty for a public repository.
        owner: the user whose own credentials these are; ``""`` where they are the hub's.
        place: the hub's credential's place, ``""`` where they are a user's own.
    """

    credentials: tuple[Credential, ...] = ()
    owner: str = ""
    place: str = ""

    @property
    def scope(self) -> str:
        """What stands for it in the build key; ``""`` is public."""
        if self.owner:
            return f"user {self.owner}"
        return f"place {self.place}" if self.place else ""


PUBLIC = Access()


@dataclass(frozen=True)
class Reader:
    """Who wants to use an image.

    Attributes:
        user: the user's name.
        places: places of the hub's credentials that the user may use now.
    """

    user: str
    places: frozenset[str] = frozenset()

    def may_use(self, owner: str, place: str) -> bool:
        """Whether an image with this ``owner`` and ``place`` (see `Access`) may be used."""
        if owner:
            return owner == self.user
        return not place or place in self.places
