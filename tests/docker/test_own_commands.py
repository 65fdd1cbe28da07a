"""No command of a repository's runs where its credential is, and those that run find none (A7)."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import docker
import pytest
from testbed.builds import DOCKERFILE, Bench
from testbed.hostileserver import HostileServer
from testbed.marker import Marker
from testbed.names import REPO2DOCKER_IMAGES
from testbed.traps import HOOKS, LOOK, TRAP, sprung, trapped_image

from repo2dockerspawner.builds import container
from repo2dockerspawner.builds.plan import BuildPlan, archive
from repo2dockerspawner.credentials import Credential
from repo2dockerspawner.errors import BuildError

HOME = "/home/jovyan"
# What git runs if it takes these for its configuration.
CONFIG = f"""[core]
	hooksPath = {HOME}/hooks
	fsmonitor = {TRAP} fsmonitor
	sshCommand = {TRAP} sshCommand
	gitProxy = {TRAP} gitProxy
	pager = {TRAP} pager
	editor = {TRAP} editor
	askPass = {TRAP}
[filter "evil"]
	smudge = {TRAP} smudge
	clean = {TRAP} clean
	process = {TRAP} process
	required = true
[diff "evil"]
	command = {TRAP} diff
	textconv = {TRAP} textconv
[merge "evil"]
	driver = {TRAP} merge
[credential]
	helper = "!{TRAP} credential"
[uploadpack]
	packObjectsHook = {TRAP} packObjectsHook
[submodule "inner"]
	update = "!{TRAP} update"
[alias]
	checkout = "!{TRAP} alias"
"""
# What Python runs if it takes a folder of the repository's for one of its own.
MODULE = f"import os\nos.system('{TRAP} python')\n"
SCRIPT = f'#!/bin/sh\n{TRAP} "$0"\n'


@dataclass(frozen=True)
class Way:
    """A repository that would like to have a command run.

    Attributes:
        said: what the build says of it, which shows that it got as far as that.
        files: of the repository.
        modes: of those that are no plain files.
        inner: files of its submodule at ``INNER``.
        path: where the submodule is.
        subdir: which folder is built.
    """

    said: str
    files: dict[str, str]
    modes: dict[str, str] = field(default_factory=dict)
    inner: dict[str, str] = field(default_factory=dict)
    path: str = "inner"
    subdir: str = ""


def module(*lines: str, name: str = "inner", path: str = "inner", url: str = "INNER") -> str:
    """The text of a ``.gitmodules``."""
    given = (f"path = {path}", f"url = {url}", *lines)
    return f'[submodule "{name}"]\n' + "".join(f"\t{line}\n" for line in given)


def scripts(folder: str = "") -> dict[str, str]:
    return {f"{folder}{name}": SCRIPT for name in HOOKS}


def bare(folder: str) -> dict[str, str]:
    """The files of a folder that git takes for a repository, if it looks for one there."""
    files = {"HEAD": "ref: refs/heads/main\n", "objects/x": "", "refs/x": "", "config": CONFIG}
    return {f"{folder}{path}": text for path, text in files.items()}


# Everything at once that a repository may have without being refused: the build goes well.
ORDINARY = {
    ".gitattributes": "* filter=evil diff=evil merge=evil\n",
    ".gitconfig": CONFIG,
    ".config/git/config": CONFIG,
    "gitconfig": CONFIG,
    ".netrc": "machine 172.17.0.1 login x password y\n",
    ".lfsconfig": f'[lfs]\nstandalonetransferagent = x\n[lfs "customtransfer.x"]\npath = {TRAP}\n',
    **bare(""),
    **bare("folder/"),
    **scripts("hooks/"),
    **scripts(".githooks/"),
    **scripts("folder/hooks/"),
    **{
        f"{folder}{name}": MODULE
        for folder in ("", "folder/")
        for name in (
            *("repo2docker_config.py", "sitecustomize.py", "usercustomize.py", "json.py"),
            *("traitlets/__init__.py", "repo2docker/__init__.py", "settings.py"),
        )
    },
    **{f"{folder}{name}": SCRIPT for folder in ("", "folder/") for name in ("git", "docker")},
    ".docker/config.json": f'{{"credsStore": "{TRAP}", "cliPluginsExtraDirs": ["{HOME}"]}}',
    ".docker/cli-plugins/docker-buildx": SCRIPT,
    ".gitmodules": module(),
}
INNER = {".gitattributes": "* filter=evil\n", ".gitconfig": CONFIG, "file": "inner", **bare("")}

OPTION = "may be interpreted as a command-line option"
UPDATE = module(f"update = !{TRAP} update")
REFUSED_UPDATE = "fatal: invalid value for 'submodule.inner.update'"
WAYS = {
    "all that is no error": Way("is ready.", ORDINARY, inner=INNER, subdir="folder"),
    "update": Way(REFUSED_UPDATE, {".gitmodules": UPDATE}),
    "a submodule's submodule": Way(
        f"{REFUSED_UPDATE}\nfatal: Failed to recurse into submodule path 'inner'",
        {".gitmodules": module()},
        inner={".gitmodules": UPDATE},
    ),
    "ext": Way(
        "fatal: transport 'ext' not allowed", {".gitmodules": module(url=f"ext::{TRAP} ext")}
    ),
    "ssh": Way(
        "fatal: strange hostname '-oProxyCommand=",
        {".gitmodules": module(url=f"ssh://-oProxyCommand={TRAP}/x")},
    ),
    "address": Way(OPTION, {".gitmodules": module(url=f"--upload-pack={TRAP}")}),
    "path": Way(OPTION, {".gitmodules": module(path=f"--upload-pack={TRAP}")}),
    # CVE-2018-11235
    "name": Way(
        "warning: ignoring suspicious submodule name",
        {".gitmodules": module(name="../../inner")},
        inner=scripts("hooks/"),
    ),
    # CVE-2025-48384
    "path that ends with CR": Way(
        "is ready.",
        {".gitmodules": module(path='"inner\r"'), "inner": ".git/modules/inner/hooks"},
        {"inner": "120000"},
        scripts(),
        path="inner\r",
    ),
    ".git": Way(
        "error: invalid path '.git/hooks/post-checkout'", {".git/hooks/post-checkout": SCRIPT}
    ),
}


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with HostileServer("172.17.0.1") as made:
        yield made


@pytest.fixture(scope="module", params=REPO2DOCKER_IMAGES, ids=lambda name: name.split(":")[1])
def trapped(
    docker_client: docker.DockerClient, server: HostileServer, request: pytest.FixtureRequest
) -> Iterator[str]:
    """Each build image in turn, with hooks in git's template: more than a repository can have."""
    with trapped_image(docker_client, request.param, server) as name:
        yield name


