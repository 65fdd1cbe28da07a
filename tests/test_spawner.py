"""DockerSpawner's calls to the engine, as they are made here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from traitlets.config import Config

from repo2dockerspawner import Repo2DockerSpawner
from repo2dockerspawner.keys import LABEL_PREFIX, labels

IMAGE_LABELS = labels("f" * 64, repo="https://h.example/o/r", ref="", commit="c", subdir="")


class Spawner(Repo2DockerSpawner):  # type: ignore[misc]
    """The engine has one image and creates whatever it is asked for."""

    image_labels: dict[str, str] | None = None

    def _docker(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if method == "inspect_image":
            assert args == ("r2d-x",)
            return {"Config": {"Labels": self.image_labels, "Cmd": ["x"]}}
        assert (method, args) == ("create_container", ())
        self.created = kwargs
        return {"Id": "c"}


def spawner(image_labels: dict[str, str] | None, **traits: Any) -> Any:
    # with a version, or docker-py would ask the engine for one, and here is none
    traits["client_kwargs"] = {"version": "1.41"}
    made: Any = Spawner(config=Config({"DockerSpawner": traits}))
    # the trait takes a JupyterHub user only; nothing here needs one
    made._trait_values["user"] = SimpleNamespace(name="ann")
    made.image = "r2d-x"
    made.image_labels = image_labels
    made.get_env = dict
    made.get_args = list
    return made


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, {}),
        ({"course": "of {username}", "{username}.x": "1"}, {"course": "of ann", "ann.x": "1"}),
        (["course", LABEL_PREFIX + "key"], {"course": ""}),
        ({LABEL_PREFIX + "owner": "ann"}, {}),
        (lambda _: {"labels": {"course": "maths"}}, {"course": "maths"}),
    ],
    ids=["none", "a dict of templates", "a list", "one of ours", "made by a function"],
)
async def test_a_container_is_created_with_no_value_in_labels_of_ours(
    given: Any, kept: dict[str, str]
) -> None:
    extra = given if callable(given) or given is None else {"labels": given}
    traits = {} if extra is None else {"extra_create_kwargs": extra}
    made = spawner({"maintainer": "ann", **IMAGE_LABELS}, **traits)
    await made.create_object()
    assert made.created["labels"] == {**kept, **dict.fromkeys(IMAGE_LABELS, "")}


@pytest.mark.parametrize("image_labels", [None, {}, {"maintainer": "ann"}])
async def test_what_is_not_of_an_image_of_ours_is_created_as_dockerspawner_does(
    image_labels: dict[str, str] | None,
) -> None:
    made = spawner(image_labels)
    await made.create_object()
    assert "labels" not in made.created
    assert made.created["image"] == "r2d-x"
