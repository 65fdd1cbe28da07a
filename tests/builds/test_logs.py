from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.logs import (
    LogEvent,
    LogParser,
    Phase,
    failure_lines,
    log_event,
    normal_name,
)

LOGS = Path(__file__).parent / "logs"
VERSIONS = ("2024.7.0", "2026.4.0")

F, B, P = Phase.FETCHING, Phase.BUILDING, Phase.PUSHING

# Files that begin with "written-" come from the documented forms of lines, the others were recorded
# from real builds by scripts/record-logs.
# file: phases in their order, step at the end, image, least and greatest progress at the end
TABLE: dict[str, tuple[list[Phase], tuple[int, int] | None, str | None, float, float]] = {
    "2024.7.0-fresh": ([F, B], (9, 9), "recorded/fresh", 0.98, 0.99),
    "2024.7.0-fresh-text": ([F, B], (9, 9), "recorded/fresh", 0.98, 0.99),
    "2026.4.0-fresh": ([F, B], (4, 4), "recorded/fresh", 0.98, 0.99),
    "2026.4.0-fresh-text": ([F, B], (4, 4), "recorded/fresh", 0.98, 0.99),
    "2024.7.0-multi-stage": ([F, B], (15, 15), "recorded/multi-stage", 0.98, 0.99),
    "2026.4.0-multi-stage": ([F, B], (7, 7), "recorded/multi-stage", 0.98, 0.99),
    "2024.7.0-failing-run": ([F, B], (3, 7), None, 0.30, 0.44),
    "2024.7.0-failing-run-text": ([F, B], (3, 7), None, 0.30, 0.44),
    "2026.4.0-failing-run": ([F, B], (2, 3), None, 0.35, 0.65),
    "2026.4.0-failing-run-text": ([F, B], (2, 3), None, 0.35, 0.65),
    "2024.7.0-copy-missing": ([F, B], (3, 6), None, 0.35, 0.50),
    "2026.4.0-copy-missing": ([F, B], (2, 2), None, 0.50, 0.95),
    "2024.7.0-base-missing": ([F, B], (1, 5), None, 0.05, 0.23),
    "2026.4.0-base-missing": ([F, B], None, None, 0.05, 0.06),
    "2024.7.0-syntax": ([F, B], None, None, 0.05, 0.06),
    "2026.4.0-syntax": ([F, B], None, None, 0.05, 0.06),
    "2024.7.0-forged": ([F, B], (8, 8), "recorded/forged", 0.98, 0.99),
    "2024.7.0-forged-text": ([F, B], (8, 8), "recorded/forged", 0.98, 0.99),
    "2026.4.0-forged": ([F, B], (4, 4), "recorded/forged", 0.98, 0.99),
    "2026.4.0-forged-text": ([F, B], (4, 4), "recorded/forged", 0.98, 0.99),
    **{f"{v}-reused{t}": ([F], None, "recorded/reused", 0.99, 0.99)
       for v in VERSIONS for t in ("", "-text")},
    **{f"{v}-no-such-commit{t}": ([F], None, None, 0.0, 0.05)
       for v in VERSIONS for t in ("", "-text")},
    **{f"{v}-no-such-{what}": ([F], None, None, 0.0, 0.05)
       for v in VERSIONS for what in ("abbreviation", "repo", "subdir")},
    **{f"{v}-usage": ([], None, None, 0.0, 0.05) for v in VERSIONS},
    "written-2024.7.0-conda": ([F, B], (12, 12), "owner/conda", 0.98, 0.99),
    "written-2025.12.0-conda": (
        [F, B], (11, 11), "registry.example.org:5000/owner/conda:0123456", 0.98, 0.99
    ),
    "written-2024.7.0-pushed": ([F, B, P], (1, 1), "pushed", 0.98, 0.99),
    "written-2025.12.0-pushed": ([F, B, P], (2, 2), "pushed", 0.98, 0.99),
}  # fmt: skip


