"""A Docker engine, called without ever blocking the event loop.

Short calls run on a few threads of their own: not on DockerSpawner's single thread, where one
slow call holds up every user's poll, and not on the build pool, where a full pool would hold up
those whose image is ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.utils import kwargs_from_env

from .errors import EngineError

__all__ = ["APIError", "Engine", "ImageNotFound", "NotFound", "engine_error", "split_image"]

T = TypeVar("T")

_DEFAULT_SOCKET = "/var/run/docker.sock"


def engine_error(error: Exception, name: str = "The Docker engine") -> EngineError:
    """Put what docker-py or requests raised into one sentence; ``name`` begins it."""
    if isinstance(error, APIError):
        said = " ".join(str(error.explanation or error).split()).rstrip(".")
        return EngineError(
            f"{name} refused: {said[:300]}. An administrator of this hub has to look.",
            reason="engine_refused",
        )
    if isinstance(error, requests.exceptions.Timeout):
        return EngineError(
            f"{name} did not answer in time. Try again in a minute; if it stays so, tell an "
            "administrator of this hub.",
            reason="engine_timeout",
        )
    return EngineError(
        f"{name} can't be reached. Try again in a minute; if it stays so, tell an administrator "
        "of this hub."
    )


def split_image(image: str) -> tuple[str, str]:
    """Split an image's name into repository and tag, as a pull wants them.

    A digest goes with the repository; without tag or digest the tag is ``latest``.
    """
    if "@" in image:
        return image, ""
    last = image.rsplit("/", 1)[-1]
    if ":" in last:
        repository, _, tag = image.rpartition(":")
        return repository, tag
    return image, "latest"


class Engine:
    """One Docker engine.

    Args:
        client_kwargs: what `docker.APIClient` is made with, beyond the environment's
            ``DOCKER_HOST`` and the like (DockerSpawner's ``client_kwargs``).
        tls_config: DockerSpawner's ``tls_config``.
        name: what sentences about it begin with.
        by_environment: whether the environment's ``DOCKER_HOST`` and the like count.
        call_timeout: seconds that one call may take.
        threads: calls that may run at once.
    """

    def __init__(
        self,
        client_kwargs: Mapping[str, Any] | None = None,
        tls_config: Mapping[str, Any] | None = None,
        *,
        name: str = "The Docker engine",
        by_environment: bool = True,
        call_timeout: float = 60,
        threads: int = 8,
    ) -> None:
        self.name = name
        kwargs: dict[str, Any] = {"version": "auto", "timeout": call_timeout}
        if tls_config:
            kwargs["tls"] = docker.tls.TLSConfig(**tls_config)
        if by_environment:
            kwargs.update(kwargs_from_env())
        kwargs.update(client_kwargs or {})
        self._kwargs = kwargs
        self._client: docker.APIClient | None = None
        # held while the client is made, so that the first threads don't each make one
        self._making = threading.Lock()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="r2d-call")

    @property
    def client(self) -> docker.APIClient:
        """The client, made at its first use.

        To be used from a thread: making it asks the engine for its version.

        Raises:
            EngineError: no engine answers.
        """
        with self._making:
            if self._client is None:
                self._client = self._made(self._kwargs)
            return self._client

    def patient_client(self, seconds: float) -> docker.APIClient:
        """Return a client of one's own, for calls that may be silent for so long; to be closed.

        Raises:
            EngineError: no engine answers.
        """
        return self._made({**self._kwargs, "timeout": seconds})

    def _made(self, kwargs: dict[str, Any]) -> docker.APIClient:
        try:
            return docker.APIClient(**kwargs)
        except (DockerException, requests.exceptions.RequestException) as error:
            raise engine_error(error, self.name) from error

    @property
    def socket(self) -> str:
        """Path of the engine's socket on the engine's own machine, for the build container."""
        return self._local or _DEFAULT_SOCKET

    @property
    def is_here(self) -> bool:
        """Whether the engine runs on this machine, as far as its address tells."""
        return self._local is not None

    @property
    def _local(self) -> str | None:
        host = str(self._kwargs.get("base_url") or os.environ.get("DOCKER_HOST", ""))
        for scheme in ("unix://", "http+unix://"):
            if host.startswith(scheme):
                return "/" + host.removeprefix(scheme).lstrip("/")
        return None if host else _DEFAULT_SOCKET

    async def call(self, function: Callable[[docker.APIClient], T]) -> T:
        """Run ``function(client)`` on a thread and return what it returns.

        Raises:
            NotFound: what was asked for isn't there; for the caller to judge.
            EngineError: the engine can't be reached or refuses.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._guarded, function)

    def submit(self, function: Callable[[docker.APIClient], object]) -> None:
        """Run ``function(client)`` on a thread of its own and forget it.

        For what must not be waited for: it takes no place from the short calls, and the process
        ends without it.
        """

        def run() -> None:
            with contextlib.suppress(EngineError, NotFound):
                self._guarded(function)

        threading.Thread(target=run, name="r2d-aside", daemon=True).start()

    def _guarded(self, function: Callable[[docker.APIClient], T]) -> T:
        try:
            return function(self.client)
        except NotFound:
            raise
        except (DockerException, requests.exceptions.RequestException) as error:
            raise engine_error(error, self.name) from error

    def close(self) -> None:
        """Let the threads end; nothing new is taken."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()
