"""The options form, read back from its HTML."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from bs4 import BeautifulSoup, Tag
from hypothesis import given, settings
from hypothesis import strategies as st

from repo2dockerspawner.launch import FIELDS, options_from_fields, render

PAYLOADS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onfocus=alert(1) x='",
    "{{ 7 * 7 }}{% raw %}",
    "</select></div><b>",
    "&lt;&quot;&#39;&amp;",
    "javascript:alert(1)",
    "a\tb c",
]
FILLED = ("repo", "ref", "subdir", "path", "urlpath")


def form(
    choices: Sequence[str] = (), *, any_image: bool = False, **entries: str
) -> tuple[BeautifulSoup, str]:
    html = render(
        "options_form.html",
        entries=dict.fromkeys(FIELDS, "") | entries,
        choices=list(choices),
        any_image=any_image,
    )
    return BeautifulSoup(html, "html.parser"), html


def fields(soup: BeautifulSoup) -> dict[str, list[str]]:
    """Return what a browser would send if Start was pressed."""
    sent: dict[str, list[str]] = {}
    for tag in soup.find_all(["input", "select"]):
        if tag.name == "select":
            options = tag.find_all("option")
            chosen = [one for one in options if one.has_attr("selected")] or options[:1]
            sent[str(tag["name"])] = [str(chosen[-1]["value"])]
        else:
            sent[str(tag["name"])] = [str(tag.get("value", ""))]
    return sent


def skeleton(soup: BeautifulSoup) -> list[tuple[str, frozenset[str]]]:
    """Return the tags and their attributes' names, which no value may change."""
    return [(tag.name, frozenset(tag.attrs)) for tag in soup.find_all(True)]


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("name", FILLED)
def test_an_entry_comes_back_as_text_whatever_it_holds(name: str, payload: str) -> None:
    harmless, _ = form(**{name: "x"})
    soup, _ = form(**{name: payload})
    assert fields(soup)[name] == [payload]
    assert skeleton(soup) == skeleton(harmless)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_choice_comes_back_as_text_whatever_it_holds(payload: str) -> None:
    harmless, _ = form(["x", "other"])
    soup, _ = form([payload, "other"])
    options = soup.select("select option")
    assert [one["value"] for one in options] == ["", payload, "other"]
    assert options[1].get_text() == payload
    assert skeleton(soup) == skeleton(harmless)
    chosen, _ = form([payload, "other"], image=payload)
    assert fields(chosen)["image"] == [payload]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_any_image_comes_back_as_text_whatever_it_holds(payload: str) -> None:
    soup, _ = form(any_image=True, image=payload)
    assert fields(soup)["image"] == [payload]


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(FILLED), st.text("<>&\"'={}%/ax ", min_size=1)))
def test_all_entries_come_back_together(entries: dict[str, str]) -> None:
    soup, _ = form(**entries)
    assert options_from_fields(fields(soup)) == {
        name: value.strip() for name, value in entries.items() if value.strip()
    }


@pytest.mark.parametrize(
    ("choices", "any_image"), [([], False), (["a", "b"], False), ([], True)], ids=str
)
def test_each_entry_has_a_label_and_each_label_an_entry(
    choices: list[str], any_image: bool
) -> None:
    soup, _ = form(choices, any_image=any_image, urlpath="lab")
    seen = [tag for tag in soup.find_all(["input", "select"]) if tag.get("type") != "hidden"]
    labels = {str(label["for"]): label.get_text(strip=True) for label in soup.find_all("label")}
    ids = [str(tag["id"]) for tag in seen]
    assert sorted(ids) == sorted(labels)
    assert len(set(ids)) == len(ids)
    assert all(labels.values())
    for tag in soup.find_all(attrs={"aria-describedby": True}):
        assert isinstance(soup.find(id=str(tag["aria-describedby"])), Tag)


def test_there_is_a_choice_of_images_only_where_there_are_some() -> None:
    soup, html = form()
    assert not soup.find("select")
    assert "image" not in fields(soup)
    assert "default image" in html


def test_nothing_is_chosen_until_somebody_chooses() -> None:
    soup, _ = form(["a:1", "b:2"])
    assert [one["value"] for one in soup.select("option")] == ["", "a:1", "b:2"]
    assert not soup.select("option[selected]")
    assert options_from_fields(fields(soup)) == {}


def test_the_image_that_was_chosen_is_chosen_again() -> None:
    soup, _ = form(["a:1", "b:2"], image="b:2")
    assert [one["value"] for one in soup.select("option[selected]")] == ["b:2"]


def test_the_url_to_open_is_carried_along_unseen() -> None:
    assert "urlpath" not in fields(form()[0])
    assert fields(form(urlpath="lab/tree/a")[0])["urlpath"] == ["lab/tree/a"]


def test_every_name_is_one_that_is_understood() -> None:
    soup, _ = form(["a"], urlpath="x")
    assert set(fields(soup)) <= set(FIELDS)


def test_it_needs_no_script_and_is_no_form_of_its_own() -> None:
    soup, html = form(["a"])
    assert not soup.find(["script", "form", "button", "style"])
    assert "javascript" not in html.lower()
    handlers = [name for tag in soup.find_all(True) for name in tag.attrs if name.startswith("on")]
    assert not handlers


def test_it_costs_little() -> None:
    form()  # the template is read once
    choices = [f"image:{number}" for number in range(20)]
    began = time.perf_counter()
    for _ in range(100):
        render(
            "options_form.html",
            entries=dict.fromkeys(FIELDS, "x"),
            choices=choices,
            any_image=False,
        )
    assert (time.perf_counter() - began) / 100 < 0.005


def test_the_message_and_lines_of_a_failure_are_text() -> None:
    for payload in PAYLOADS:
        html = render("failure.html", message=payload, lines=[payload, "b"])
        soup = BeautifulSoup(html, "html.parser")
        assert [tag.name for tag in soup.find_all(True)] == ["span", "pre"]
        span, lines = soup.find("span"), soup.find("pre")
        assert span is not None
        assert lines is not None
        assert span.get_text() == payload
        assert lines.get_text() == f"{payload}\nb"


def test_a_failure_without_lines_has_no_empty_box() -> None:
    soup = BeautifulSoup(render("failure.html", message="No.", lines=()), "html.parser")
    assert not soup.find("pre")
