"""Images on the engine: which are there, and can a server be started from one?"""

from __future__ import annotations

import asyncio
import contextlib
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import requests

from .credentials import Reader
from .engine import APIError, Engine, NotFound
from .errors import ImageError, LaunchError
from .hosts import FULL_COMMIT
from .keys import LABEL_PREFIX, names_key, proves, read_labels, short
from .repos import RepoSpec
from .uses import Uses

__all__ = ["Environment", "Image", "Images", "choose_environment", "image_gone", "image_unknown"]

_PROBED = 1000
_PROBE_SECONDS = 10
_LISTED_SECONDS = 2.0
_SAID_KEYS = 5
_SHORT_KEY = re.compile(r"[0-9a-f]{12,64}")
_WORDS = ("repo", "ref", "commit", "subdir", "owner", "place")
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Image:
    """An image of ours on the engine.

    Attributes:
        id: the engine's id, ``sha256:…``.
        name: the name it was asked for by.
    """

    id: str
    name: str


@dataclass(frozen=True)
class Environment:
    """An image of ours, as the catalogue has it.

    Attributes:
        key: its build key.
        image: the image.
        name: of the repository, readable.
        repo: the repository's address.
        ref: as it was asked for; ``""`` is the default branch.
        commit: the content id.
        subdir: the folder that was built.
        owner: the only user who may see and use it; ``""`` is everybody.
        place: where the hub's own credential was needed; who may use that may use this.
        built: when, in seconds since 1970.
    """

    key: str
    image: Image
    name: str
    repo: str = ""
    ref: str = ""
    commit: str = ""
    subdir: str = ""
    owner: str = ""
    place: str = ""
    built: float = 0.0

    @property
    def spec(self) -> RepoSpec:
        """What it was built from."""
        # the labels don't say the provider; only git's content ids are commits
        provider = "git" if FULL_COMMIT.fullmatch(self.commit) else "doi"
        return RepoSpec(provider, self.repo, self.ref, self.subdir)


class Images:
    """Looks at the images of one engine.

    Args:
        engine: whose images.
        secret: the hub's, see `keys.image_proof`; what has no proof by it is not ours.
    """

    def __init__(self, engine: Engine, secret: bytes = b"") -> None:
        self._engine = engine
        self._secret = secret
        self._uses = Uses(engine)
        self._listing: asyncio.Task[list[Environment]] | None = None
        self._listed_at = 0.0
        # (image id, command) that were found startable; an id never changes what it holds
        self._startable: dict[tuple[str, str], None] = {}

    async def find(self, key: str, *names: str) -> Image | None:
        """Return the first of the named images that is there and is proved to be the key's.

        A name alone may have been given to anything, and a label alone too.

        Raises:
            EngineError: the engine can't be reached.
        """
        return await self._engine.call(lambda client: _find(client, key, names, self._secret))

    async def environments(self, reader: Reader, *, fresh: bool = False) -> list[Environment]:
        """List the images that were built and that ``reader`` may use, the last used first.

        Asked of the engine at most every 2 seconds, however many people open the spawn page,
        unless ``fresh`` is wanted.

        Raises:
            EngineError: the engine can't be reached.
        """
        now = monotonic()
        listing = self._listing
        if listing is None or fresh or (listing.done() and now - self._listed_at > _LISTED_SECONDS):
            listing = asyncio.get_running_loop().create_task(self._engine.call(self._list))
            # who gives up waiting may be the only one who would have seen its error
            listing.add_done_callback(_seen)
            self._listing, self._listed_at = listing, now
        # shielded, so that who gives up doesn't end it for the others
        found = await asyncio.shield(listing)
        mine = [one for one in found if reader.may_use(one.owner, one.place)]
        return sorted(mine, key=self._last_used, reverse=True)

    def _list(self, client: Any) -> list[Environment]:
        found = _list(client, self._secret)
        found.sort(key=self._last_used, reverse=True)
        self._uses.learn(client, [(one.image.id, one.key) for one in found])
        return found

    def _last_used(self, one: Environment) -> float:
        return max(one.built, self._uses.last(one.key))

    def may_use(self, said: Mapping[str, str] | None, reader: Reader) -> bool:
        """Whether the image with these labels is for ``reader``; what has none of ours is.

        Another hub's private image is for nobody here, whatever its owner is called.
        """
        words = read_labels(said)
        owner, place = words.get("owner", ""), words.get("place", "")
        ours = proves(words.get("proof", ""), words.get("key", ""), self._secret)
        return not (owner or place) or (ours and reader.may_use(owner, place))

    def note_use(self, key: str, image: Image) -> None:
        """Remember that a server is being started from the key's image."""
        self._uses.note(key, image.name)

    async def check_startable(self, image: Image, command: Sequence[str]) -> None:
        """Make sure that the image has the program that the server is started with.

        A look into the image's folders, which costs little and runs nothing; only where the
        program isn't found there, a trial run as the server would be started, because an
        entrypoint may set the path.

        Raises:
            ImageError: it has not; the sentence says how to add it.
            EngineError: the engine can't be reached.
        """
        program = command[0] if command else ""
        probe = (image.id, program)
        if not program or probe in self._startable:
            return
        try:
            there = await self._engine.call(lambda client: _has_program(client, image.id, program))
        except NotFound as error:
            raise image_gone() from error
        if not there:
            name = program.rsplit("/", 1)[-1]
            raise ImageError(
                f"The image was built, but it has no {name}, so no server can be started from "
                "it. Add jupyterhub to what the repository installs (in a Dockerfile: "
                "RUN pip install jupyterhub jupyterlab) and start again.",
                reason="no_singleuser",
            )
        while len(self._startable) >= _PROBED:
            del self._startable[next(iter(self._startable))]
        self._startable[probe] = None


