"""repo2docker's configuration inside a build container: one content provider, and ours for git.

Executed by traitlets under repo2docker's own Python (>= 3.9, repo2docker 2024.7 to now); nothing of
Repo2DockerSpawner is there. What this build needs stands in ``settings.json`` beside this file::

    {"provider": "git", "clone_depth": 1, "providers": [], "protocols": ["https"],
     "bound_output": true, "guarded": true, "allowed_networks": [], "size_limit": 0,
     "credentials": false}

``provider`` and ``clone_depth`` (commits of history, 0 for all of it) as in a build's plan;
``providers`` are those among which a DOI's is looked for, ``protocols`` those that git may use
(all that go over the network where it is missing). With ``bound_output`` the log is bounded.
Where ``guarded``, only what is on the internet and in ``allowed_networks`` is reached.
``size_limit`` is how many bytes a repository may have as fetched, 0 for any.
With ``credentials`` there are some on standard input.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import shutil
import subprocess  # git is a program; no shell is used  # nosec B404
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

# traitlets only logs what goes wrong in this file, and repo2docker would go on with all of its
# providers: so whatever it is ends the process.
try:
    from repo2docker import contentproviders
    from repo2docker.contentproviders.base import ContentProviderException
    from repo2docker.utils import R2dState

    # what lies beside this file, not what somebody has installed by the same name
    sys.path.insert(0, str(Path(__file__).parent))
    if TYPE_CHECKING:
        from collections.abc import Generator, Iterator

        from . import bounded_output, guarding, handed_over, running
        from .gitaccess import GitAccess
        from .guarding import GuardError, Reach, Way
    else:
        from inside import bounded_output, guarding, handed_over, running
        from inside.gitaccess import GitAccess
        from inside.guarding import GuardError, Reach, Way
except ImportError as error:
    raise SystemExit(f"repo2dockerspawner: this repo2docker can't be used: {error}") from error

COMMIT = re.compile(r"[0-9a-f]{4,64}")
FULL_LENGTHS = (40, 64)
EVERYTHING = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
NO_ADDRESS = "the repository's address is not one that git may be given"
# Asking such a server once more, for everything, would fail the same way.
HOPELESS = re.compile(
    r"could not resolve host|unable to access|unable to connect|could not read (?:user|pass)"
    r"|authentication failed|permission denied|not appear to be a git repository"
    r"|access denied|repository .*not found|connection (?:refused|timed out|reset)"
    r"|host key verification",
    re.IGNORECASE,
)
SAFETY = (
    "core.hooksPath=/dev/null",
    "protocol.ext.allow=never",
    "advice.detachedHead=false",
    "init.defaultBranch=main",
    # repo2docker's image has one that answers every host
    "credential.helper=",
    # Git LFS tries eight times, also where a password is missing, and git has it do so twice: more
    # than a minute until it is told
    "lfs.transfer.maxretries=4",
)


class OneCommit(contentproviders.Git):  # type: ignore[misc]  # repo2docker ships no types
    """Fetches one commit alone, where repo2docker's own clones the whole history."""

    clone_depth = 1
    protocols: tuple[str, ...] = ("https", "http", "ssh", "git")
    way: Way | None = None
    size_limit = 0
    access = GitAccess([])

    def fetch(
        self, spec: dict[str, Any], output_dir: str, yield_output: bool = False
    ) -> Iterator[str]:
        """Put the commit ``spec["ref"]`` of ``spec["repo"]`` into ``output_dir``.

        Yields the lines that git prints, where ``yield_output``.

        Raises:
            ContentProviderException: the repository can't be had, or has no such commit.
        """
        try:
            yield from self._fetch(spec, output_dir, yield_output)
        finally:
            # before anything is read that the repository may have linked to elsewhere
            self.access.close()

    def _fetch(
        self, spec: dict[str, Any], output_dir: str, yield_output: bool
    ) -> Generator[str, None, None]:
        repo, ref = str(spec["repo"]), str(spec.get("ref") or "")
        if repo.startswith("-") or any(ord(char) < ord("!") for char in repo):
            self._refuse(NO_ADDRESS)
        if not COMMIT.fullmatch(ref):
            self._refuse("the ref is no commit id of 4 to 64 hexadecimal digits")
        self._repo, self._dir, self._capture = repo, output_dir, yield_output
        if self.way is not None:
            try:
                self.way.choose(repo)
            except GuardError as error:
                self._refuse(guarding.says(error.refusal))

        form = "sha256" if len(ref) == max(FULL_LENGTHS) else "sha1"
        yield from self._git("init", "--quiet", "--template=", f"--object-format={form}")
        yield from self._git("remote", "add", "--", "origin", repo)
        if len(ref) in FULL_LENGTHS:
            commit = yield from self._fetch_full(ref)
        else:
            commit = yield from self._fetch_abbreviated(ref)
        yield from self._git("checkout", "--detach", "--force", commit)
        yield from self._submodules()
        self._sha1 = self._resolve("HEAD")

    def _fetch_full(self, commit: str) -> Generator[str, None, str]:
        shown = f"commit {commit[:7]} of {re.sub('//[^/@]*@', '//', self._repo)}"
        if self.clone_depth > 0:
            yield f"Fetching {shown} alone\n"
            if (yield from self._fetch_one(commit, f"--depth={self.clone_depth}")):
                return commit
            yield "The server doesn't hand out a commit alone, fetching the whole history\n"
        else:
            yield f"Fetching {shown} with the whole history\n"
        yield from self._fetch_everything()
        if self.clone_depth <= 0 and not self._resolve(commit):
            # No branch or tag leads to it (a pull request's head), but its id may.
            yield from self._fetch_one(commit)
        if not self._resolve(commit):
            self._refuse(f"commit {commit} is not in this repository")
        return commit

    def _fetch_abbreviated(self, ref: str) -> Generator[str, None, str]:
        yield f"Fetching the whole history to find the commit that begins with {ref}\n"
        yield from self._fetch_everything()
        commit = self._resolve(ref)
        # A tag may have the name: then what it names isn't what was asked for.
        if not commit.startswith(ref):
            self._refuse(f"commit {ref} is not in this repository, or more than one begins so")
        return commit

    def _fetch_one(self, commit: str, *options: str) -> Generator[str, None, bool]:
        """Fetch one commit by its id; returns whether that worked."""
        said: list[str] = []
        try:
            for line in self._git("fetch", *options, "--no-tags", "origin", commit):
                said.append(line)
                yield line
        except subprocess.CalledProcessError:
            if HOPELESS.search("".join(said)):
                raise self._unreachable() from None
            return False
        return True

    def _fetch_everything(self) -> Iterator[str]:
        # A clone with a depth leaves marks that make a later fetch shallow too.
        whole = ["--unshallow"] if Path(self._dir, ".git", "shallow").exists() else []
        try:
            yield from self._git("fetch", "--quiet", *whole, "origin", *EVERYTHING)
        except subprocess.CalledProcessError:
            raise self._unreachable() from None

    def _submodules(self) -> Iterator[str]:
        if not Path(self._dir, ".gitmodules").is_file():
            return
        update = ("submodule", "update", "--init", "--recursive")
        # What a repository names may not be a file of this container.
        protocols = tuple(name for name in self.protocols if name != "file")
        if self.clone_depth > 0:
            try:
                depth = f"--depth={self.clone_depth}"
                yield from self._git(*update, depth, protocols=protocols)
            except subprocess.CalledProcessError:
                yield "A submodule can't be fetched alone, fetching its whole history\n"
                yield from self._git("submodule", "--quiet", "deinit", "--all", "--force")
                shutil.rmtree(Path(self._dir, ".git", "modules"), ignore_errors=True)
            else:
                return
        yield from self._git(*update, protocols=protocols)

    def _git(self, *arguments: str, protocols: tuple[str, ...] | None = None) -> Iterator[str]:
        environ = _environment(self.protocols if protocols is None else protocols)
        environ.update(self.access.environment)
        options = list(self.access.options)
        if self.way is not None:
            options += self.way.options()
            self.way.prepare(environ)
        try:
            yield from running.run(
                _command(*options, *arguments),
                capture=self._capture,
                folder=self._dir,
                env=environ,
                limit=self.size_limit,
            )
        except running.TooLargeError:
            self._refuse(_too_large(self.size_limit))
        except subprocess.CalledProcessError:
            refusal = self.way.refusal() if self.way is not None else ""
            if refusal:
                self._refuse(refusal)
            raise

    def _resolve(self, name: str) -> str:
        """Return the commit that ``name`` means, ``""`` where there is none or more than one."""
        found = subprocess.run(  # noqa: S603  ``name`` is hexadecimal, or HEAD  # nosec B603
            _command("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"),
            cwd=self._dir,
            env=_environment(()),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return found.stdout.decode().strip()

    def _unreachable(self) -> ContentProviderException:
        return ContentProviderException(f"Failed to clone repository from {self._repo}.")

    def _refuse(self, why: str) -> NoReturn:
        _refuse(self.log, why)


def _refuse(log: logging.Logger, why: str) -> NoReturn:
    """Say why in a line of its own, which a log's reader recognises.

    Raises:
        ContentProviderException: always.
    """
    message = f"repo2dockerspawner: {why}"
    log.error("%s\n", message, extra={"phase": R2dState.FAILED})
    raise ContentProviderException(message)


def _too_large(limit: int) -> str:
    size = f"{limit / (1 << 30):.1f} GiB" if limit >= 1 << 30 else f"{limit / (1 << 20):.1f} MiB"
    return f"the repository is larger than {size}"


def _command(*arguments: str) -> list[str]:
    settings = [part for setting in SAFETY for part in ("-c", setting)]
    return ["git", *settings, *arguments]


def _environment(protocols: tuple[str, ...]) -> dict[str, str]:
    return {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": ":".join(protocols),
        "LC_ALL": "C.UTF-8",
    }


DOI_PROVIDERS = ("zenodo", "figshare", "dataverse", "hydroshare")
CLASSES = {
    "zenodo": "Zenodo",
    "figshare": "Figshare",
    "dataverse": "Dataverse",
    "hydroshare": "Hydroshare",
    "swhid": "Swhid",
    "ckan": "CKAN",
    "mercurial": "Mercurial",
}


def providers(settings: dict[str, Any]) -> list[type]:
    """Return the content providers that this build needs, and no other.

    Raises:
        ValueError: the settings name none.
    """
    name = settings["provider"]
    guarded = bool(settings.get("guarded"))
    allowed = tuple(settings.get("allowed_networks", ()))
    size_limit = int(settings.get("size_limit", 0))
    if name == "git":
        OneCommit.clone_depth = int(settings["clone_depth"])
        OneCommit.protocols = tuple(settings.get("protocols", OneCommit.protocols))
        OneCommit.size_limit = size_limit
        OneCommit.way = Way(allowed) if guarded else None
        return [OneCommit]
    wanted = settings.get("providers", ()) if name == "doi" else [name]
    among = DOI_PROVIDERS if name == "doi" else CLASSES
    found = [getattr(contentproviders, CLASSES[one]) for one in among if one in wanted]
    if not found:
        raise ValueError(f"no content provider for {name!r} is switched on")
    reach = Reach(allowed) if guarded else None
    if reach is not None and name != "mercurial":
        log = logging.getLogger("repo2docker")
        guarding.guard_lookups(
            reach,
            guarding.trusted_hosts(os.environ),
            lambda why: log.error(
                "%s\n", f"repo2dockerspawner: {why}", extra={"phase": R2dState.FETCHING}
            ),
        )
    return [_bounded(one, size_limit, reach) for one in found]


def _bounded(provider: Any, limit: int, reach: Reach | None) -> type:
    """Return one of repo2docker's own content providers, within the limits of ours."""

    class Bounded(provider):  # type: ignore[misc]  # repo2docker ships no types
        def detect(self, source: str, *arguments: Any, **more: Any) -> Any:
            # hg is a program, whose look-ups nobody here sees
            if reach is not None and provider.__name__ == CLASSES["mercurial"]:
                try:
                    guarding.check_host(source, reach)
                except (GuardError, ValueError) as error:
                    refusal = getattr(error, "refusal", None)
                    _refuse(self.log, guarding.says(refusal) if refusal else NO_ADDRESS)
            return super().detect(source, *arguments, **more)

        def fetch(self, spec: Any, output_dir: str, yield_output: bool = False) -> Iterator[str]:
            try:
                with running.largest_file(limit):
                    for line in super().fetch(spec, output_dir, yield_output):
                        yield line
                        self._measure(output_dir)
            except OSError as error:
                if error.errno == errno.EFBIG:
                    _refuse(self.log, _too_large(limit))
                raise
            self._measure(output_dir)

        def _measure(self, folder: str) -> None:
            if 0 < limit < running.folder_size(folder):
                _refuse(self.log, _too_large(limit))

    Bounded.__name__ = provider.__name__
    return Bounded


def bound_output() -> None:
    """Bound what repo2docker prints; its log goes where this points when it is set up, later."""
    sys.stderr = bounded_output.bounded(sys.stderr)


def take_credentials() -> None:
    """Let git have what is on standard input, and nothing of it be printed.

    Raises:
        ValueError: it isn't there, or can't be used.
    """
    credentials, secrets = handed_over.take()
    handed_over.redact_output(secrets)
    if any(one["key"] for one in credentials) and shutil.which("ssh") is None:
        raise ValueError("this repo2docker can't be used: it has no ssh, for which there is a key")
    OneCommit.access = GitAccess(credentials, ssh=os.environ.get("GIT_SSH_COMMAND", "ssh"))


try:
    given = json.loads(Path(__file__).with_name("settings.json").read_text())
    chosen = providers(given)
except Exception as error:
    raise SystemExit(f"repo2dockerspawner: the build's settings can't be read: {error}") from error
if given.get("credentials"):
    try:
        take_credentials()
    except (ValueError, OSError) as error:
        raise SystemExit(f"repo2dockerspawner: {error}") from None
if given.get("bound_output"):
    bound_output()

get_config().Repo2Docker.content_providers = chosen  # type: ignore[name-defined]  # noqa: F821
