"""Why builds fail, as a table: what a log says → what a person is told and can do.

One row a cause, the most specific first: the first row that matches a log is taken. A new cause is
one row here and one log in the tests; docs/diagnosis.md says how.

The patterns are matched on a repository's own output, which may hold anything. So they take linear
time on any line (no quantifier within another), and what they match decides about nothing but the
words, reason and status of this one build's error: a repository that prints a forged line gives
its own user a wrong hint. Nobody may act on a reason that came out of a log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from re import Pattern
from typing import Final

__all__ = ["CAUSES", "Cause"]


@dataclass(frozen=True)
class Cause:
    """One way to fail.

    Attributes:
        reason: the error's reason code.
        patterns: searched in each line of the failed step's output, or of the fetching; the last
            line that one of them matches is the one. ``exit code N`` stands for the builder's
            line about the command's end. A group named ``what`` is put into the sentence.
        sentence: what went wrong, without a full stop. ``{what}`` is what the pattern found,
            ``{image}`` the image of the failed FROM.
        advice: what to do next, one sentence or two.
        status: the error's HTTP status, below 500 where the user can mend it.
        unnamed: stands for ``{what}`` where the pattern found none.
        in_step: whether the cause is one of a Dockerfile's step (True), or only of what is outside
            of them (False); None for both.
        instruction: what the failed instruction has to begin with, None for any.
        admin: whether the hub's log tells the admin, whose business it is.
    """

    reason: str
    patterns: tuple[Pattern[str], ...]
    sentence: str
    advice: str
    status: int = 422
    unnamed: str = ""
    in_step: bool | None = None
    instruction: Pattern[str] | None = None
    admin: bool = False


def _any(*patterns: str) -> tuple[Pattern[str], ...]:
    return tuple(re.compile(pattern, re.ASCII) for pattern in patterns)


_ADMIN: Final = "An administrator of this hub has to look at it."
_CORRECT: Final = "Correct it in the repository and start again."
# The instructions that take an image from a registry, and what BuildKit calls the first of it.
_PULLING: Final = re.compile(r"FROM|COPY|\[internal\] ")
_LATER: Final = "Start again in some minutes; if it stays so, tell an administrator of this hub."

_HUB: Final = (
    Cause(
        "disk_full",
        _any(
            r"[Nn]o space left on device",
            r"Disk quota exceeded",
            r"not enough free space in /var/cache/apt",
        ),
        "this hub has no room for it at the moment",
        "Try again later, or tell an administrator of this hub.",
        status=503,
        admin=True,
    ),
    Cause(
        "buildx_missing",
        _any(r"buildx plugin must be installed", r"'buildx' is not a docker command"),
        "the hub's build image lacks Docker's buildx, which this version of repo2docker needs",
        "An administrator of this hub has to set build_image to an image that has it.",
        status=503,
        in_step=False,
        admin=True,
    ),
    Cause(
        "engine_unreachable",
        _any(
            r"^Container engine initialization error",
            r"docker commandline client must be installed",
            r"^(?:ERROR: )?Cannot connect to the Docker daemon",
            r"^(?:ERROR: )?error during connect: ",
        ),
        "the build could not reach this hub's Docker engine",
        _ADMIN,
        status=503,
        in_step=False,
        admin=True,
    ),
    Cause(
        "build_image_unusable",
        _any(
            r"^repo2dockerspawner: (?P<what>this repo2docker can't be used.*)",
            r"^repo2dockerspawner: (?P<what>the build's settings can't be read.*)",
            r"^(?P<what>jupyter-repo2docker: error: .*)",
        ),
        "the hub's build image could not be run as this hub wants it, {what}",
        "An administrator of this hub has to look at build_image and build_extra_args.",
        status=500,
        in_step=False,
        admin=True,
    ),
)

_FETCHING: Final = (
    Cause(
        "credentials_lost",
        _any(r"^repo2dockerspawner: the build's credentials did not arrive"),
        "the credentials for the repository did not reach the build",
        "Start again.",
        status=503,
        in_step=False,
    ),
    Cause(
        "address_not_allowed",
        _any(
            r"^repo2dockerspawner: it leads to (?P<what>[^\s()]+(?: \([^\s()]+\))?),"
            r" which is not on the"
        ),
        "it leads to {what}, which is not on the internet, and this hub fetches nothing from such "
        "addresses",
        "Correct the address (of a submodule, where it has some), or ask an administrator of this "
        "hub to allow it (allowed_networks).",
        status=403,
        in_step=False,
    ),
    Cause(
        "repo_too_large",
        _any(r"^repo2dockerspawner: the repository is larger than (?P<what>[0-9.]+ [GM]iB)"),
        "the repository, as fetched with its submodules, is larger than the {what} that this hub "
        "allows (clone_size_limit)",
        "Take large files out of it, or ask an administrator of this hub for a larger limit.",
        status=413,
        in_step=False,
    ),
    Cause(
        "commit_not_found",
        _any(
            r"^repo2dockerspawner: commit (?P<what>[0-9a-f]{4,64}) is not in this repository",
            r"^Failed to check out ref (?P<what>\S+)",
        ),
        "commit {what} is not in the repository (any more)",
        "Choose another branch, tag or commit and start again.",
        status=404,
        in_step=False,
    ),
    Cause(
        "submodule_failed",
        _any(
            r"clone of '(?P<what>[^']+)' into submodule path",
            r"^(?:fatal|error): .*in submodule path '(?P<what>[^']+)'",
            r"No url found for submodule path '(?P<what>[^']+)'",
            r"^Failed to clone '(?P<what>[^']+)' a second time, aborting",
        ),
        "its submodule {what} can't be fetched",
        "Correct the submodule in the repository; its address has to be one that everybody can "
        "read, or that the repository's own credentials are for, and its commit has to be there.",
        unnamed="in the repository",
        in_step=False,
    ),
    Cause(
        "lfs_failed",
        _any(
            r"^Error downloading object: (?P<what>.{1,200}?) \([0-9a-f]{7}\): ",
            r"^fatal: (?P<what>.{1,200}): smudge filter lfs failed",
            r"This repository is over its data quota",
            r"git-lfs(?: filter-process)?: (?:command )?not found",
        ),
        "the large file {what} (Git LFS) can't be fetched",
        "See to it that it is in the repository's LFS store, that the store's quota is not used "
        "up, and that the credentials, where it wants some, are for the store too; or remove the "
        "file.",
        unnamed="that the repository names",
        in_step=False,
    ),
    Cause(
        "subdir_not_found",
        _any(r"^Subdirectory (?P<what>.+) does not exist"),
        "the folder {what} is not in the repository at this commit",
        "Correct the folder, or leave it out, and start again.",
        status=404,
        in_step=False,
    ),
    Cause(
        "host_key_refused",
        _any(r"^Host key verification failed"),
        "the server of the repository, or of a submodule, has not the ssh key that this hub knows "
        "it by, or none is known",
        "Use its https:// address, or ask an administrator of this hub to look at its known_hosts.",
        status=502,
        in_step=False,
        admin=True,
    ),
    Cause(
        "repo_not_found",
        _any(
            r"^fatal: could not read (?:Username|Password) for ",
            r"^fatal: Authentication failed for ",
            r"The requested URL returned error: 40[134]",
            r"^fatal: (?:repository|remote error: .*repository) .*not (?:found|exported)",
            r"does not appear to be a git repository",
            r"Permission denied \(publickey",
            r"^(?:ERROR: |remote: )Repository not found",
        ),
        "the repository is private, or not there any more",
        "Check its address, and that everybody can read it, or that the credentials for it are "
        "right.",
        status=404,
        in_step=False,
    ),
    Cause(
        "repo_unreadable",
        _any(r"^repo2dockerspawner: (?P<what>the (?:repository's address|ref) is n.+)"),
        "{what}",
        "Correct the address and start again.",
        in_step=False,
    ),
)

_DOCKERFILE: Final = (
    Cause(
        "dockerfile_invalid",
        _any(
            r"[Dd]ockerfile parse error(?: on)? (?P<what>line \d{1,6}: .+?)(?:\"\)|$)",
            r"(?P<what>file with no instructions|the Dockerfile \(\S{1,200}\) cannot be empty)",
            r"(?P<what>no build stage in current context)",
            r"(?P<what>the --(?:chmod|mount|link) option requires BuildKit)",
        ),
        "its Dockerfile is not valid: {what}",
        _CORRECT,
    ),
    Cause(
        "copy_missing",
        _any(
            r"(?:COPY|ADD) failed: .*\bstat (?P<what>[^:]+): (?:no such file|file does not exist)",
            r"(?:COPY|ADD) failed: no source files were specified",
            r'"(?P<what>/[^"]*)": not found',
            r'"(?P<what>/[^"]*)" not found: not found',
            r"failed to compute cache key: .*lstat (?P<what>[^:]+): no such file",
        ),
        "the Dockerfile copies {what}, which is not in the repository",
        "Add the file, or correct its name (and .dockerignore), and start again.",
        unnamed="a file",
        instruction=re.compile(r"COPY|ADD"),
    ),
    Cause(
        "registry_limit",
        _any(r"^(?:ERROR: )?toomanyrequests\b", r"\b429 Too Many Requests"),
        "the registry of {image} gives this hub no more images for the moment",
        _LATER,
        status=503,
        instruction=_PULLING,
        admin=True,
    ),
    Cause(
        "base_image_not_found",
        _any(
            r"pull access denied for (?P<what>[^\s,]+)",
            r"manifest for (?P<what>\S+) not found",
            r"^(?:ERROR: )?(?:manifest unknown|pull access denied)",
            r"^ERROR: \S+: not found$",
        ),
        "the image it starts from, {what}, is not there, or not for everybody",
        "Correct the name and tag in the Dockerfile's FROM (or COPY --from) and start again.",
        unnamed="{image}",
        instruction=_PULLING,
    ),
    Cause(
        "registry_refused",
        _any(
            r"^denied\b",
            r"\b(?:401 Unauthorized|403 Forbidden)\b",
            r"unauthorized: authentication required",
            # all that the old builder says of a registry's usual answer
            r"^unauthorized$",
            r"requested access to the resource is denied",
        ),
        "the registry does not let this hub have {image}",
        "Start from a public image, or ask an administrator of this hub.",
        instruction=_PULLING,
        admin=True,
    ),
)

_MEMORY: Final = (
    Cause(
        "build_out_of_memory",
        _any(
            r"^exit code 137$",
            r"^MemoryError\b",
            r"\bCannot allocate memory\b",
            r"\bstd::bad_alloc\b",
            r"virtual memory exhausted",
            r"JavaScript heap out of memory",
            r"Killed signal terminated program",
        ),
        "it ran out of memory, or was killed",
        "Make this step need less (fewer or smaller packages, less done at once), or ask an "
        "administrator of this hub for more memory for builds.",
        in_step=True,
    ),
    Cause(
        "build_out_of_memory",
        _any(r"\bCannot allocate memory\b", r"^MemoryError\b", r"^fatal: Out of memory\b"),
        "it ran out of memory",
        "Make the repository smaller, or ask an administrator of this hub for more memory for "
        "builds.",
        in_step=False,
    ),
)

_PACKAGES_EXACT: Final = (
    Cause(
        "pip_conflict",
        _any(
            r"Cannot install (?P<what>.+?) because these package versions have conflicting",
            r"ERROR: ResolutionImpossible",
        ),
        "pip can't install {what} together, because they need different versions of a package",
        "Loosen or remove version numbers in the repository and start again.",
        unnamed="these packages",
        in_step=True,
    ),
    Cause(
        "pip_invalid",
        _any(r"Invalid requirement: '?(?P<what>[^':]{1,200})"),
        "pip can't read the requirement {what}",
        _CORRECT,
        in_step=True,
    ),
    Cause(
        "pip_file_missing",
        _any(r"Could not open requirements file: .*: '(?P<what>[^']+)'"),
        "pip looks for {what}, which is not there",
        "Add the file, or copy it into the image before this step.",
        in_step=True,
    ),
    Cause(
        "pip_python",
        _any(r"Package '(?P<what>[^']+)' requires a different Python"),
        "the package {what} does not work with this version of Python",
        "Choose another version of the package, or of Python.",
        in_step=True,
    ),
    Cause(
        "conda_not_found",
        _any(
            r"nothing provides requested (?P<what>\S+(?: [^\s()]+)?)",
            r"─ (?P<what>[^├└─]{1,120}?) +does not exist \(perhaps a typo",
            r"^PackagesNotFoundError\b",
            r"^ResolvePackageNotFound\b",
        ),
        "conda finds no package {what}",
        "Correct the name, the version or the channels in environment.yml and start again.",
        unnamed="of a name that the repository asks for",
        in_step=True,
    ),
    Cause(
        "conda_conflict",
        _any(
            r"Could not solve for environment specs",
            r"^(?:LibMamba)?UnsatisfiableError\b",
            r"Found conflicts! Looking for incompatible packages",
            r"The following packages are incompatible",
        ),
        "conda finds no versions of the packages that fit together",
        "Loosen or remove version numbers in environment.yml and start again.",
        in_step=True,
    ),
    Cause(
        "julia_failed",
        _any(
            r"Unsatisfiable requirements detected for package (?P<what>\S+)",
            r"expected package `(?P<what>[^`\[]+?)(?: \[[0-9a-f]*\])?` to be registered",
            r"The following package names could not be resolved",
        ),
        "Julia can't install {what}",
        "Correct the names and versions in Project.toml (and Manifest.toml) and start again.",
        unnamed="one of the packages",
        in_step=True,
    ),
)

_NETWORK: Final = (
    Cause(
        "network",
        _any(
            r"Could not resolve host(?:name)?: ['\u2018]?(?P<what>[\w.-]+)",
            r"Could not resolve '(?P<what>[^']+)'",
            r"Temporary failure resolving '(?P<what>[^']+)'",
            r"unable to resolve host address ['\u2018](?P<what>[^'\u2019]+)",
            r"\bdial tcp: lookup (?P<what>[^\s:]+)",
            r"HTTPS?ConnectionPool\(host='(?P<what>[^']+)'.*(?:Max retries|timed out)",
            r"Failed to connect to (?P<what>\S+) port \d",
            r"complete SOCKS5 connection to (?P<what>\S+?)\. \((?!2\))",
            r"getaddrinfo (?:EAI_AGAIN|ENOTFOUND) (?P<what>\S+)",
            r"NewConnectionError\b",
            r"Temporary failure in name resolution",
            r"Name or service not known",
            r"CondaHTTPError\b",
            r"\b[Cc]onnection (?:refused|timed out|reset by peer)",
            r"\bNetwork is unreachable",
            r"\bi/o timeout\b",
            r"\bTLS handshake timeout\b",
            r"Read timed out",
        ),
        "it could not reach {what} over the network",
        _LATER,
        unnamed="another host",
        status=502,
    ),
)

_PACKAGES: Final = (
    Cause(
        "pip_not_found",
        _any(
            r"No matching distribution found for (?P<what>.+?)(?: \(from .*)?$",
            r"Could not find a version that satisfies the requirement (?P<what>.+?) \(",
        ),
        "pip finds no package {what} for this version of Python",
        "Correct the name or the version in the repository and start again.",
        in_step=True,
    ),
    Cause(
        "pip_build_failed",
        _any(
            r"ERROR: Failed to build '?(?P<what>[\w.-]+)",
            r"ERROR: Failed building wheel for (?P<what>[\w.-]+)",
            r"error: metadata-generation-failed",
            r"error: subprocess-exited-with-error",
            r"BackendUnavailable\b",
        ),
        "pip can't build the package {what}",
        "Choose a version that needs no building (a wheel), or install what it needs (a "
        "compiler, libraries) with apt.txt or in the Dockerfile before.",
        unnamed="from its sources",
        in_step=True,
    ),
    Cause(
        "apt_not_found",
        _any(
            r"\bE: Unable to locate package (?P<what>\S+)",
            r"\bE: Package '(?P<what>[^']+)' has no installation candidate",
            r"\bE: Version '[^']+' for '(?P<what>[^']+)' was not found",
            r"\bE: Couldn't find any package by (?:glob|regex) '(?P<what>[^']+)'",
        ),
        "apt finds no package {what} (in this version)",
        "Correct its name in apt.txt or the Dockerfile; in a Dockerfile, run apt-get update in "
        "the same step.",
        in_step=True,
    ),
    Cause(
        "r_failed",
        _any(
            r"dependenc(?:y|ies) (?P<what>[\u2018'].{1,200}) (?:is|are) not available for package",
            r"packages? (?P<what>[\u2018'].{1,200}) (?:is|are) not available",
            r"installation of package (?P<what>[\u2018'][^\u2019']{1,200}[\u2019']) had non-zero",
            r"there is no package called (?P<what>[\u2018'][^\u2019']{1,200}[\u2019'])",
        ),
        "R can't install {what}",
        "Correct the names and versions in install.R or DESCRIPTION, or the date in runtime.txt, "
        "and start again.",
        in_step=True,
    ),
)

_GENERAL: Final = (
    Cause(
        "post_build_failed",
        _any(r"^exit code \d+$"),
        "the repository's postBuild failed",
        "The lines below are its last; correct it in the repository and start again.",
        in_step=True,
        instruction=re.compile(r"RUN (?:chmod \+x |\./)(?:[\w./-]+/)?postBuild\b"),
    ),
    Cause(
        "command_not_found",
        _any(r"^exit code 127$"),
        "a command of this step is not in the image",
        "Install the program before this step, or correct its name, and start again.",
        in_step=True,
    ),
    Cause(
        "build_failed",
        _any(r"^exit code (?P<what>\d+)$"),
        "this step ended with exit code {what}",
        "The lines below are its last; correct it in the repository and start again.",
        in_step=True,
    ),
    Cause(
        "repository_invalid",
        _any(r"^Error during build: (?P<what>(?!Command )\S.*)"),
        "repo2docker can't use the repository as it is ({what})",
        _CORRECT,
        in_step=False,
    ),
)

CAUSES: Final = (
    *_HUB,
    *_FETCHING,
    *_DOCKERFILE,
    *_MEMORY,
    *_PACKAGES_EXACT,
    *_NETWORK,
    *_PACKAGES,
    *_GENERAL,
)