def image_gone() -> ImageError:
    """Return the error of an image that was there a moment ago."""
    return ImageError(
        "The image was removed while your server was starting. Start again, and it is built anew.",
        reason="image_missing",
        status=503,
    )


def image_unknown(name: str) -> ImageError:
    """Return the error of an image that is not there, or not for whoever asks."""
    return ImageError(
        f"There is no image {name} here that you may use, and none can be fetched; check its "
        "name, or choose another one.",
        reason="image_unknown",
        status=404,
        field="image",
    )


def _find(client: Any, key: str, names: Sequence[str], secret: bytes) -> Image | None:
    for name in dict.fromkeys(names):
        try:
            found = client.inspect_image(name)
        except NotFound:
            continue
        said = found["Config"].get("Labels") or {}
        proof = said.get(LABEL_PREFIX + "proof", "")
        if said.get(LABEL_PREFIX + "key") == key and proves(proof, key, secret):
            return Image(id=found["Id"], name=name)
    return None


def choose_environment(environments: Iterable[Environment], asked: str) -> Environment:
    """Return the one environment that ``asked`` means.

    Args:
        environments: those that may be chosen.
        asked: a build key, 12 or more of its first digits, the image's name, or the
            repository's name.

    Raises:
        LaunchError: there is none, or more than one; ``field`` is ``environment``.
    """
    known = list(environments)
    found = [one for one in known if asked in {one.key, one.image.name}]
    if not found and _SHORT_KEY.fullmatch(asked):
        found = [one for one in known if one.key.startswith(asked)]
    found = found or [one for one in known if one.name == asked]
    if not found:
        raise LaunchError(
            f"There is no ready environment {asked} here, or no longer; choose another one, or "
            "give the repository's address to build it.",
            reason="environment_unknown",
            status=404,
            field="environment",
        )
    if len(found) > 1:
        keys = ", ".join(short(one.key) for one in found[:_SAID_KEYS])
        raise LaunchError(
            f"{len(found)} ready environments are named {asked}; give the first 12 digits of the "
            f"one you want: {keys}{' …' if len(found) > _SAID_KEYS else ''}.",
            reason="environment_ambiguous",
            field="environment",
        )
    return found[0]


def _seen(listing: asyncio.Task[list[Environment]]) -> None:
    if not listing.cancelled():
        listing.exception()


def _list(client: Any, secret: bytes) -> list[Environment]:
    """One call to the engine; an image with several names of ours counts once."""
    found: dict[str, Environment] = {}
    for summary in client.images(filters={"label": LABEL_PREFIX + "key"}):
        words = read_labels(summary.get("Labels"))
        key = words.get("key", "")
        # an image made from one of ours has its labels too, but not its name
        names = [name for name in summary.get("RepoTags") or () if names_key(name, key)]
        if not names or not proves(words.get("proof", ""), key, secret):
            continue
        built = float(summary.get("Created") or 0)
        if key in found and found[key].built >= built:
            continue
        name = names[0].removesuffix(":latest")
        found[key] = Environment(
            key=key,
            image=Image(id=summary["Id"], name=name),
            name=words.get("name") or name,
            **{word: words.get(word, "") for word in _WORDS},
            built=built,
        )
    return list(found.values())


def _has_program(client: Any, image: str, program: str) -> bool:
    config = client.inspect_image(image)["Config"]
    container = client.create_container(
        image,
        command=[program, "--version"],
        network_disabled=True,
        labels={LABEL_PREFIX + "probe": "1"},
    )["Id"]
    try:
        return _in_folders(client, container, config, program) or _runs(client, container)
    finally:
        with contextlib.suppress(APIError):  # a sweep removes it
            client.remove_container(container, force=True, v=True)


def _in_folders(client: Any, container: str, config: dict[str, Any], program: str) -> bool:
    env = dict(item.split("=", 1) for item in config.get("Env") or () if "=" in item)
    folders = [""] if "/" in program else env.get("PATH", _DEFAULT_PATH).split(":")
    for folder in folders:
        path = posixpath.join(folder or config.get("WorkingDir") or "/", program)
        try:
            stream, _ = client.get_archive(container, path)
        except APIError:  # not there, or what should be a folder is none
            continue
        stream.close()
        return True
    return False


def _runs(client: Any, container: str) -> bool:
    try:
        client.start(container)
        status = client.wait(container, timeout=_PROBE_SECONDS)["StatusCode"]
    except (APIError, requests.exceptions.RequestException):
        # not found by the engine, or no end within the time: not what we look for
        return False
    return int(status) == 0