def parse(
    log: bytes, *, json_logs: bool = True, chunk: int = 0
) -> tuple[LogParser, list[LogEvent]]:
    parser = LogParser(json_logs=json_logs)
    size = chunk or len(log) or 1
    events = [
        event for at in range(0, len(log), size) for event in parser.feed(log[at : at + size])
    ]
    return parser, [*events, *parser.close()]


def read(name: str, chunk: int = 0) -> tuple[LogParser, list[LogEvent]]:
    log = (LOGS / f"{name}.log").read_bytes()
    return parse(log, json_logs=not name.endswith("-text"), chunk=chunk)


def records(*messages: str, phase: str | None = "building") -> bytes:
    found: dict[str, object] = {} if phase is None else {"phase": phase}
    return b"".join(json.dumps({"message": text} | found).encode() + b"\n" for text in messages)


def buildkit(*lines: str) -> bytes:
    return records("Using DockerBuildPack builder\n", *(f"{line}\n" for line in lines))


def texts(events: list[LogEvent]) -> list[str]:
    return [event.text for event in events]


def test_the_table_names_every_recorded_log() -> None:
    assert sorted(TABLE) == sorted(path.stem for path in LOGS.glob("*.log"))


@pytest.mark.parametrize("name", TABLE)
def test_a_real_log_yields_its_phases_steps_and_image(name: str) -> None:
    phases, step, image, least, greatest = TABLE[name]
    parser, events = read(name)
    assert [phase for phase in dict.fromkeys(e.phase for e in events) if phase] == phases
    assert parser.step == step
    assert parser.image == image
    assert parser.reused is ("reused" in name)
    assert least <= parser.progress <= greatest


@pytest.mark.parametrize("name", TABLE)
def test_a_real_log_moves_forward_in_clean_lines(name: str) -> None:
    _, events = read(name)
    assert all(before.progress <= after.progress for before, after in pairwise(events))
    assert all(0 <= event.progress < 1 for event in events)
    assert all(event.text.strip() and len(event.text.splitlines()) == 1 for event in events)
    assert not any("\x1b" in event.text or '{"message"' in event.text[:1] for event in events)


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("chunk", [1, 7, 4_096])
def test_a_real_log_reads_the_same_in_any_chunks(name: str, chunk: int) -> None:
    assert read(name, chunk)[1] == read(name)[1]


@pytest.mark.parametrize("name", [name for name in TABLE if not name.endswith("-text")])
def test_lines_given_one_by_one_read_the_same(name: str) -> None:
    parser = LogParser()
    lines = (LOGS / f"{name}.log").read_text(encoding="utf-8").splitlines()
    events = [event for line in lines for event in parser.feed_line(line)]
    assert [*events, *parser.close()] == read(name)[1]


@pytest.mark.parametrize("name", [name for name in TABLE if name.endswith("-text")])
def test_a_log_with_json_is_understood_like_one_without(name: str) -> None:
    text, _ = read(name)
    record, _ = read(name.removesuffix("-text"))
    assert (record.phase, record.step, record.image) == (text.phase, text.step, text.image)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_build_printed_is_told_line_by_line(version: str) -> None:
    shown = texts(read(f"{version}-fresh")[1])
    for wanted in ("line 1 of ünïcödé ☃", "line 3 of ünïcödé ☃", "to stderr", "100%", "red"):
        assert [line for line in shown if line.endswith(wanted)], wanted
    assert not any("10%" in line for line in shown if not line.endswith("\\n'"))


@pytest.mark.parametrize("version", VERSIONS)
def test_progress_moves_at_each_step(version: str) -> None:
    _, events = read(f"{version}-fresh")
    assert len({round(event.progress, 2) for event in events if event.phase is B}) >= 5


def test_a_long_step_moves_but_not_beyond_its_end() -> None:
    lines = [f"#5 {at / 10:.1f} still here" for at in range(5_000)]
    parser, events = parse(buildkit("#4 [1/4] FROM x", "#4 CACHED", "#5 [2/4] RUN y", *lines))
    moves = {event.progress for event in events[3:]}
    assert len(moves) > 100
    assert 0.4 < parser.progress < 0.05 + 0.9 * 2 / 4


