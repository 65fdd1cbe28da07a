"""The options form, read back from its HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag
from hypothesis import given, settings
from hypothesis import strategies as st

from repo2dockerspawner.formview import (
    Choice,
    FormView,
    ago,
    badges,
    default_choice,
    environment_choice,
    launch_link,
    link_summary,
    listed_choices,
)
from repo2dockerspawner.images import Environment, Image
from repo2dockerspawner.launch import (
    FIELDS,
    LaunchRules,
    launch_request,
    options_from_fields,
    render,
)
from repo2dockerspawner.profiles import Profile

PAYLOADS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onfocus=alert(1) x='",
    "{{ 7 * 7 }}{% raw %}",
    "</select></div><b>",
    "</script></style></code>",
    "&lt;&quot;&#39;&amp;",
    "javascript:alert(1)",
    "a\tb c",
]
FILLED = ("repo", "ref", "subdir", "path", "urlpath")
KEYS = ["a" * 64, "b" * 64]
NOW = 1_800_000_000.0
SMALL, LARGE = Profile("small", "Small", "2 GB", default=True), Profile("large", "Large")


def environments(count: int) -> list[Choice]:
    return [environment_choice(environment(f"{number:064x}"), NOW) for number in range(count)]


def environment(key: str = KEYS[0], **more: Any) -> Environment:
    said = {
        "name": "owner/repo",
        "repo": "https://github.com/owner/repo",
        "ref": "refs/heads/main",
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "built": NOW - 3 * 86_400,
        **more,
    }
    return Environment(key, Image("sha256:x", "r2d-x"), **said)


def form(choices: Sequence[str] = (), **view: Any) -> tuple[BeautifulSoup, str]:
    names = [name for name in view if name in FIELDS]
    entries = {name: view.pop(name) for name in names}
    view.setdefault("listed", listed_choices({choice: choice for choice in choices}))
    html = FormView(entries=entries, **view).html()
    return BeautifulSoup(html, "html.parser"), html


def fields(soup: BeautifulSoup) -> dict[str, list[str]]:
    """Return what a browser without scripts would send if Start was pressed."""
    sent: dict[str, list[str]] = {}
    for tag in soup.select("input[name]"):
        if tag.get("type") != "radio" or tag.has_attr("checked"):
            sent.setdefault(str(tag["name"]), []).append(str(tag.get("value", "")))
    return sent


def text_of(soup: BeautifulSoup, id_: str) -> str:
    found = soup.find(id=f"repo2docker-{id_}")
    return " ".join(found.get_text(" ").split()) if isinstance(found, Tag) else ""


def skeleton(soup: BeautifulSoup) -> list[tuple[str, frozenset[str]]]:
    """Return the tags and their attributes' names, which no value may change."""
    return [(tag.name, frozenset(tag.attrs)) for tag in soup.find_all(True)]


# -- what is filled in


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("name", FILLED)
def test_an_entry_comes_back_as_text_whatever_it_holds(name: str, payload: str) -> None:
    harmless, _ = form(**{name: "x"})
    soup, _ = form(**{name: payload})
    assert fields(soup)[name] == [payload]
    assert skeleton(soup) == skeleton(harmless)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_whatever_is_said_of_an_environment_is_text(payload: str) -> None:
    def made(text: str) -> BeautifulSoup:
        found = environment(name=text, repo=text, ref=text, commit=text, subdir=text)
        summary = link_summary(launch_request({"environment": "x"}, LaunchRules()), text)
        return form(
            [text],
            default=default_choice(text, text, text),
            built=[environment_choice(found, NOW)],
            environment=text,
            profiles=[Profile("a", text, text)],
            note=text,
            error=("profile", text),
            badge_url=text,
            link=summary,
        )[0]

    assert skeleton(made(payload)) == skeleton(made("x"))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_choice_comes_back_as_text_whatever_it_holds(payload: str) -> None:
    soup, _ = form([payload, "other"], image=payload)
    assert fields(soup)["environment"] == [payload]
    soup, _ = form(any_image=True, image=payload)
    assert fields(soup)["image"] == [payload]


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(FILLED), st.text("<>&\"'={}%/ax ", min_size=1)))
def test_all_entries_come_back_together(entries: dict[str, str]) -> None:
    soup, _ = form(**entries)
    assert options_from_fields(fields(soup)) == {
        name: value.strip() for name, value in entries.items() if value.strip()
    }


def test_every_name_is_one_that_is_understood() -> None:
    soup, _ = form(["a"], any_image=True, profiles=[SMALL], built=environments(20))
    assert set(fields(soup)) <= set(FIELDS)


# -- ready environments


