"""DockerSpawner with repositories."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from dockerspawner import DockerSpawner
from jupyterhub.utils import make_ssl_context, url_path_join
from traitlets import default, observe

from .engine import APIError, ImageNotFound, engine_error
from .errors import ImageError
from .images import image_gone, image_unknown
from .keys import LABEL_PREFIX, blanked
from .launching import Launch
from .mixin import COMMAND, Repo2DockerMixin
from .serverlog import ServerLog
from .waiting import server_answers, wait_until

__all__ = ["Repo2DockerSpawner"]


class Repo2DockerSpawner(Repo2DockerMixin, DockerSpawner):  # type: ignore[misc]
    """DockerSpawner that also starts what a repository holds, built by repo2docker."""

    # whether an administrator has chosen the command; else a default image keeps its own
    _command_chosen = True
    _server_log: ServerLog | None = None

    @default("cmd")
    def _repo2docker_cmd(self) -> list[str]:
        # repo2docker's images run a plain notebook by themselves
        self._command_chosen = False
        return list(COMMAND)

    @observe("cmd")
    def _command_changed(self, _change: Any) -> None:
        self._command_chosen = True

    @default("remove")
    def _repo2docker_remove(self) -> bool:
        # else DockerSpawner starts the person's old container, whatever image it has
        # (jupyterhub/dockerspawner#423)
        return True

    def _image_choices(self) -> tuple[Mapping[str, str], bool]:
        allowed = self._get_allowed_images()
        if allowed == "*":
            return {}, True
        return dict(allowed or {}), False

    async def get_command(self) -> list[str]:
        """Return the server's command; of an image that wasn't built, its own by default."""
        command = self.cmd
        if self._built is None and not self._command_chosen:
            found = await self.docker("inspect_image", self.image)
            command = found["Config"]["Cmd"] or command
        return [*command, *self.get_args()]

    async def pull_image(self, image: str) -> None:
        """Pull an image as DockerSpawner does; what was built here is never looked for there."""
        if self._built is not None and image == self._built.name:
            return
        if self._get_allowed_images() != "*" or image != self.user_options.get("image"):
            await super().pull_image(image)
            return
        try:
            await super().pull_image(image)
            # in whatever way it was named, this is what the engine would start
            found = await self.docker("inspect_image", image)
        except APIError as error:
            self.log.warning("The image %s can't be had: %s", image, error)
            raise image_unknown(image) from error
        if not self._shared().images.may_use(found["Config"]["Labels"], self._reader):
            raise image_unknown(image)

    def docker(self, method: str, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """Call the engine as DockerSpawner does, but create a server without labels of ours.

        Here, because nothing comes after it: whatever labels an administrator has set are there,
        and what they were templates for is filled in.
        """
        if method == "create_container":
            return self._create_container(*args, **kwargs)
        called: Awaitable[Any] = super().docker(method, *args, **kwargs)
        return called

    async def _create_container(self, *args: Any, **kwargs: Any) -> Any:
        # any image may be one of ours or be made from one, also the administrator's
        found = await super().docker("inspect_image", kwargs["image"])
        if ours := blanked(found["Config"].get("Labels")):
            given = kwargs.get("labels") or {}
            given = given if isinstance(given, Mapping) else dict.fromkeys(given, "")
            kwargs["labels"] = {**given, **ours}
        return await super().docker("create_container", *args, **kwargs)

    async def start_object(self) -> None:
        """Start the container; of a built image, with an eye on what it prints."""
        if self._built is not None:
            self._server_log = ServerLog(self._shared().engine)
            await self._server_log.opened(self.container_id)
        await super().start_object()

    async def _start_server(self, launch: Launch) -> Any:
        if not self.remove:
            await self._remove_container_of_another_image()
        try:
            try:
                started = await super()._start_server(launch)
            except Exception as error:
                # its container is gone before the engine was asked for its address
                if self._server_log is not None and await self._server_log.has_ended():
                    raise self._server_died() from error
                if self._built is not None and isinstance(error, ImageNotFound):
                    raise image_gone() from error
                if self._built is not None and isinstance(error, APIError):
                    raise engine_error(error) from error
                raise
            if self._server_log is not None:
                await self._wait_until_up(started, self._server_log)
        except asyncio.CancelledError:
            # the engine may still be creating it; one thread, so this comes after that
            self._take_back_container()
            raise
        finally:
            if self._server_log is not None:
                self._server_log.close()
                self._server_log = None
        return started

    def _take_back_container(self) -> None:
        """End soon what a cancelled start may have begun; what is to be kept stays, stopped."""
        name = self.object_name
        if self.remove:
            self.executor.submit(self._docker, "remove_container", name, v=True, force=True)
        else:
            self.executor.submit(self._docker, "stop", name, timeout=1)

    async def _wait_until_up(self, started: Any, server_log: ServerLog) -> None:
        """Hold the start until the server answers, so that its death is told with its reason.

        Raises:
            ImageError: it has ended, or does not answer within `http_timeout` seconds.
        """
        url, ssl_context = self._server_url(started)
        answered = server_answers(url, ssl_context)
        if await wait_until(answered, server_log.ended, self.http_timeout):
            return
        if server_log.ended.is_set():
            raise self._server_died()
        raise ImageError(
            f"The server was started, but did not answer within {self.http_timeout} seconds "
            "(http_timeout). The lines below are the last that it printed.",
            reason="server_silent",
            lines=server_log.lines,
        )

    def _server_url(self, started: Any) -> tuple[str, Any]:
        """Return the URL that JupyterHub itself is going to ask, and its TLS settings."""
        settings = self.user.settings
        tls = None
        if isinstance(started, str):
            where = started
        else:
            ip, port = started
            scheme = "https" if settings.get("internal_ssl") else "http"
            where = f"{scheme}://{f'[{ip}]' if ':' in ip else ip}:{port}"
        if where.startswith("https:"):
            tls = make_ssl_context(
                settings.get("internal_ssl_key"),
                settings.get("internal_ssl_cert"),
                cafile=settings.get("internal_ssl_ca"),
            )
        return url_path_join(where, self.server.base_url, "api"), tls

    def _server_died(self) -> ImageError:
        lines = self._server_log.lines if self._server_log is not None else []
        return ImageError(
            "The server ended while it was starting. The lines below are the last that it "
            "printed; correct the repository and start again.",
            reason="server_died",
            lines=lines,
        )

    async def _remove_container_of_another_image(self) -> None:
        """Keep DockerSpawner from starting an old container that is not what was asked for."""
        found = await self.get_object()
        if found is None:
            return
        if self._built is not None:
            stale = found["Image"] != self._built.id
        else:
            stale = LABEL_PREFIX + "key" in (found["Config"]["Labels"] or {})
        if stale:
            await self.stop_object()
            await self.remove_object()
