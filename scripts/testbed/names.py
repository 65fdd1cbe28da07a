"""The names that bash and Python share, read from ``scripts/images/images.env``."""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "BASE_IMAGE",
    "IMAGES_DIR",
    "IMAGE_SECRET",
    "IMAGE_SETTINGS",
    "LABEL_PREFIX",
    "NETWORKS",
    "RECIPE_LABEL",
    "REPO2DOCKER_IMAGE",
    "REPO2DOCKER_IMAGES",
    "REPO2DOCKER_KEYS_IMAGE",
    "REPO2DOCKER_OLD_IMAGE",
    "ROOT",
    "SAMPLE_DIR",
    "SINGLEUSER_HUB5_IMAGE",
    "SINGLEUSER_IMAGE",
    "TESTBED_PREFIX",
]

ROOT = Path(__file__).resolve().parents[2]
IMAGES_DIR = ROOT / "scripts" / "images"
SAMPLE_DIR = ROOT / "scripts" / "sample"


def _read(path: Path) -> dict[str, str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {key: value.strip("'") for key, value in pairs}


IMAGE_SETTINGS = _read(IMAGES_DIR / "images.env")

TESTBED_PREFIX = IMAGE_SETTINGS["TESTBED_PREFIX"]
BASE_IMAGE = IMAGE_SETTINGS["BASE_IMAGE"]
REPO2DOCKER_OLD_IMAGE = IMAGE_SETTINGS["REPO2DOCKER_OLD_IMAGE"]
REPO2DOCKER_IMAGE = IMAGE_SETTINGS["REPO2DOCKER_IMAGE"]
REPO2DOCKER_IMAGES = (REPO2DOCKER_OLD_IMAGE, REPO2DOCKER_IMAGE)
REPO2DOCKER_KEYS_IMAGE = IMAGE_SETTINGS["REPO2DOCKER_KEYS_IMAGE"]
SINGLEUSER_IMAGE = IMAGE_SETTINGS["SINGLEUSER_IMAGE"]
SINGLEUSER_HUB5_IMAGE = IMAGE_SETTINGS["SINGLEUSER_HUB5_IMAGE"]

IMAGE_SECRET = "the test bed's"
"""`image_secret` of every hub of the test bed, so that images can be made for it."""

NETWORKS = ("172.16.0.0/12",)
"""`allowed_networks` of every hub and plan: Docker's bridges, where the git server listens."""

# What the spawner's own containers and images carry; an image of the test bed has none of it.
LABEL_PREFIX = "repo2dockerspawner."
RECIPE_LABEL = "repo2dockerspawner-testbed.recipe"
