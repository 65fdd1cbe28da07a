"""What builds rely on in a Docker engine, as tests: run on the fake engine and on a real one.

A test module makes a class of `EngineContract` and has the fixtures ``engine_client`` and
``base_image``. What a container runs is ``sh -c`` with ``echo``, ``sleep``, ``cat`` and ``exit``,
joined by semicolons, which is all that the fake engine's shell knows.
"""

from __future__ import annotations

import io
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import pytest
import requests
from docker.errors import APIError, ImageNotFound, NotFound
from urllib3.exceptions import ProtocolError

from repo2dockerspawner.builds.container import was_told_to_end

__all__ = ["CONTRACT_LABEL", "Containers", "EngineContract"]

CONTRACT_LABEL = "repo2dockerspawner-testbed.contract"
_NOT_FOUND, _CONFLICT = 404, 409
_NO_SUCH = "0" * 64


class Containers:
    """Makes containers of one test, and removes them."""

    def __init__(self, client: Any, image: str) -> None:
        self.client = client
        self.image = image
        self.label = uuid.uuid4().hex
        self._made: list[str] = []

    def create(self, command: str, name: str | None = None, **labels: str) -> str:
        """Create a container and return its id."""
        made = self.client.create_container(
            image=self.image,
            command=["sh", "-c", command],
            name=name,
            labels={CONTRACT_LABEL: self.label, **labels},
            # at the end nobody is there to listen to SIGTERM
            host_config=self.client.create_host_config(init=True),
        )
        self._made.append(str(made["Id"]))
        return self._made[-1]

    def run(self, command: str) -> str:
        """Create and start a container and return its id."""
        made = self.create(command)
        self.client.start(made)
        return made

    def ended(self, command: str) -> str:
        """Run a container to its end and return its id."""
        made = self.run(command)
        self.client.wait(made, timeout=20)
        return made

    def close(self) -> None:
        for made in self._made:
            try:
                self.client.remove_container(made, force=True, v=True)
            except APIError as error:
                # gone, or just going
                if error.status_code not in (_NOT_FOUND, _CONFLICT):
                    raise


def _read(client: Any, container: str) -> bytes:
    return b"".join(client.logs(container, stream=True, follow=True))


def _tar(name: str, content: bytes) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def _refused(status: int, call: Callable[[], object]) -> None:
    with pytest.raises(APIError) as caught:
        call()
    assert caught.value.status_code == status


