"""The spawner: from what a person asked for to a running server, by way of the other rooms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

import sqlalchemy
from dockerspawner import DockerSpawner
from jupyterhub.utils import make_ssl_context, url_path_join
from traitlets import default, observe

from .builds.plan import BuildPlan
from .errors import ImageError, LaunchError, Repo2DockerError
from .hubcompat import ConfirmLaunch, LaunchFailed
from .images import Image
from .keys import LABEL_PREFIX, BuildInputs, build_key, container_name, image_name, labels, short
from .launch import FIELDS, LaunchRules, launch_request, options_from_fields, render
from .launching import Launch
from .repos import RepoSpec
from .resolve import Resolved, resolve
from .serverlog import ServerLog
from .shared import Shared, shared
from .traits import START_MARGIN, BuildTraits
from .waiting import server_answers, wait_until

__all__ = ["Repo2DockerMixin", "Repo2DockerSpawner"]

_RESOLVE_TIMEOUT = 30.0
_COMMAND = ["jupyterhub-singleuser"]


class Repo2DockerMixin(BuildTraits):
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
    _log_name: str

    _launch: Launch | None = None
    #: What the page is filled in with: the last entries that did not lead to a server.
    _entries: Mapping[str, str] | None = None
    #: What a launch has set as ``image``, and what was there before.
    _image_set: str | None = None
    _image_before: str | None = None
    _built: Image | None = None
    _spec: RepoSpec | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.check_timeouts()

    @property
    def _rules(self) -> LaunchRules:
        return LaunchRules(tuple(self.allowed_schemes), tuple(self.content_providers))

    # -- the options form ------------------------------------------------------------------

    # The methods of defaults have names of their own, so that DockerSpawner's stay callable.

    @default("options_form")
    def _repo2docker_options_form(self) -> Any:
        # every page of the hub evaluates this trait (page.html), so it must cost nothing
        return lambda spawner: spawner._render_options_form()  # noqa: SLF001 - it is one of us

    def _render_options_form(self) -> str:
        entries = dict.fromkeys(FIELDS, "")
        entries.update(self._entries or {})
        self._entries = None
        choices, any_image = self._image_choices()
        return render("options_form.html", entries=entries, choices=choices, any_image=any_image)

    def _image_choices(self) -> tuple[list[str], bool]:
        """Return the ready images one may choose, and whether any image may be named."""
        return [], False

    @default("options_from_form")
    def _repo2docker_options_from_form(self) -> Any:
        return self._options_from_form

    def _options_from_form(self, formdata: Mapping[str, Sequence[Any]]) -> dict[str, str]:
        """Return the form's entries as `user_options`.

        Raises:
            LaunchFailed: they are wrong; JupyterHub shows the form again with the sentence.
        """
        options = options_from_fields(formdata)
        self._entries = options
        if self.user is not None:
            # after an error JupyterHub shows the default server's form, whichever it was for
            self.user.spawner._entries = options  # noqa: SLF001 - it is one of us
        try:
            launch_request(options, self._rules)
        except LaunchError as error:
            raise LaunchFailed(error) from error
        return options

    def options_from_query(self, query_data: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Fill in the form from a link: a GET never builds and never starts.

        Raises:
            ConfirmLaunch: always; it makes JupyterHub show the form.
        """
        self._entries = options_from_fields(query_data)
        raise ConfirmLaunch

    @default("apply_user_options")
    def _repo2docker_apply_user_options(self) -> Any:
        # the options are checked in start(), which JupyterHub 5.2 and REST pass through too;
        # without this JupyterHub warns of unhandled options at every start
        return _leave_to_start

    # -- start -----------------------------------------------------------------------------

    async def start(self) -> Any:
        """Start the server, making the image of the repository first where one is asked for.

        Raises:
            SpawnException: what the person is told; an error of theirs, not JupyterHub's.
        """
        launch = self._launch = Launch()
        try:
            self._restore_image()
            before = self.image
            await self._prepare(launch)
            started = await self._start_server(launch)
            if self.image != before:
                self._image_before, self._image_set = before, self.image
            self._entries = None
        except asyncio.CancelledError:
            self._on_cancelled()
            raise
        except Repo2DockerError as error:
            launch.say(error.message, "failed")
            self.log.warning("Not starting %s: %s", self._log_name, error.message)
            raise LaunchFailed(error) from error
        else:
            return started
        finally:
            launch.close()

    async def _start_server(self, launch: Launch) -> Any:
        if self._built is None:
            launch.starting("Starting your server.")
        else:
            launch.starting(f"Starting your server from {self.image}.")
        return await super().start()  # type: ignore[misc]

    def _restore_image(self) -> None:
        """Take back what an earlier launch has chosen; what others have set since then stays."""
        if self._image_set is not None and self.image == self._image_set:
            self.image = self._image_before or self.image
        self._image_set = self._image_before = None
        self._built = None
        self._spec = None

    async def _prepare(self, launch: Launch) -> None:
        """Make sure of the image that the options ask for, and set it."""
        request = launch_request(self.user_options or {}, self._rules)
        if request.repo is None:
            return
        limit = self.start_timeout - START_MARGIN
        try:
            image, spec = await asyncio.wait_for(self._image_of(request.repo, launch), limit)
        except asyncio.TimeoutError as error:
            message = (
                f"Your server was not ready to start within {limit / 60:.0f} minutes "
                "(start_timeout), most of it waiting in line. Start again: what is built by "
                "then is used at once."
            )
            raise ImageError(message, reason="start_timeout", status=504) from error
        self._built, self._spec = image, spec
        self.image = image.name

    async def _image_of(self, asked: RepoSpec, launch: Launch) -> tuple[Image, RepoSpec]:
        launch.say(f"Looking up {asked.name}…", "fetching")
        resolved = await resolve(
            asked, timeout=_RESOLVE_TIMEOUT, allowed_schemes=self._rules.allowed_schemes
        )
        if resolved.note:
            launch.say(resolved.note, "fetching")
        plan = self._plan(resolved)
        launch.resolved(f"{plan.title} is what you get.")
        here = self._shared()
        image = await here.images.find(plan.key, plan.image)
        if image is None:
            image = await self._build(here, plan, launch)
        launch.built("The image is ready.")
        await here.images.check_startable(image, self._server_command())
        return image, resolved.spec

    async def _build(self, here: Shared, plan: BuildPlan, launch: Launch) -> Image:
        build = here.pool.join(plan, self.user.name)
        self.log.info("Building %s (%s) for %s", plan.title, short(plan.key), self._log_name)
        try:
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

    def _shared(self) -> Shared:
        return shared(
            client_kwargs=getattr(self, "client_kwargs", {}),
            tls_config=getattr(self, "tls_config", {}),
            limit=self.concurrent_builds_limit,
            log_file=self.build_log_file,
        )

    def _plan(self, resolved: Resolved) -> BuildPlan:
        spec = resolved.spec
        inputs = BuildInputs(
            provider=spec.provider,
            identity=spec.identity,
            content_id=_identity_of_content(resolved),
            subdir=spec.subdir,
            build_image=self.build_image,
            build_args=tuple(self.build_args.items()),
            extra_args=tuple(self.build_extra_args),
            clone_depth=self.clone_depth,
        )
        key = build_key(inputs)
        at = resolved.content_id[:7] if spec.provider == "git" else resolved.content_id
        return BuildPlan(
            key=key,
            container=container_name(key),
            image=image_name(key, spec.name, prefix=self.image_name_prefix),
            labels=labels(
                key,
                repo=spec.url,
                ref=spec.ref,
                commit=resolved.content_id,
                subdir=spec.subdir,
                name=spec.name,
            ),
            provider=spec.provider,
            url=spec.url,
            content_id=resolved.content_id if spec.provider == "git" else "",
            subdir=spec.subdir,
            build_image=self.build_image,
            build_args=dict(self.build_args),
            environment=dict(self.build_environment),
            network=self.build_network,
            extra_args=tuple(self.build_extra_args),
            clone_depth=self.clone_depth,
            protocols=tuple(self.allowed_schemes),
            providers=tuple(self.content_providers),
            timeout=self.build_timeout,
            title=f"{spec.name} at {at}" + (f", folder {spec.subdir}" if spec.subdir else ""),
        )

    def _server_command(self) -> list[str]:
        return list(getattr(self, "cmd", None) or _COMMAND)

    def _on_cancelled(self) -> None:
        """Only signal, never wait: more than a second here leaves JupyterHub a zombie.

        While JupyterHub waits that second, it would report the server as ready, because the
        server's row is there (apihandlers/users.py, ``delete``); so the row goes at once.
        """
        if self.user is None or self.orm_spawner is None:
            return
        self.server = None
        sqlalchemy.inspect(self.orm_spawner).session.commit()

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
        self._launch = None

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the launch's events, for each page that asks all of them from the first on."""
        while self._launch is None:  # noqa: ASYNC110 - JupyterHub's hooks come before start()
            await asyncio.sleep(0.05)
        async for event in self._launch.progress():
            yield event


