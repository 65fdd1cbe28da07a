"""What a person is told of a build that made no image."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo2dockerspawner.builds import diagnosis
from repo2dockerspawner.builds.causes import CAUSES, Cause
from repo2dockerspawner.builds.container import Outcome
from repo2dockerspawner.builds.diagnosis import diagnose, fell_silent, timed_out
from repo2dockerspawner.builds.logs import LogParser
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.errors import BuildError

PLAN = BuildPlan(
    key="0" * 64,
    container="r2d-build-x",
    image="r2d-x",
    labels={},
    provider="git",
    url="https://x/owner/repo",
    content_id="c" * 40,
    title="owner/repo at 0123abc",
)
HERE = Path(__file__).parent
FAILED = "The lines below say where; correct the repository and start again."
VERSIONS = ("2024.7.0", "2026.4.0")

# Files that begin with "written-" come from what people reported in public, the others were
# recorded from real builds by scripts/record-failures and, in logs/, scripts/record-logs.
# log: reason, what the sentence says, what one of the lines ends in
Row = tuple[str, str, str]


def both(name: str, row: Row) -> dict[str, Row]:
    return {f"{version}-{name}": row for version in VERSIONS}


def written(name: str, row: Row) -> dict[str, Row]:
    return {f"written-{file}": found for file, found in both(name, row).items()}


NO_COMMIT = "is not in this repository"
TABLE: dict[str, Row] = {
    **both(
        "address",
        ("address_not_allowed", "leads to “192.0.2.1”, which is", "on the internet"),
    ),
    **both(
        "address-submodule",
        ("address_not_allowed", "leads to “127.0.0.1”, which is", "on the internet"),
    ),
    **both("apt-name", ("apt_not_found", "“no-such-program-here”", "package no-such-program-here")),
    **both("apt-version", ("apt_not_found", "“tree”", "'tree' was not found")),
    **both("base-missing", ("network", "“example.invalid”", "no such host")),
    **both("config-list", ("repository_invalid", "should contain a dictionary", "CommentedSeq'>")),
    **both("config-yaml", ("repository_invalid", "while parsing a flow", "but got ':'")),
    **both("copy-missing", ("copy_missing", "nothing-there”", "COPY nothing-there /")),
    **both("disk-full", ("disk_full", "no room", "No space left on device")),
    **both("empty", ("dockerfile_invalid", "file with no instructions", "")),
    **both("failing-run", ("build_failed", "exit code 3", "before")),
    **both("failing-run-text", ("build_failed", "“RUN echo before; exit 3”", "before")),
    **both("forbidden", ("repo_not_found", "private, or not there", "error: 403")),
    **both("gone", ("repo_not_found", "private, or not there", "not found")),
    **both("killed", ("build_out_of_memory", "was killed", "Killed")),
    **both("lfs", ("lfs_failed", "“data.bin”", "smudge filter lfs failed")),
    **both("manifest-unknown", ("base_image_not_found", "/owner/absent:1”", "")),
    **both("memory", ("build_out_of_memory", "out of memory", "MemoryError")),
    **both("network-apt", ("network", "“deb.example.invalid”", "resolve 'deb.example.invalid'")),
    **both("network-git", ("network", "“example.invalid”", "resolve host: example.invalid")),
    **both(
        "network-pip", ("network", "another host", "No matching distribution found for tomli-w")
    ),
    **both("network-python", ("network", "another host", "Name or service not known>")),
    **both("network-refused", ("network", "another host", "simple")),
    **both("no-engine", ("engine_unreachable", "Docker engine", "")),
    **both("no-such-abbreviation", ("commit_not_found", "commit 01234567", "one begins so")),
    **both("no-such-commit", ("commit_not_found", "“0123456789abcdef", NO_COMMIT)),
    **both("no-such-commit-text", ("commit_not_found", "“0123456789abcdef", NO_COMMIT)),
    **both("no-such-repo", ("repo_not_found", "private, or not there", "/nothing-there.git")),
    **both("no-such-subdir", ("subdir_not_found", "“nothing/there”", "does not exist")),
    **both("not-found", ("command_not_found", "not in the image", "no-such-program: not found")),
    **both("pip-build", ("pip_build_failed", "from its sources", "metadata-generation-failed")),
    **both("pip-conflict", ("pip_conflict", "urllib3==1.20", "urllib3<3 and >=1.21.1")),
    **both("pip-invalid", ("pip_invalid", "“attrs 23.1”", "attrs 23.1")),
    **both("pip-name", ("pip_not_found", "“no-such-package-of-an-example”", "of-an-example")),
    **both("pip-no-file", ("pip_file_missing", "“requirements.txt”", "'requirements.txt'")),
    **both("pip-python", ("pip_python", "“example”", "not in '<3.8'")),
    **both("pip-version", ("pip_not_found", "“attrs==99.0”", "found for attrs==99.0")),
    **both("post-build", ("post_build_failed", "postBuild", "'no_such_module_of_ours'")),
    **both("private", ("repo_not_found", "private, or not there", "terminal prompts disabled")),
    **both("rate-limit", ("registry_limit", "/owner/limited:1”", "")),
    **both("registry-denied", ("registry_refused", "/owner/denied:1”", "")),
    **both("stage-missing", ("network", "“registry-1.docker.io”", "no such host")),
    **both("submodule-commit", ("submodule_failed", "“lib”", "of that commit failed.")),
    **both("submodule-gone", ("submodule_failed", "not-there.git”", "second time, aborting")),
    **both("syntax", ("dockerfile_invalid", "“line 3: unknown instruction: RUNN”", "")),
    **both("too-large", ("repo_too_large", "larger than the 1.0 MiB that this", "1.0 MiB")),
    **both("usage", ("build_image_unusable", "--no-such-option", "--no-such-option")),
    # of tests/docker/test_ssh_and_lfs.py, which has a server by ssh
    "2026.4.0-host-key": ("host_key_refused", "none is known", "verification failed."),
    "2026.4.0-no-buildx": ("buildx_missing", "buildx", "not a docker command."),
    **written("conda-conflict", ("conda_conflict", "fit together", "")),
    "written-2024.7.0-conda-name": ("conda_not_found", "“quarto 99.0**”", "quarto 99.0**"),
    "written-2026.4.0-conda-name": ("conda_not_found", "“numpyy =* *”", "missing channel)."),
    "written-2024.7.0-julia": ("julia_failed", "“RegERMs”", "RegERMs [d41b3cee]:"),
    "written-2026.4.0-julia": ("julia_failed", "“BioGenerics”", "to be registered"),
    **written("memory", ("build_out_of_memory", "out of memory", "")),
    **written("pull-denied", ("base_image_not_found", "“owner/nothing”", "")),
    **written("r", ("r_failed", "\u2018devtools\u2019, \u2018IRkernel\u2019", "Execution halted")),
    **written("tag-gone", ("base_image_not_found", "“python:3.99”", "")),
    "written-2024.7.0-address": ("repo_unreadable", "not one that git may be given", "be given"),
    "written-2024.7.0-disk-full": ("disk_full", "no room", "no space left on device"),
    # as repo2docker_config.py writes it where nothing comes by standard input
    "written-2024.7.0-credentials-lost": ("credentials_lost", "did not reach", "not arrive"),
    "written-2024.7.0-image-unusable": ("build_image_unusable", "can't be used", "utils'"),
    "written-2024.7.0-lfs-quota": ("lfs_failed", "“data/large.bin”", "smudge filter lfs failed"),
    "written-2024.7.0-memory-context": ("build_out_of_memory", "out of memory", "MemoryError"),
    "written-2026.4.0-copy-missing": ("copy_missing", "“/data”", "COPY data /data"),
    "written-2026.4.0-rate-limit": ("registry_limit", "“debian:12”", "increase-rate-limit"),
    "written-2026.4.0-step": ("build_failed", "step 4 of 6", "libexample not found"),
    "written-2026.4.0-syntax": ("dockerfile_invalid", "(did you mean RUN?)”", "RUNN true"),
}

# Logs whose reason is no other than the one above, and where a row further down says something
# of it as well. Rows that say so of any failed step are left out.
ALSO: dict[str, set[str]] = {
    "network-pip": {"pip_not_found"},
    "network-refused": {"pip_not_found"},
    "network-apt": {"apt_not_found"},
    "conda-name": {"conda_conflict"},
    "rate-limit": {"registry_refused"},
    "pull-denied": {"registry_refused"},
    "submodule-gone": {"repo_not_found"},
    "address-submodule": {"submodule_failed"},
}
GENERAL = {"build_failed", "repository_invalid"}


def printed(name: str) -> list[str]:
    """The lines of a log as the pool keeps them."""
    folder = HERE / ("failures" if (HERE / "failures" / f"{name}.log").exists() else "logs")
    parser = LogParser(json_logs=not name.endswith("-text"))
    events = [*parser.feed((folder / f"{name}.log").read_bytes()), *parser.close()]
    return [event.text for event in events]


def told(name: str) -> BuildError:
    return diagnose(Outcome(1), PLAN, printed(name))


def matching(name: str) -> list[Cause]:
    failure = diagnosis._failure(printed(name))
    output = diagnosis._searchable(failure)
    return [cause for cause in CAUSES if diagnosis._search(cause, failure.step, output)]


# -- the table -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLE)
def test_a_failed_log_becomes_a_sentence_and_the_lines_that_matter(name: str) -> None:
    reason, said, line = TABLE[name]
    error = told(name)
    assert error.reason == reason
    assert error.message.startswith(f"Building {PLAN.title} failed")
    assert said in error.message
    assert error.message.endswith(".")
    assert "{what}" not in error.message
    assert "{image}" not in error.message
    assert 0 < len(error.lines) <= 20
    assert any(shown.endswith(line) for shown in error.lines)


def test_the_table_names_every_failed_log() -> None:
    failures = {path.stem for path in (HERE / "failures").glob("*.log")}
    assert failures <= TABLE.keys()


def test_every_cause_has_a_log_that_it_is_told_of() -> None:
    first = [matching(name)[0] for name in TABLE]
    assert [cause.reason for cause in CAUSES if cause not in first] == []


@pytest.mark.parametrize("name", TABLE)
def test_no_other_cause_is_read_out_of_a_log(name: str) -> None:
    found = [cause.reason for cause in matching(name)]
    case = name.split("-", 2)[2] if name.startswith("written") else name.split("-", 1)[1]
    assert set(found[1:]) <= ALSO.get(case, set()) | GENERAL | {found[0]}


@pytest.mark.parametrize(
    "name",
    [
        *(f"{v}-{n}" for v in VERSIONS for n in ("fresh", "forged", "multi-stage", "reused")),
        *(f"written-{v}-{n}" for v in ("2024.7.0", "2025.12.0") for n in ("conda", "pushed")),
    ],
)
def test_the_log_of_a_build_that_went_well_tells_no_cause(name: str) -> None:
    error = told(name)
    assert (error.reason, error.status) == ("build_failed", 422)
    assert error.message == f"Building {PLAN.title} failed. {FAILED}"


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.reason)
def test_a_row_is_a_sentence_with_what_to_do(cause: Cause) -> None:
    assert re.fullmatch(r"[a-z_]+", cause.reason)
    assert not cause.sentence.endswith(".")
    assert cause.advice.endswith(".")
    named = all("what" in pattern.groupindex for pattern in cause.patterns)
    assert "{what}" not in cause.sentence or named or cause.unnamed
    assert 400 <= cause.status < 600


def test_the_documentation_names_every_reason() -> None:
    text = (HERE.parents[1] / "docs" / "diagnosis.md").read_text(encoding="utf-8")
    assert [cause.reason for cause in CAUSES if f"`{cause.reason}`" not in text] == []


# -- the lines that matter -----------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in TABLE if "engine" not in name])
def test_the_lines_hold_nothing_of_repo2docker_itself(name: str) -> None:
    for line in told(name).lines:
        assert "/repo2docker/" not in line
        assert "Command '['docker', 'buildx', 'build'" not in line
        assert "http+docker://" not in line
        assert len(line) <= 510


@pytest.mark.parametrize("version", VERSIONS)
def test_the_failed_step_stands_above_its_lines(version: str) -> None:
    error = told(f"{version}-pip-conflict")
    assert error.lines[0].endswith("RUN pip install 'requests==2.31.0' 'urllib3==1.20'")
    assert error.lines[1] == "Collecting requests==2.31.0"
    assert "exit code: 1" in error.lines[-1] or "non-zero code: 1" in error.lines[-1]


def test_lines_of_other_steps_are_not_shown() -> None:
    log = [
        "#5 [a 1/2] RUN one",
        "#6 [b 1/2] RUN two",
        "#5 0.100 No space left on device",
        "#6 0.200 of the second",
        "#6 ERROR: executor failed running [/bin/sh -c two]: exit code: 1",
        "#5 CANCELED",
        "------",
        " > [b 1/2] RUN two:",
        "0.200 of the second",
        "------",
        "ERROR: failed to solve: executor failed running [/bin/sh -c two]: exit code: 1",
    ]
    error = diagnose(Outcome(1), PLAN, log)
    assert error.reason == "build_failed"
    assert error.lines[:2] == ("[b 1/2] RUN two", "of the second")


def test_the_step_is_known_where_only_the_end_of_the_log_is_left() -> None:
    log = printed("written-2026.4.0-step")
    begin = next(at for at, line in enumerate(log) if "number 30" in line)
    error = diagnose(Outcome(1), PLAN, log[begin:])
    assert "step 4 of 6 (“RUN ./configure --prefix=/opt”)" in error.message
    assert error.lines[0] == "[stage-1 4/6] RUN ./configure --prefix=/opt"


def test_the_lines_are_around_the_cause_where_much_follows_it() -> None:
    log = ["Step 1/2 : RUN pip install x"]
    log += [f"before {number}" for number in range(30)]
    log += ["ERROR: No matching distribution found for x"]
    log += [f"after {number}" for number in range(30)]
    error = diagnose(Outcome(1), PLAN, log)
    assert error.reason == "pip_not_found"
    assert error.lines[0] == log[0]
    assert error.lines[-7] == log[31]
    assert error.lines[-1] == "after 5"


def test_a_command_s_own_text_is_not_taken_for_what_it_printed() -> None:
    command = "make || echo 'No space left on device'"
    log = [f"Step 2/3 : RUN {command}", f"The command '/bin/sh -c {command}' returned a "]
    log[1] += "non-zero code: 2"
    assert diagnose(Outcome(1), PLAN, log).reason == "build_failed"


def test_a_registry_s_refusal_in_one_word_counts_where_an_image_was_asked_for() -> None:
    error = diagnose(Outcome(1), PLAN, ["Step 1/14 : FROM host/some/base:1", "unauthorized"])
    assert error.reason == "registry_refused"
    assert "“host/some/base:1”" in error.message
    log = ["Step 2/14 : RUN ./get-it", "unauthorized"]
    assert diagnose(Outcome(1), PLAN, log).reason == "build_failed"


def test_what_a_log_says_is_cut_and_cleaned_in_the_sentence() -> None:
    name = "x\x1b[31m\u202e" + "y" * 300
    log = ["Step 2/3 : RUN pip install", f"ERROR: No matching distribution found for {name}"]
    message = diagnose(Outcome(1), PLAN, log).message
    assert f"“x{'y' * 78}…”" in message


def test_braces_in_a_log_are_only_text() -> None:
    log = ["Step 2/3 : RUN pip", "ERROR: No matching distribution found for {image.__class__}"]
    assert "“{image.__class__}”" in diagnose(Outcome(1), PLAN, log).message


# -- who is told ---------------------------------------------------------------------------


def test_a_full_disk_is_told_to_the_admin_and_not_called_the_user_s(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = told("2024.7.0-disk-full")
    assert error.status == 503
    assert "disk" not in error.message
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "No space left on device" in caplog.text
    assert PLAN.title in caplog.text


def test_what_is_the_user_s_to_mend_is_not_told_to_the_admin(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert told("2024.7.0-pip-name").status == 422
    assert not caplog.records


# -- any log -------------------------------------------------------------------------------


LINES = st.lists(
    st.one_of(
        st.text(max_size=60),
        st.sampled_from([line for name in TABLE for line in printed(name)]),
    ),
    max_size=40,
)


@given(LINES, st.sampled_from([None, 0, 1, 2, 127, 137]), st.booleans())
def test_any_lines_give_a_sentence(lines: list[str], code: int | None, memory: bool) -> None:
    error = diagnose(Outcome(code, out_of_memory=memory), PLAN, lines)
    assert error.message.endswith(".")
    assert len(error.message) < 700
    assert len(error.message.splitlines()) == 1
    assert len(error.lines) <= 20
    assert timed_out(PLAN, lines).lines == fell_silent(PLAN, lines).lines


PATTERNS = [(cause.reason, pattern) for cause in CAUSES for pattern in cause.patterns]
PATTERNS += [
    (name, value) for name, value in vars(diagnosis).items() if isinstance(value, re.Pattern)
]


def hostile(pattern: re.Pattern[str]) -> list[str]:
    """Lines that begin again and again as the pattern does, and never end as it does."""
    literals = re.sub(r"\\[a-zA-Z.]|\(\?P?<?\w*>?:?|[\[\](){}|?*+^$\\]", "\0", pattern.pattern)
    parts = [part for part in literals.split("\0") if part] or ["x"]
    seeds = [*parts, "".join(parts), " ".join(parts[:2]), "x", "x ", "'", '"', "#1 ", "[1/1] "]
    filled = [(seed * 4096)[:4095] + "\u2603" for seed in seeds]
    return [*filled, *(parts[0] + line[: 4096 - len(parts[0])] for line in filled)]


@pytest.mark.parametrize(("name", "pattern"), PATTERNS, ids=lambda value: str(value)[:40])
def test_a_pattern_takes_no_time_on_a_hostile_line(name: str, pattern: re.Pattern[str]) -> None:
    for line in hostile(pattern):
        shown = diagnosis._shortened(line)
        best = min(_seconds(pattern, shown) for _ in range(3))
        assert best < 0.02, line[:80]  # backtracking would take seconds


def _seconds(pattern: re.Pattern[str], line: str) -> float:
    begun = time.thread_time()
    pattern.search(line)
    return time.thread_time() - begun


@pytest.mark.parametrize(
    "seed", ["x", "E: Package '", "Failed to connect to ", "400 Client Error for http+docker://"]
)
def test_a_hostile_log_does_not_hold_up_the_event_loop(seed: str) -> None:
    log = ["Step 1/2 : RUN x", *[(seed * 4096)[:4096]] * 400]
    spent = []
    for _ in range(3):
        begun = time.thread_time()
        diagnose(Outcome(1), PLAN, log)
        spent.append(time.thread_time() - begun)
    assert min(spent) < 0.1  # backtracking would take seconds


# -- how a container ended -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "reason", "status"),
    [
        pytest.param(Outcome(1), "build_failed", 422, id="failed"),
        pytest.param(Outcome(128), "build_failed", 422, id="no signal yet"),
        pytest.param(Outcome(137), "build_killed", 422, id="killed"),
        pytest.param(Outcome(143, ours=True), "build_killed", 422, id="ended"),
        pytest.param(Outcome(137, out_of_memory=True), "build_out_of_memory", 422, id="memory"),
        pytest.param(Outcome(1, out_of_memory=True), "build_out_of_memory", 422, id="in a child"),
        pytest.param(Outcome(None), "build_lost", 422, id="removed"),
        pytest.param(Outcome(0), "image_missing", 500, id="no image"),
    ],
)
def test_each_end_has_its_reason_and_a_sentence(outcome: Outcome, reason: str, status: int) -> None:
    error = diagnose(outcome, PLAN, ["one", "two"])
    assert (error.reason, error.status) == (reason, status)
    assert PLAN.title in error.message
    assert error.message.endswith(".")
    assert "\n" not in error.message


def test_the_engine_s_word_comes_before_the_log_s() -> None:
    log = printed("2024.7.0-pip-name")
    assert diagnose(Outcome(1, out_of_memory=True), PLAN, log).reason == "build_out_of_memory"
    assert diagnose(Outcome(137), PLAN, log).reason == "build_killed"


def test_out_of_memory_names_the_limit() -> None:
    plan = replace(PLAN, memory_limit=1536 << 20)
    assert "1.5 GiB" in diagnose(Outcome(1, out_of_memory=True), plan, []).message


def test_the_lines_that_matter_are_kept_and_bounded() -> None:
    error = diagnose(Outcome(1), PLAN, [f"line {number}" for number in range(100)])
    assert len(error.lines) == 20
    assert error.lines[-1] == "line 99"


def test_without_a_title_the_address_is_named() -> None:
    assert PLAN.url in diagnose(Outcome(1), replace(PLAN, title=""), []).message


def test_without_a_log_there_are_no_lines() -> None:
    assert diagnose(Outcome(1), PLAN, []).lines == ()


@pytest.mark.parametrize(
    ("seconds", "said"), [(90, "90 seconds"), (1800, "30 minutes"), (7200, "120 minutes")]
)
def test_a_build_that_took_too_long_is_told_the_limit_and_the_trait(
    seconds: float, said: str
) -> None:
    error = timed_out(replace(PLAN, timeout=seconds), [str(number) for number in range(50)])
    assert error.reason == "build_timeout"
    assert said in error.message
    assert "build_timeout" in error.message
    assert error.lines == tuple(str(number) for number in range(30, 50))


def test_a_build_that_fell_silent_is_told_the_limit_and_the_trait() -> None:
    error = fell_silent(replace(PLAN, idle_timeout=600), ["one"])
    assert error.reason == "build_idle_timeout"
    assert "10 minutes" in error.message
    assert "build_idle_timeout" in error.message
    assert error.lines == ("one",)


@pytest.mark.parametrize(
    "log",
    [
        ["Step 1/9 : FROM x", "Step 4/9 : RUN make", " ---> Running in 0123456789ab", "x"],
        ["#4 [1/9] FROM x", "#7 [stage-1 4/9] RUN make", "#7 0.300 x"],
    ],
    ids=["classic", "BuildKit"],
)
def test_a_build_that_is_ended_is_told_where_it_was(log: list[str]) -> None:
    assert "was ended at step 4 of 9 (“RUN make”)" in timed_out(PLAN, log).message
    assert "was ended at step 4 of 9 (“RUN make”)" in fell_silent(PLAN, log).message
