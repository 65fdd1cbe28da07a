"""Images that look as if the spawner had built them, made in a moment."""

from __future__ import annotations

import io
import secrets
from dataclasses import dataclass

import docker

from repo2dockerspawner.keys import image_name, labels

from .names import IMAGE_SECRET

__all__ = ["ReadyImage", "make_ready_image"]


@dataclass(frozen=True)
class ReadyImage:
    """Such an image.

    Attributes:
        key: its build key.
        name: the image's name.
        id: the engine's id.
    """

    key: str
    name: str
    id: str


def make_ready_image(
    client: docker.DockerClient,
    repo: str,
    *,
    base: str = "scratch",
    commit: str = "",
    owner: str = "",
    secret: str = IMAGE_SECRET,
    place: str = "",
) -> ReadyImage:
    """Make an image with the labels and the name of a build.

    Args:
        client: the engine.
        repo: ``owner/name`` on GitHub.
        base: what is in it; a server starts from the test bed's single-user images only.
        commit: the commit that its label says; any by default.
        owner: the only user who may use it.
        secret: the hub's whose image it is; others don't list it.
        place: of the hub's credential; who may use that may use this.
    """
    key = secrets.token_hex(32)
    said = labels(
        key,
        repo=f"https://github.com/{repo}",
        ref="main",
        commit=commit or secrets.token_hex(20),
        subdir="",
        name=repo,
        owner=owner,
        secret=secret.encode(),
        place=place,
    )
    lines = [f"FROM {base}", *(f'LABEL {name}="{value}"' for name, value in said.items())]
    name = image_name(key, repo, prefix="r2d-testbed-")
    recipe = io.BytesIO("\n".join(lines).encode())
    # else the engine keeps a container of each line
    image, _ = client.images.build(fileobj=recipe, tag=name, rm=True)
    return ReadyImage(key, name, str(image.id))
