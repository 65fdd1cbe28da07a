"""The types of the fixtures that make something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from testbed.gitserver import Content
from testbed.hub import HubProcess
from testbed.hubclient import HubClient
from testbed.recipes import Repository

__all__ = ["LogIn", "MakeHub", "MakeRepo"]

MakeHub = Callable[..., HubProcess]
"""``make_hub(config="", **arguments of HubProcess)`` starts a hub that ends with the module."""

LogIn = Callable[..., HubClient]
"""``log_in(username=None, hub=None)`` is the browser of a person, logged in."""


class MakeRepo(Protocol):
    """``make_repo(files, *lines of the usual Dockerfile)``: nobody has built it yet."""

    def __call__(
        self, files: Mapping[str, Content] | None = None, *lines: str, name: str = ""
    ) -> Repository: ...
