"""Waiting for a server that was just started."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from repo2dockerspawner.waiting import server_answers, wait_until


class Says(RequestHandler):
    """Answers with the next of the statuses, the last one for ever."""

    statuses: list[int]

    def get(self) -> None:
        statuses = self.application.settings["statuses"]
        self.set_status(statuses.pop(0) if len(statuses) > 1 else statuses[0])


@pytest.fixture
async def statuses() -> list[int]:
    return [200]


@pytest.fixture
async def url(statuses: list[int]) -> AsyncIterator[str]:
    socket, port = bind_unused_port()
    server = HTTPServer(Application([("/api", Says)], statuses=statuses))
    server.add_socket(socket)
    yield f"http://127.0.0.1:{port}/api"
    server.stop()
    await server.close_all_connections()


@pytest.mark.parametrize("answer", [200, 302, 403, 404])
async def test_whatever_a_server_answers_it_is_up(
    url: str, statuses: list[int], answer: int
) -> None:
    statuses[:] = [answer]
    await asyncio.wait_for(server_answers(url), 5)


async def test_an_error_of_the_server_is_no_answer(url: str, statuses: list[int]) -> None:
    statuses[:] = [503, 500, 200]
    await asyncio.wait_for(server_answers(url), 5)
    assert statuses == [200]


async def test_a_server_that_does_not_listen_yet_is_asked_again() -> None:
    socket, port = bind_unused_port()
    socket.close()
    answered = server_answers(f"http://127.0.0.1:{port}/api")
    assert not await wait_until(answered, asyncio.Event(), 0.35)


async def test_the_end_of_the_container_ends_the_waiting() -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, ended.set)
    since = time.monotonic()
    assert not await wait_until(asyncio.sleep(30), ended, 20)
    assert time.monotonic() - since < 5


async def test_an_answer_ends_the_waiting() -> None:
    assert await wait_until(asyncio.sleep(0), asyncio.Event(), 20)


async def test_who_is_cancelled_leaves_nothing_behind() -> None:
    before = asyncio.all_tasks()
    task = asyncio.create_task(wait_until(asyncio.sleep(30), asyncio.Event(), 20))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == before
