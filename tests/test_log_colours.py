"""The colours of the log's panel: whatever a build puts together can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from repo2dockerspawner.builds.colours import BACKGROUND
from repo2dockerspawner.templating import TEMPLATES

CSS = (Path(TEMPLATES) / "repo2dockerspawner/log.css").read_text(encoding="utf-8")
RULE = re.compile(
    r"^(?P<dark>\[data-bs-theme=dark\] )?\.repo2docker-(?P<kind>colour|behind)-(?P<number>\d+) "
    r"\{ (?:color|background): (?P<value>#[0-9a-f]{6}); \}$",
    re.MULTILINE,
)
# the hub's own panel and text, JupyterHub 5 and 6
PANEL = {False: ["#f8f9fa"], True: ["#2b3035", "#111315"]}
TEXT = {False: "#212529", True: "#dee2e6"}
AA = 4.5


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def colours(kind: str, *, dark: bool) -> dict[int, str]:
    return {
        int(rule["number"]): rule["value"]
        for rule in RULE.finditer(CSS)
        if rule["kind"] == kind and bool(rule["dark"]) == dark
    }


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_colour_reads_well_on_every_background(dark: bool) -> None:
    front, behind = colours("colour", dark=dark), colours("behind", dark=dark)
    assert list(front) == list(range(1, 10))
    assert list(behind) == list(range(1, 9))
    assert max(behind) < BACKGROUND
    for one in (*front.values(), TEXT[dark]):
        for other in (*behind.values(), *PANEL[dark]):
            assert contrast(one, other) >= AA, f"{one} on {other}"


def test_there_is_no_other_rule_in_it() -> None:
    rest = RULE.sub("", re.sub(r"/\*.*?\*/", "", CSS, flags=re.DOTALL)).split()
    assert " ".join(rest) == (
        ".repo2docker-bold { font-weight: 700; } "
        ".repo2docker-underline { text-decoration: underline; }"
    )
