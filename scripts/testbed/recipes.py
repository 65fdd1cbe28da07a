"""Repositories that repo2docker builds in a second or two, for any purpose."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from testbed.gitserver import Content, GitServer

__all__ = ["Repository", "dockerfile", "fake_server", "make_repository"]


@dataclass(frozen=True)
class Repository:
    """A repository on the test bed's git server.

    Attributes:
        name: ``owner/repo``.
        url: where to clone it from.
        commit: the tip of its default branch, 40 hex digits.
    """

    name: str
    url: str
    commit: str


def dockerfile(base: str, *lines: str) -> str:
    """A Dockerfile that puts the repository's files into jovyan's home.

    Its steps are run each time: no engine has them in its cache.

    Args:
        base: an image that has such a user, as the test bed's single-user images have.
        lines: instructions before the files are copied.
    """
    never_cached = f"ARG NEVER_CACHED={secrets.token_hex(8)}"
    copy = "COPY --chown=1000:1000 . /home/jovyan/"
    return "\n".join([f"FROM {base}", never_cached, *lines, copy, ""])


def fake_server(base: str, script: str) -> dict[str, Content]:
    """The files of a repository whose ``jupyterhub-singleuser`` is a shell script.

    Args:
        base: any image with a shell and root as its user.
        script: lines of shell.
    """
    place = "/usr/local/bin/jupyterhub-singleuser"
    lines = [f"FROM {base}", f"COPY server.sh {place}", f"RUN chmod 755 {place}", ""]
    return {"Dockerfile": "\n".join(lines), "server.sh": f"#!/bin/sh\n{script}\n"}


def make_repository(
    git: GitServer, files: Mapping[str, Content], *, name: str = "", branch: str = "main"
) -> Repository:
    """Make a repository that nobody has built yet: its address is new.

    Args:
        git: where.
        files: path to content.
        name: of the repository, below an owner that nobody else is.
        branch: the default one.
    """
    full = f"t{secrets.token_hex(4)}/{name or 'repo'}"
    commit = git.create(full, files, branch=branch)
    return Repository(full, git.url(full), commit)