def test_a_stage_that_turns_up_late_never_takes_progress_back() -> None:
    lines = ["#4 [a 1/2] RUN x", "#4 DONE 1.0s", "#5 [a 2/2] RUN y", "#5 DONE 1.0s"]
    late = ["#6 [b 1/8] RUN z", "#6 DONE 0.1s"]
    parser, events = parse(buildkit(*lines, *late))
    assert all(before.progress <= after.progress for before, after in pairwise(events))
    assert parser.step == (3, 10)
    assert parser.progress < 1


@pytest.mark.parametrize(
    ("header", "step"),
    [
        ("#7 [ 4/9] RUN x", (4, 9)),
        ("#7 [4/9] RUN x", (4, 9)),
        ("#7 [stage-1  4/12] RUN x", (4, 12)),
        ("#7 [builder 2/5] COPY . /", (2, 5)),
        ("#7 [linux/amd64 builder 2/5] RUN x", (2, 5)),
        ("#7 [internal] load build context", None),
        ("#7 [5/4] RUN x", None),
        ("#7 [0/4] RUN x", None),
        ("#7 0.1 [4/9] RUN x", None),
        (" > [4/9] RUN x:", None),
        ("#7 [٤/٩] RUN x", None),
        ("#7 [] x", None),
    ],
)
def test_a_step_of_buildkit_is_found(header: str, step: tuple[int, int] | None) -> None:
    assert parse(buildkit(header))[0].step == step


@pytest.mark.parametrize(
    ("steps", "step"),
    [
        pytest.param(["1/4", "2/4", "3/4"], (3, 4), id="one by one"),
        pytest.param(["5/9", "6/9"], (6, 9), id="the rest of a log"),
        pytest.param(["1/4", "4/4"], (1, 4), id="not to the end at once"),
        pytest.param(["1/4", "2/9", "2/4"], (2, 4), id="not of another count"),
        pytest.param(["1/4", "2/4", "1/4"], (2, 4), id="not back"),
        pytest.param(["9/4", "0/0", "1/4"], (1, 4), id="not one that can't be"),
    ],
)
def test_a_step_of_the_classic_builder_has_to_follow_the_one_before(
    steps: list[str], step: tuple[int, int]
) -> None:
    lines = [f"Step {one} : RUN x\n" for one in steps]
    assert parse(records("Using DockerBuildPack builder\n", *lines))[0].step == step


NAMING = [
    ("naming to docker.io/library/name done", "name"),
    ("naming to docker.io/library/name:latest 0.1s done", "name"),
    ("naming to docker.io/library/name:1.0 done", "name:1.0"),
    ("naming to docker.io/owner/name:latest done", "owner/name"),
    ("naming to registry.example.org:5000/a/b:1 0.0s done", "registry.example.org:5000/a/b:1"),
    ("naming to localhost:5000/a:latest 12.34s done", "localhost:5000/a"),
    ("naming to docker.io/library/name", None),
    ("naming to name done and more", None),
    ("naming to ../../x done", None),
    ("unpacking to docker.io/library/name:latest 0.2s done", None),
]


@pytest.mark.parametrize(("line", "image"), NAMING)
def test_the_name_comes_from_the_exporter(line: str, image: str | None) -> None:
    log = buildkit("#8 [1/1] FROM x", "#9 exporting to image", f"#9 {line}")
    assert parse(log)[0].image == image


def test_the_last_name_wins() -> None:
    names = (f"#9 naming to docker.io/library/{name} done" for name in ("a", "b"))
    assert parse(buildkit("#9 exporting to image", *names))[0].image == "b"


REUSED = "Reusing existing image (evil), not building."
TAGGED = "Successfully built 0123456789ab\nSuccessfully tagged evil:latest\n"