class EngineContract:
    """The tests."""

    @pytest.fixture
    def made(self, engine_client: Any, base_image: str) -> Iterator[Containers]:
        containers = Containers(engine_client, base_image)
        yield containers
        containers.close()

    # -- names -----------------------------------------------------------------------------

    @pytest.mark.parametrize("state", ["created", "running", "exited"])
    def test_a_name_that_is_taken_is_a_conflict(self, made: Containers, state: str) -> None:
        name = f"contract-{made.label}"
        first = made.create("exit 0" if state == "exited" else "sleep 60", name)
        if state != "created":
            made.client.start(first)
        if state == "exited":
            made.client.wait(first, timeout=20)
        assert made.client.inspect_container(name)["State"]["Status"] == state
        _refused(_CONFLICT, lambda: made.create("exit 0", name))
        assert made.client.inspect_container(name)["Id"] == first

    def test_a_name_is_free_again_when_its_container_is_removed(self, made: Containers) -> None:
        name = f"contract-{made.label}"
        first = made.create("sleep 60", name)
        made.client.start(first)
        made.client.remove_container(name, force=True, v=True)
        second = made.create("exit 0", name)
        assert second != first
        assert made.client.inspect_container(name)["Id"] == second
        with pytest.raises(NotFound):
            made.client.inspect_container(first)

    def test_of_many_who_create_one_name_one_alone_does(self, made: Containers) -> None:
        name = f"contract-{made.label}"
        results: list[str] = []

        def create() -> None:
            try:
                results.append(made.create("exit 0", name))
            except APIError as error:
                results.append(str(error.status_code))

        threads = [threading.Thread(target=create) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results.count(str(_CONFLICT)) == 7

    def test_an_engine_that_is_there_answers(self, engine_client: Any) -> None:
        assert engine_client.ping()
        assert engine_client.info()["DockerRootDir"]

    # -- what is not there -----------------------------------------------------------------

    @pytest.mark.parametrize(
        "call",
        [
            pytest.param(lambda client: client.inspect_container(_NO_SUCH), id="inspect"),
            pytest.param(lambda client: client.put_archive(_NO_SUCH, "/", b""), id="put_archive"),
            pytest.param(lambda client: client.start(_NO_SUCH), id="start"),
            pytest.param(lambda client: client.kill(_NO_SUCH), id="kill"),
            pytest.param(lambda client: client.wait(_NO_SUCH, timeout=5), id="wait"),
            pytest.param(lambda client: client.logs(_NO_SUCH), id="logs"),
            pytest.param(
                lambda client: client.logs(_NO_SUCH, stream=True, follow=True), id="followed logs"
            ),
            pytest.param(lambda client: client.remove_container(_NO_SUCH, force=True), id="remove"),
        ],
    )
    def test_a_container_that_is_not_there_is_not_found(
        self, engine_client: Any, call: Callable[[Any], object]
    ) -> None:
        with pytest.raises(NotFound):
            call(engine_client)

    def test_an_image_that_is_not_there_is_not_found(self, engine_client: Any) -> None:
        name = f"contract-{uuid.uuid4().hex}"
        with pytest.raises(ImageNotFound):
            engine_client.create_container(image=name)
        with pytest.raises(NotFound):
            engine_client.inspect_image(name)

    def test_an_image_that_can_not_be_pulled_says_so(self, engine_client: Any) -> None:
        with pytest.raises(APIError):
            list(engine_client.pull("127.0.0.1:9/none", "x", stream=True, decode=True))

    # -- before the start ------------------------------------------------------------------

    def test_files_can_be_put_into_a_container_that_was_not_started(self, made: Containers) -> None:
        container = made.create("cat /contract/file; exit 0")
        assert made.client.put_archive(container, "/", _tar("contract/file", b"hello\n"))
        made.client.start(container)
        assert _read(made.client, container) == b"hello\n"

    def test_a_created_container_neither_runs_nor_has_a_log(self, made: Containers) -> None:
        container = made.create("echo one; exit 4")
        state = made.client.inspect_container(container)["State"]
        assert (state["Status"], state["Running"], state["ExitCode"]) == ("created", False, 0)
        assert _read(made.client, container) == b""
        assert made.client.wait(container, timeout=5)["StatusCode"] == 0
        _refused(_CONFLICT, lambda: made.client.kill(container))
        made.client.remove_container(container)

    # -- the log ---------------------------------------------------------------------------

    def test_a_log_is_followed_from_its_start_to_the_containers_end(self, made: Containers) -> None:
        container = made.run("echo one; sleep 0.4; echo two; exit 0")
        time.sleep(0.2)
        assert _read(made.client, container) == b"one\ntwo\n"
        assert made.client.wait(container, timeout=5)["StatusCode"] == 0

    def test_any_number_read_the_same_log(self, made: Containers) -> None:
        container = made.run("echo one; sleep 0.3; echo two; exit 0")
        read: list[bytes] = []
        readers = [
            threading.Thread(target=lambda: read.append(_read(made.client, container)))
            for _ in range(3)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(20)
        assert read == [b"one\ntwo\n"] * 3

    def test_an_ended_containers_log_is_still_there(self, made: Containers) -> None:
        container = made.ended("echo one; exit 3")
        assert _read(made.client, container) == b"one\n"
        assert made.client.logs(container) == b"one\n"

    def test_a_last_line_without_its_end_is_there_when_the_log_is_read_again(
        self, made: Containers
    ) -> None:
        container = made.create("sleep 0.2; cat /contract/file; exit 0")
        made.client.put_archive(container, "/", _tar("contract/file", b"hello"))
        made.client.start(container)
        # who follows may miss it (engine 20.10: up to two times in three)
        assert _read(made.client, container) in (b"", b"hello")
        made.client.wait(container, timeout=20)
        assert made.client.logs(container) == b"hello"

    def test_closing_the_stream_from_another_thread_ends_the_reading(
        self, made: Containers
    ) -> None:
        container = made.run("echo one; sleep 60")
        stream = made.client.logs(container, stream=True, follow=True)
        assert b"one\n".startswith(next(stream))
        threading.Timer(0.2, stream.close).start()
        began = time.monotonic()
        list(stream)
        assert time.monotonic() - began < 5
        assert made.client.inspect_container(container)["State"]["Running"]

    def test_the_stream_within_tells_a_broken_connection_from_a_logs_end(
        self, made: Containers
    ) -> None:
        whole = made.client.logs(made.ended("echo one; exit 0"), stream=True, follow=True)
        assert b"".join(whole._stream) == b"one\n"  # noqa: SLF001 - what is relied on
        broken = made.client.logs(made.run("sleep 60"), stream=True, follow=True)
        threading.Timer(0.2, broken.close).start()
        # a connection that this side closes looks like an end, or like a broken one
        with suppress(ProtocolError, AttributeError, ValueError, OSError):
            assert b"".join(broken._stream) == b""  # noqa: SLF001

    @pytest.mark.parametrize(
        "end",
        [
            pytest.param(lambda client, container: client.kill(container), id="killed"),
            pytest.param(
                lambda client, container: client.remove_container(container, force=True),
                id="removed",
            ),
        ],
    )
    def test_a_log_ends_when_its_container_is(
        self, made: Containers, end: Callable[[Any, str], object]
    ) -> None:
        container = made.run("echo one; sleep 60")
        threading.Timer(0.2, end, [made.client, container]).start()
        assert _read(made.client, container) == b"one\n"

    # -- the end ---------------------------------------------------------------------------

    def test_the_exit_code_is_told_by_wait_and_by_inspect(self, made: Containers) -> None:
        container = made.run("exit 3")
        assert made.client.wait(container, timeout=20)["StatusCode"] == 3
        assert made.client.wait(container, timeout=20)["StatusCode"] == 3
        state = made.client.inspect_container(container)["State"]
        assert (state["Status"], state["Running"], state["ExitCode"]) == ("exited", False, 3)
        assert state["OOMKilled"] is False

    def test_waiting_has_a_limit_and_says_that_it_timed_out(self, made: Containers) -> None:
        container = made.run("sleep 60")
        began = time.monotonic()
        # not as a Timeout: the engine has begun to answer
        with pytest.raises(requests.exceptions.ConnectionError, match="timed out"):
            made.client.wait(container, timeout=0.3)
        assert 0.2 < time.monotonic() - began < 5

    def test_waiting_ends_when_the_container_is_removed(self, made: Containers) -> None:
        container = made.run("sleep 60")
        removal = threading.Timer(0.2, made.client.remove_container, [container], {"force": True})
        removal.start()
        assert made.client.wait(container, timeout=20)["StatusCode"] == 137
        removal.join()
        with pytest.raises(NotFound):
            made.client.wait(container, timeout=5)

    def test_a_killed_container_ends_with_137(self, made: Containers) -> None:
        container = made.run("sleep 60")
        made.client.kill(container)
        assert made.client.wait(container, timeout=20)["StatusCode"] == 137
        state = made.client.inspect_container(container)["State"]
        assert (state["ExitCode"], state["OOMKilled"]) == (137, False)

    @pytest.mark.parametrize("signal", ["TERM", "KILL"])
    def test_who_was_sent_a_signal_is_told_afterwards(self, made: Containers, signal: str) -> None:
        container = made.run("sleep 60")
        made.client.kill(container, signal)
        made.client.wait(container, timeout=20)
        state = made.client.inspect_container(container)["State"]
        assert was_told_to_end(made.client, container, state) == (signal == "TERM")
        other = made.ended("exit 1")
        assert not was_told_to_end(made.client, other, state)

    def test_an_ended_container_can_not_be_killed(self, made: Containers) -> None:
        container = made.ended("exit 0")
        _refused(_CONFLICT, lambda: made.client.kill(container))

    def test_starting_a_running_container_does_nothing(self, made: Containers) -> None:
        container = made.run("echo one; sleep 0.5; exit 0")
        made.client.start(container)
        assert _read(made.client, container) == b"one\n"

    def test_moments_are_written_in_utc_to_the_second_at_least(self, made: Containers) -> None:
        found = made.client.inspect_container(made.ended("exit 0"))
        moments = [found["Created"], found["State"]["StartedAt"], found["State"]["FinishedAt"]]
        assert moments == sorted(moments)
        for moment in moments:
            when = datetime.fromisoformat(moment[:19]).replace(tzinfo=timezone.utc)
            assert abs(datetime.now(timezone.utc) - when).total_seconds() < 60

    # -- removal ---------------------------------------------------------------------------

    def test_a_running_container_is_removed_by_force_alone(self, made: Containers) -> None:
        container = made.run("sleep 60")
        _refused(_CONFLICT, lambda: made.client.remove_container(container))
        assert made.client.inspect_container(container)["State"]["Running"]
        made.client.remove_container(container, force=True, v=True)
        with pytest.raises(NotFound):
            made.client.inspect_container(container)

    def test_who_removes_a_second_time_finds_nothing(self, made: Containers) -> None:
        container = made.ended("exit 0")
        made.client.remove_container(container)
        with pytest.raises(NotFound):
            made.client.remove_container(container, force=True)

    def test_who_removes_at_the_same_time_finds_nothing_or_a_conflict(
        self, made: Containers
    ) -> None:
        container = made.run("sleep 60")
        codes: list[int | None] = []

        def remove() -> None:
            try:
                made.client.remove_container(container, force=True)
            except APIError as error:
                codes.append(error.status_code)

        threads = [threading.Thread(target=remove) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(codes) < 4
        assert set(codes) <= {_NOT_FOUND, _CONFLICT}

    # -- labels ----------------------------------------------------------------------------

    def test_containers_are_found_by_their_label(self, made: Containers) -> None:
        name = f"contract-{made.label}"
        created = made.create("exit 0", name, colour="red")
        running = made.run("sleep 60")
        ended = made.ended("exit 0")

        def found(label: str, **options: Any) -> dict[str, Any]:
            every = made.client.containers(filters={"label": label}, **options)
            return {one["Id"]: one for one in every if one["Labels"][CONTRACT_LABEL] == made.label}

        every = found(CONTRACT_LABEL, all=True)
        assert set(every) == {created, running, ended}
        assert set(found(f"{CONTRACT_LABEL}={made.label}", all=True)) == {created, running, ended}
        assert set(found(CONTRACT_LABEL)) == {running}
        assert not made.client.containers(all=True, filters={"label": f"{CONTRACT_LABEL}=none"})
        assert every[created]["Names"] == [f"/{name}"]
        assert every[created]["Labels"]["colour"] == "red"
        states = [every[one]["State"] for one in (created, running, ended)]
        assert states == ["created", "running", "exited"]
        assert all(abs(one["Created"] - time.time()) < 60 for one in every.values())

    def test_a_containers_labels_are_told(self, made: Containers) -> None:
        container = made.create("exit 0", colour="red")
        labels = made.client.inspect_container(container)["Config"]["Labels"]
        assert labels["colour"] == "red"
        assert labels[CONTRACT_LABEL] == made.label

    def test_an_image_is_told_by_its_name_with_its_id(
        self, engine_client: Any, base_image: str
    ) -> None:
        found = engine_client.inspect_image(base_image)
        assert found["Id"].startswith("sha256:")
        assert isinstance(found["Config"].get("Labels") or {}, dict)
        named = base_image.removesuffix(":latest")
        assert engine_client.inspect_image(named)["Id"] == found["Id"], "latest goes without saying"
