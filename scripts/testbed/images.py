"""The images of the test bed: pulled where a registry answers, made here where none does.

Each image carries a hash of its recipe as a label, so that a changed recipe makes it anew and
an unchanged one costs one look.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import docker
import docker.errors
import requests

from testbed import engine, names

__all__ = ["ImageError", "Recipe", "ensure_images", "recipes"]

# The environment that says how this machine reaches packages; never part of an image.
_PASSED_ON = ("PIP_INDEX_URL", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_TRUST = [
    f"ENV {name}={_CA_BUNDLE}" for name in ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
]
_REGISTRY_SECONDS = 5


class ImageError(RuntimeError):
    """An image can't be had; the message says why and what to do."""


@dataclass(frozen=True)
class Recipe:
    """How one image is made.

    Attributes:
        name: the local name.
        dockerfile: a file in ``scripts/images``; empty for the one debootstrap makes.
        parent: what it stands on: an official image, or another recipe's name.
        pull: whether ``parent`` is an official image.
        args: build arguments.
        parent_hash: the parent's recipe, so that a change reaches the children.
    """

    name: str
    dockerfile: str
    parent: str = ""
    pull: bool = False
    args: Mapping[str, str] = field(default_factory=dict)
    parent_hash: str = ""

    @property
    def hash(self) -> str:
        """32 hex digits over everything that makes the image what it is."""
        text = (names.IMAGES_DIR / self.dockerfile).read_text() if self.dockerfile else _rootfs()
        parts = [self.name, text, self.parent, self.parent_hash, repr(sorted(self.args.items()))]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _rootfs() -> str:
    bundle = _CA_BUNDLE.read_bytes() if _CA_BUNDLE.is_file() else b""
    suite = names.IMAGE_SETTINGS["BASE_SUITE"]
    return f"debootstrap {suite} {hashlib.sha256(bundle).hexdigest()} {_TRUST}"


def recipes(*, official: bool) -> list[Recipe]:
    """The recipes, parents first.

    Args:
        official: stand on what a registry has; else make everything from packages.
    """
    settings = names.IMAGE_SETTINGS
    packages = {"PACKAGES": settings["BASE_PACKAGES"]}
    if official:
        pulled = {
            names.REPO2DOCKER_OLD_IMAGE: settings["OFFICIAL_REPO2DOCKER_OLD"],
            names.REPO2DOCKER_IMAGE: settings["OFFICIAL_REPO2DOCKER"],
            names.SINGLEUSER_IMAGE: settings["OFFICIAL_SINGLEUSER"],
            names.SINGLEUSER_HUB5_IMAGE: settings["OFFICIAL_SINGLEUSER_HUB5"],
        }
        debian = settings["OFFICIAL_BASE"]
        images = [
            Recipe(name, "official.Dockerfile", parent, pull=True)
            for name, parent in pulled.items()
        ]
        newest = next(one for one in images if one.name == names.REPO2DOCKER_IMAGE)
        return [
            Recipe(names.BASE_IMAGE, "base.Dockerfile", debian, pull=True, args=packages),
            *images,
            _with_keys(newest),
        ]
    base = Recipe(names.BASE_IMAGE, "", args=packages)
    singleuser = _child(base, names.SINGLEUSER_IMAGE, "singleuser", "SINGLEUSER")
    repo2docker = _child(base, names.REPO2DOCKER_IMAGE, "repo2docker", "REPO2DOCKER")
    return [
        base,
        singleuser,
        repo2docker,
        _with_keys(repo2docker),
        _child(base, names.REPO2DOCKER_OLD_IMAGE, "repo2docker", "REPO2DOCKER_OLD"),
        _child(singleuser, names.SINGLEUSER_HUB5_IMAGE, "singleuser5", "SINGLEUSER_HUB5"),
    ]


def _child(parent: Recipe, name: str, dockerfile: str, setting: str) -> Recipe:
    return Recipe(
        name,
        f"{dockerfile}.Dockerfile",
        parent.name,
        args={"REQUIREMENTS": names.IMAGE_SETTINGS[f"{setting}_REQUIREMENTS"]},
        parent_hash=parent.hash,
    )


def _with_keys(parent: Recipe) -> Recipe:
    name = names.REPO2DOCKER_KEYS_IMAGE
    return Recipe(name, "keys.Dockerfile", parent.name, parent_hash=parent.hash)


