"""What is installed from the built wheel, in an environment that has nothing of this checkout.

Among the tests on an engine only because it takes as long: it installs JupyterHub anew.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import repo2dockerspawner

ROOT = Path(__file__).resolve().parents[2]
# The build writes beside its sources, and what it finds there must be what a clone has.
NOT_IN_A_CLONE = (".*", "build", "dist", "*.egg-info", "__pycache__", "node_modules")
SECONDS = 600

pytestmark = pytest.mark.timeout(SECONDS)


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built in isolation from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_IN_A_CLONE))
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder / "dist", copy, cwd=folder)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh virtual environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=True, symlinks=True)
    found = folder / "bin" / "python"
    options = ("--disable-pip-version-check", "--quiet")
    run(found, "-m", "pip", "install", *options, wheel, cwd=folder)
    return found


@pytest.fixture
def installed(python: Path, tmp_path: Path) -> InstalledPython:
    return InstalledPython(python, tmp_path)


class InstalledPython:
    """Runs code in the fresh environment, in an empty folder."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python = python
        self.folder = folder

    def __call__(self, code: str, *options: str) -> str:
        # -I: neither the working directory nor the variables of this process lead anywhere
        return run(self.python, "-I", *options, "-c", code, cwd=self.folder).strip()


def test_the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"repo2dockerspawner"}
    package = ROOT / "repo2dockerspawner"
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith("repo2dockerspawner/")} == sources


def test_it_is_imported_without_a_warning_and_from_where_it_was_installed(
    installed: InstalledPython, python: Path
) -> None:
    where = installed("import repo2dockerspawner as r; print(r.__file__)", "-W", "error")
    assert Path(where).is_relative_to(python.parents[1])


def test_its_version_is_this_one(installed: InstalledPython) -> None:
    code = """
from importlib.metadata import version
import repo2dockerspawner
print(version("repo2dockerspawner"), repo2dockerspawner.__version__)
"""
    assert installed(code).split() == [repo2dockerspawner.__version__] * 2


def test_jupyterhub_finds_the_spawner(installed: InstalledPython) -> None:
    code = """
from jupyterhub.app import JupyterHub
print(JupyterHub(spawner_class="repo2docker").spawner_class.__name__)
"""
    assert installed(code).splitlines()[-1] == "Repo2DockerSpawner"


def test_the_form_is_rendered(installed: InstalledPython) -> None:
    code = """
import asyncio
from repo2dockerspawner import Repo2DockerSpawner
spawner = Repo2DockerSpawner()
print(asyncio.run(spawner.options_form(spawner)))
"""
    assert 'name="repo"' in installed(code)


def test_what_goes_into_a_build_container_is_there(installed: InstalledPython) -> None:
    code = """
import io, tarfile
from repo2dockerspawner.builds.plan import BuildPlan, archive
plan = BuildPlan("0" * 64, "c", "i", {}, "git", "https://example.org/a/b", "0" * 40)
with tarfile.open(fileobj=io.BytesIO(archive(plan))) as tar:
    print(*tar.getnames())
"""
    names = {name.rpartition("/")[2] for name in installed(code).split()}
    inside = {path.name for path in (ROOT / "repo2dockerspawner/builds/inside").glob("*.py")}
    assert inside | {"settings.json"} <= names