@pytest.mark.parametrize(
    "log",
    [
        pytest.param(records(REUSED), id="reuse in a build"),
        pytest.param(records(REUSED, phase="fetching"), id="reuse in git's output"),
        pytest.param(
            records("HEAD is now at 1 x\r", REUSED + "\n", phase="fetching"), id="after a return"
        ),
        pytest.param(
            records(f"HEAD is now at 1 x\r{REUSED}", phase=None), id="after a return, no phase"
        ),
        pytest.param(
            records("Using X builder\n") + records(REUSED, phase=None), id="after the builder"
        ),
        pytest.param(f"{REUSED}\n".encode(), id="a line that is no record"),
        pytest.param(records(f"x {REUSED}", phase=None), id="not the whole line"),
        pytest.param(b'{"message": "%s", "phase": null}\n' % REUSED.encode(), id="phase null"),
        pytest.param(b'{"message": "%s", "phase": 1}\n' % REUSED.encode(), id="phase a number"),
        pytest.param(
            b'{"message": "%s", "x": "%s"}\n' % (REUSED.encode(), b"y" * 300_000), id="cut record"
        ),
        pytest.param(records(json.dumps({"message": REUSED}), phase=None), id="record in record"),
        pytest.param(buildkit("#5 [1/2] RUN x", f"#5 0.2 {TAGGED}"), id="RUN of BuildKit"),
        pytest.param(buildkit("#5 [1/1] RUN x", *TAGGED.splitlines()), id="classic in BuildKit"),
        pytest.param(
            buildkit("#5 [1/1] RUN x", "#5 0.2 #9 exporting to image")
            + records("#5 0.2 x\r", "#9 exporting to image\n")
            + records("#5 0.2 x\r", "#9 naming to docker.io/library/evil done\n"),
            id="BuildKit's own, after a return",
        ),
        pytest.param(
            buildkit("#5 [1/1] RUN x", "#9 naming to docker.io/library/evil done"),
            id="a name of what exports nothing",
        ),
        pytest.param(
            records("Step 1/3 : FROM x\n", "Step 2/3 : RUN y\n", TAGGED), id="in a classic step"
        ),
        pytest.param(
            records("Step 1/1 : FROM x\n", "Successfully tagged evil:latest\n"),
            id="tagged, but not built",
        ),
        pytest.param(
            records(
                "Step 1/1 : FROM x\n",
                "#9 exporting to image\n#9 naming to docker.io/library/evil done\n",
            ),
            id="BuildKit in classic",
        ),
    ],
)
def test_what_a_repository_prints_names_no_image(log: bytes) -> None:
    for whole in (log, records("Picked Git content provider.\n", phase=None) + log):
        parser, events = parse(whole)
        assert parser.image is None
        assert parser.reused is False
        assert events


def test_without_json_a_record_is_text() -> None:
    parser, events = parse(records(REUSED, phase=None), json_logs=False)
    assert parser.image is None
    assert parser.phase is None
    assert texts(events) == [json.dumps({"message": REUSED})]


def test_a_record_may_end_in_the_middle_of_a_line() -> None:
    _, events = parse(records("Linking num", "py-1.26\nDo", "ne\n"))
    assert texts(events) == ["Linking numpy-1.26", "Done"]


def test_a_line_of_another_phase_ends_what_was_open() -> None:
    _, events = parse(records("half a line") + records("failed\n", phase="failed"))
    assert texts(events) == ["half a line", "failed"]


def test_a_record_of_repo2dockers_own_is_told_at_once() -> None:
    parser = LogParser()
    assert texts(parser.feed(records("Reusing existing image (a), not building.", phase=None)))
    assert (parser.image, parser.reused) == ("a", True)


def test_what_repo2docker_says_first_begins_the_fetching() -> None:
    parser = LogParser()
    parser.feed(records("Picked OneCommit content provider.\n", phase=None))
    assert parser.phase is F


def test_a_failure_is_told_at_once() -> None:
    assert texts(LogParser().feed(records("it failed", phase="failed"))) == ["it failed"]


def test_what_a_server_says_while_it_is_asked_is_no_step_and_no_image() -> None:
    log = buildkit("#5 [2/4] RUN x", "#6 naming to docker.io/library/evil done")
    parser, _ = parse(log.replace(b'"building"', b'"fetching"'))
    assert (parser.step, parser.image) == (None, None)


def test_a_traceback_that_is_no_text_is_none() -> None:
    assert texts(parse(b'{"message": "x\\n", "phase": "failed", "exc_info": 5}\n')[1]) == ["x"]


