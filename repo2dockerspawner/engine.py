"""A Docker engine, called without ever blocking the event loop.

Short calls run on a few threads of their own: not on DockerSpawner's single thread, where one
slow call holds up every user's poll, and not on the build pool, where a full pool would hold up
those whose image is ready.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
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
    if (refusal := _refusal(error)) is not None:
        said = " ".join(str(refusal.explanation or refusal).split()).rstrip(".")
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
    if why := _tls_fault(error):
        return EngineError(
            f"{name} can't be reached by TLS: {why}. An administrator of this hub has to look "
            "at the certificates.",
            reason="engine_tls",
        )
    return EngineError(
        f"{name} can't be reached. Try again in a minute; if it stays so, tell an administrator "
        "of this hub."
    )


def _refusal(error: Exception) -> APIError | None:
    """Return what the engine itself has answered, None where it hasn't."""
    if isinstance(error, APIError):
        return error
    # docker-py hides it where it has asked for the engine's version, which is its first question
    found = (one for one in _causes(error) if isinstance(one, APIError) and one.is_client_error())
    return next(found, None)


def _tls_fault(error: Exception) -> str:
    """Return why the two sides don't trust each other, ``""`` where it is nothing of the kind."""
    for one in _causes(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted here ({one.verify_message.rstrip('.')})"
        # that the other side has just hung up says nothing
        if isinstance(one, ssl.SSLError) and not isinstance(one, ssl.SSLEOFError) and one.reason:
            said = one.reason.replace("_", " ").lower()
            if "alert" in said and ("certificate" in said or "unknown ca" in said):
                return f"it wants a certificate that it trusts ({said})"
            return said
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it came of; requests and urllib3 also have them as values."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        values = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        waiting += [value for value in values if isinstance(value, BaseException)]


class _Client(docker.APIClient):
    """docker-py's client, with two faults mended that it has where an engine is not a socket."""

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        # requests would rather trust whom REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names, for the web,
        # than the authority that this engine is known by
        verify = self.verify if verify is None else verify
        return super().merge_environment_settings(url, proxies, stream, verify, cert)

    def close(self) -> None:
        # docker-py ties a connection to its last answer, and that one knows the pool: so urllib3,
        # which ends a pool's connections when nobody knows it any more, never would
        for adapter in self.adapters.values():
            pools = getattr(getattr(adapter, "poolmanager", None), "pools", {})
            for pool in list(map(pools.get, pools.keys())):
                if pool is not None:
                    pool.close()
        super().close()


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
            return _Client(**kwargs)
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
