# ruff: noqa: INP001  a script, not a module of a package
"""Write what the documentation takes from the code: traits, states and causes of failures.

    python docs/generate.py

Each part stands between two markers, ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``; what is
between them is replaced. tests/test_docs.py fails where a page is behind the code.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repo2dockerspawner import Repo2DockerSpawner
from repo2dockerspawner.builds.causes import CAUSES
from repo2dockerspawner.builds.state import ENDS, TRANSITIONS, State
from repo2dockerspawner.traits import our_traits

if TYPE_CHECKING:
    from traitlets import TraitType

ROOT = Path(__file__).resolve().parents[1]


def default(name: str) -> str:
    """The default of a trait, as one would write it in ``jupyterhub_config.py``."""
    value = getattr(Repo2DockerSpawner(), name)
    return repr(value).replace("'", '"')


def paragraphs(trait: TraitType[Any, Any]) -> list[str]:
    """The paragraphs of a trait's help in Markdown, each on one line."""
    text = inspect.cleandoc(trait.help or "")
    return [_code(" ".join(part.split())) for part in re.split(r"\n\s*\n", text)]


def _code(text: str) -> str:
    return text.replace("``", "`")


def table() -> str:
    """The traits as a table: name, default, the first paragraph of the help."""
    rows = ["| Trait | Default | What it is |", "|---|---|---|"]
    for name, trait in our_traits().items():
        rows.append(f"| `{name}` | `{default(name)}` | {paragraphs(trait)[0]} |")
    return "\n".join(rows)


def listing() -> str:
    """The traits one after another, each with all of its help."""
    parts = []
    for name, trait in our_traits().items():
        kind = type(trait).__name__.removesuffix("_")
        head = f"### `{name}`\n\n{kind}, by default `{default(name)}`."
        parts.append("\n\n".join([head, *paragraphs(trait)]))
    return "\n\n".join(parts)


def states() -> str:
    """The states of a build and their transitions, as a Mermaid picture."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {State.QUEUED.value}"]
    lines += [
        f"    {state.value} --> {follower.value}"
        for state in State
        for follower in State
        if follower in TRANSITIONS[state]
    ]
    lines += [f"    {state.value} --> [*]" for state in State if state in ENDS]
    return "\n".join([*lines, "```"])


def causes() -> str:
    """Why builds fail, as a table in the order in which the causes are looked for."""
    rows = [
        "| Reason | Status | Building … failed: | What to do |",
        "|---|---|---|---|",
    ]
    for cause in CAUSES:
        sentence = re.sub(r"\{[a-z]+\}", "…", cause.sentence)
        told = " The line that told is in the hub's log." if cause.admin else ""
        rows.append(f"| `{cause.reason}` | {cause.status} | {sentence} | {cause.advice}{told} |")
    return "\n".join(rows)


PARTS = {
    "README.md": {"traits": table},
    "docs/configure.md": {"traits": listing},
    "docs/builds.md": {"states": states},
    "docs/troubleshooting.md": {"causes": causes},
}
"""Page → marker → what makes the text between the markers."""


def filled(page: str, text: str) -> str:
    """Return the page's text with its generated parts as they are now.

    Raises:
        ValueError: a marker is missing.
    """
    for name, make in PARTS[page].items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            message = f"{page} has to have {begin} and {end} once each."
            raise ValueError(message)
        head, _, rest = text.partition(begin)
        tail = rest.partition(end)[2]
        text = f"{head}{begin}\n{make()}\n{end}{tail}"
    return text


def main() -> None:
    """Bring all pages up to date."""
    for page in PARTS:
        path = ROOT / page
        path.write_text(filled(page, path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
