"""The guard with real sockets: what it lets through, what it refuses, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager

import psutil
import pytest

from repo2dockerspawner.builds.inside import guard as guard_module
from repo2dockerspawner.builds.inside.guard import Guard, GuardError, Refusal, is_own, resolved
from repo2dockerspawner.builds.inside.reach import Reach
from repo2dockerspawner.builds.inside.way import THROUGH, goes_by_proxy, host_of, send_through

HELLO = b"\5\1\0"
HERE = ["127.0.0.1"]


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """No file descriptor, no task, no look-up."""
    me = psutil.Process()
    before = me.num_fds()
    yield
    gc.collect(1)
    # a transport is closed by the loop's next turn
    await asyncio.sleep(0.01)
    assert me.num_fds() <= before
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not [one for one in threading.enumerate() if one.name == "guard-lookup"]


@asynccontextmanager
async def running(
    allowed: Sequence[str] = HERE, names: dict[str, list[str]] | None = None, **more: object
) -> AsyncIterator[Guard]:
    """A guard that looks names up in a table, and after it the system's own."""

    def lookup(host: str, port: int) -> Sequence[str]:
        return (names or {}).get(host) or guard_module.system_lookup(host, port)

    guard = Guard(Reach(allowed), lookup=lookup, **more)  # type: ignore[arg-type]
    await guard.start()
    try:
        yield guard
    finally:
        await guard.close()


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """A server of one's own; yields its port."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    made = await asyncio.start_server(once, host, port)
    try:
        yield made.sockets[0].getsockname()[1]
    finally:
        made.close()
        await asyncio.sleep(0.01)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says everything back once all of it is there: needs a half-closed connection."""
    data = await reader.read(-1)
    writer.write(b"heard " + data)
    await writer.drain()


def request(host: str, port: int) -> bytes:
    name = host.encode()
    return b"\5\1\0\3" + bytes([len(name)]) + name + port.to_bytes(2, "big")