def private(bench: Bench, marker: Marker, way: Way, image: str) -> BuildPlan:
    """The plan of a build of such a repository, which takes a credential, as its submodule does."""
    url, _ = bench.repository()
    name = urlsplit(url).path.strip("/").removesuffix(".git")
    inner = "c" * 40
    if way.inner:
        files = {path: text.replace("INNER", url) for path, text in way.inner.items()}
        modes = {path: "100755" for path, text in way.inner.items() if text == SCRIPT}
        bench.git.create(f"{name}-inner", {"file": "inner"})
        if ".gitmodules" in files:
            files, modes = {**files, "inner": "c" * 40}, {**modes, "inner": "160000"}
        inner = bench.git.commit(f"{name}-inner", files, modes=modes)
        bench.git.require_auth(f"{name}-inner", "ann", marker.secret)
    files = {
        path: text.replace("INNER", bench.git.url(f"{name}-inner"))
        for path, text in way.files.items()
    }
    modes = {path: "100755" for path, text in files.items() if text == SCRIPT} | way.modes
    if ".gitmodules" in files:
        files, modes = {**files, way.path: inner}, {**modes, way.path: "160000"}
    if way.subdir:
        files[f"{way.subdir}/Dockerfile"] = DOCKERFILE
    commit = bench.git.commit(name, files, modes=modes)
    bench.git.require_auth(name, "ann", marker.secret)
    place = f"http://{bench.git.host}:{bench.git.port}"
    return replace(
        bench.plan(url, commit, image),
        subdir=way.subdir,
        protocols=("http", "ssh"),
        credentials=(Credential(place, "ann", marker.secret),),
    )


async def ended(bench: Bench, plan: BuildPlan) -> str:
    """All that a build says, however it ends; its image is removed."""
    build = bench.pool.join(plan, "somebody")
    try:
        texts = [event.text async for event in build.follow()]
        try:
            image = await build.result()
        except BuildError as error:
            texts += [error.reason, error.message, *error.lines]
        else:
            await bench.engine.call(lambda client: client.remove_image(image, force=True))
    finally:
        bench.pool.leave(build)
    return "\n".join(texts)


