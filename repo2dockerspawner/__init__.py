"""Repo2DockerSpawner: paste a repository's address when your JupyterHub server starts."""

from __future__ import annotations

from ._version import __version__
from .configuring import configure
from .mixin import Repo2DockerMixin
from .spawner import Repo2DockerSpawner

__all__ = ["Repo2DockerMixin", "Repo2DockerSpawner", "__version__", "configure"]
