"""What every spawner of ours does: from what a person asked for to an image that is there."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import sqlalchemy

from .builds.limits import Limits
from .builds.plan import BuildPlan
from .credentials import Access
from .dangers import warn_once
from .errors import ImageError, Repo2DockerError
from .form import FormMixin
from .hubcompat import HubLinks, LaunchFailed, hub_links
from .images import Image
from .keys import short
from .launch import LaunchRequest, launch_request
from .launching import Launch, LaunchTarget
from .planning import build_plan
from .reach import Reach
from .repohook import ask_hook
from .repos import RepoSpec
from .resolve import Resolved, resolve
from .shared import Shared, shared
from .traits import START_MARGIN

__all__ = ["COMMAND", "Repo2DockerMixin"]

COMMAND = ["jupyterhub-singleuser"]
"""What a server is started with; repo2docker's images run a plain notebook by themselves."""

_RESOLVE_TIMEOUT = 30.0


class Repo2DockerMixin(FormMixin):
    """Adds repositories to a spawner that starts what its ``image`` names.

    `start` makes the image of the repository that was asked for, or finds it, sets ``image`` and
    lets the spawner beneath start it. With no repository asked for, all is as it is there.
    """

    # what the spawner beneath has
    user: Any
    user_options: Any
    image: str
    log: Any
    server: Any
    orm_spawner: Any
    start_timeout: int
    http_timeout: int
    _log_name: str

    _launch: Launch | None = None
    _built: Image | None = None
    _spec: RepoSpec | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.check_timeouts()
        if self.user is not None:
            warn_once(type(self))

    # -- start -----------------------------------------------------------------------------

    async def start(self) -> Any:
        """Start the server, making the image of the repository first where one is asked for.

        Raises:
            SpawnException: what the person is told; an error of theirs, not JupyterHub's.
        """
        launch = self._launch = Launch()
        self._use_typed()
        self._restore_image()
        before = self.image
        try:
            await self._prepare(launch)
            started = await self._start_server(launch)
            for spawner in (self, self.user.spawner) if self.user is not None else (self,):
                spawner._entered = None  # noqa: SLF001 - it is one of us
        except asyncio.CancelledError:
            if launch.elapsed < self.start_timeout:
                # else JupyterHub has given up by itself, and says so
                launch.cancelled()
            self._on_cancelled()
            raise
        except Repo2DockerError as error:
            self._enter(self.user_options or {}, error)
            told = self._told(error)
            launch.failed(told)
            lines = "".join(f"\n  | {line}" for line in error.lines)
            self.log.warning(
                "Not starting %s (%s): %s%s", self._log_name, error.reason, error.message, lines
            )
            raise LaunchFailed(told, change=self._change_link, launch=launch) from error
        else:
            return started
        finally:
            if self.image != before:
                self._image_before, self._image_set = before, self.image
            self._forget_typed()
            launch.close()

    async def _start_server(self, launch: Launch) -> Any:
        if self._built is None:
            launch.starting("Starting your server.")
        else:
            launch.starting(f"Starting your server from {self.image}.")
        return await super().start()  # type: ignore[misc]

    def _restore_image(self) -> None:
        """Take back what an earlier launch has chosen; what others have set since then stays."""
        self._take_back_profile()
        if self._image_set is not None and self.image == self._image_set:
            self.image = self._image_before or self.image
        self._image_set = self._image_before = None
        self._built = None
        self._spec = None

    async def _prepare(self, launch: Launch) -> None:
        """Make sure of the image that the options ask for, and set it."""
        self._check_options()
        request = launch_request(self.user_options or {}, self._rules)
        self._apply_profile(request.profile)
        if request.repo is not None:
            # the form may not have known them all (overrides.py), and REST passes it by
            self._policy.check(request.repo)
        if request.environment:
            await self._prepare_environment(request, launch)
        if request.repo is None:
            return
        limit = self._preparing_limit
        try:
            image, spec = await asyncio.wait_for(self._image_of(request.repo, launch), limit)
        except asyncio.TimeoutError as error:
            message = (
                f"Your server was not ready to start within {limit / 60:.0f} minutes, building "
                "and waiting in line together (start_timeout). Start again: what is built by "
                "then is used at once."
            )
            raise ImageError(message, reason="start_timeout", status=504) from error
        self._built, self._spec = image, spec
        self.image = image.name

    async def _prepare_environment(self, request: LaunchRequest, launch: Launch) -> None:
        """Set the image of a ready environment; nothing is ever built here."""
        listed, _ = self._image_choices()
        if request.environment in listed:
            self.image = listed[request.environment]
            return
        found = await self._environment(request.environment)
        resolved = Resolved(found.spec, found.commit)
        await self._permit(resolved, launch)
        launch.resolved(
            f"Found the environment {found.name}, which is ready.", LaunchTarget.of(resolved)
        )
        await self._shared().images.check_startable(found.image, self._server_command())
        self._built = found.image
        self._spec = replace(found.spec, path=request.path, urlpath=request.urlpath)
        self.image = found.image.name
        self._shared().images.note_use(found.key, found.image)

    @property
    def _preparing_limit(self) -> float:
        """Seconds until the image has to be there."""
        # always before JupyterHub's own limit, which has no words for it; a hook may have set
        # that to anything
        margin = max(START_MARGIN, self.http_timeout + 30)
        return max(self.start_timeout - margin, 0.5 * self.start_timeout)

    async def _permit(self, resolved: Resolved, launch: Launch) -> None:
        """Pass if this may be built, and started where it is ready.

        Raises:
            PolicyError: it may not.
        """
        leads_to = resolved.content_id if resolved.spec.url.startswith("10.") else ""
        self._policy.check(resolved.spec, leads_to)
        if self.repo_hook is not None:
            # said before the launch's own limit ends it, which doesn't know what took so long
            seconds = 0.9 * max(self._preparing_limit - launch.elapsed, 0)
            await ask_hook(self.repo_hook, self, resolved, seconds)

    async def _image_of(self, asked: RepoSpec, launch: Launch) -> tuple[Image, RepoSpec]:
        launch.target = LaunchTarget(asked.name, asked.ref_label, subdir=asked.subdir)
        launch.say(f"Looking up {asked.name}…", "waiting")
        resolved, access = await self._resolve(asked)
        await self._permit(resolved, launch)
        if resolved.note:
            launch.say(resolved.note, "waiting")
        plan = build_plan(self, resolved, access, self._secret)
        launch.resolved(f"Found {plan.title}.", LaunchTarget.of(resolved))
        here = self._shared()
        image = await here.images.find(plan.key, plan.image)
        if image is None:
            image = await self._build(here, plan, launch)
        launch.built("The image is ready.")
        await here.images.check_startable(image, self._server_command())
        here.images.note_use(plan.key, image)
        return image, resolved.spec

    async def _ask(self, spec: RepoSpec, access: Access) -> Resolved:
        return await resolve(
            spec,
            timeout=_RESOLVE_TIMEOUT,
            allowed_schemes=self._rules.allowed_schemes,
            reach=Reach(self.allowed_networks) if self.block_private_networks else None,
            credential=access.credentials[0] if access.credentials else None,
        )

    async def _build(self, here: Shared, plan: BuildPlan, launch: Launch) -> Image:
        if not here.pool.has(plan.key):
            await here.disk.check_reserve(self.build_disk_reserve)
        build = here.pool.join(plan, self.user.name, self._limits)
        self.log.info("Building %s (%s) for %s", plan.title, short(plan.key), self._log_name)
        launch.rest = here.reader.of(build)
        try:
            launch.takes(await here.durations.about(plan), build.seconds)
            async for event in build.follow():
                launch.forward(event)
            name = await build.result()
        finally:
            here.pool.leave(build)
        image = await here.images.find(plan.key, name)
        if image is None:
            message = "The image was removed right after it was built. Start again."
            raise ImageError(message, reason="image_missing", status=503)
        return image

    @property
    def _limits(self) -> Limits:
        groups = {group.name for group in self.user.groups}
        limited = self.builds_per_group_limit
        return Limits(
            per_user=self.builds_per_user_limit,
            per_group={name: limited[name] for name in limited if name in groups},
            in_line=self.builds_queue_limit,
        )

    def _shared(self) -> Shared:
        return shared(
            client_kwargs=getattr(self, "client_kwargs", {}),
            tls_config=getattr(self, "tls_config", {}),
            limit=self.concurrent_builds_limit,
            log_file=self.build_log_file,
            secret=self._secret,
            build_docker_host=self.build_docker_host,
            build_tls_config=self.build_tls_config,
        )

    @property
    def _secret(self) -> bytes:
        """The hub's secret that build keys and proofs are made with."""
        if self.image_secret:
            return self.image_secret.encode()
        cookie_secret = self.user.settings.get("cookie_secret", b"") if self.user else b""
        return hmac.digest(cookie_secret, b"repo2dockerspawner images", "sha256")

    def _server_command(self) -> list[str]:
        return list(getattr(self, "cmd", None) or COMMAND)

    def _on_cancelled(self) -> None:
        """Only signal, never wait: more than a second here leaves JupyterHub a zombie.

        While JupyterHub waits that second, it would report the server as ready, because the
        server's row is there (apihandlers/users.py, ``delete``); so the row goes at once.
        """
        if self.user is None or self.orm_spawner is None:
            return
        try:
            self.server = None
            sqlalchemy.inspect(self.orm_spawner).session.commit()
        except Exception:  # or it would take the place of the cancellation
            self.log.exception("The server's row of %s can't be removed", self._log_name)

    def look_after_builds(self) -> None:
        """Begin to sweep what has had its time, unless this process does so already."""
        self._shared()

    async def poll(self) -> Any:
        """Ask the spawner beneath; JupyterHub does so at its start for whatever was under way.

        That is when builds that a killed hub has left are taken care of, where `configure` has
        not seen to that already.
        """
        try:
            self.look_after_builds()
        except Exception:  # builds' trouble is no reason to give up a running server
            self.log.exception("Builds can't be looked after")
        return await super().poll()  # type: ignore[misc]

    # -- what is opened --------------------------------------------------------------------

    def get_env(self) -> dict[str, str]:
        """Return the server's environment, with what to open first where that was asked for."""
        env: dict[str, str] = super().get_env()  # type: ignore[misc]
        if self._spec is not None:
            opened = _opened(self._spec)
            if opened:
                # not by the trait default_url, which would go through str.format
                env["JUPYTERHUB_DEFAULT_URL"] = opened
        return env

    # -- progress --------------------------------------------------------------------------

    def clear_state(self) -> None:
        """Forget the launch; JupyterHub calls this before each start and after each stop."""
        super().clear_state()  # type: ignore[misc]
        self._take_back_profile()
        self._launch = None

    @property
    def launch(self) -> Launch | None:
        """The launch that is under way or was the last one; for our templates."""
        return self._launch

    @property
    def launch_links(self) -> HubLinks:
        """Where this server is started, changed and ended; for our templates."""
        return hub_links(self, self.launch_entries, private=self._unfold_private)

    @property
    def launch_entries(self) -> dict[str, str]:
        """What was asked for, as the form's fields; a POST of them starts the same again."""
        options = self.user_options
        if not isinstance(options, Mapping):
            return {}
        return {name: text for name, text in options.items() if isinstance(text, str)}

    @property
    def _change_link(self) -> str:
        if self.user is None or self.hub is None:
            return ""
        return self.launch_links.change

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the launch's events, for each page that asks all of them from the first on."""
        while self._launch is None:  # noqa: ASYNC110 - JupyterHub's hooks come before start()
            await asyncio.sleep(0.05)
        async for event in self._launch.progress():
            yield event


def _opened(spec: RepoSpec) -> str:
    """Return the URL, below the server's own, that is opened first; ``""`` for its default."""
    if spec.urlpath:
        return "/" + spec.urlpath.lstrip("/")
    path = spec.path
    if spec.subdir:
        # the folder is what is built, so the server doesn't see what is beside it
        path = path.removeprefix(spec.subdir + "/") if path != spec.subdir else ""
    return "/lab/tree/" + quote(path) if path else ""