def test_there_is_a_choice_only_where_there_are_some() -> None:
    soup, _ = form(default=default_choice("Python", "For most courses", "image:1"))
    assert not soup.select("[type=radio]")
    assert "Leave it empty to start Python (For most courses)." in text_of(soup, "repo-help")


def test_the_default_environment_is_chosen_until_somebody_chooses() -> None:
    soup, _ = form(["a:1", "b:2"], built=environments(1))
    values = [str(one["value"]) for one in soup.select("[type=radio]")]
    assert values == ["", "a:1", "b:2", "0" * 64]
    assert fields(soup)["environment"] == [""]
    assert options_from_fields(fields(soup)) == {}


def test_with_a_repository_no_environment_is_chosen() -> None:
    assert "environment" not in fields(form(["a:1"], repo="o/r")[0])


@pytest.mark.parametrize(
    ("entries", "value"),
    [
        ({"image": "b:2"}, "b:2"),
        ({"environment": "b:2"}, "b:2"),
        ({"environment": KEYS[0]}, KEYS[0]),
        ({"environment": KEYS[0][:12]}, KEYS[0]),
        ({"environment": "none such"}, "none such"),
        ({"image": "none such"}, "none such"),
        ({"environment": KEYS[0], "repo": "o/r"}, KEYS[0]),
    ],
    ids=str,
)
def test_the_environment_that_was_chosen_is_chosen_again(
    entries: dict[str, str], value: str
) -> None:
    built = [environment_choice(environment(key), NOW) for key in KEYS]
    assert fields(form(["a:1", "b:2"], built=built, **entries)[0])["environment"] == [value]


def test_a_built_environment_says_where_it_comes_from_and_how_old_it_is() -> None:
    choice = environment_choice(environment(subdir="week1"), NOW)
    soup, _ = form(built=[choice])
    label = soup.select("label[for=repo2docker-environment-1]")[0]
    words = " ".join(label.get_text(" ").split())
    assert words == "owner/repo github.com · main · folder week1 · 0123456 · built 3 days ago"
    assert choice.when == "2027-01-12T08:00:00+00:00"


@pytest.mark.parametrize(
    ("repo", "place"),
    [
        ("https://github.com/o/r", "github.com"),
        ("ssh://git@github.com/o/r", "github.com"),
        ("git@git.example.org:o/r.git", "git.example.org"),
        ("10.5281/zenodo.1", "10.5281/zenodo.1"),
        ("", "main"),
    ],
)
def test_the_place_of_an_environment_is_its_host(repo: str, place: str) -> None:
    assert environment_choice(environment(repo=repo), NOW).text.split(" · ")[0] == place


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (7_300, "2 hours ago"),
        (86_400, "1 day ago"),
        (15 * 86_400, "2 weeks ago"),
        (70 * 86_400, "2 months ago"),
        (800 * 86_400, "2 years ago"),
    ],
)
def test_an_age_is_said_in_the_largest_unit_that_fits(seconds: float, said: str) -> None:
    assert ago(seconds) == said


@pytest.mark.parametrize(("count", "search"), [(7, False), (8, True), (100, True)])
def test_there_is_a_search_where_there_are_many(count: int, search: bool) -> None:
    soup, _ = form(built=environments(count))
    box = soup.find(id="repo2docker-search-box")
    # shown by the script alone, since without it it would do nothing
    assert (isinstance(box, Tag) and box.has_attr("hidden")) == search


def test_a_list_that_can_t_be_had_is_said_in_a_line() -> None:
    assert text_of(form(note="Not now.")[0], "note") == "Not now."


# -- options and profiles


@pytest.mark.parametrize(
    ("view", "is_open"),
    [
        ({}, False),
        ({"repo": "a/b"}, False),
        ({"ref": "main"}, True),
        ({"urlpath": "lab"}, True),
        ({"profiles": [SMALL]}, False),
        ({"profiles": [SMALL], "profile": "small"}, True),
        ({"error": ("ref", "No.")}, True),
        ({"error": ("repo", "No.")}, False),
    ],
    ids=str,
)
def test_options_are_folded_away_until_there_are_some(view: dict[str, Any], is_open: bool) -> None:
    found = form(**view)[0].find(id="repo2docker-options")
    assert isinstance(found, Tag)
    assert found.has_attr("open") == is_open


@pytest.mark.parametrize(
    ("profiles", "asked", "chosen"),
    [
        ([SMALL, LARGE], "", "small"),
        ([SMALL, LARGE], "large", "large"),
        ([LARGE], "", ""),
        ([LARGE], "large", "large"),
        ([SMALL, LARGE], "gone", "small"),
    ],
)
def test_the_profile_is_the_one_asked_for_or_the_default_one(
    profiles: list[Profile], asked: str, chosen: str
) -> None:
    assert fields(form(profiles=profiles, profile=asked)[0])["profile"] == [chosen]


