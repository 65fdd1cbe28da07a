"""The tree of errors, and how JupyterHub is given them."""

from __future__ import annotations

import pytest

from repo2dockerspawner import errors
from repo2dockerspawner.errors import BuildError, LaunchError, Repo2DockerError
from repo2dockerspawner.hubcompat import ConfirmLaunch, LaunchFailed, SpawnException

CLASSES = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("error", CLASSES, ids=lambda one: one.__name__)
def test_every_error_has_a_sentence_a_reason_and_a_status(error: type[Repo2DockerError]) -> None:
    raised = error("It did not work; try again.")
    assert isinstance(raised, Repo2DockerError)
    assert str(raised) == raised.message == "It did not work; try again."
    assert raised.reason == error.reason
    assert raised.reason.isidentifier()
    assert raised.status == error.status
    assert 400 <= raised.status < 600
    assert (raised.lines, raised.field) == ((), "")
    assert error.__doc__


def test_each_kind_has_a_reason_of_its_own() -> None:
    reasons = [one.reason for one in CLASSES]
    assert len(set(reasons)) == len(reasons)


def test_what_is_given_wins_over_the_kinds_own() -> None:
    error = BuildError("No.", reason="build_timeout", status=504, lines=["a", "b"], field="repo")
    assert (error.reason, error.status) == ("build_timeout", 504)
    assert error.lines == ("a", "b")
    assert error.field == "repo"
    assert (BuildError.reason, BuildError.status) == ("build_failed", 422)


def test_what_the_user_can_mend_is_no_fault_of_the_servers() -> None:
    assert all(one.status < 500 for one in CLASSES if issubclass(one, (LaunchError, BuildError)))


def test_jupyterhub_gets_the_sentence_the_reason_and_the_status() -> None:
    cause = BuildError("100% <b>bad</b>.", lines=["a <i>", "b"])
    error = LaunchFailed(cause)
    assert isinstance(error, SpawnException)
    assert error.status_code == 422
    assert error.jupyterhub_message == cause.message
    assert "<b>" not in error.jupyterhub_html_message
    assert "a &lt;i&gt;\nb" in error.jupyterhub_html_message
    # a percent sign is no format
    assert "100%" in str(error)


def test_a_link_shows_the_form_and_no_alert() -> None:
    assert ConfirmLaunch().jupyterhub_message == ""
