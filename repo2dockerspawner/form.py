"""The spawner's part of the spawn page: what is filled in, shown, refused and remembered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jupyterhub.utils import url_path_join
from traitlets import default

from .errors import EngineError, LaunchError, Repo2DockerError
from .formview import (
    FormView,
    default_choice,
    environment_choice,
    link_summary,
    listed_choices,
)
from .hubcompat import EDIT, PRIVATE, ConfirmLaunch, LaunchFailed
from .images import Environment, choose_environment
from .launch import (
    FIELDS,
    LaunchRequest,
    LaunchRules,
    launch_request,
    options_from_fields,
    starts_directly,
)
from .overrides import UNKNOWN, overridden
from .policy import Policy
from .private import PrivateMixin
from .profiles import Profile, Settings, profiles_of, read_profiles
from .typed import without_secrets

if TYPE_CHECKING:
    from .shared import Shared

__all__ = ["Entered", "FormMixin"]

CATALOGUE_SECONDS = 2.0
"""How long the page waits for the engine's list of images."""

# JupyterHub shows the default server's form after an error of a named one, within this time.
_OTHERS_SECONDS = 5.0


@dataclass
class Entered:
    """What the page is filled in with the next time it is shown, once.

    Attributes:
        options: field → entry.
        owner: the spawner that it was entered for.
        error: field and sentence, where it was refused.
        by_link: whether a launch link has filled it in.
        username: what was typed for a private repository; its token is not kept.
        retype: whether a token was typed, so that it has to be typed again.
        private: whether the part for a private repository is unfolded.
        shown: whether it has been shown.
    """

    options: Mapping[str, str]
    owner: object
    error: tuple[str, str] | None = None
    by_link: bool = False
    username: str = ""
    retype: bool = False
    private: bool = False
    shown: bool = False
    at: float = field(default_factory=monotonic)