def test_a_stray_line_is_told_as_it_is_and_moves_no_phase() -> None:
    parser, events = parse(b"Traceback (most recent call last):\n" + b"\xff\x1b[1m?\n" + b"{]\n")
    assert texts(events) == ["Traceback (most recent call last):", "\ufffd?", "{]"]
    assert parser.phase is None


def test_a_message_of_32_kib_that_json_made_six_times_as_long_loses_nothing() -> None:
    lines = ["é" * 99 for _ in range(330)]
    _, events = parse(records("\n".join(lines) + "\n"))
    assert texts(events) == lines


def test_a_record_that_is_too_long_keeps_the_beginning_of_its_message() -> None:
    long = json.dumps({"message": "first\n" + "\u2603" * 100_000, "phase": "building"})
    parser, [first, second] = parse(long.encode() + b"\n")
    assert first.text == "first"
    assert second.text.startswith("☃☃☃")
    assert second.text.endswith("more characters cut]")
    assert parser.phase is None


def test_a_record_that_is_too_long_may_hold_what_json_has_to_escape() -> None:
    [event] = parse(b'{"message": "first\tpart' + b"x" * 500_000 + b'"}\n')[1]
    assert event.text.startswith("first")


def test_the_base_image_is_told_once_however_long_it_takes() -> None:
    shown = texts(read("written-2024.7.0-conda")[1])
    assert [line for line in shown if "Fetching base image" in line] == ["Fetching base image..."]


def test_what_the_classic_builder_glues_together_is_taken_apart() -> None:
    shown = texts(read("2024.7.0-fresh")[1])
    assert "[Warning] One or more build-args [NB_USER] were not consumed" in shown
    [event] = parse(records('{"aux": {"ID": "sha256:1"}}' + "x" * 5_000 + "\n"))[1]
    assert event.text.endswith("more characters cut]")


def test_a_phase_never_goes_back() -> None:
    log = records("a\n") + records("b\n", phase="fetching") + records("c\n", phase="pushing")
    _, events = parse(log + records("d\n") + records("e\n", phase="running"))
    assert [event.phase for event in events] == [B, B, P, P, P]


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("subprocess.CalledProcessError: Command 'x' failed", False),
        ("repo2docker.contentproviders.base.ContentProviderException: x", False),
        ("KeyError: 'x'", True),
    ],
)
def test_a_traceback_is_told_where_nothing_else_says_what_happened(error: str, shown: bool) -> None:
    record = {
        "message": "Error during build: x",
        "exc_info": f"Traceback (most recent call last):\n{error}",
        "phase": "failed",
    }
    _, events = parse(json.dumps(record).encode() + b"\n")
    assert (error in texts(events)) is shown
    assert texts(events)[-1] == "Error during build: x"


TRACEBACK = ["Traceback (most recent call last):", '  File "x"', "KeyError: 'a'"]


def traced(message: str, phase: str | None) -> bytes:
    record = {"message": message, "phase": phase, "exc_info": "\n".join(TRACEBACK)}
    return json.dumps({name: said for name, said in record.items() if said}).encode() + b"\n"


def test_a_traceback_is_told_whole_with_what_stood_before_it() -> None:
    # the message of another phase is ended by the record
    log = records("half a line", phase="fetching") + traced("boom\n", "building")
    assert texts(parse(log)[1]) == ["half a line", *TRACEBACK, "boom"]


def test_a_traceback_is_not_told_once_the_failure_was() -> None:
    log = records("it failed\n", phase="failed") + traced("boom\n", "failed")
    assert texts(parse(log)[1]) == ["it failed", "boom"]
    log = records("it goes on\n", phase="building") + traced("boom\n", "failed")
    assert texts(parse(log)[1]) == ["it goes on", *TRACEBACK, "boom"]


