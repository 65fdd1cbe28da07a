"""The names that documentation and other people's configuration stand on."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import repo2dockerspawner

MODULES = sorted(
    found.name
    for found in pkgutil.walk_packages(repo2dockerspawner.__path__, "repo2dockerspawner.")
    if ".inside" not in found.name
)


def test_the_package_has_its_public_names_and_no_others() -> None:
    assert set(repo2dockerspawner.__all__) == {
        "Repo2DockerMixin",
        "Repo2DockerSpawner",
        "__version__",
        "configure",
    }


@pytest.mark.parametrize("name", MODULES)
def test_every_name_that_a_module_offers_is_there_and_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__ or name.endswith("_version")
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), public
        found = getattr(module, public)
        if isinstance(found, type) and found.__module__ == name:
            assert found.__doc__, public


@pytest.mark.parametrize("entry_point", ["repo2docker"])
def test_jupyterhub_finds_the_spawner_by_its_short_name(entry_point: str) -> None:
    from importlib.metadata import entry_points

    (found,) = entry_points(group="jupyterhub.spawners", name=entry_point)
    assert found.load() is repo2dockerspawner.Repo2DockerSpawner


@pytest.mark.parametrize("name", ["options_form.html", "failure.html", "log_lines.html"])
def test_the_templates_are_where_they_are_looked_for(name: str) -> None:
    from repo2dockerspawner.launch import _templates

    assert _templates().get_template(name)


def test_the_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert version("repo2dockerspawner") == repo2dockerspawner.__version__
