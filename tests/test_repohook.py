"""The administrator's hook: asked, and its answer understood."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from tornado import web

from repo2dockerspawner.errors import EngineError, PolicyError, Repo2DockerError
from repo2dockerspawner.repohook import ask_hook
from repo2dockerspawner.repos import RepoSpec
from repo2dockerspawner.resolve import Resolved

RESOLVED = Resolved(RepoSpec("git", "https://github.com/owner/repo"), "c" * 40)


async def ask(hook: Any, seconds: float = 5) -> None:
    await ask_hook(hook, "the spawner", RESOLVED, seconds)


async def refusal(hook: Any, seconds: float = 5) -> Repo2DockerError:
    with pytest.raises(Repo2DockerError) as raised:
        await ask(hook, seconds)
    return raised.value


def returning(answer: Any) -> tuple[Any, Any]:
    """A hook that returns it, and one that is a coroutine."""

    async def later(_spawner: Any, _resolved: Any) -> Any:
        await asyncio.sleep(0)
        return answer

    return (lambda _spawner, _resolved: answer), later


def raising(error: BaseException) -> Any:
    def hook(_spawner: Any, _resolved: Any) -> None:
        raise error

    return hook


async def test_it_is_called_with_the_spawner_and_what_is_asked_for() -> None:
    calls = []
    await ask(lambda *given: calls.append(given))
    assert calls == [("the spawner", RESOLVED)]


@pytest.mark.parametrize("answer", [None, True])
async def test_these_are_a_yes(answer: Any) -> None:
    for hook in returning(answer):
        await ask(hook)


async def test_a_sentence_is_a_no_and_is_told_on_one_line() -> None:
    for hook in returning("Only courses\nof this term\t are built."):
        error = await refusal(hook)
        assert isinstance(error, PolicyError)
        assert error.message == "Only courses of this term are built."
        assert (error.reason, error.status, error.field) == ("repo_hook", 403, "repo")


@pytest.mark.parametrize("answer", [False, "", "  \n"])
async def test_a_no_without_a_sentence_has_one_of_ours(answer: Any) -> None:
    for hook in returning(answer):
        error = await refusal(hook)
        assert "(repo_hook) refuses it. Choose another repository" in error.message
        assert error.reason == "repo_hook"


@pytest.mark.parametrize("answer", [1, 0, [], {}, object, b"yes", "async"], ids=str)
async def test_whatever_else_is_a_no_that_an_administrator_is_told_of(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    if answer == "async":
        # forgotten to be awaited by the hook itself: what comes out is no answer
        answer = returning(True)
    for hook in returning(answer):
        error = await refusal(hook)
        assert (error.reason, error.status) == ("repo_hook_failed", 500)
        assert "An administrator of this hub has to look" in error.message
        assert f"for owner/repo it returned {type(answer).__name__}" in caplog.text


@pytest.mark.parametrize(
    ("error", "message", "status"),
    [
        (web.HTTPError(403, "Not %s.", "this one"), "Not this one.", 403),
        (web.HTTPError(403, "100% sure."), "100% sure.", 403),
        (web.HTTPError(429, reason="Too many."), "Too many.", 429),
    ],
    ids=["with arguments", "without", "a reason"],
)
async def test_an_http_errors_message_is_told(
    error: web.HTTPError, message: str, status: int
) -> None:
    refused = await refusal(raising(error))
    assert (refused.message, refused.status) == (message, status)
    assert refused.reason == "repo_hook"


@pytest.mark.parametrize("given", [(), ("Not %s.",), ("Not %d.", "x"), ("Not.", "x")], ids=str)
async def test_an_http_error_without_a_message_that_can_be_read_is_a_no(given: Any) -> None:
    refused = await refusal(raising(web.HTTPError(403, *given)))
    assert "refuses it" in refused.message or refused.message == "Not %s."
    assert refused.status == 403


@pytest.mark.parametrize("error", [PolicyError("No."), EngineError("Later.")])
async def test_an_error_of_ours_passes_as_it_is(error: Repo2DockerError) -> None:
    assert await refusal(raising(error)) is error


@pytest.mark.parametrize(
    "error",
    [ValueError("hunter2"), KeyError("x"), TimeoutError(), asyncio.TimeoutError()],
    ids=repr,
)
async def test_a_hook_that_breaks_lets_nothing_through_and_says_nothing_of_it(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    refused = await refusal(raising(error))
    assert (refused.reason, refused.status) == ("repo_hook_failed", 500)
    assert "hunter2" not in refused.message
    # with its traceback
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert type(error).__name__ in caplog.text
    assert "in hook" in caplog.text


async def test_a_hook_that_takes_no_such_arguments_lets_nothing_through() -> None:
    assert (await refusal(lambda _spawner: None)).reason == "repo_hook_failed"


async def test_a_hook_that_gives_no_answer_is_given_up_and_ended() -> None:
    ended = asyncio.Event()

    async def stuck(_spawner: Any, _resolved: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    error = await refusal(stuck, seconds=0.05)
    assert (error.reason, error.status) == ("repo_hook_timeout", 504)
    assert "(repo_hook) gave no answer within 0 seconds" in error.message
    await asyncio.wait_for(ended.wait(), 1)


async def test_who_gives_up_ends_the_hook_too() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def stuck(_spawner: Any, _resolved: Any) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    asking = asyncio.create_task(ask(stuck))
    await begun.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.wait_for(ended.wait(), 1)
