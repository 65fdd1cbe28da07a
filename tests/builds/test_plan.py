"""The command line and the files of a build container."""

from __future__ import annotations

import io
import json
import tarfile
from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repo2dockerspawner.builds.plan import BuildPlan, archive, arguments
from repo2dockerspawner.keys import encode_label

KEY = "0123456789abcdef" * 4
# lone surrogates, which JSON can carry, and what means something elsewhere, as often as the rest
any_text = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.characters(categories=["Cs"])
    | st.sampled_from("\"'$\\ \n\t`#%=-")
)
# what is likeliest to be taken for something else
hostile = st.one_of(
    any_text,
    st.sampled_from(["--config=/x", "-", "--", "--ref", "a b", "\n--debug", "'", "", "$(x)"]),
)
# RepoSpec forbids a url that begins with "-" (repos.py): the precondition of the command line
urls = hostile.filter(lambda text: not text.startswith("-"))


def plan_of(url: str = "https://x/y", content_id: str = "c" * 40, **values: object) -> BuildPlan:
    values = {"labels": {}, "provider": "git", "image": "r2d-x", **values}
    return BuildPlan(
        key=KEY,
        container="r2d-build-x",
        url=url,
        content_id=content_id,
        **values,  # type: ignore[arg-type]
    )


@given(
    urls,
    hostile,
    hostile,
    st.dictionaries(hostile, hostile, max_size=3),
    st.dictionaries(hostile, hostile, max_size=3),
)
def test_each_text_of_a_user_fills_one_argument_and_none_becomes_an_option(
    url: str, ref: str, subdir: str, labels: dict[str, str], build_args: dict[str, str]
) -> None:
    plan = plan_of(url, ref, subdir=subdir, labels=labels, build_args=build_args)
    program, *options, repository = arguments(plan)
    assert program == "jupyter-repo2docker"
    assert repository == url
    expected = [f"--label={name}={value}" for name, value in labels.items()]
    expected += [f"--build-arg={name}={value}" for name, value in build_args.items()]
    expected += [f"--ref={ref}"] * bool(ref) + [f"--subdir={subdir}"] * bool(subdir)
    fixed = [
        "--config=/repo2dockerspawner/repo2docker_config.py",
        "--json-logs",
        "--no-run",
        "--user-id=1000",
        "--user-name=jovyan",
        "--image-name=r2d-x",
    ]
    assert sorted(options) == sorted(fixed + expected)


def test_the_administrators_arguments_stand_before_the_repository_in_their_order() -> None:
    plan = plan_of("https://x/y", extra_args=("--appendix=RUN a", "--debug"))
    assert arguments(plan)[-3:] == ["--appendix=RUN a", "--debug", "https://x/y"]


def test_nothing_says_that_options_have_ended() -> None:
    # it would let a repository that begins with "-" through to the tools behind repo2docker
    assert "--" not in arguments(plan_of())


@pytest.mark.parametrize(
    ("values", "absent"),
    [({"content_id": ""}, "--ref"), ({"subdir": ""}, "--subdir")],
    ids=["no ref", "no folder"],
)
def test_what_is_not_given_is_left_out(values: dict[str, str], absent: str) -> None:
    assert not [one for one in arguments(plan_of(**values)) if one.startswith(absent)]


def test_the_same_plan_has_the_same_command_whatever_the_order_of_its_labels() -> None:
    one = plan_of(labels={"a": "1", "b": "2"}, build_args={"c": "3", "d": "4"})
    other = plan_of(labels={"b": "2", "a": "1"}, build_args={"d": "4", "c": "3"})
    assert arguments(one) == arguments(other)


@given(any_text)
def test_an_encoded_label_has_nothing_that_a_dockerfile_understands(text: str) -> None:
    command = arguments(plan_of(labels={"repo2dockerspawner.ref": encode_label(text)}))
    label = next(one for one in command if one.startswith("--label="))
    assert label.count("=") == 2
    assert not set(label) & set(" \"'$\\\n\r\t`")


# What repo2docker's configuration imports there.
MODULES = (
    "__init__.py",
    "bounded_output.py",
    "gitaccess.py",
    "guard.py",
    "guarding.py",
    "handed_over.py",
    "reach.py",
    "redaction.py",
    "running.py",
    "through.py",
    "way.py",
)


@settings(max_examples=25)
@given(hostile, st.lists(hostile, max_size=3).map(tuple), st.integers(0, 10**6))
def test_the_archive_unpacks_to_the_configuration_and_its_settings(
    provider: str, names: tuple[str, ...], clone_depth: int
) -> None:
    plan = plan_of(
        provider=provider,
        providers=names,
        protocols=names,
        clone_depth=clone_depth,
        guarded=True,
        allowed_networks=names,
        size_limit=clone_depth,
    )
    data = archive(plan)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [(one.name, one.isdir()) for one in tar] == [
            ("inside", True),
            *((f"inside/{name}", False) for name in MODULES),
            ("repo2docker_config.py", False),
            ("settings.json", False),
        ]
        files = {one.name: tar.extractfile(one) for one in tar if one.isfile()}
        contents = {name: file.read() for name, file in files.items() if file}
        # repo2docker runs as root there, and reads; nobody else may write
        assert all(one.uid == 0 and not one.mode & 0o022 for one in tar)
    inside = resources.files("repo2dockerspawner.builds") / "inside" / "repo2docker_config.py"
    assert contents["repo2docker_config.py"] == inside.read_bytes()
    assert json.loads(contents["settings.json"]) == {
        "provider": provider,
        "providers": list(names),
        "protocols": list(names),
        "clone_depth": clone_depth,
        "bound_output": True,
        "guarded": True,
        "allowed_networks": list(names),
        "size_limit": clone_depth,
        "credentials": False,
    }