def test_a_line_that_was_read_is_told_with_all_that_is_known_of_it() -> None:
    spans = ((0, 1, 2),)
    line = LogEvent("text", Phase.PUSHING, 0.5, spans)
    assert log_event(line, (4, 9)) == Event(
        "text", 0.5, "pushing", is_log=True, step=(4, 9), spans=spans
    )
    # before repo2docker has said anything, it is fetching
    assert log_event(LogEvent("x", None, 0.0)) == Event("x", 0.0, "fetching", is_log=True)


# -- properties --------------------------------------------------------------------------------

# Letters that can't spell any of the forms that name an image.
HARMLESS = st.text('abcx# 019[]/:.{}"\\\r\n\x1b☃', max_size=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
RECORD = st.fixed_dictionaries(
    {"message": HARMLESS | JSON},
    optional={
        "phase": st.sampled_from(["fetching", "building", "pushing", "failed", "", "x"]) | JSON,
        "exc_info": HARMLESS | JSON,
    },
)
LINE = st.one_of(
    st.binary(max_size=80),
    HARMLESS.map(lambda text: text.encode()),
    JSON.map(lambda value: json.dumps(value).encode()),
    RECORD.map(lambda record: json.dumps(record).encode()),
    st.sampled_from(
        [b"{" * 5_000, b'{"message": ' * 3_000, b"[" * 5_000, b'{"message": "\\ud800"}']
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(LINE, max_size=12), st.integers(min_value=1, max_value=64), st.booleans())
def test_no_bytes_make_it_raise_or_invent_an_image(
    lines: list[bytes], chunk: int, json_logs: bool
) -> None:
    log = b"\n".join(lines)
    parser, events = parse(log, json_logs=json_logs, chunk=chunk)
    assert parser.image is None
    assert all(event.text.strip() for event in events)
    assert all(before.progress <= after.progress for before, after in pairwise(events))
    assert all(0 <= event.progress < 1 for event in events)
    assert events == parse(log, json_logs=json_logs)[1]


BUILDER_LINE = st.one_of(
    st.builds(
        "#{} [{}{}/{}] RUN x".format,
        st.integers(0, 20),
        st.sampled_from(["", " ", "a ", "stage-1 "]),
        st.integers(0, 12),
        st.integers(0, 12),
    ),
    st.builds("Step {}/{} : RUN x".format, st.integers(0, 9), st.integers(0, 9)),
    st.builds("#{} {}".format, st.integers(0, 20), st.sampled_from(["DONE 0.1s", "CACHED", "..."])),
    st.builds("#{} exporting to image".format, st.integers(0, 20)),
    st.builds("#{} naming to docker.io/library/a done".format, st.integers(0, 20)),
    st.builds("#{} pushing layers".format, st.integers(0, 20)),
    st.sampled_from(["Successfully built 0123456789ab", "Successfully tagged a:latest", "text"]),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(BUILDER_LINE, max_size=40))
def test_no_order_of_builders_lines_takes_progress_back_or_to_its_end(lines: list[str]) -> None:
    parser = LogParser()
    parser.feed(records("Using DockerBuildPack builder\n"))
    before, step = parser.progress, (0, 0)
    for line in lines:
        parser.feed(records(f"{line}\n"))
        assert before <= parser.progress < 1
        before = parser.progress
        now = parser.step or (0, 0)
        assert step[0] <= now[0] <= now[1]
        step = now
    assert parser.image in {None, "a"}


def test_a_name_is_no_longer_than_any_engine_takes() -> None:
    assert normal_name("a" * 512) == "a" * 512
    assert normal_name("a" * 513) is None


@given(st.text(max_size=60))
def test_a_name_stays_the_same_once_it_is_normal(name: str) -> None:
    normal = normal_name(name)
    assert normal is None or normal_name(f"docker.io/{normal}") == normal


# -- the lines that matter ---------------------------------------------------------------------

RUN_FAILED = "executor failed running [/bin/sh -c echo before; exit 3]: exit code: 3"
COPY_FAILED = '"/nothing-there" not found: not found'


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "2024.7.0-failing-run",
            ["before", "The command '/bin/sh -c echo before; exit 3' returned a non-zero code: 3"],
        ),
        (
            "2026.4.0-failing-run",
            [
                f"#5 ERROR: {RUN_FAILED}",
                f"ERROR: failed to solve: {RUN_FAILED}",
            ],
        ),
        (
            "2026.4.0-copy-missing",
            [
                f"#6 ERROR: {COPY_FAILED}",
                f"ERROR: failed to solve: failed to compute cache key: {COPY_FAILED}",
            ],
        ),
    ],
)
def test_the_lines_that_matter_end_in_the_cause(name: str, lines: list[str]) -> None:
    for form in (name, f"{name}-text"):
        if form in TABLE:
            assert failure_lines(texts(read(form)[1]))[-len(lines) :] == lines


