"""Hostile entries: none becomes an option, a local path, another host, a format string.

The tables of tests/test_repos.py have what is refused with which sentence; here the whole way is
gone, from an entry to the build container's command line. The cases A1 to A5 and A15 are those of
docs/security.md.
"""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from urllib.parse import quote

import pytest
import urllib3
from dockerspawner import DockerSpawner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from repo2dockerspawner import Repo2DockerSpawner
from repo2dockerspawner.builds.plan import BuildPlan, arguments
from repo2dockerspawner.credentials import PUBLIC
from repo2dockerspawner.errors import LaunchError, ResolveError
from repo2dockerspawner.gitremote import ls_remote
from repo2dockerspawner.launch import LaunchRules, launch_request
from repo2dockerspawner.planning import build_plan
from repo2dockerspawner.repos import RepoSpec
from repo2dockerspawner.resolve import Resolved

EVERYTHING = LaunchRules(
    allowed_schemes=("https", "ssh", "http", "git"),
    content_providers=(
        *("git", "zenodo", "figshare", "dataverse", "hydroshare", "swhid", "ckan", "mercurial"),
    ),
)
MANY = settings(
    max_examples=5000,
    deadline=None,
    # nothing is saved, nothing made smaller: that would be half of the time
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def understood(**options: str) -> RepoSpec | None:
    """What the most generous hub understands, ``None`` where it refuses."""
    try:
        return launch_request(options, EVERYTHING).repo
    except LaunchError:
        return None


# A1: repositories that some program on the way would take for an option. {canary} is what a test on
# the engine looks for (tests/docker/test_hostile.py).
OPTIONS = [
    *("-x", " -x", "\t--x", "\n--x", "--", "-", "---", "-/", "-c", "--help", "--version"),
    *("--config=/x", "--config=alias.identify=!touch {canary}", "--config=hooks.pre-x=touch x"),
    *("--config=alias.identify=!touch${{IFS}}{canary}", "--config alias.identify=!touch x"),
    *("--upload-pack=touch {canary}", "--upload-pack=touch\t{canary}", "-utouch {canary}"),
    *("--exec=touch {canary}", "--receive-pack=touch {canary}", "--template=/x", "-c core.x=y"),
    *("--ref=x", "--ref", "--no-build", "--debug", "--volume=/:/x", "-v/:/x", "--push", "-E"),
    *(
        "--build-arg=x=y",
        "--label=repo2dockerspawner.key=x",
        "--image-name=victim",
        "--cache-from=x",
    ),
    *("-oProxyCommand=touch {canary}", "ssh://-oProxyCommand=touch {canary}/x"),
    *("ssh://-oProxyCommand=touch${{IFS}}{canary}/x", "git@-oProxyCommand=x:y", "git@host:-x/y"),
    *("ssh://git@-oProxyCommand=x/y", "ssh://-l@host/x", "ssh://-oProxyCommand=x@host/y"),
    *("git://-h/x", "https://-x/y", "<--upload-pack=x>", "\ufeff--x", "\u200b-x", "\u200b--x/y"),
    *("hg+--config=alias.identify=!touch {canary}", "hg+-x", "hg+ssh://-oProxyCommand=x/y"),
    *("git+--x", "%2d-x", "%2D%2Dconfig=x", "\u2010-x", "\uff0d-x/y", "\u2212x/y"),
]

# A2
REFS = [
    *("--config=alias.update=!touch {canary}", "-b", "-", "--", "--all", "-x/y", "--upload-pack=x"),
    *("--exec=x", "-c", "a..b", "..", "a..", "main...dev", "refs/heads/../x", "@", "@{{u}}"),
    *("@{{upstream}}", "main@{{1}}", "@{{-1}}", "a@{{b", "main~1", "main^", "main^2", "v1^{{}}"),
    *("v1^0", ":/text", ":x", "a:b", "HEAD:x", "x?", "x*", "a[b", "a\\b", "/a", "a/", "a//b", "/"),
    *("a.", "a.lock", "a.lock/b", ".a", "a/.b", ".", "a b", "a\tb", "a\rb", "a\0b", "\0", "a\x7f"),
    *("refs/heads/x\n--y", "x\n--config=y", "a\x9bb", "a\u202eb", "a\u2028b", "a\u00a0b"),
    *("x" * 256, "x" * 300, "a" * 100_000, "+x", "^x", "refs/*:refs/*", "a\ud800"),
]

# A4
LOCAL = [
    *("/", "/root", "/etc/passwd", "//etc", ".", "..", "./", "../..", "./x", "~", "~/x", "~root"),
    *("file:///etc", "file:/etc", "file:etc", "FILE:///etc", "file://localhost/etc", "File://x/y"),
    *("ext::sh -c id", "ext::sh", "EXT::x", "fd::17", "fd::0,1", "hg::https://x.org/y", "::x"),
    *("\\\\host\\x", "\\\\?\\C:\\x", "C:\\x", "c:/x", "C:", "<file:///etc>", " /etc", "\ufeff/etc"),
    *("hg+file:///etc", "hg+/etc", "hg+.", "hg+ext::x", "svn://x.org/y", "svn+ssh://x.org/y"),
    *("bzr://x.org/y", "ftp://x.org/y", "ftps://x.org/y", "rsync://x.org/y", "git+file:///etc"),
    *("data:text/plain,x", "javascript:alert(1)", "unix:///var/run/docker.sock", "s3://x/y"),
]


def made(table: list[str]) -> list[str]:
    return [text.format(canary="/canary") if "{" in text else text for text in table]


def shown(text: str) -> str:
    return ascii(text)[:50]


@pytest.mark.parametrize("text", made(OPTIONS), ids=shown)
def test_a1_no_option_passes_for_a_repository(text: str) -> None:
    found = understood(repo=text)
    assert found is None, found


async def test_a1_a_look_up_runs_none_of_them_even_where_it_got_there(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    shells = ["ext::sh -c 'touch {canary}'", "`touch {canary}`", "x;touch {canary}"]
    for text in [*(text for text in OPTIONS if "{canary}" in text), *shells]:
        hostile = text.format(canary=canary)
        for url, names in ((hostile, ["main"]), ("https://127.0.0.1:1/x", [hostile])):
            with contextlib.suppress(ResolveError, ValueError, UnicodeError):
                await ls_remote(url, names, timeout=5)
    assert not canary.exists()


@pytest.mark.parametrize("ref", made(REFS), ids=shown)
def test_a2_no_option_and_no_expression_passes_for_a_ref(ref: str) -> None:
    assert understood(repo="owner/repo", ref=ref) is None or ref == "+x"


@pytest.mark.parametrize("text", LOCAL, ids=shown)
def test_a4_nothing_on_this_computer_passes_for_a_repository(text: str) -> None:
    assert understood(repo=text) is None


@pytest.mark.parametrize(
    "text", ["10.5281/zenodo.1", f"swh:1:dir:{'a' * 40}", "hg+https://x.org/y"]
)
def test_a4_other_providers_are_off_until_they_are_switched_on(text: str) -> None:
    with pytest.raises(LaunchError, match="content_providers"):
        launch_request({"repo": text}, LaunchRules())
    assert launch_request({"repo": text}, EVERYTHING).repo is not None


def test_the_tables_are_as_long_as_they_have_to_be() -> None:
    assert len(set(OPTIONS)) >= 40
    assert len(set(REFS)) >= 40
    assert len(set(LOCAL)) >= 40
    assert len(set(TRICKS)) >= 30


# A5: address -> the host that is asked, or "" where it is refused
TRICKS = {
    "https://u:p@good.example/x": "",
    "https://u@good.example/x": "",
    "https://:p@good.example/x": "",
    "https://good.example@evil.example/x": "",
    "https://good.example%40evil.example/x": "",
    "https://good.example:443@evil.example/x": "",
    "https://good.example:x@evil.example/x": "",
    "https://good.example#@evil.example/x": "",
    "https://good.example/#@evil.example/x": "",
    "https://good.example/x#@evil.example/y": "good.example",
    "https://good.example?@evil.example/x": "",
    "https://good.example\\@evil.example/x": "",
    "https://good.example\\.evil.example/x": "",
    "https://good.example;@evil.example/x": "",
    "https://good.example&@evil.example/x": "",
    "https://good.example%2f@evil.example/x": "",
    "https://good.example/@evil.example/x": "good.example",
    "https://good.example%00.evil.example/x": "",
    "https://good.example%0d%0a.evil.example/x": "",
    "https://good.example\r\nHost: evil.example/x": "",
    "https://good.example\t.evil.example/x": "",
    "https://good.example .evil.example/x": "",
    "https://good.example/x?private_token=secret": "",
    "https://good.example/x?ref=y": "",
    "https://good.example/x%0a": "",
    "https://good.example/x%0d%0aSet-Cookie:y": "",
    "https://good.example/%2e%2e/x": "",
    "https://good.example/a/../../x": "",
    "HTTPS://GOOD.example/x": "good.example",
    "https://good.example./x": "good.example",
    "https://good.example../x": "",
    "https://.good.example/x": "",
    "https://good.example:443/x": "good.example",
    "https://good.example:0443/x": "good.example",
    "https://good.example:0/x": "",
    "https://good.example:65536/x": "",
    "https://good.example:-1/x": "",
    "https://good.example:80:443/x": "",
    "https://good.example:\uff180/x": "",
    "https://g\u043e\u043ed.example/x": "",
    "https://good。example/x": "",
    "https://\uff47ood.example/x": "",
    "https://xn--gd-jkaa.example/x": "xn--gd-jkaa.example",
    "https://good.example\u202e/x": "",
    "https://good.example\u00ad/x": "",
    "https://2130706433/x": "",
    "https://0x7f000001/x": "",
    "https://0x7f.1/x": "",
    "https://0177.0.0.1/x": "",
    "https://127.1/x": "",
    "https://[::ffff:127.0.0.1%25eth0]/x": "",
    "https://[::1]evil.example/x": "",
    "https://[::1].evil.example/x": "",
    "https:///good.example/x": "",
    "https:good.example/x": "",
    "https:/good.example/x": "",
    "//good.example/x": "",
    "ssh://git:secret@good.example/x": "",
    "git@good.example@evil.example:x": "",
    "git@good.example:x@evil.example:y": "good.example",
    "git@good.example:443:x": "good.example",
    "git@good.example/evil.example:x": "",
    "https://good.example/x https://evil.example/y": "",
    "https://good.example/x,https://evil.example/y": "good.example",
}


@pytest.mark.parametrize(("text", "host"), TRICKS.items(), ids=map(shown, TRICKS))
def test_a5_the_host_that_is_shown_is_the_host_that_is_asked(text: str, host: str) -> None:
    found = understood(repo=text)
    assert (found.host if found else "") == host, found
    if found is None:
        return
    # once more is the same, and another program reads the same host
    assert launch_request({"repo": found.url}, EVERYTHING).repo == found
    if "://" in found.url:
        assert urllib3.util.parse_url(found.url).host == host
    assert "@" not in found.url.partition("://")[2].partition("/")[0]


# -- A3: the way to the command line ---------------------------------------------------------


def repo2docker_parser() -> argparse.ArgumentParser:
    """Reads a command line as repo2docker does (its __main__.py), as far as we use it."""
    parser = argparse.ArgumentParser()
    for option in ("config", "ref", "subdir", "image-name", "user-id", "user-name"):
        parser.add_argument(f"--{option}")
    for option in ("label", "build-arg"):
        parser.add_argument(f"--{option}", action="append", default=[])
    for option in ("json-logs", "no-run", "debug", "push", "no-build"):
        parser.add_argument(f"--{option}", action="store_true")
    parser.add_argument("-e", "--env", action="append", default=[])
    parser.add_argument("-v", "--volume", action="append", default=[])
    parser.add_argument("repo")
    parser.add_argument("cmd", nargs=argparse.REMAINDER)
    return parser


SPAWNER = Repo2DockerSpawner()
PARSER = repo2docker_parser()


def planned(spec: RepoSpec) -> BuildPlan:
    # a commit only git has, whatever its ref is
    content_id = "c" * 40 if spec.provider == "git" else spec.url
    return build_plan(SPAWNER, Resolved(spec, content_id), PUBLIC, b"secret")


def check_command_line(plan: BuildPlan) -> None:
    program, *words = arguments(plan)
    assert program == "jupyter-repo2docker"
    assert len(words) == 6 + bool(plan.content_id) + bool(plan.subdir) + len(plan.labels) + 1
    read = PARSER.parse_args(words)
    assert not words[-1].startswith("-")
    assert (read.repo, read.cmd) == (plan.url, [])
    assert (read.ref or "", read.subdir or "") == (plan.content_id, plan.subdir)
    assert read.image_name == plan.image
    assert dict(one.split("=", 1) for one in read.label) == plan.labels
    assert (read.build_arg, read.env, read.volume) == ([], [], [])
    assert [read.debug, read.push, read.no_build] == [False] * 3
    assert "\0" not in "".join(words)


PIECES = (
    *("", "", "", "", "https://", "ssh://", "git@", "x.org", "/", "//", ":", "@", "a", "b/c", "?"),
    *("-", "--", "--config=x", "--ref=", "=", " ", "\n", "\0", "'", '"', "$", "`", "\\", "%2d"),
    *("%0a", "%2f", "..", ".git", "tree/", "main", "é", "\ud800", "\u202e", "{0}", "hg+", "10."),
    *("5281/zenodo.1", "swh:1:dir:", "a" * 40, "#", ";", "&&", "|", "~", ":8080", "github.com/"),
)
STARTS = (
    *(
        "",
        "https://x.org/a",
        "https://github.com/a/b",
        "git@x.org:",
        "https://zenodo.org/records/1",
    ),
    *("a/b", "hg+https://x.org/", "https://doi.org/10.5281/", "ssh://git@[::1]:22/"),
)


def spelled(code: bytes) -> str:
    return "".join(PIECES[byte % len(PIECES)] for byte in code)


@MANY
@given(st.binary(min_size=15, max_size=15))
def test_a3_whatever_is_entered_fills_its_own_argument_and_no_other(code: bytes) -> None:
    address = STARTS[code[0] % len(STARTS)] + spelled(code[1:6])
    folder = spelled(code[10:])
    for options in (
        {"repo": address, "ref": spelled(code[6:10])},
        {"repo": address, "subdir": folder if code[0] & 1 else f"a{folder}"},
    ):
        spec = understood(**options)
        if spec is not None:
            check_command_line(planned(spec))


@pytest.mark.parametrize(
    "repo",
    [
        "https://x.org/--config=x",
        "https://x.org/a'b;c&&d",
        "https://x.org/%7B0.__class__%7D",
        "git@x.org:a/--x",
        "hg+https://x.org/--config=x",
        "https://x.org/a%20--config=x",
    ],
)
def test_a3_these_are_understood_and_stay_one_argument(repo: str) -> None:
    spec = understood(repo=repo, ref="a/-b", subdir="a -b/--c")
    assert spec is not None
    check_command_line(planned(spec))


# -- A15: format strings ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["{raw_username.__class__}", "{username}", "{0}", "{", "}", "{{x}}", "{x!r:>9}", "%s%n"]
)
def test_a15_what_is_entered_is_no_template(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Repo2DockerSpawner()
    made._spec = RepoSpec("git", "https://x.org/a", text, text, text, f"lab/{text}")
    monkeypatch.setattr(DockerSpawner, "get_env", lambda _self: {})
    assert made.get_env() == {"JUPYTERHUB_DEFAULT_URL": f"/lab/{text}"}
    made._spec = RepoSpec("git", "https://x.org/a", path=text)
    assert made.get_env() == {"JUPYTERHUB_DEFAULT_URL": f"/lab/tree/{quote(text)}"}
    # what JupyterHub and DockerSpawner do format: nothing of it has what was entered
    for name in ("default_url", "notebook_dir", "name_template", "extra_create_kwargs", "volumes"):
        assert text not in repr(getattr(made, name)) or text in "{username}", name
