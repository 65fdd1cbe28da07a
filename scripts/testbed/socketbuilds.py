"""Builds that use the engine's socket as repo2docker does, on an engine that has no image yet.

An image of a shell and the docker command, whose ``jupyter-repo2docker`` takes repo2docker's
arguments and makes an image with the name and the labels that they say.
"""

from __future__ import annotations

from dataclasses import replace

from repo2dockerspawner.builds.plan import BuildPlan

from .scripted import scripted_plan
from .secondengine import SecondEngine

__all__ = ["SOCKET_BUILDER", "add_socket_builder", "socket_plan"]

SOCKET_BUILDER = "socket-builder"
"""The name of the build image."""

_PROGRAM = rb"""#!/bin/sh
# HOME is the root's, as in repo2docker's image
export HOME=/root
name=
set -- "$@" end
while [ "$1" != end ]; do
    case $1 in
    --image-name=*) name=${1#*=} ;;
    --label=*) set -- "$@" --change "LABEL ${1#--label=}" ;;
    esac
    shift
done
shift
echo '{"message": "Using DockerBuildPack builder\n", "phase": "building"}'
eval "$SCRIPT" || exit
mkdir -p /tmp/image && cd /tmp/image || exit
head -c "$SIZE" /dev/urandom > content
tar -c content -C / bin lib lib64 usr | docker import "$@" - "$name"
"""


def add_socket_builder(engine: SecondEngine) -> None:
    """Make the build image on an engine."""
    files = {"usr/local/bin/jupyter-repo2docker": _PROGRAM}
    programs = ("docker", "tar", "head", "mkdir")
    engine.import_image(SOCKET_BUILDER, files, {}, programs)


def socket_plan(script: str = "true", size: int = 1000) -> BuildPlan:
    """Return a plan of such a build, of a key of its own.

    Args:
        script: lines of shell before the image is made.
        size: bytes of random content in the image.
    """
    plan = scripted_plan(script, {"SIZE": str(size)})
    return replace(plan, build_image=SOCKET_BUILDER)