async def ask(
    guard: Guard, wanted: bytes
) -> tuple[int, asyncio.StreamReader, asyncio.StreamWriter]:
    """Returns the guard's answer to a request, and the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", guard.port)
    writer.write(HELLO + wanted)
    assert await reader.readexactly(2) == b"\5\0"
    answer = await reader.readexactly(10)
    return answer[1], reader, writer


async def code(guard: Guard, host: str, port: int = 1) -> int:
    found, _, writer = await ask(guard, request(host, port))
    writer.close()
    return found


async def test_it_listens_on_this_machine_alone() -> None:
    async with running() as guard:
        [listening] = guard._server.sockets  # type: ignore[union-attr]
        assert listening.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize("kind", ["name", "ipv4", "ipv6"])
async def test_an_allowed_host_is_reached_and_half_closing_too(kind: str) -> None:
    host = "::1" if kind == "ipv6" else "127.0.0.1"
    async with running([host]) as guard, server(echo, host) as port:
        packed = {
            "name": b"\3\x09localhost",
            "ipv4": b"\1" + socket.inet_aton("127.0.0.1"),
            "ipv6": b"\4" + socket.inet_pton(socket.AF_INET6, "::1"),
        }[kind]
        found, reader, writer = await ask(guard, b"\5\1\0" + packed + port.to_bytes(2, "big"))
        assert found == 0
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read(-1) == b"heard hello"
        writer.close()
        assert guard.refused == []


async def test_much_goes_through_both_ways_unchanged() -> None:
    data = bytes(range(256)) * 40_000
    async with running() as guard, server(echo) as port:
        _, reader, writer = await ask(guard, request("127.0.0.1", port))

        async def send() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        _, answer = await asyncio.gather(send(), reader.read(-1))
        assert answer == b"heard " + data
        writer.close()


# Every spelling that some resolver takes for this machine, or for another private one.
SPELLINGS = [
    *("127.0.0.1", "127.1", "127.0.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1"),
    *("017700000001", "0", "0.0.0.0", "localhost", "LOCALHOST", "LocalHost", "localhost."),
    *("::1", "::", "::ffff:127.0.0.1", "::FFFF:7F00:1", "0:0:0:0:0:0:0:1", "::ffff:0x7f.1"),
    *("64:ff9b::7f00:1", "169.254.169.254", "0xa9fea9fe", "2852039166", "10.0.0.1", "012.0.0.1"),
    *("172.17.0.1", "172.17.1", "0xac110001", "192.168.1", "100.64.0.1", "fd00:ec2::254"),
    *("fe80::1%lo", "224.0.0.1", "255.255.255.255"),
]


@pytest.mark.parametrize("host", SPELLINGS)
async def test_no_spelling_of_a_private_address_is_reached(host: str) -> None:
    hits: list[object] = []

    async def count(*_: object) -> None:
        hits.append(1)

    async with running([]) as guard, server(count) as port:
        # what no resolver takes for an address isn't found
        assert await code(guard, host, port) in {2, 4}
    assert hits == []


async def test_a_name_counts_for_what_it_is_looked_up_to() -> None:
    async with running([], {"rebound.example": ["10.0.0.5"]}) as guard:
        assert await code(guard, "rebound.example") == 2
        assert guard.refused == [Refusal("rebound.example", "10.0.0.5")]


async def test_of_several_addresses_only_allowed_ones_are_tried() -> None:
    async with (
        running(["127.0.0.2"], {"both.example": ["127.0.0.3", "127.0.0.2"]}) as guard,
        server(echo, "127.0.0.2") as port,
    ):
        async with server(echo, "127.0.0.3"):
            assert await code(guard, "both.example", port) == 0
        assert guard.refused == []


async def test_what_was_judged_is_what_is_connected_to() -> None:
    """A name is looked up once: what it means the second time never counts."""
    asked: list[str] = []

    def lookup(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.66"]

    guard = Guard(Reach(["127.0.0.1"]), lookup=lookup)
    await guard.start()
    async with server(echo) as port:
        assert await code(guard, "rebinding.example", port) == 0
        assert asked == ["rebinding.example"]
        assert await code(guard, "rebinding.example", port) == 2
    await guard.close()


async def test_this_machines_own_public_address_is_not_the_internet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard_module, "is_own", lambda address: address == "8.8.8.8")
    async with running([]) as guard:
        assert await code(guard, "8.8.8.8") == 2
    with pytest.raises(GuardError):
        guard_module.sort_addresses("8.8.8.8", ["8.8.8.8"], Reach())
    assert guard_module.sort_addresses("me", ["8.8.8.8"], Reach(["me"])) == ["8.8.8.8"]


def test_own_addresses_are_known() -> None:
    assert is_own("127.0.0.1")
    assert is_own("::1")
    assert not is_own("8.8.8.8")
    assert not is_own("2606:4700:4700::1111")


async def test_what_can_not_be_reached_is_told_apart() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    async with running([*HERE, "nowhere.invalid"]) as guard:
        assert await code(guard, "127.0.0.1", port) == 5
        assert await code(guard, "nowhere.invalid") == 4
        assert await code(guard, "x" * 255) in {1, 4}


async def test_a_slow_lookup_and_a_slow_connection_end() -> None:
    lasting = threading.Event()

    def lookup(host: str, _port: int) -> Sequence[str]:
        lasting.wait(5)
        return HERE

    guard = Guard(Reach(HERE), lookup=lookup, connect_seconds=0.1)
    await guard.start()
    begun = time.monotonic()
    assert await code(guard, "slow.example") == 6
    assert time.monotonic() - begun < 1
    lasting.set()
    await guard.close()
    await asyncio.sleep(0.05)


async def test_a_host_whose_first_address_is_silent_is_reached_at_its_second() -> None:
    with socket.create_server(("127.0.0.2", 0), backlog=0) as full:
        port = full.getsockname()[1]
        # a full backlog: the next connection gets no answer
        filling = [socket.socket() for _ in range(2)]
        for one in filling:
            one.setblocking(False)
            one.connect_ex(("127.0.0.2", port))
        addresses = ["127.0.0.2", "127.0.0.1"]
        guard = Guard(Reach(["127.0.0.0/8"]), lookup=lambda *_: addresses)
        await guard.start()
        async with server(echo, "127.0.0.1", port):
            begun = time.monotonic()
            assert await code(guard, "two.example", port) == 0
            assert 0.2 < time.monotonic() - begun < 2
        await guard.close()
        for one in filling:
            one.close()


GARBAGE = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 400,
    b"\4\1\0\x50\x7f\0\0\1\0" + b"x" * 300,
    b"\5\1\2" + b"x" * 20,
    b"\5\0" + b"x" * 20,
    HELLO + b"\5\2\0\1\x7f\0\0\1\0\x50",
    HELLO + b"\5\3\0\1\x7f\0\0\1\0\x50",
    HELLO + b"\5\1\0\2\x7f\0\0\1\0\x50",
    HELLO + b"\4\1\0\1\x7f\0\0\1\0\x50",
    HELLO + b"\5\1\0\3\0\0\x50",
    HELLO + b"\5\1\0\3\3a\0b\0\x50",
    HELLO + b"\5\1\0\3\4\xff\xfe\xfd\xfc\0\x50",
]


@pytest.mark.parametrize("sent", GARBAGE, ids=range(len(GARBAGE)))
async def test_who_speaks_something_else_is_sent_away(sent: bytes) -> None:
    async with running() as guard:
        reader, writer = await asyncio.open_connection("127.0.0.1", guard.port)
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(-1), 1)
        assert not answer.endswith(b"\0\0\1" + bytes(6))
        assert answer[:2] != b"\5\0" or answer[3:4] != b"\0"
        writer.close()
        assert await code(guard, "127.0.0.1", guard.port) == 0


async def test_who_says_nothing_is_sent_away_in_time() -> None:
    async with running(handshake_seconds=0.1) as guard:
        reader, writer = await asyncio.open_connection("127.0.0.1", guard.port)
        for byte in HELLO:
            writer.write(bytes([byte]))
        assert await asyncio.wait_for(reader.read(-1), 1) == b"\5\0"
        writer.close()


async def test_who_goes_in_the_middle_is_forgotten() -> None:
    async with running() as guard, server(echo) as port:
        for sent in (b"", b"\5", HELLO, HELLO + request("localhost", port)[:7]):
            _, writer = await asyncio.open_connection("127.0.0.1", guard.port)
            writer.write(sent)
            writer.close()
        _, _, writer = await ask(guard, request("127.0.0.1", port))
        writer.transport.abort()
        await asyncio.sleep(0.05)
        assert guard._tasks == set()


async def test_no_more_connections_than_allowed_are_open() -> None:
    async with running(most=5) as guard, server(echo) as port:
        made = [await ask(guard, request("127.0.0.1", port)) for _ in range(5)]
        reader, writer = await asyncio.open_connection("127.0.0.1", guard.port)
        assert await asyncio.wait_for(reader.read(-1), 1) == b""
        writer.close()
        for _, _, one in made:
            one.close()
        await asyncio.sleep(0.05)
        assert await code(guard, "127.0.0.1", port) == 0


async def test_many_connections_after_one_another_and_at_once() -> None:
    async with running(["127.0.0.1"]) as guard, server(echo) as port:

        async def one(number: int) -> bool:
            found, reader, writer = await ask(guard, request("127.0.0.1", port))
            writer.write(b"%d" % number)
            writer.write_eof()
            answer = await reader.read(-1)
            writer.close()
            return found == 0 and answer == b"heard %d" % number

        for _ in range(5):
            assert all(await asyncio.gather(*map(one, range(40))))


async def test_closing_ends_what_is_open() -> None:
    async with server(echo) as port:
        async with running() as guard:
            _, reader, writer = await ask(guard, request("127.0.0.1", port))
        assert await asyncio.wait_for(reader.read(-1), 1) == b""
        writer.close()
        with pytest.raises(OSError):  # noqa: PT011 - refused, or reset
            await asyncio.open_connection("127.0.0.1", guard.port)


async def test_a_lookup_that_ends_after_its_loop_disturbs_nobody() -> None:
    ended = threading.Event()

    def late(host: str, _port: int) -> Sequence[str]:
        ended.wait(5)
        return []

    def run() -> None:
        async def ask_for_it() -> None:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(resolved("late.example", 1, late), 0.05)

        asyncio.run(ask_for_it())

    await asyncio.to_thread(run)
    ended.set()
    await asyncio.sleep(0.05)


# -- what is no HTTP ---------------------------------------------------------------------------


@pytest.fixture
def through() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-I", "-S", str(THROUGH), *map(str, arguments)]
        pipe = subprocess.PIPE
        made = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        started.append(made)
        return made

    yield start
    for made in started:
        made.kill()
        made.communicate()


async def test_a_program_s_input_and_output_go_through_it(
    through: Callable[..., subprocess.Popen[bytes]],
) -> None:
    data = b"0123456789abcdef" * 20_000
    async with running() as guard, server(echo) as port:
        program = through(guard.port, "127.0.0.1", port)
        out, err = await asyncio.to_thread(program.communicate, data, 10)
        assert (out, err, program.returncode) == (b"heard " + data, b"", 0)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("127.0.0.1", b"Connection refused"),
        ("nowhere.invalid", b"Name or service not known"),
        ("10.0.0.1", b"address not allowed"),
        ("[::1]", b"address not allowed"),
        ("x" * 300, b""),
    ],
)
async def test_what_it_can_not_reach_it_says_as_ssh_does(
    through: Callable[..., subprocess.Popen[bytes]], host: str, said: bytes
) -> None:
    async with running() as guard:
        program = through(guard.port, host, 1)
        _, err = await asyncio.to_thread(program.communicate, None, 10)
        assert program.returncode == 1
        assert err.startswith(b"connect to host")
        assert said in err


def test_git_is_told_nothing_of_other_ways() -> None:
    environ = {"no_proxy": "*", "HTTPS_PROXY": "http://x", "GIT_SSH_COMMAND": "ssh -i k", "A": "b"}
    send_through(environ, 1234)
    command = environ.pop("GIT_SSH_COMMAND")
    assert command.startswith("ssh -i k -o 'ProxyCommand=")
    assert command.endswith("through.py 1234 %h %p'")
    assert environ == {"A": "b", "GIT_PROXY_COMMAND": "/nonexistent"}


@pytest.mark.parametrize(
    ("url", "environ", "proxied"),
    [
        ("https://a.example/x", {}, False),
        ("https://a.example/x", {"https_proxy": "http://p"}, True),
        ("https://a.example/x", {"HTTPS_PROXY": "http://p"}, True),
        ("https://a.example/x", {"http_proxy": "http://p"}, False),
        ("https://a.example/x", {"all_proxy": "socks5://p"}, True),
        ("https://a.example/x", {"https_proxy": ""}, False),
        ("https://a.example/x", {"https_proxy": "http://p", "no_proxy": ".example"}, False),
        ("https://a.example/x", {"https_proxy": "http://p", "NO_PROXY": "*"}, False),
        ("https://a.example/x", {"https_proxy": "http://p", "no_proxy": "b.example"}, True),
        ("http://a.example/x", {"HTTP_PROXY": "http://p", "HTTPS_PROXY": "http://p"}, False),
        ("http://a.example/x", {"http_proxy": "http://p"}, True),
        ("ssh://git@a.example/x", {"all_proxy": "http://p"}, False),
        ("git://a.example/x", {"all_proxy": "http://p"}, False),
        ("nonsense", {"all_proxy": "http://p"}, False),
    ],
)
def test_an_administrator_s_proxy_is_known(
    url: str, environ: dict[str, str], proxied: bool
) -> None:
    assert goes_by_proxy(url, environ) is proxied


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://a.example/x", ("a.example", 443)),
        ("http://[::1]:81/x", ("::1", 81)),
        ("ssh://git@a.example/x", ("a.example", 22)),
        ("git://A.example/x", ("a.example", 9418)),
        ("hg+x://a/x", ("a", 443)),
    ],
)
def test_an_address_has_a_host_and_a_port(url: str, host: tuple[str, int]) -> None:
    assert host_of(url) == host


def test_an_address_without_a_host_has_none() -> None:
    with pytest.raises(ValueError, match="no host"):
        host_of("10.5281/zenodo.1")