@pytest.mark.parametrize("name", [name for name in TABLE if TABLE[name][2] is None])
def test_the_lines_that_matter_hold_no_traceback_of_repo2docker(name: str) -> None:
    lines = failure_lines(texts(read(name)[1]))
    assert 0 < len(lines) <= 20
    assert not [line for line in lines if "Traceback" in line or "/repo2docker/" in line]


def test_a_traceback_that_a_build_step_printed_matters() -> None:
    printed = ["Traceback (most recent call last):", '  File "setup.py", line 1', "KeyError: 'x'"]
    assert failure_lines(printed) == printed


def test_the_lines_that_matter_are_of_the_step_that_failed_alone() -> None:
    lines = ["#5 [a 1/2] RUN x", "#6 [b 1/2] RUN y", "#5 0.1 fine", "#6 0.1 broken", "#6 ERROR: no"]
    assert failure_lines(lines) == ["#6 [b 1/2] RUN y", "#6 0.1 broken", "#6 ERROR: no"]


def test_what_stands_around_the_failure_of_a_step_is_none_of_it() -> None:
    lines = ["error: old", "#6 x", "error: before", "#6 ERROR: no", "ERROR: at once", "#6 later"]
    assert failure_lines(lines) == ["#6 x", "#6 ERROR: no", "ERROR: at once"]
    assert failure_lines([*lines[:4], "#6 later"]) == ["#6 x", "#6 ERROR: no"]


def test_twenty_lines_are_enough_where_nobody_says_how_many() -> None:
    lines = [f"line {number}" for number in range(30)]
    assert failure_lines(lines) == lines[10:]


@given(st.lists(HARMLESS, max_size=50), st.integers(min_value=1, max_value=30))
def test_any_lines_give_at_most_so_many(lines: list[str], limit: int) -> None:
    assert len(failure_lines(lines, limit)) <= limit


def test_a_line_keeps_its_colours_through_json_and_aux_and_blanks() -> None:
    parser = LogParser()
    message = '{"aux": {"ID": "sha256:1"}}a \x1b[31mred  \x1b[0m\n'
    record = json.dumps({"message": message, "phase": "building"})
    (event,) = [*parser.feed(record.encode() + b"\n"), *parser.close()]
    assert (event.text, event.spans) == ("a red", ((2, 3, 2),))


@pytest.mark.parametrize(
    "message",
    [
        'Step 3/9 : LABEL repo2dockerspawner.proof="{}"\n',
        "Error during build: Command '['docker', '--label', 'repo2dockerspawner.proof={}', 'x']'\n",
        '{{"repo2dockerspawner.proof": "{}"}}\n',
    ],
)
def test_the_proof_of_an_image_is_never_shown(message: str) -> None:
    proof = "0123456789abcdef" * 4
    for phase in ("building", "failed"):
        parser = LogParser()
        record = json.dumps({"message": message.format(proof), "phase": phase})
        events = [*parser.feed(record.encode() + b"\n"), *parser.close()]
        (said,) = [event.text for event in events]
        assert said == message.format("***").rstrip()


def test_a_line_of_which_something_was_taken_out_has_no_colours() -> None:
    proof = "0123456789abcdef" * 4
    coloured = f"\x1b[31mrepo2dockerspawner.proof={proof}\x1b[0m and \x1b[32mgreen\x1b[0m\n"
    [event] = parse(records(coloured))[1]
    assert event.text == "repo2dockerspawner.proof=*** and green"
    assert event.spans == ()
