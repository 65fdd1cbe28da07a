"""What the documentation says is so: traits, reasons, sentences, commands, links, code."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from traitlets.config import Config, PyFileConfigLoader

from repo2dockerspawner import Repo2DockerSpawner, __version__, gitremote
from repo2dockerspawner.builds.causes import CAUSES
from repo2dockerspawner.errors import RepoSpecError
from repo2dockerspawner.repos import parse_repo
from repo2dockerspawner.traits import our_traits

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    "README.md",
    "CHANGELOG.md",
    "SECURITY.md",
    *(f"docs/{path.name}" for path in ROOT.glob("docs/*.md")),
]
OURS = sorted(our_traits())


@cache
def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def prose(page: str) -> str:
    """The page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", read(page), flags=re.DOTALL | re.MULTILINE)


def blocks(language: str) -> list[tuple[str, str]]:
    pattern = re.compile(rf"^```{language}\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return [(page, text) for page in PAGES for text in pattern.findall(read(page))]


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without the table's own head."""
    section = re.split(r"^#+ ", read(page).partition(f"{heading}\n")[2], flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    assert len(lines) > 2, f"no table below {heading!r} in {page}"
    return [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines[2:]
    ]


@cache
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# -- what is generated -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "page", ["README.md", "docs/configure.md", "docs/builds.md", "docs/troubleshooting.md"]
)
def test_what_is_made_from_the_code_is_up_to_date(page: str) -> None:
    assert page in generator().PARTS
    assert generator().filled(page, read(page)) == read(page), "run python docs/generate.py"


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("page", ["README.md", "docs/configure.md"])
def test_each_trait_is_told_with_its_true_default(page: str, name: str) -> None:
    found = re.search(
        rf"^(?:\| |### )`{name}`(?: \| |\n\n\w+, by default )`(.+?)`", read(page), re.MULTILINE
    )
    assert found, name
    told = ast.literal_eval(found[1])
    assert told == getattr(Repo2DockerSpawner(), name)


# -- reasons and sentences -------------------------------------------------------------------


@cache
def sources() -> dict[Path, ast.Module]:
    return {
        path: ast.parse(path.read_text(encoding="utf-8"))
        for path in (ROOT / "repo2dockerspawner").rglob("*.py")
    }


def reasons() -> set[str]:
    """Every reason code: arguments, class attributes, and the two tables."""
    found = {cause.reason for cause in CAUSES} | {row[1] for row in gitremote._EXPLAINED}
    for node in (node for tree in sources().values() for node in ast.walk(tree)):
        value: ast.expr | None = None
        match node:
            case ast.keyword(arg="reason") | ast.Assign(targets=[ast.Name(id="reason")]):
                value = node.value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found.add(value.value)
    return found


@pytest.mark.parametrize("reason", sorted(reasons()))
def test_each_reason_is_explained(reason: str) -> None:
    assert f"`{reason}`" in read("docs/troubleshooting.md")


def test_the_reasons_that_are_explained_are_there() -> None:
    told = {
        code
        for line in read("docs/troubleshooting.md").splitlines()
        for code in re.findall(r"^\| `([a-z_]+)` \|", line)
    }
    assert told <= reasons()


@cache
def texts() -> str:
    """All texts of the package; what is put into them is written ``…``."""
    said = []
    for node in (node for tree in sources().values() for node in ast.walk(tree)):
        if isinstance(node, ast.JoinedStr):
            parts = [
                str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
            ]
            said.append("".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            said.append(re.sub(r"\{[a-z_]+\}", "…", node.value))
    return "\n".join(said)


SENTENCES = sorted(set(re.findall(r'"([^"|]{20,})"', prose("docs/troubleshooting.md"))))


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_quoted_sentence_is_one_that_people_get(sentence: str) -> None:
    said = " ".join(sentence.split())
    for part in (part.strip() for part in said.split("…")):
        assert part in texts()


# -- security --------------------------------------------------------------------------------


def promises() -> list[tuple[str, str]]:
    """Each case of docs/security.md with each test that is named for it."""
    return [
        (row[0], test)
        for row in rows("docs/security.md", "## What is promised")
        for test in row[2].split(", ")
    ]


@pytest.mark.parametrize(("case", "test"), promises())
def test_what_is_promised_is_shown_by_a_test(case: str, test: str) -> None:
    path, _, name = test.strip("`").partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = {node.name for node in ast.walk(tree) if isinstance(node, functions)}
    assert name.startswith("test_"), case
    assert name in found, f"{case}: {path} has no {name}"


def test_no_case_of_an_attack_is_left_out() -> None:
    told = [row[0] for row in rows("docs/security.md", "## What is promised")]
    assert [case for case in told if case.startswith("A")] == [f"A{n}" for n in range(1, 21)]


def test_each_warning_is_in_the_table_of_settings() -> None:
    told = " ".join(row[0] for row in rows("docs/security.md", "## What you have to set"))
    source = sources()[ROOT / "repo2dockerspawner/dangers.py"]
    texts = (node.value for node in ast.walk(source) if isinstance(node, ast.Constant))
    named = {
        found[2]
        for text in texts
        if isinstance(text, str)
        and (found := re.match(r"(JupyterHub|\w*Spawner)\.(\w+) (?:is|has|in)", text))
    }
    assert len(named) > 12
    missing = {name for name in named if not re.search(rf"`(c\.\w+\.)?{name}`", told)}
    assert missing <= {"cookie_secret"}  # JupyterHub makes one by itself


# -- what can be pasted ----------------------------------------------------------------------


def code(cell: str) -> str:
    return cell.strip("`")


@pytest.mark.parametrize(
    "row", rows("docs/addresses.md", "## Repositories"), ids=lambda row: row[0]
)
def test_an_address_is_understood_as_told(row: list[str]) -> None:
    spec = parse_repo(code(row[0]))
    assert (spec.provider, spec.url) == ("git", code(row[1]))
    match row[2]:
        case "looked up":
            assert spec.tail
        case "default branch":
            assert (spec.ref, spec.tail) == ("", "")
        case ref:
            assert (spec.ref, spec.tail) == (code(ref), "")


@pytest.mark.parametrize(
    "row",
    rows("docs/addresses.md", "## What is refused, and why"),
    ids=lambda row: row[0],
)
def test_an_address_is_refused_as_told(row: list[str]) -> None:
    with pytest.raises(RepoSpecError) as caught:
        parse_repo(code(row[0]))
    assert caught.value.message == row[1]


# -- commands, links, code -------------------------------------------------------------------


def commands() -> list[str]:
    lines = [line for _, text in blocks("bash") for line in text.splitlines()]
    spans = [span for page in PAGES for span in re.findall(r"`([^`\n]+)`", prose(page))]
    return sorted({text.strip() for text in [*lines, *spans] if text.startswith("scripts/")})


@cache
def help_of(script: str) -> str:
    done = subprocess.run(
        [ROOT / script, "--help"], capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout


@pytest.mark.parametrize("command", commands())
def test_a_command_is_there_with_its_options_and_parts(command: str) -> None:
    script, *words = command.split()
    assert os.access(ROOT / script, os.X_OK)
    assert (ROOT / script).is_file()
    # after the part come pytest's own
    first = words[0] if words else ""
    for word in {first, *(word for word in words if word.startswith("--"))} - {""}:
        assert re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", help_of(script)), word


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and GitLab make them."""
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links() -> list[tuple[str, str]]:
    return [
        (page, target)
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(page))
        if not re.match(r"[a-z]+:", target)
    ]


@pytest.mark.parametrize(("page", "target"), links(), ids=lambda text: text)
def test_a_link_leads_somewhere(page: str, target: str) -> None:
    name, _, anchor = target.partition("#")
    path = ((ROOT / page).parent / name).resolve() if name else ROOT / page
    assert path.is_file(), f"{target} is not there"
    if anchor:
        assert anchor in anchors(path.relative_to(ROOT).as_posix())


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached = {"README.md"}
    waiting = ["README.md"]
    while waiting:
        page = waiting.pop()
        for source, target in links():
            if source != page or not target.partition("#")[0].endswith(".md"):
                continue
            path = ((ROOT / page).parent / target.partition("#")[0]).resolve()
            name = path.relative_to(ROOT).as_posix()
            if name not in reached and path.is_file():
                reached.add(name)
                waiting.append(name)
    assert set(PAGES) <= reached


@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_python_code_compiles(page: str, text: str) -> None:
    compile(text, page, "exec")


def loaded(tmp_path: Path, text: str) -> Any:
    (tmp_path / "jupyterhub_config.py").write_text(text, encoding="utf-8")
    return PyFileConfigLoader("jupyterhub_config.py", path=str(tmp_path)).load_config()


CONFIGURATIONS = [block for block in blocks("python") if "get_config()" in block[1]]


@pytest.mark.parametrize(("page", "text"), CONFIGURATIONS)
def test_a_configuration_makes_a_spawner(tmp_path: Path, page: str, text: str) -> None:
    config = loaded(tmp_path, text)
    spawner = Repo2DockerSpawner(config=config)
    for section in ("Repo2DockerSpawner", "DockerSpawner"):
        for name, value in config.get(section, Config()).items():
            assert name in Repo2DockerSpawner.class_traits(config=True), name
            found = getattr(spawner, name)
            # DockerSpawner makes a dictionary of a list of images
            assert value in (found, list(found) if isinstance(found, dict) else found)


def test_the_readme_s_configuration_is_a_whole_one(tmp_path: Path) -> None:
    from jupyterhub.app import JupyterHub

    (text,) = [text for page, text in CONFIGURATIONS if page == "README.md"]
    config = loaded(tmp_path, text)
    hub = JupyterHub(config=config)
    assert hub.spawner_class is Repo2DockerSpawner
    assert hub.hub_ip == "172.17.0.1"
    for name in config.JupyterHub:
        assert name in JupyterHub.class_traits(config=True), name


def test_the_changelog_tells_of_this_version() -> None:
    released = __version__.partition(".dev")[0]
    heads = re.findall(r"^## (.+)$", read("CHANGELOG.md"), re.MULTILINE)
    assert heads[0].startswith(("[Unreleased]", f"[{released}]"))
    assert released in heads[0]