class Maker:
    """Makes images on one engine, saying what it does; its log has what the builds print."""

    def __init__(self, client: docker.DockerClient, log: IO[str]) -> None:
        # types-docker knows the client's methods, but not what all of them take.
        self._api: Any = client.api
        self._log = log

    def missing(self, wanted: Iterable[Recipe]) -> list[Recipe]:
        """The recipes whose image is not there, or is of another recipe."""
        return [recipe for recipe in wanted if self._label(recipe.name) != recipe.hash]

    def _label(self, name: str) -> str:
        try:
            config = self._api.inspect_image(name)["Config"]
        except docker.errors.ImageNotFound:
            return ""
        return str((config.get("Labels") or {}).get(names.RECIPE_LABEL, ""))

    def registry_answers(self) -> bool:
        """Whether the engine itself reaches the registry; known within some seconds."""
        asking = engine.client(timeout=_REGISTRY_SECONDS)
        api: Any = asking.api
        try:
            api.inspect_distribution(names.IMAGE_SETTINGS["OFFICIAL_REPO2DOCKER"])
        except (docker.errors.APIError, requests.RequestException) as error:
            self._log.write(f"no registry: {error}\n")
            return False
        finally:
            asking.close()
        return True

    def make(self, recipe: Recipe) -> None:
        """Make one image.

        Raises:
            ImageError: it can't be had.
        """
        started = time.monotonic()
        _say(f"image {recipe.name}: {'pulling' if recipe.pull else 'making'} it")
        if not recipe.dockerfile:
            self._debootstrap(recipe)
        else:
            if recipe.pull:
                self._pull(recipe.parent)
            self._build(recipe)
        _say(f"image {recipe.name}: there, after {time.monotonic() - started:.0f} s")

    def _pull(self, name: str) -> None:
        repository, _, tag = name.rpartition(":")
        said = time.monotonic()
        for event in self._api.pull(repository, tag=tag, stream=True, decode=True):
            self._note(event, f"{name} can't be pulled")
            if time.monotonic() - said > 10:
                said = time.monotonic()
                _say(f"  … {event.get('status', '')} {event.get('progress', '')}".rstrip())

    def _build(self, recipe: Recipe) -> None:
        passed_on = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
        for event in self._api.build(
            path=str(names.IMAGES_DIR),
            dockerfile=recipe.dockerfile,
            tag=recipe.name,
            buildargs={**passed_on, "PARENT": recipe.parent, **recipe.args},
            labels={names.RECIPE_LABEL: recipe.hash},
            network_mode="host",
            rm=True,
            forcerm=True,
            decode=True,
        ):
            text = self._note(event, f"the build of {recipe.name} failed")
            if " : RUN " in text:
                _say(f"  {text.splitlines()[0][:100]}")

    def _note(self, event: dict[str, Any], failed: str) -> str:
        text = str(event.get("stream") or event.get("status") or event.get("error") or "")
        self._log.write(text if text.endswith("\n") else f"{text}\n")
        if "error" in event:
            raise ImageError(f"{failed}: {event['error']}")
        return text

    def _debootstrap(self, recipe: Recipe) -> None:
        tool = shutil.which("debootstrap") or shutil.which("debootstrap", path="/usr/sbin")
        if tool is None or os.geteuid() != 0:
            raise ImageError(
                "No registry answers, and without one the images can only be made by root with"
                " debootstrap: connect to the internet, or install debootstrap and use root."
            )
        with tempfile.TemporaryDirectory(prefix="rootfs-", dir=_state_dir()) as rootfs:
            suite = names.IMAGE_SETTINGS["BASE_SUITE"]
            include = ",".join(recipe.args["PACKAGES"].split())
            self._run(
                [tool, "--variant=minbase", f"--include={include}", suite, rootfs, _mirror()],
                f"debootstrap of {suite} failed",
            )
            if _CA_BUNDLE.is_file():
                shutil.copyfile(_CA_BUNDLE, Path(rootfs, str(_CA_BUNDLE).lstrip("/")))
            shutil.rmtree(Path(rootfs, "var/cache/apt/archives"), ignore_errors=True)
            self._import(rootfs, recipe)

    def _import(self, rootfs: str, recipe: Recipe) -> None:
        repository, _, tag = recipe.name.rpartition(":")
        changes = [*_TRUST, f"LABEL {names.RECIPE_LABEL}={recipe.hash}"]
        command = ["tar", "--create", "--numeric-owner", "--directory", rootfs, "."]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log) as tar:
            self._api.import_image(src=tar.stdout, repository=repository, tag=tag, changes=changes)
        if tar.returncode:
            raise ImageError(f"The root file system in {rootfs} can't be read: see the log.")

    def _run(self, command: list[str], failed: str) -> None:
        self._log.write(f"$ {shlex.join(command)}\n")
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as running:
            said = time.monotonic()
            for raw in running.stdout or ():
                line = raw.decode(errors="replace").rstrip()
                self._log.write(f"{line}\n")
                if time.monotonic() - said > 10:
                    said = time.monotonic()
                    _say(f"  … {line[:100]}")
        if running.returncode:
            raise ImageError(f"{failed}: see the log.")


def _mirror() -> str:
    """The Debian mirror that this machine's apt uses; Debian's own on another system."""
    default = "http://deb.debian.org/debian/"
    if shutil.which("apt-get") is None:
        return default
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for line in listed.splitlines():
        if line.startswith("Debian Debian "):
            return line.split(maxsplit=2)[2]
    return default


def _state_dir() -> Path:
    path = names.ROOT / ".testbed"
    path.mkdir(exist_ok=True)
    return path


def _say(text: str) -> None:
    print(text, flush=True)


def ensure_images(log: IO[str]) -> None:
    """See to it that every image of the test bed is there and of today's recipe.

    Args:
        log: takes what the builds print.

    Raises:
        ImageError: one can't be had.
        testbed.engine.EngineMissingError: no engine.
    """
    client = engine.client(timeout=1800)
    try:
        maker = Maker(client, log)
        if not maker.missing(recipes(official=True)) or not maker.missing(recipes(official=False)):
            return
        official = maker.registry_answers()
        if not official:
            _say("images: no registry answers, they are made here from Debian's packages and PyPI")
        for recipe in recipes(official=official):
            if maker.missing([recipe]):
                maker.make(recipe)
    finally:
        client.close()


def _main() -> int:
    parser = argparse.ArgumentParser(description="Make the images of the test bed.")
    parser.add_argument("--log", type=Path, required=True, help="file that takes all output")
    log_path: Path = parser.parse_args().log
    with log_path.open("a", encoding="utf-8", buffering=1) as log:
        try:
            ensure_images(log)
        except (ImageError, engine.EngineMissingError, docker.errors.APIError) as error:
            log.flush()
            tail = log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
            print("\n".join(f"  | {line[:300]}" for line in tail), file=sys.stderr)
            print(f"{error} (The whole log: {log_path})", file=sys.stderr)
            return 3 if isinstance(error, engine.EngineMissingError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
