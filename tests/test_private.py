"""The spawner's part of private repositories, without a hub, a host or an engine."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from bs4 import BeautifulSoup
from traitlets.config import Config

from repo2dockerspawner import Repo2DockerSpawner, private
from repo2dockerspawner.credentials import PUBLIC, Access, Credential, Reader
from repo2dockerspawner.errors import BuildError, LaunchError, Repo2DockerError, ResolveError
from repo2dockerspawner.hubcompat import ConfirmLaunch, LaunchFailed
from repo2dockerspawner.repos import RepoSpec
from repo2dockerspawner.resolve import Resolved
from repo2dockerspawner.useroptions import OPTIONS_LIMIT

TOKEN = "tok-3c5a1f"
REPO = "https://h.example/group/repo"
NOT_THERE = ResolveError(
    "It isn't there.", reason="repo_not_found", field="repo", lines=["HTTP 401, not 404"]
)
HUBS = [
    {"place": "https://h.example", "password": "for-all"},
    {"place": "https://h.example/group", "password": "for-staff", "groups": ["staff"]},
]


class Spawner(Repo2DockerSpawner):  # type: ignore[misc]
    """Resolves without a host; what `opens` doesn't name isn't there."""

    opens: frozenset[str] = frozenset()
    error: Repo2DockerError | None = None

    async def _ask(self, spec: RepoSpec, access: Access) -> Resolved:
        self.asked.append(access)
        password = access.credentials[0].password if access.credentials else ""
        if password not in self.opens:
            raise NOT_THERE
        return Resolved(spec, "f" * 40)

    async def _prepare(self, launch: Any) -> None:
        self._check_options()
        if self.error is not None:
            raise self.error
        self.reached = await self._resolve(RepoSpec("git", REPO, "main"))

    async def _start_server(self, launch: Any) -> Any:
        return self._typed


def spawner(*groups: str, opens: str = "", auth_state: Any = None, **traits: Any) -> Any:
    made: Any = Spawner(config=Config({"Repo2DockerSpawner": traits}))
    made.asked = []
    made.opens = frozenset({opens})

    async def get_auth_state() -> Any:
        return auth_state

    # the trait takes a JupyterHub user only; nothing here needs one
    made._trait_values["user"] = SimpleNamespace(
        name="ann",
        groups=[SimpleNamespace(name=name) for name in groups],
        spawner=made,
        get_auth_state=get_auth_state,
    )

    async def environments(*_: Any, **__: Any) -> list[Any]:
        return []

    made._shared = lambda: SimpleNamespace(images=SimpleNamespace(environments=environments))
    return made


def typed(**more: str) -> dict[str, list[str]]:
    fields = {"repo": REPO, "username": "ann", "password": TOKEN, **more}
    return {name: [value] for name, value in fields.items()}


async def page(made: Any) -> tuple[BeautifulSoup, str]:
    html = await made.options_form(made)
    return BeautifulSoup(html, "html.parser"), html


def field(soup: BeautifulSoup, name: str) -> Any:
    found = soup.select_one(f"[name={name}]")
    assert found is not None
    return found


def unfolded(soup: BeautifulSoup) -> bool:
    return soup.select_one("#repo2docker-private[open]") is not None


# -- typed


async def test_what_is_typed_becomes_no_option_and_is_used_for_one_launch() -> None:
    made = spawner(opens=TOKEN)
    made.user_options = made.options_from_form(typed())
    assert made.user_options == {"repo": REPO}
    held = await made.start()
    assert held.password == TOKEN, "what the test looks at is there"
    sent = Credential("https://h.example/group", "ann", TOKEN)
    assert made.reached[1] == Access((sent,), owner="ann")
    assert made.asked == [made.reached[1]], "and nothing is asked without"
    assert made._typed is None
    with pytest.raises(LaunchFailed):
        await made.start()
    assert made.asked[1:] == [PUBLIC]


async def test_it_is_used_for_no_other_repository() -> None:
    made = spawner(opens="")
    made.options_from_form(typed(repo="https://h.example/group/other"))
    await made.start()
    assert made.asked == [PUBLIC]
    assert made._typed is None


async def test_a_launch_that_never_comes_leaves_nothing_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(private, "_HELD_SECONDS", 0.05)
    made = spawner()
    made.options_from_form(typed())
    assert made._typed is not None
    await asyncio.sleep(0.1)
    assert made._typed is None


async def test_a_launch_that_has_begun_keeps_it_for_as_long_as_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(private, "_HELD_SECONDS", 0.01)
    made = spawner()
    made.options_from_form(typed())
    made._use_typed()
    await asyncio.sleep(0.05)
    assert made._typed is not None


async def test_the_next_entry_takes_the_place_of_what_was_typed() -> None:
    made = spawner()
    made.options_from_form(typed())
    made.options_from_form({"repo": [REPO]})
    assert made._typed is None


@pytest.mark.parametrize(
    "error",
    [None, BuildError("It failed."), RuntimeError("x"), asyncio.CancelledError()],
    ids=["done", "failed", "broken", "cancelled"],
)
async def test_however_the_launch_ends_it_is_forgotten(error: Any) -> None:
    made = spawner(opens=TOKEN)
    made.error = error
    made.options_from_form(typed())
    ends = await asyncio.gather(made.start(), return_exceptions=True)
    assert isinstance(ends[0], BaseException) is (error is not None)
    assert made._typed is None


# -- what is said


async def test_a_refused_entry_comes_back_without_its_token() -> None:
    made = spawner()
    with pytest.raises(LaunchFailed) as raised:
        made.options_from_form(typed(ref="--x"))
    assert TOKEN not in raised.value.jupyterhub_html_message
    soup, html = await page(made)
    assert TOKEN not in html
    assert field(soup, "username")["value"] == "ann"
    assert not field(soup, "password").has_attr("value")
    assert "Type the token again" in soup.select_one("#repo2docker-retype").get_text()  # type: ignore[union-attr]
    assert unfolded(soup)
    assert made._typed is None
    soup, _ = await page(made)
    assert not field(soup, "username")["value"], "once"
    assert not unfolded(soup)


async def test_a_failed_launch_says_that_the_token_has_to_be_typed_again() -> None:
    made = spawner()
    made.error = BuildError("It failed.", lines=["why"])
    made.options_from_form(typed())
    with pytest.raises(LaunchFailed) as raised:
        await made.start()
    said = "It failed. To try again, type the token again: it isn't kept."
    assert raised.value.jupyterhub_message == said
    assert made.launch.said == said
    assert made.error.message == "It failed.", "others may wait for the same build"
    assert made._unfold_private
    soup, html = await page(made)
    assert TOKEN not in html
    assert field(soup, "username")["value"] == "ann"
    with pytest.raises(LaunchFailed, match=r"It failed\.$"):
        await made.start()
    assert not made._unfold_private


async def test_a_wrong_token_has_a_sentence_of_its_own() -> None:
    made = spawner()
    made.options_from_form(typed())
    with pytest.raises(LaunchFailed) as raised:
        await made.start()
    assert f"The user name and token don't open {REPO}" in raised.value.jupyterhub_message
    assert raised.value.reason == "credentials_refused"
    assert raised.value.status_code == 403
    assert TOKEN not in raised.value.jupyterhub_message


async def test_one_that_isn_t_there_leads_to_the_fields_for_a_private_one() -> None:
    made = spawner(opens=TOKEN)
    with pytest.raises(LaunchFailed, match=r"It isn't there\.$"):
        await made.start()
    assert made._unfold_private
    assert made.launch._failure["lines"] == [], "which may tell private from not there"
    made = spawner(opens=TOKEN, private_repos=False)
    with pytest.raises(LaunchFailed):
        await made.start()
    assert not made._unfold_private


@pytest.mark.parametrize(
    ("came", "opened"),
    [("https://hub.example/hub/spawn-pending/ann", True), ("https://evil.example/", False)],
)
async def test_only_the_hubs_own_link_unfolds_the_fields(came: str, opened: bool) -> None:
    made = spawner()
    made.hub = SimpleNamespace(base_url="/hub/")
    headers = {"Referer": came}
    made.handler = SimpleNamespace(
        request=SimpleNamespace(headers=headers, host="hub.example", protocol="https")
    )
    with pytest.raises(ConfirmLaunch):
        made.options_from_query(
            {"opt-repo": [REPO], "opt-edit": ["private"], "username": ["a"], "password": [TOKEN]}
        )
    soup, html = await page(made)
    assert unfolded(soup) is opened
    assert not field(soup, "username")["value"]
    assert TOKEN not in html


async def test_an_address_with_a_password_does_not_come_back_with_it() -> None:
    made = spawner()
    with pytest.raises(LaunchFailed):
        made.options_from_form({"repo": [f"https://ann:{TOKEN}@h.example/a/b"]})
    soup, html = await page(made)
    assert TOKEN not in html
    assert field(soup, "repo")["value"] == "https://h.example/a/b"


async def test_where_an_administrator_wants_none_there_are_no_fields() -> None:
    made = spawner(private_repos=False)
    assert (await page(made))[0].select_one("[name=password]") is None
    with pytest.raises(LaunchFailed, match="private_repos"):
        made.options_from_form(typed())
    assert made._typed is None


# -- options


async def test_a_token_among_the_options_is_taken_out_and_refused() -> None:
    made = spawner(opens=TOKEN)
    made.user_options = {"repo": REPO, "password": TOKEN}
    assert made.user_options == {"repo": REPO}
    with pytest.raises(LaunchFailed, match="can't be sent with a server's options") as raised:
        await made.start()
    assert raised.value.reason == "secret_in_options"
    assert made.asked == []
    made.user_options = {"repo": REPO}
    made.opens = frozenset({""})
    await made.start()


async def test_so_is_one_in_an_address() -> None:
    made = spawner()
    made.user_options = {"repo": f"https://ann:{TOKEN}@h.example/a/b"}
    assert TOKEN not in str(made.user_options)
    with pytest.raises(LaunchError):
        made._check_options()


async def test_options_that_are_too_large_are_let_go_of_and_refused() -> None:
    made = spawner()
    # JupyterHub's own, which its frames and tracebacks hold
    sent = {"repo": REPO} | {f"mine{number}": "x" for number in range(OPTIONS_LIMIT)}
    made.user_options = sent
    assert sent == made.user_options == {}
    with pytest.raises(LaunchFailed, match="65,536 characters") as raised:
        await made.start()
    assert (raised.value.status_code, raised.value.reason) == (413, "options_too_large")
    assert made.asked == []
    made.user_options = {"repo": REPO}
    made.opens = frozenset({""})
    await made.start()


# -- whose credentials


async def test_a_login_token_is_used_where_nothing_else_opens_it() -> None:
    hosts = {"h.example": "access_token", "github.com": "access_token"}
    made = spawner(opens=TOKEN, auth_state={"access_token": TOKEN}, auth_state_credentials=hosts)
    await made.start()
    sent = Credential("https://h.example/group", "oauth2", TOKEN)
    assert made.asked == [PUBLIC, Access((sent,), owner="ann")]
    made.opens = frozenset({""})
    made.asked.clear()
    await made.start()
    assert made.asked == [PUBLIC]


@pytest.mark.parametrize(
    ("auth_state", "words"),
    [
        (None, "there is no auth_state; set c.Authenticator.enable_auth_state"),
        ({}, "auth_state has no access_token"),
        ({"access_token": f"{TOKEN}\n"}, "The token has a line break"),
    ],
    ids=["none", "empty", "broken"],
)
async def test_where_it_is_missing_the_log_says_so_in_one_line(
    auth_state: Any, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    made = spawner(
        opens="x", auth_state=auth_state, auth_state_credentials={"h.example": "access_token"}
    )
    made.log = logging.getLogger("test-private")
    with pytest.raises(LaunchFailed, match=r"It isn't there\.$"):
        await made.start()
    about = [record.getMessage() for record in caplog.records if "auth_state" in record.message]
    assert len(about) == 1
    assert words in about[0]
    assert TOKEN not in about[0]


async def test_the_hubs_credentials_are_for_their_groups() -> None:
    made = spawner("staff", opens="for-staff", credentials=HUBS)
    await made.start()
    assert made.reached[1].place == "https://h.example/group"
    assert made._reader == Reader("ann", frozenset({"https://h.example", HUBS[1]["place"]}))
    made = spawner(opens="for-all", credentials=HUBS)
    await made.start()
    assert [way.place for way in made.asked] == ["", "https://h.example"]
    assert made._reader == Reader("ann", frozenset({"https://h.example"}))
    made = spawner("students", opens="for-staff", credentials=HUBS)
    with pytest.raises(LaunchFailed, match=r"It isn't there\.$"):
        await made.start()


async def test_what_was_typed_is_used_alone() -> None:
    made = spawner("staff", opens="for-staff", credentials=HUBS)
    made.options_from_form(typed())
    with pytest.raises(LaunchFailed, match="don't open"):
        await made.start()
    assert [way.credentials[0].password for way in made.asked] == [TOKEN]


# -- what group_overrides are going to set


def overrides(**settings: Any) -> dict[str, Any]:
    return {"a": {"groups": ["staff"], "spawner_override": settings}}


async def test_the_form_knows_what_a_group_may() -> None:
    made = spawner("staff", group_overrides=overrides(private_repos=False))
    assert (await page(made))[0].select_one("[name=password]") is None
    made = spawner("staff", group_overrides=overrides(credentials=HUBS), private_repos=False)
    assert len(made._reader.places) == 2
    made = spawner("staff", group_overrides=overrides(private_repos=True), private_repos=False)
    assert (await page(made))[0].select_one("[name=password]") is not None


async def test_what_is_known_only_at_the_start_is_looked_at_then() -> None:
    made = spawner(opens=TOKEN, group_overrides=lambda _: {})
    made.options_from_form(typed())
    made.private_repos = False
    with pytest.raises(LaunchFailed, match="private_repos"):
        await made.start()
    assert made.asked == []


async def test_wrong_credentials_of_a_group_leave_the_form_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = spawner("staff", group_overrides=overrides(credentials=[{"password": TOKEN}]))
    made.log = logging.getLogger("test-private")
    assert made._reader.places == frozenset()
    assert "group_overrides has wrong credentials: entry 1" in caplog.text
    assert TOKEN not in caplog.text
