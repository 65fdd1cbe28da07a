"""The spawner's part of the spawn page, without a hub."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag
from traitlets.config import Config

from repo2dockerspawner import Repo2DockerSpawner, form, mixin
from repo2dockerspawner.builds.limits import Limits
from repo2dockerspawner.credentials import Reader
from repo2dockerspawner.errors import EngineError, LaunchError, PolicyError, ResolveError
from repo2dockerspawner.form import FormMixin
from repo2dockerspawner.hubcompat import ConfirmLaunch, LaunchFailed
from repo2dockerspawner.images import Environment, Image
from repo2dockerspawner.launching import Launch
from repo2dockerspawner.resolve import Resolved

KEY = "0123456789abcdef" * 4
REPO = "https://github.com/owner/repo"
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
PROFILES = [
    {"display_name": "Small", "default": True, "settings": {"mem_limit": "1G"}},
    {"display_name": "Large", "groups": ["staff"], "settings": {"mem_limit": "8G"}},
]


class FakeImages:
    """The catalogue of one image, and what is done with it."""

    def __init__(self) -> None:
        image = Image("sha256:x", "r2d-owner-repo")
        self.found = [Environment(KEY, image, "owner/repo", REPO, subdir="env", built=1.0)]
        self.error: Exception | None = None
        self.seconds = 0.0
        self.used: list[str] = []
        self.users: list[str] = []

    async def environments(self, reader: Reader, *, fresh: bool = False) -> list[Environment]:
        self.users.append(reader.user)
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return self.found

    async def check_startable(self, image: Image, command: list[str]) -> None:
        assert command == ["jupyterhub-singleuser"]

    def note_use(self, key: str, image: Image) -> None:
        assert image.name
        self.used.append(key)


class User(SimpleNamespace):
    """A user with a default server; groups by name."""

    def __init__(self, *groups: str) -> None:
        super().__init__(name="ann", groups=[SimpleNamespace(name=name) for name in groups])


def spawner(user: User | None = None, **traits: Any) -> Any:
    # the trait `user` takes a JupyterHub user only; nothing here needs one
    image = traits.pop("image", "")
    made = Repo2DockerSpawner(config=Config({"Repo2DockerSpawner": traits}))
    made._images = images = FakeImages()
    user = user or User()
    made._trait_values["user"] = user
    if not hasattr(user, "spawner"):
        user.spawner = made
    if image:
        made.image = image  # DockerSpawner then asks for the user's name
    made._shared = lambda: SimpleNamespace(images=images)
    return made


async def page(made: Any) -> BeautifulSoup:
    html = await made.options_form(made)
    return BeautifulSoup(html, "html.parser")


def value(soup: BeautifulSoup, name: str) -> str:
    found = soup.select_one(f"input[name={name}]:not([type=radio]), input[name={name}][checked]")
    return str(found["value"]) if found is not None else ""


def said(soup: BeautifulSoup, id_: str) -> str:
    found = soup.find(id=f"repo2docker-{id_}")
    return " ".join(found.get_text(" ").split()) if isinstance(found, Tag) else ""


async def test_dockerspawners_own_form_stays_callable() -> None:
    made = spawner(allowed_images=["a", "b"])
    assert "Select an image" in made._default_options_form()
    assert made._default_options_from_form()({"image": ["a"]}) == {"image": "a"}


async def test_the_page_shows_what_there_is() -> None:
    made = spawner(
        allowed_images={"Julia": "julia:1"},
        image="default:1",
        default_image_name="Python",
        profiles=PROFILES,
    )
    soup = await page(made)
    labels = [" ".join(one.get_text(" ").split()) for one in soup.select(".repo2docker-choice")]
    assert labels[:2] == ["Python default:1", "Julia julia:1"]
    assert labels[2].startswith("owner/repo github.com · folder env · built ")
    assert [one["value"] for one in soup.select("[name=profile]")] == ["small"]
    assert made._images.users == ["ann"]


async def test_the_default_image_is_named_after_a_launch_of_another_one_too() -> None:
    made = spawner(image="default:1")
    made._image_before, made._image_set, made.image = "default:1", "built", "built"
    assert "default:1" in said(await page(made), "environments")


@pytest.mark.parametrize("slow", [True, False], ids=["slow", "gone"])
async def test_without_the_engine_the_page_is_there_without_the_list(
    slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(form, "CATALOGUE_SECONDS", 0.05)
    made = spawner()
    made._images.seconds = 60 if slow else 0
    made._images.error = EngineError("It can't be reached.")
    soup = await page(made)
    assert "can't be had right now" in said(soup, "note")
    assert soup.find(id="repo2docker-repo")


async def test_a_refused_entry_comes_back_once_with_its_sentence() -> None:
    made = spawner()
    with pytest.raises(LaunchFailed):
        made.options_from_form({"repo": [REPO], "ref": ["--x"], "path": ["a"]})
    soup = await page(made)
    assert (value(soup, "repo"), value(soup, "ref"), value(soup, "path")) == (REPO, "--x", "a")
    assert "hyphen" in said(soup, "ref-error")
    soup = await page(made)
    assert (value(soup, "ref"), said(soup, "ref-error")) == ("", "")


async def test_that_of_a_named_server_comes_back_on_the_form_that_jupyterhub_shows() -> None:
    user = User()
    default, named = spawner(user), spawner(user)
    with pytest.raises(LaunchFailed):
        named.options_from_form({"repo": ["--x"]})
    assert value(await page(default), "repo") == "--x"
    # and then is done with on both
    assert value(await page(named), "repo") == ""


async def test_that_of_a_named_server_is_not_shown_for_the_default_one_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = User()
    default, named = spawner(user), spawner(user)
    named._enter({"repo": REPO}, ResolveError("There is none.", field="repo"))
    monkeypatch.setattr(form, "_OTHERS_SECONDS", -1.0)
    assert value(await page(default), "repo") == ""
    soup = await page(named)
    assert value(soup, "repo") == REPO
    assert said(soup, "repo-error") == "There is none."


async def test_a_listed_image_is_handed_to_dockerspawner() -> None:
    made = spawner(allowed_images={"Julia": "julia:1"})
    assert made.options_from_form({"environment": ["Julia"]}) == {"image": "Julia"}
    assert made.options_from_form({"environment": [KEY]}) == {"environment": KEY}


async def test_a_link_fills_in_the_form_and_says_what_it_starts() -> None:
    made = spawner(profiles=PROFILES)
    with pytest.raises(ConfirmLaunch):
        made.options_from_query({"opt-repo": [REPO], "opt-ref": ["main"]})
    soup = await page(made)
    assert value(soup, "repo") == REPO
    assert said(soup, "link").startswith("This link starts owner/repo at main from github.com")


@pytest.mark.parametrize(
    ("link", "field", "words"),
    [
        ({"repo": ["/etc"]}, "repo", "path on a computer"),
        ({"environment": ["gone"]}, "environment", "no ready environment gone"),
        ({"repo": [REPO], "profile": ["large"]}, "profile", "can't choose the profile large"),
    ],
    ids=["repo", "environment", "profile"],
)
async def test_a_link_that_can_t_be_used_says_so_beside_its_field(
    link: dict[str, list[str]], field: str, words: str
) -> None:
    made = spawner(profiles=PROFILES)
    with pytest.raises(ConfirmLaunch):
        made.options_from_query(link)
    soup = await page(made)
    assert words in said(soup, f"{field}-error")
    assert said(soup, "link") == ""


async def test_a_link_to_an_environment_shows_its_name() -> None:
    made = spawner()
    with pytest.raises(ConfirmLaunch):
        made.options_from_query({"opt-environment": [KEY[:12]]})
    soup = await page(made)
    assert said(soup, "link").startswith("This link starts owner/repo .".replace(" .", ""))
    assert value(soup, "environment") == KEY


@pytest.mark.parametrize("query", [{}, {"foo": ["1"]}], ids=["nothing", "others'"])
async def test_a_link_without_anything_of_ours_shows_the_plain_form(query: Any) -> None:
    made = spawner()
    with pytest.raises(ConfirmLaunch):
        made.options_from_query(query)
    assert said(await page(made), "link") == ""


@pytest.mark.parametrize(
    ("repo", "came", "starts"),
    [
        ("owner/repo", "", True),
        ("owner/repo", "https://course.example/week1", True),
        ("owner/repo", "https://hub.example/hub/login", True),
        ("others/repo", "", False),
        ("not a repository", "", False),
        ("owner/repo", "https://hub.example/hub/spawn-pending/ann", False),
        ("owner/repo", "https://hub.example/hub/spawn/ann?opt-repo=x", False),
    ],
)
async def test_only_a_trusted_repository_starts_by_its_link(
    repo: str, came: str, starts: bool
) -> None:
    made = spawner(trusted_repos=["github.com/owner/*"])
    made.hub = SimpleNamespace(base_url="/hub/")
    headers = {**NAVIGATION, **({"Referer": came} if came else {})}
    made.handler = SimpleNamespace(
        request=SimpleNamespace(headers=headers, host="hub.example", protocol="https")
    )
    if starts:
        assert made.options_from_query({"opt-repo": [repo]}) == {"repo": repo}
    else:
        with pytest.raises(ConfirmLaunch):
            made.options_from_query({"opt-repo": [repo]})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
        {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "object"},
        {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Dest": "document"},
        {**NAVIGATION, "Sec-Purpose": "prefetch;prerender"},
        {**NAVIGATION, "purpose": "prefetch"},
    ],
    ids=str,
)
async def test_what_shows_no_page_starts_nothing(headers: dict[str, str]) -> None:
    made = spawner(trusted_repos=["github.com/owner/*"])
    made.hub = SimpleNamespace(base_url="/hub/")
    made.handler = SimpleNamespace(
        request=SimpleNamespace(headers=headers, host="hub.example", protocol="https")
    )
    with pytest.raises(ConfirmLaunch):
        made.options_from_query({"opt-repo": ["owner/repo"]})


@pytest.mark.parametrize("name", ["edit", "opt-edit"], ids=["hub 6", "hub 5"])
async def test_a_link_that_asks_for_the_form_never_starts(name: str) -> None:
    made = spawner(trusted_repos=["github.com/owner/*"])
    made.hub = SimpleNamespace(base_url="/hub/")
    made.handler = SimpleNamespace(
        request=SimpleNamespace(headers=NAVIGATION, host="hub.example", protocol="https")
    )
    with pytest.raises(ConfirmLaunch):
        made.options_from_query({"opt-repo": ["owner/repo"], name: ["1"]})


def test_no_traceback_of_what_is_no_error_gets_into_the_log() -> None:
    log = logging.getLogger("test-form")
    form._without_record(log)
    form._without_record(logging.LoggerAdapter(log, {}))
    assert len(log.filters) == 1

    def kept(error: Exception, path: str) -> Any:
        info = (type(error), error, None)
        return log.filter(logging.LogRecord("x", 40, path, 1, "x", (), info))

    failed = LaunchFailed(LaunchError("No."))
    assert not kept(ConfirmLaunch(), "pages.py")
    assert not kept(failed, "pages.py")
    assert kept(failed, "user.py")
    assert kept(ValueError(), "pages.py")
    log.filters.clear()


# -- start


async def prepare(made: Any, **options: str) -> Launch:
    made.user_options = options
    launch = Launch()
    await made._prepare(launch)
    return launch


@pytest.mark.parametrize("asked", [KEY, KEY[:12], "owner/repo"])
async def test_a_ready_environment_is_started_from_its_image(asked: str) -> None:
    made = spawner()
    await prepare(made, environment=asked, path="env/a.ipynb")
    assert made.image == "r2d-owner-repo"
    assert made._built == Image("sha256:x", "r2d-owner-repo")
    assert made._images.used == [KEY]
    assert made._spec.path == "env/a.ipynb"


async def test_an_environment_that_is_not_there_is_refused() -> None:
    made = spawner(image="default:1")
    with pytest.raises(LaunchError, match="no ready environment gone"):
        await prepare(made, environment="gone")
    assert made.image == "default:1"


async def test_a_listed_image_may_be_asked_for_as_an_environment() -> None:
    made = spawner(allowed_images={"Julia": "julia:1"})
    await prepare(made, environment="Julia")
    assert made.image == "julia:1"
    assert made._built is None


async def test_a_profile_holds_for_one_launch() -> None:
    made = spawner(User("staff"), profiles=PROFILES)
    await prepare(made, profile="large")
    assert made.mem_limit == 8 * 2**30
    await prepare(made)
    assert made.mem_limit == 2**30
    made.clear_state()
    assert not made.mem_limit


async def test_a_profile_of_others_is_refused_at_the_start_too() -> None:
    made = spawner(profiles=PROFILES)
    with pytest.raises(LaunchError, match="can't choose the profile large"):
        await prepare(made, profile="large")
    assert not made.mem_limit


# -- what may be built -----------------------------------------------------------------------


def overrides(groups: list[str], **settings: Any) -> dict[str, Any]:
    return {"1": {"groups": groups, "spawner_override": settings}}


ANYBODY_ELSE = {"9": {"groups": ["others"], "spawner_override": {"allowed_repos": []}}}


async def test_a_denied_repository_comes_back_beside_its_field() -> None:
    made = spawner(denied_repos=["github.com/owner/*"])
    with pytest.raises(LaunchFailed) as raised:
        made._options_from_form({"repo": [REPO]})
    assert raised.value.status_code == 403
    soup = await page(made)
    assert "denied_repos" in said(soup, "repo-error")
    assert value(soup, "repo") == REPO


async def test_a_ready_environment_of_a_denied_repository_is_neither_shown_nor_started() -> None:
    made = spawner(denied_repos=["github.com/owner/*"], image="default:1")
    soup = await page(made)
    assert "owner/repo" not in soup.get_text()
    with pytest.raises(PolicyError, match="denied_repos"):
        await prepare(made, environment=KEY)
    assert made.image == "default:1"
    assert made._built is None


async def test_a_repository_that_is_denied_is_not_even_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    monkeypatch.setattr(mixin, "resolve", lambda *given, **_: asked.append(given))
    with pytest.raises(PolicyError, match="allowed_repos"):
        await prepare(spawner(allowed_repos=["github.com/our/*"]), repo=REPO)
    assert asked == []


async def test_the_hook_is_asked_before_a_ready_environment_is_started() -> None:
    asked = []

    async def hook(given: Any, resolved: Resolved) -> str | None:
        asked.append((given, resolved))
        return "Not today." if len(asked) > 1 else None

    made = spawner(repo_hook=hook, image="default:1")
    await prepare(made, environment=KEY)
    [(given, resolved)] = asked
    assert given is made
    assert (resolved.spec.url, resolved.spec.subdir) == (REPO, "env")
    again = spawner(repo_hook=hook, image="default:1")
    with pytest.raises(PolicyError, match="Not today"):
        await prepare(again, environment=KEY)
    assert again.image == "default:1"
    assert again._images.used == []


async def test_the_hook_is_asked_before_a_repository_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def resolved(spec: Any, **_: Any) -> Resolved:
        return Resolved(spec, "c" * 40)

    monkeypatch.setattr(mixin, "resolve", resolved)
    made = spawner(repo_hook=lambda _spawner, found: f"{found.spec.name}: no.")
    with pytest.raises(PolicyError, match="owner/repo: no"):
        await prepare(made, repo=REPO)


async def test_a_hook_that_takes_too_long_is_told_before_the_launch_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def resolved(spec: Any, **_: Any) -> Resolved:
        return Resolved(spec, "c" * 40)

    async def stuck(_spawner: Any, _resolved: Any) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(mixin, "resolve", resolved)
    monkeypatch.setattr(Repo2DockerSpawner, "_preparing_limit", 0.5)
    with pytest.raises(PolicyError) as raised:
        await prepare(spawner(repo_hook=stuck), repo=REPO)
    assert raised.value.reason == "repo_hook_timeout"


async def test_without_a_repository_the_hook_is_not_asked() -> None:
    await prepare(spawner(repo_hook=lambda *_: "Never.", image="default:1"))


@pytest.mark.parametrize(
    ("traits", "passes"),
    [
        ({"group_overrides": overrides(["staff"], allowed_repos=["github.com/owner/*"])}, True),
        ({"group_overrides": overrides(["staff"], allowed_repos=[])}, True),
        ({"group_overrides": overrides(["staff"], denied_repos=["github.com/x/*"])}, False),
        ({"group_overrides": overrides(["others"], allowed_repos=[])}, False),
        ({"group_overrides": overrides(["staff"], allowed_repos=[]) | ANYBODY_ELSE}, True),
        # what only the start tells is left to it
        ({"group_overrides": overrides(["staff"], allowed_repos=lambda _spawner: [])}, True),
        ({"group_overrides": lambda _spawner: {}}, True),
        ({}, False),
    ],
)
def test_the_form_knows_what_is_going_to_be_set_for_a_group(
    traits: dict[str, Any], passes: bool
) -> None:
    made = spawner(User("staff", "all"), allowed_repos=["github.com/our/*"], **traits)
    if passes:
        assert made._options_from_form({"repo": [REPO]}) == {"repo": REPO}
    else:
        with pytest.raises(LaunchFailed):
            made._options_from_form({"repo": [REPO]})
    # nothing is set by that
    assert made.allowed_repos == ["github.com/our/*"]


async def test_what_the_form_could_not_know_is_refused_at_the_start() -> None:
    made = spawner(User("staff"), group_overrides=lambda _spawner: {}, denied_repos=["x.org/*"])
    options = made._options_from_form({"repo": ["https://x.org/a"]})
    with pytest.raises(PolicyError, match="denied_repos"):
        await prepare(made, **options)


@pytest.mark.parametrize(
    ("groups", "limits"),
    [
        ((), Limits(3, {}, 500)),
        (("course", "staff"), Limits(3, {"course": 10}, 500)),
        (("course", "lab"), Limits(3, {"course": 10, "lab": 2}, 500)),
    ],
)
def test_the_limits_are_those_of_the_user_and_their_groups(
    groups: tuple[str, ...], limits: Limits
) -> None:
    made = spawner(
        User(*groups), builds_per_user_limit=3, builds_per_group_limit={"course": 10, "lab": 2}
    )
    assert made._limits == limits


def test_the_mixin_is_one_of_ours() -> None:
    assert issubclass(Repo2DockerSpawner, FormMixin)