def test_without_profiles_there_is_none_to_choose() -> None:
    assert "profile" not in fields(form()[0])


# -- refused entries


@pytest.mark.parametrize("name", FILLED)
def test_a_refusal_stands_beside_its_field_and_has_the_focus(name: str) -> None:
    soup, _ = form(error=(name, "Not so."), **{name: "x"})
    field = soup.find(id=f"repo2docker-{name}")
    assert isinstance(field, Tag)
    assert field["aria-invalid"] == "true"
    assert "is-invalid" in field["class"]
    assert str(field["aria-describedby"]).split()[0] == f"repo2docker-{name}-error"
    assert text_of(soup, f"{name}-error") == "Not so."
    assert [tag["id"] for tag in soup.select("[autofocus]")] == [f"repo2docker-{name}"]


@pytest.mark.parametrize("wrong", ["environment", "image"])
def test_a_refused_environment_is_shown_with_what_was_asked_for(wrong: str) -> None:
    soup, _ = form(["a"], error=(wrong, "Not so."), environment="gone")
    assert text_of(soup, "environment-error") == "Not so."
    assert [tag["value"] for tag in soup.select("[autofocus]")] == ["gone"]


def test_a_refused_profile_is_said_even_where_there_are_none() -> None:
    assert text_of(form(error=("profile", "Not so."))[0], "profile-error") == "Not so."
    soup, _ = form(error=("profile", "Not so."), profiles=[SMALL], profile="gone")
    assert [tag["value"] for tag in soup.select("[autofocus]")] == ["small"]


def test_the_first_field_has_the_focus_where_nothing_is_wrong() -> None:
    assert [tag["id"] for tag in form()[0].select("[autofocus]")] == ["repo2docker-repo"]


# -- launch links


def summary_of(**options: str) -> str:
    rules = LaunchRules(profiles=(SMALL, LARGE))
    soup, _ = form(link=link_summary(launch_request(options, rules), "the name"))
    return text_of(soup, "link").replace(" .", ".").partition(".  ")[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"repo": "o/r"}, "This link starts o/r from github.com with the profile Small."),
        (
            {"repo": "https://gitlab.com/g/p/-/tree/main", "path": "a.ipynb", "profile": "large"},
            (
                "This link starts g/p at main from gitlab.com with the profile Large and opens "
                "a.ipynb."
            ),
        ),
        (
            {"repo": "https://github.com/o/r/blob/main/a.ipynb"},
            "This link starts o/r at main/a.ipynb from github.com with the profile Small.",
        ),
        ({"environment": "0123456789ab"}, "This link starts the name with the profile Small."),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_link_says_in_one_line_what_it_starts(options: dict[str, str], said: str) -> None:
    assert summary_of(**options).startswith(said)
    assert "press Start" in summary_of(**options) or "Press Start" in summary_of(**options)


def test_a_link_that_is_refused_is_not_offered() -> None:
    link = link_summary(launch_request({"repo": "o/r"}, LaunchRules()))
    assert text_of(form(link=link, error=("repo", "No."))[0], "link") == ""


def test_a_launch_link_is_read_back_as_what_it_was_made_of() -> None:
    options = {"repo": "https://github.com/o/r", "ref": "a&b=c#d", "path": 'ü "x" (1)+2.ipynb'}
    link = launch_link("https://hub.example/hub/spawn", options)
    from urllib.parse import parse_qs, urlsplit

    assert options_from_fields(parse_qs(urlsplit(link).query)) == options
    assert launch_link("/hub/spawn", {}) == ""
    assert launch_link("/hub/spawn", {"other": "x"}) == ""


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_in_a_link_ends_a_badge(payload: str) -> None:
    link = launch_link("https://hub.example/hub/spawn", {"repo": payload, "path": f"){payload}("})
    assert not set(link) & set("<>\"'()[]{}` \t\n\\")
    html = {kind: text for kind, _, text in badges(link, "https://badge.example/x?a=b&c=d")}
    tag = BeautifulSoup(html["html"], "html.parser").find("a")
    assert isinstance(tag, Tag)
    assert tag["href"] == link
    assert html["markdown"] == f"[![Launch](https://badge.example/x?a=b&c=d)]({link})"


