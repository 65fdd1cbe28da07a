"""What repo2docker prints in a build container, bounded."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from hypothesis import given
from hypothesis import strategies as st

import repo2dockerspawner.builds


def load() -> ModuleType:
    """Load the file as repo2docker's configuration does: by its path."""
    folder = Path(repo2dockerspawner.builds.__file__).parent / "inside"
    spec = importlib.util.spec_from_file_location("bounded_output", folder / "bounded_output.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


bounded_output = load()


def record(number: int) -> str:
    return json.dumps({"message": f"line {number}\n", "phase": "building"}) + "\n"


class Clock:
    """Seconds that go by when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def messages(stream: io.StringIO) -> list[str]:
    return [json.loads(line)["message"].strip() for line in stream.getvalue().splitlines()]


def test_what_is_little_passes_unchanged() -> None:
    stream = io.StringIO()
    output = bounded_output.BoundedOutput(stream)
    text = "".join(record(number) for number in range(1000))
    for line in text.splitlines(keepends=True):
        output.write(line)
    output.finish()
    assert stream.getvalue() == text


def test_of_much_the_beginning_and_the_end_pass_and_the_gap_is_said() -> None:
    stream = io.StringIO()
    output = bounded_output.BoundedOutput(stream, head=10_000, tail=5_000, clock=Clock())
    count = 100_000
    for number in range(count):
        output.write(record(number))
    output.finish()
    seen = messages(stream)
    assert seen[0] == "line 0"
    assert seen[-1] == f"line {count - 1}"
    gaps = [line for line in seen if "left out" in line]
    assert len(gaps) == 1
    left_out = int(gaps[0].split()[1].replace(",", ""))
    assert left_out + len(seen) - 1 == count, "every line is shown or counted"
    assert len(stream.getvalue()) < 10_000 + 5_000 + bounded_output._BURST + 500


def test_a_little_goes_on_passing_so_that_one_sees_it_going_on() -> None:
    stream, clock = io.StringIO(), Clock()
    output = bounded_output.BoundedOutput(stream, head=0, rate=1000, tail=1000, clock=clock)
    for number in range(100_000):
        clock.now += 0.001
        output.write(record(number))
    passed = len(stream.getvalue())
    assert 50_000 < passed < 100 * 1000 + bounded_output._BURST + 1000, "about 1,000 a second"
    output.finish()
    assert messages(stream)[-1] == "line 99999"


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.floats(0, 5)), max_size=60),
    st.integers(0, 4000),
    st.integers(0, 4000),
)
def test_every_record_is_passed_or_counted(
    sizes: list[tuple[int, float]], head: int, tail: int
) -> None:
    stream, clock = io.StringIO(), Clock()
    output = bounded_output.BoundedOutput(stream, head=head, tail=tail, rate=100, clock=clock)
    for size, pause in sizes:
        clock.now += pause
        output.write(json.dumps({"message": "x" * size + "\n"}) + "\n")
    output.finish()
    seen = messages(stream)
    counted = sum(int(line.split()[1].replace(",", "")) for line in seen if "left out" in line)
    shown = sum("left out" not in line for line in seen)
    assert shown + counted == len(sizes)


def test_it_is_the_stream_in_everything_else() -> None:
    stream = io.StringIO()
    output = bounded_output.BoundedOutput(stream)
    assert output.closed is False
    output.flush()


def test_who_is_told_to_end_says_the_last_lines_first() -> None:
    """As `docker stop` and an engine that ends tell it; the first process dies of nothing else."""
    program = (
        "import bounded_output as b, sys, time\n"
        "b.HEAD, b._BURST = 100, 0\n"
        "b.BoundedOutput.__init__.__kwdefaults__.update(head=100, rate=0)\n"
        "out = b.bounded(sys.stdout)\n"
        "for n in range(100): out.write(f'line {n}\\n')\n"
        "print('ready', file=sys.stderr, flush=True)\n"
        "time.sleep(60)\n"
    )
    folder = Path(repo2dockerspawner.builds.__file__).parent / "inside"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.terminate()
        said, _ = process.communicate(timeout=10)
    assert process.returncode == 143
    assert said.splitlines()[0] == "line 0"
    assert said.splitlines()[-1] == "line 99"