class FormMixin(PrivateMixin):
    """The options form and what becomes of it; a part of `Repo2DockerMixin`."""

    # what the spawner beneath has
    user: Any
    hub: Any
    image: str
    log: Any

    if TYPE_CHECKING:

        def _shared(self) -> Shared: ...

    _entered: Entered | None = None
    #: What a launch has set as ``image``, and what was there before.
    _image_set: str | None = None
    _image_before: str | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._by_profile = Settings()
        super().__init__(*args, **kwargs)

    @property
    def _rules(self) -> LaunchRules:
        return LaunchRules(
            tuple(self.allowed_schemes),
            tuple(self.content_providers),
            self._own_profiles(),
            self._known_policy,
        )

    @property
    def _policy(self) -> Policy:
        """Which repositories may be built, in ``start()``, where all is known."""
        return Policy(tuple(self.allowed_repos), tuple(self.denied_repos))

    @property
    def _known_policy(self) -> Policy:
        """The same before that, without what only ``start()`` can tell."""
        lists = [overridden(self, name) for name in ("allowed_repos", "denied_repos")]
        return Policy(*(() if known is UNKNOWN else tuple(known) for known in lists))

    # -- profiles --------------------------------------------------------------------------

    def _own_profiles(self) -> list[Profile]:
        """Return the profiles that this server's user may choose."""
        if not self.profiles:
            return []
        return profiles_of(read_profiles(self.profiles), self._groups)

    def _apply_profile(self, profile: Profile | None) -> None:
        self._take_back_profile()
        if profile is not None:
            self._by_profile.apply(self, profile.settings)

    def _take_back_profile(self) -> None:
        self._by_profile.take_back(self)

    # -- what is shown ---------------------------------------------------------------------

    # The methods of defaults have names of their own, so that DockerSpawner's stay callable.

    @default("options_form")
    def _repo2docker_options_form(self) -> Any:
        # every page of the hub evaluates this trait (page.html), so it must cost nothing
        return _render_form

    async def _render_options_form(self) -> str:
        entered = self._take_entered()
        rules = self._rules
        listed, any_image = self._image_choices()
        environments, note = await self._known_environments()
        error, link = entered.error, None
        if entered.by_link:
            try:
                request = launch_request(entered.options, rules)
                link = link_summary(request, _named(request, listed, environments))
            except LaunchError as wrong:
                error = (wrong.field, wrong.message)
        now = time()
        return FormView(
            entries=entered.options,
            default=default_choice(
                self.default_image_name, self.default_image_text, self._default_image
            ),
            listed=listed_choices(listed),
            built=[environment_choice(one, now) for one in environments],
            note=note,
            any_image=any_image,
            profiles=rules.profiles,
            error=error,
            link=link,
            spawn_url=self._spawn_url,
            badge_url=self.badge_url,
            archives=any(name != "git" for name in rules.content_providers),
            private=self._takes_typed,
            username=entered.username,
            retype=entered.retype,
            open_private=entered.private,
        ).html()

    @property
    def _default_image(self) -> str:
        if self._image_set is not None and self.image == self._image_set:
            return self._image_before or self.image
        return self.image

    @property
    def _spawn_url(self) -> str:
        """The spawn page's address, with the host where this request tells it."""
        base = self.hub.base_url if self.hub is not None else "/hub/"
        path: str = url_path_join(base, "spawn")
        request = getattr(getattr(self, "handler", None), "request", None)
        return f"{request.protocol}://{request.host}{path}" if request is not None else path

    def _image_choices(self) -> tuple[Mapping[str, str], bool]:
        """Return the images that the administrator lists, and whether any may be named."""
        return {}, False

    async def _known_environments(self) -> tuple[list[Environment], str]:
        """Return what was built and this user may use; else nothing and a sentence."""
        if self.user is None:
            return [], ""
        listing = self._shared().images.environments(self._reader)
        try:
            known = await asyncio.wait_for(listing, CATALOGUE_SECONDS)
        except (EngineError, asyncio.TimeoutError) as error:
            self.log.warning("No list of environments for the spawn page: %r", error)
            return [], (
                "The list of the environments that were built before can't be had right now; "
                "everything else works."
            )
        policy = self._known_policy
        return [one for one in known if policy.permits(one.spec)], ""

    async def _environment(self, asked: str) -> Environment:
        """Return the ready environment that is meant.

        Raises:
            LaunchError: there is none for this user, or more than one.
        """
        known = await self._shared().images.environments(self._reader, fresh=True)
        return choose_environment(known, asked)

    # -- what is filled in -----------------------------------------------------------------

    def _enter(
        self,
        options: Mapping[str, Any],
        error: Repo2DockerError | None = None,
        *,
        by_link: bool = False,
        private: bool = False,
    ) -> None:
        """Remember what the page is to be filled in with."""
        shown, _ = without_secrets(options)
        texts = {
            name: shown[name]
            for name in FIELDS
            if isinstance(shown, Mapping) and isinstance(shown.get(name), str)
        }
        refused = (error.field, error.message) if error is not None else None
        entered = Entered(texts, self, refused, by_link, private=private)
        if self._typed is not None and error is not None:
            entered.username, entered.retype = self._typed.username, bool(self._typed.password)
        self._entered = entered
        if error is not None and self.user is not None:
            # after an error JupyterHub shows the default server's form, whichever it was for
            self.user.spawner._entered = entered  # noqa: SLF001 - it is one of us

    def _take_entered(self) -> Entered:
        entered, self._entered = self._entered, None
        if entered is None or entered.shown:
            return Entered({}, self)
        if entered.owner is not self and monotonic() - entered.at > _OTHERS_SECONDS:
            return Entered({}, self)
        entered.shown = True
        return entered

    @default("options_from_form")
    def _repo2docker_options_from_form(self) -> Any:
        return self._options_from_form

    def _options_from_form(self, formdata: Mapping[str, Sequence[Any]]) -> dict[str, str]:
        """Return the form's entries as `user_options`.

        Raises:
            LaunchFailed: they are wrong; JupyterHub shows the form again with the sentence.
        """
        options = options_from_fields(formdata)
        if options.get("environment") in self._image_choices()[0]:
            # the administrator's images are DockerSpawner's business
            options.setdefault("image", options.pop("environment"))
        self._hold_typed(formdata)
        try:
            self._check_typed(launch_request(options, self._rules))
        except LaunchError as error:
            self._enter(options, error)
            self._forget_typed()
            self.log.warning("Refused an entry on the spawn page: %s", error.message)
            _without_record(self.log)
            raise LaunchFailed(error) from error
        return options

    def options_from_query(self, query_data: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Fill in the form from a link: a GET never builds and never starts.

        Only what an administrator has named in `trusted_repos` is started at once.

        Raises:
            ConfirmLaunch: it makes JupyterHub show the form.
        """
        options = options_from_fields(query_data)
        # JupyterHub 6 has taken the prefix off
        edit = query_data.get(EDIT) or query_data.get(f"opt-{EDIT}") or []
        if self.trusted_repos and options and not edit and self._is_followed_link():
            try:
                if starts_directly(launch_request(options, self._rules), self.trusted_repos):
                    return options
            except LaunchError:
                pass  # the form says what is wrong
        # a stranger's link asks nobody for a token
        private = PRIVATE in edit and self._is_own_link()
        self._enter(options, by_link=bool(options), private=private)
        _without_record(self.log)
        raise ConfirmLaunch

    def _is_followed_link(self) -> bool:
        """Whether a browser goes there from elsewhere, with the page and all."""
        request = getattr(getattr(self, "handler", None), "request", None)
        if request is None or self.hub is None or not _is_navigation(request.headers):
            return False
        # the hub's own pages lead there to change what was entered
        return not self._is_own_link()

    def _is_own_link(self) -> bool:
        """Whether the link was followed on one of the hub's pages, to change what was entered."""
        request = getattr(getattr(self, "handler", None), "request", None)
        if request is None or self.hub is None:
            return False
        came = urlsplit(request.headers.get("Referer", ""))
        own: str = url_path_join(self.hub.base_url, "spawn")
        return bool(came.netloc == request.host and came.path.startswith(own))

    @default("apply_user_options")
    def _repo2docker_apply_user_options(self) -> Any:
        # the options are checked in start(), which JupyterHub 5.2 and REST pass through too;
        # without this JupyterHub warns of unhandled options at every start
        return _leave_to_start


def _render_form(spawner: Any) -> Any:
    return spawner._render_options_form()  # noqa: SLF001 - it is one of us


def _leave_to_start(_spawner: Any, _options: Any) -> None:
    """See `FormMixin._repo2docker_apply_user_options`."""


def _is_navigation(headers: Mapping[str, str]) -> bool:
    """Whether the browser says that it shows the address in its window.

    An image, a frame, a script or a page fetched ahead asks for it with the person's cookies too,
    and nobody sees what it starts. A browser says so to https and to this machine only.
    """
    return (
        headers.get("Sec-Fetch-Mode") == "navigate"
        and headers.get("Sec-Fetch-Dest") == "document"
        and not {"Sec-Purpose", "Purpose"} & {name.title() for name in headers}
    )


def _named(
    request: LaunchRequest, listed: Mapping[str, str], environments: Sequence[Environment]
) -> str:
    """Return the name of the ready environment that a link asks for.

    Raises:
        LaunchError: there is no such one for this user.
    """
    asked = request.environment or request.image
    if not request.environment or asked in listed:
        return asked
    return choose_environment(environments, asked).name


class _Quiet(logging.Filter):
    """Keeps out the tracebacks that JupyterHub's spawn page logs where nothing has gone wrong.

    A link that fills in the form, and an entry that can't be used: a class that follows a link
    would fill the log. The second is logged as one line.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.exc_info[0] if record.exc_info else None
        return kind is not ConfirmLaunch and not (kind is LaunchFailed and record.module == "pages")


_QUIET = _Quiet()


def _without_record(log: Any) -> None:
    add: Callable[[logging.Filter], None] | None = getattr(
        getattr(log, "logger", log), "addFilter", None
    )
    if add is not None:
        add(_QUIET)  # the same filter again changes nothing