def test_without_a_script_the_link_is_there_where_something_is_filled_in() -> None:
    soup, _ = form()
    section = soup.find(id="repo2docker-share")
    assert isinstance(section, Tag)
    assert section.has_attr("hidden")
    soup, _ = form(repo="o/r", spawn_url="https://hub.example/hub/spawn")
    assert text_of(soup, "share-link") == "https://hub.example/hub/spawn?opt-repo=o/r"
    assert all(button.has_attr("hidden") for button in soup.select("button"))


# -- a private repository


def test_the_fields_for_a_private_repository_are_folded_away() -> None:
    soup, _ = form(private=True)
    section = soup.find(id="repo2docker-private")
    assert isinstance(section, Tag)
    assert not section.has_attr("open")
    password = section.select_one("[name=password]")
    assert password is not None
    assert (password["type"], password["autocomplete"]) == ("password", "new-password")
    assert not password.has_attr("value")
    assert soup.find(id="repo2docker-retype") is None
    assert form()[0].find(id="repo2docker-private") is None


@pytest.mark.parametrize(
    "view",
    [
        {"username": "ann"},
        {"retype": True},
        {"open_private": True},
        {"error": ("username", "No.")},
        {"error": ("password", "No.")},
    ],
    ids=str,
)
def test_they_are_unfolded_where_there_is_something_to_do(view: dict[str, Any]) -> None:
    soup, _ = form(private=True, **view)
    section = soup.find(id="repo2docker-private")
    assert isinstance(section, Tag)
    assert section.has_attr("open")
    assert ("again" in text_of(soup, "retype")) is ("retype" in view)
    name = view.get("error", ("", ""))[0]
    assert [tag["name"] for tag in soup.select("[autofocus]")] == [name or "repo"]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_the_user_name_comes_back_as_text(payload: str) -> None:
    soup, _ = form(private=True, username=payload)
    assert fields(soup)["username"] == [payload]
    assert skeleton(soup) == skeleton(form(private=True, username="x")[0])


# -- the page


@pytest.mark.parametrize(
    "view",
    [
        {},
        {"choices": ["a", "b"]},
        {"any_image": True},
        {"built": environments(12), "profiles": [SMALL, LARGE], "repo": "a/b"},
        {"built": environments(2), "error": ("environment", "No."), "environment": "gone"},
        {"error": ("image", "No."), "any_image": True, "image": "x"},
        {"error": ("repo", "No."), "repo": "x"},
        {"private": True},
        {"private": True, "username": "ann", "retype": True, "error": ("password", "No.")},
    ],
    ids=lambda view: " ".join(view) or "nothing",
)
def test_each_entry_has_a_label_and_each_label_an_entry(view: dict[str, Any]) -> None:
    soup, _ = form(**view)
    seen = soup.select("input")
    labels = {str(label["for"]): label.get_text(strip=True) for label in soup.find_all("label")}
    ids = [str(tag["id"]) for tag in soup.find_all(id=True)]
    assert len(set(ids)) == len(ids)
    assert sorted(str(tag["id"]) for tag in seen) == sorted(labels)
    assert all(labels.values())
    for tag in soup.find_all(attrs={"aria-describedby": True}):
        for id_ in str(tag["aria-describedby"]).split():
            assert isinstance(soup.find(id=id_), Tag)


def test_it_is_no_form_of_its_own_and_asks_nobody_for_anything() -> None:
    soup, html = form(["a"], built=environments(12), profiles=[SMALL], repo="a/b", badge_url="x")
    assert not soup.find(["form", "link", "img", "iframe", "base"])
    assert not soup.select("script[src]")
    assert all(button["type"] == "button" for button in soup.select("button"))
    assert "fetch(" not in html
    assert "innerHTML" not in html
    handlers = [name for tag in soup.find_all(True) for name in tag.attrs if name.startswith("on")]
    assert not handlers


def test_nothing_that_a_person_enters_gets_into_the_script() -> None:
    scripts = {
        str(form(repo=text, ref=text)[0].find("script")) for text in ("", "x", "</script><b>")
    }
    assert len(scripts) == 1


# -- the other templates


def test_the_message_and_lines_of_a_failure_are_text() -> None:
    for payload in PAYLOADS:
        html = render("failure.html", message=payload, lines=[payload, "b"], change="")
        soup = BeautifulSoup(html, "html.parser")
        assert [tag.name for tag in soup.find_all(True)] == ["span", "pre"]
        span, lines = soup.find("span"), soup.find("pre")
        assert span is not None
        assert lines is not None
        assert span.get_text() == payload
        assert lines.get_text() == f"{payload}\nb"


def test_a_failure_without_lines_has_no_empty_box() -> None:
    html = render("failure.html", message="No.", lines=(), change="")
    assert not BeautifulSoup(html, "html.parser").find("pre")