async def test_no_command_of_a_repository_runs_where_its_credential_is(
    bench: Bench, trapped: str, server: HostileServer
) -> None:
    marker = Marker()
    plans = [private(bench, marker, way, trapped) for way in WAYS.values()]
    ends = await asyncio.gather(*(ended(bench, plan) for plan in plans))
    for (name, way), text in zip(WAYS.items(), ends, strict=True):
        assert way.said in text, name
        assert not marker.is_in(text.encode()), name
    assert sprung(server) == []


async def test_a_command_that_ran_there_would_read_the_credential_and_be_seen(
    bench: Bench, trapped: str, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test above would find if hooks were not switched off."""
    monkeypatch.setattr(container, "archive", with_hooks)
    marker = Marker()
    way = Way("is ready.", {".gitmodules": module()}, inner={"file": "inner"})
    text = await ended(bench, private(bench, marker, way, trapped))
    found = sprung(server)
    server.requests.clear()
    assert way.said in text
    assert "['post-checkout']" in [ways for ways, _ in found]
    assert any(marker.is_in(read) for _, read in found)


def with_hooks(plan: BuildPlan) -> bytes:
    """The build container's configuration, but hooks are run."""
    stream = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive(plan))) as given,
        tarfile.open(fileobj=stream, mode="w") as tar,
    ):
        for entry in given:
            file = given.extractfile(entry)
            data = file.read().replace(b'"core.hooksPath=/dev/null",', b"") if file else b""
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


# A build step that looks for two tokens in all that it can read. It is given their patterns
# backwards, so that it doesn't find what it was given.
SEARCH = (
    LOOK
    + r"""
import json, subprocess
needles = {name: [one[::-1].encode() for one in texts]
           for name, texts in json.load(open("needles.json")).items()}
found = {name: [] for name in needles}

def look(place, data):
    for name, texts in needles.items():
        if any(one in data for one in texts):
            found[name].append(place)

for place, data in seen.items():
    look(place, data)
for folder, below, names in os.walk("/"):
    if folder == "/":
        below[:] = set(below) - {"proc", "sys"}
    for path in (os.path.join(folder, name) for name in names):
        try:
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    look(path, file.read())
        except OSError:
            pass

def git(*words, given=""):
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", *words], input=given, capture_output=True, text=True,
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
    )
    look("git " + words[0], (done.stdout + done.stderr).encode())
    return done.stdout + done.stderr

url = git("remote", "get-url", "origin").strip()
report = {
    "config": git("config", "--list", "--show-origin"),
    "fill": git("credential", "fill", given="url=" + url + "\n\n"),
    "fetch": git("ls-remote", "origin"),
    "processes": [seen[path].decode() for path in seen if path.endswith("/cmdline")],
    "user": os.getuid(),
    "found": found,
}
print("\n REPORT " + json.dumps(report))
"""
)


@pytest.mark.parametrize("build_image", REPO2DOCKER_IMAGES)
async def test_a_build_step_looks_everywhere_and_finds_no_credential(
    bench: Bench, build_image: str
) -> None:
    marker, planted = Marker(), Marker()
    needles = {
        name: [text[::-1].decode() for text in one.patterns]
        for name, one in (("credential", marker), ("planted", planted))
    }
    steps = ["USER root", "RUN python3 search.py", "USER 1000", "RUN python3 search.py", ""]
    files = {
        "Dockerfile": "\n".join([f"{DOCKERFILE}ENV PLANTED='{planted.secret[5:37]}'", *steps]),
        "search.py": SEARCH,
        "needles.json": json.dumps(needles),
        ".gitmodules": module(),
    }
    way = Way("is ready.", files, inner={"file": "inner"})
    text = await ended(bench, private(bench, marker, way, build_image))
    assert way.said in text
    reports = [
        json.loads(line.partition(" REPORT ")[2])
        for line in text.splitlines()
        if " REPORT {" in line
    ]
    assert [report["user"] for report in reports] == [0, 1000]
    for report in reports:
        assert report["found"]["credential"] == []
        # the search finds what is there: a file, and the environment of its processes
        assert f"{HOME}/Dockerfile" in report["found"]["planted"]
        assert "/proc/1/environ" in report["found"]["planted"]
        assert not [one for one in report["processes"] if "repo2docker" in one]
        # the repository is known to git, and nothing that opens it
        assert "remote.origin.url=http://172.17.0.1:" in report["config"]
        assert "credential" not in report["config"]
        for said in (report["fill"], report["fetch"]):
            assert "could not read Username" in said