class Repo2DockerSpawner(Repo2DockerMixin, DockerSpawner):  # type: ignore[misc]
    """DockerSpawner that also starts what a repository holds, built by repo2docker."""

    # whether an administrator has chosen the command; else a default image keeps its own
    _command_chosen = True
    _server_log: ServerLog | None = None

    @default("cmd")
    def _repo2docker_cmd(self) -> list[str]:
        # repo2docker's images run a plain notebook by themselves
        self._command_chosen = False
        return list(_COMMAND)

    @observe("cmd")
    def _command_changed(self, _change: Any) -> None:
        self._command_chosen = True

    @default("remove")
    def _repo2docker_remove(self) -> bool:
        # else DockerSpawner starts the person's old container, whatever image it has
        # (jupyterhub/dockerspawner#423)
        return True

    def _image_choices(self) -> tuple[list[str], bool]:
        allowed = self._get_allowed_images()
        if allowed == "*":
            return [], True
        return list(allowed), False

    async def get_command(self) -> list[str]:
        """Return the server's command; of an image that wasn't built, its own by default."""
        command = self.cmd
        if self._built is None and not self._command_chosen:
            found = await self.docker("inspect_image", self.image)
            command = found["Config"]["Cmd"] or command
        return [*command, *self.get_args()]

    async def pull_image(self, image: str) -> None:
        """Pull an image as DockerSpawner does; what was built here is never looked for there."""
        if self._built is None or image != self._built.name:
            await super().pull_image(image)

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
                raise
            if self._server_log is not None:
                await self._wait_until_up(started, self._server_log)
        except asyncio.CancelledError:
            # the engine may still be creating it; one thread, so this comes after that
            self.executor.submit(self._docker, "remove_container", self.object_name, force=True)
            raise
        finally:
            if self._server_log is not None:
                self._server_log.close()
                self._server_log = None
        return started

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


def _leave_to_start(_spawner: Any, _options: Any) -> None:
    """See `Repo2DockerMixin._repo2docker_apply_user_options`."""


def _identity_of_content(resolved: Resolved) -> str:
    """Return what stands for the content in the build key.

    Where the source tells no version that we could check, a key is good for a day (UTC), so that
    nobody is kept on an old image for ever.
    """
    content_id: str = resolved.content_id
    if resolved.exact:
        return content_id
    return f"{content_id} on {datetime.now(timezone.utc):%Y-%m-%d}"


def _opened(spec: RepoSpec) -> str:
    """Return the URL, below the server's own, that is opened first; ``""`` for its default."""
    if spec.urlpath:
        return "/" + spec.urlpath.lstrip("/")
    path = spec.path
    if spec.subdir:
        # the folder is what is built, so the server doesn't see what is beside it
        path = path.removeprefix(spec.subdir + "/") if path != spec.subdir else ""
    return "/lab/tree/" + quote(path) if path else ""
