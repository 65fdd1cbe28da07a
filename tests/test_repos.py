from __future__ import annotations

import subprocess
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from repo2dockerspawner.errors import RepoSpecError
from repo2dockerspawner.repos import RepoSpec, check_ref, parse_repo

SHA = "0123456789abcdef0123456789abcdef01234567"
SHA256 = "0123456789abcdef" * 4
EVERY_SCHEME = ("https", "ssh", "http", "git")
EVERY_PROVIDER = (
    *("git", "zenodo", "figshare", "dataverse", "hydroshare", "swhid", "ckan", "mercurial"),
)
GH = "https://github.com/owner/repo"
OFF = "This hub doesn't build from {}; its administrator can switch it on with content_providers."
NO_SWHID = (
    "That Software Heritage id can't be used; one for a directory or a revision can, like "
    "swh:1:dir: and 40 hexadecimal digits."
)

# text -> what differs from a plain RepoSpec("git", url)
UNDERSTOOD: list[tuple[str, str, dict[str, str]]] = [
    # owner/repo
    ("owner/repo", GH, {}),
    ("  owner/repo\n", GH, {}),
    ("\ufeffowner/repo\u200b", GH, {}),
    ("owner/repo/", GH, {}),
    ("owner/repo.git", GH, {}),
    ("owner/repoX", "https://github.com/owner/repoX", {}),
    ("owner/repo@main", GH, {"ref": "main"}),
    ("owner/repo@feature/x", GH, {"ref": "feature/x"}),
    (f"owner/repo@{SHA}", GH, {"ref": SHA}),
    ("Owner/Re.po-1_2", "https://github.com/Owner/Re.po-1_2", {}),
    # GitHub
    ("https://github.com/owner/repo", GH, {}),
    ("<https://github.com/owner/repo>", GH, {}),
    ("https://github.com/owner/repo/", GH, {}),
    ("https://github.com/owner/repo.git", GH, {}),
    ("https://github.com/owner/repo.git/", GH, {}),
    ("https://www.github.com/owner/repo", GH, {}),
    ("HTTPS://GitHub.COM/owner/repo", GH, {}),
    ("https://github.com:443/owner/repo", GH, {}),
    ("https://github.com:8443/owner/repo", "https://github.com:8443/owner/repo", {}),
    ("https://github.com./owner/repo", GH, {}),
    ("https://github.com//owner//repo", GH, {}),
    ("github.com/owner/repo", GH, {}),
    ("www.github.com/owner/repo/tree/main", GH, {"ref": "main"}),
    ("https://github.com/owner/repo?tab=readme-ov-file#install", GH, {}),
    ("https://github.com/owner/repo#readme", GH, {}),
    ("https://github.com/owner/repo/tree/main", GH, {"ref": "main"}),
    ("https://github.com/owner/repo/tree/main/", GH, {"ref": "main"}),
    ("https://github.com/owner/repo/tree/HEAD/docs", GH, {"ref": "HEAD", "path": "docs"}),
    ("https://github.com/owner/repo/tree/main/docs", GH, {"tail": "main/docs"}),
    ("https://github.com/owner/repo/tree/feature/x", GH, {"tail": "feature/x"}),
    ("https://github.com/owner/repo/tree/feature%2Fx", GH, {"ref": "feature/x"}),
    ("https://github.com/owner/repo/tree/feature%2Fx/a", GH, {"ref": "feature/x", "path": "a"}),
    ("https://github.com/owner/repo/tree/refs/heads/a/b", GH, {"tail": "refs/heads/a/b"}),
    (f"https://github.com/owner/repo/tree/{SHA}", GH, {"ref": SHA}),
    (f"https://github.com/owner/repo/tree/{SHA}/a/b", GH, {"ref": SHA, "path": "a/b"}),
    (f"https://github.com/owner/repo/blob/{SHA256}/a.py", GH, {"ref": SHA256, "path": "a.py"}),
    ("https://github.com/owner/repo/blob/main/a.ipynb", GH, {"tail": "main/a.ipynb"}),
    ("https://github.com/owner/repo/blob/main/a%20b.ipynb", GH, {"tail": "main/a b.ipynb"}),
    ("https://github.com/owner/repo/blob/main/a%2520b", GH, {"tail": "main/a%20b"}),
    ("https://github.com/owner/repo/blob/main/%C3%A9.py?plain=1#L3", GH, {"tail": "main/é.py"}),
    ("https://github.com/owner/repo/raw/main/a.py", GH, {"tail": "main/a.py"}),
    ("https://github.com/owner/repo/edit/main/a.py", GH, {"tail": "main/a.py"}),
    ("https://github.com/owner/repo/blame/main/a.py", GH, {"tail": "main/a.py"}),
    ("https://github.com/owner/repo/commits/main", GH, {"ref": "main"}),
    ("https://github.com/owner/repo/commits", GH, {}),
    (f"https://github.com/owner/repo/commit/{SHA}", GH, {"ref": SHA}),
    ("https://github.com/owner/repo/commit/abc1234", GH, {"ref": "abc1234"}),
    ("https://github.com/owner/repo/pull/12", GH, {"ref": "refs/pull/12/head"}),
    ("https://github.com/owner/repo/pull/12/files", GH, {"ref": "refs/pull/12/head"}),
    (f"https://github.com/owner/repo/pull/12/commits/{SHA}", GH, {"ref": SHA}),
    ("https://github.com/owner/repo/releases/tag/v1.0", GH, {"ref": "refs/tags/v1.0"}),
    ("https://github.com/owner/repo/releases/tag/a/1", GH, {"ref": "refs/tags/a/1"}),
    ("https://github.com/owner/repo/releases", GH, {}),
    ("https://github.com/owner/repo/issues/5", GH, {}),
    ("https://raw.githubusercontent.com/owner/repo/main/a.py", GH, {"tail": "main/a.py"}),
    (f"https://raw.githubusercontent.com/owner/repo/{SHA}/a", GH, {"ref": SHA, "path": "a"}),
    ("git@github.com:owner/repo.git", "ssh://git@github.com/owner/repo", {}),
    ("git@github.com:/owner/repo", "ssh://git@github.com/owner/repo", {}),
    ("ssh://git@github.com/owner/repo.git", "ssh://git@github.com/owner/repo", {}),
    ("ssh://github.com:22/owner/repo", "ssh://git@github.com/owner/repo", {}),
    ("https://gist.github.com/someone/0a1b2c3d", "https://gist.github.com/0a1b2c3d", {}),
    ("https://gist.github.com/0a1b2c3d.git", "https://gist.github.com/0a1b2c3d", {}),
    (f"https://gist.github.com/me/0a1b/{SHA}", "https://gist.github.com/0a1b", {"ref": SHA}),
    ("git@gist.github.com:0a1b2c3d.git", "ssh://git@gist.github.com/0a1b2c3d", {}),
    # GitLab
    ("https://gitlab.com/group/project", "https://gitlab.com/group/project", {}),
    ("https://gitlab.com/g/s/t/p.git", "https://gitlab.com/g/s/t/p", {}),
    ("https://gitlab.com/g/s/p/-/tree/main", "https://gitlab.com/g/s/p", {"ref": "main"}),
    (
        "https://gitlab.com/g/s/p/-/tree/a/b?ref_type=heads",
        "https://gitlab.com/g/s/p",
        {"tail": "a/b"},
    ),
    ("https://gitlab.com/g/p/-/blob/main/a.md", "https://gitlab.com/g/p", {"tail": "main/a.md"}),
    ("https://gitlab.com/g/p/-/raw/main/a.md", "https://gitlab.com/g/p", {"tail": "main/a.md"}),
    ("https://gitlab.com/g/p/blob/main/a.md", "https://gitlab.com/g/p", {"tail": "main/a.md"}),
    ("https://gitlab.com/g/s/p/tree/main", "https://gitlab.com/g/s/p", {"ref": "main"}),
    (f"https://gitlab.com/g/p/-/commit/{SHA}", "https://gitlab.com/g/p", {"ref": SHA}),
    ("https://gitlab.com/g/p/-/commits/main", "https://gitlab.com/g/p", {"ref": "main"}),
    ("https://gitlab.com/g/p/-/tags/v1", "https://gitlab.com/g/p", {"ref": "refs/tags/v1"}),
    (
        "https://gitlab.com/g/p/-/merge_requests/7/diffs",
        "https://gitlab.com/g/p",
        {"ref": "refs/merge-requests/7/head"},
    ),
    ("https://gitlab.com/g/p/-/merge_requests", "https://gitlab.com/g/p", {}),
    ("https://gitlab.com/g/p/-/issues/7", "https://gitlab.com/g/p", {}),
    ("git@gitlab.com:g/s/p.git", "ssh://git@gitlab.com/g/s/p", {}),
    (
        "https://lab.example.org/g/s/p/-/tree/main/x",
        "https://lab.example.org/g/s/p",
        {"tail": "main/x"},
    ),
    (
        "https://lab.example.org:8443/g/p/-/blob/v1/x?x=y",
        "https://lab.example.org:8443/g/p",
        {"tail": "v1/x"},
    ),
    # Bitbucket
    ("https://bitbucket.org/team/repo", "https://bitbucket.org/team/repo", {}),
    (
        "https://bitbucket.org/team/repo/src/main/",
        "https://bitbucket.org/team/repo",
        {"ref": "main"},
    ),
    (
        "https://bitbucket.org/team/repo/src/main/a/b.py",
        "https://bitbucket.org/team/repo",
        {"tail": "main/a/b.py"},
    ),
    (
        f"https://bitbucket.org/team/repo/src/{SHA}/a.py?at=main",
        "https://bitbucket.org/team/repo",
        {"ref": SHA, "path": "a.py"},
    ),
    (
        "https://bitbucket.org/team/repo/branch/a/b",
        "https://bitbucket.org/team/repo",
        {"ref": "refs/heads/a/b"},
    ),
    (
        f"https://bitbucket.org/team/repo/commits/{SHA}",
        "https://bitbucket.org/team/repo",
        {"ref": SHA},
    ),
    ("https://bitbucket.org/team/repo/downloads", "https://bitbucket.org/team/repo", {}),
    # Codeberg, Gitea, GitHub Enterprise
    ("https://codeberg.org/o/r", "https://codeberg.org/o/r", {}),
    ("https://codeberg.org/o/r/issues", "https://codeberg.org/o/r", {}),
    (
        "https://codeberg.org/o/r/src/branch/main",
        "https://codeberg.org/o/r",
        {"ref": "refs/heads/main"},
    ),
    (
        "https://codeberg.org/o/r/src/branch/a/b/c",
        "https://codeberg.org/o/r",
        {"tail": "refs/heads/a/b/c"},
    ),
    (
        "https://codeberg.org/o/r/src/branch/a/b~1/c",
        "https://codeberg.org/o/r",
        {"tail": "refs/heads/a/b~1/c"},
    ),
    (
        "https://codeberg.org/o/r/src/tag/v1/a.py",
        "https://codeberg.org/o/r",
        {"tail": "refs/tags/v1/a.py"},
    ),
    (
        f"https://codeberg.org/o/r/src/commit/{SHA}/a/b",
        "https://codeberg.org/o/r",
        {"ref": SHA, "path": "a/b"},
    ),
    (f"https://codeberg.org/o/r/commit/{SHA}", "https://codeberg.org/o/r", {"ref": SHA}),
    ("https://codeberg.org/o/r/pulls/3", "https://codeberg.org/o/r", {"ref": "refs/pull/3/head"}),
    (
        "https://codeberg.org/o/r/releases/tag/v1",
        "https://codeberg.org/o/r",
        {"ref": "refs/tags/v1"},
    ),
    (
        "https://tea.example.org/o/r/src/branch/main/x",
        "https://tea.example.org/o/r",
        {"tail": "refs/heads/main/x"},
    ),
    (
        "https://tea.example.org/o/r/pulls/3/files",
        "https://tea.example.org/o/r",
        {"ref": "refs/pull/3/head"},
    ),
    (
        "https://tea.example.org/o/r/releases/tag/v1",
        "https://tea.example.org/o/r",
        {"ref": "refs/tags/v1"},
    ),
    ("https://ghe.example.org/o/r/tree/main", "https://ghe.example.org/o/r", {"ref": "main"}),
    ("https://ghe.example.org/o/r/blob/main/a", "https://ghe.example.org/o/r", {"tail": "main/a"}),
    (
        "https://ghe.example.org/o/r/pull/4",
        "https://ghe.example.org/o/r",
        {"ref": "refs/pull/4/head"},
    ),
    (f"https://ghe.example.org/o/r/commit/{SHA}", "https://ghe.example.org/o/r", {"ref": SHA}),
    # any git server
    ("https://example.org/x.git", "https://example.org/x.git", {}),
    ("https://example.org/x.git/", "https://example.org/x.git", {}),
    ("https://EXAMPLE.org:443/X.git", "https://example.org/X.git", {}),
    ("https://example.org:8443/a/b/c/d", "https://example.org:8443/a/b/c/d", {}),
    ("https://example.org/a%20b/c", "https://example.org/a%20b/c", {}),
    ("https://example.org/~me/x", "https://example.org/~me/x", {}),
    ("https://example.org/a/b#readme", "https://example.org/a/b", {}),
    ("https://xn--bcher-kva.example/a/b", "https://xn--bcher-kva.example/a/b", {}),
    ("https://localhost/x", "https://localhost/x", {}),
    ("https://10.0.0.1/x", "https://10.0.0.1/x", {}),
    ("https://[2001:DB8::1]:8443/x", "https://[2001:db8::1]:8443/x", {}),
    ("example.org/a/b", "https://example.org/a/b", {}),
    ("http://172.17.0.1:8080/demo.git", "http://172.17.0.1:8080/demo.git", {}),
    ("http://example.org:80/x", "http://example.org/x", {}),
    ("http://github.com/owner/repo/tree/main", "http://github.com/owner/repo", {"ref": "main"}),
    ("git://example.org:9418/x.git", "git://example.org/x.git", {}),
    ("git://172.17.0.1/demo.git", "git://172.17.0.1/demo.git", {}),
    ("ssh://git@example.org/x.git", "ssh://git@example.org/x.git", {}),
    ("ssh://me@example.org:2222/srv/x", "ssh://me@example.org:2222/srv/x", {}),
    ("ssh://example.org/x", "ssh://git@example.org/x", {}),
    # only a browser's address is a page's
    ("ssh://git@example.org/o/r/tree/main", "ssh://git@example.org/o/r/tree/main", {}),
    ("git@example.org:o/r.git", "git@example.org:o/r.git", {}),
    ("git@EXAMPLE.org:o/r.git/", "git@example.org:o/r.git", {}),
    ("git@example.org:/srv/r.git", "ssh://git@example.org/srv/r.git", {}),
    ("git@[::1]:r.git", "git@[::1]:r.git", {}),
]

RECORDS = [
    ("10.5281/zenodo.123", "zenodo", "10.5281/zenodo.123"),
    ("doi:10.5281/zenodo.123", "zenodo", "10.5281/zenodo.123"),
    ("DOI:10.5281/Zenodo.123", "zenodo", "10.5281/Zenodo.123"),
    ("https://doi.org/10.5281/zenodo.123", "zenodo", "10.5281/zenodo.123"),
    ("https://doi.org/10.5281/zenodo.123/", "zenodo", "10.5281/zenodo.123"),
    ("https://doi.org/10.5281/abcX", "zenodo", "10.5281/abcX"),
    ("hg+https://zenodo.org/records/1", "mercurial", "https://zenodo.org/records/1"),
    ("http://dx.doi.org/10.5281%2Fzenodo.123?x#y", "zenodo", "10.5281/zenodo.123"),
    ("doi.org/10.6084/m9.figshare.9782777.v3", "figshare", "10.6084/m9.figshare.9782777.v3"),
    ("10.7910/DVN/6ZXAGT/3YRRYJ", "dataverse", "10.7910/DVN/6ZXAGT/3YRRYJ"),
    (
        "10.4211/hs.b8f6eae9d89241cf8b5904033460af61",
        "hydroshare",
        "10.4211/hs.b8f6eae9d89241cf8b5904033460af61",
    ),
    ("10.25345/abc(1)", "doi", "10.25345/abc(1)"),
    ("https://zenodo.org/record/123", "zenodo", "https://zenodo.org/record/123"),
    (
        "https://zenodo.org/records/123/files/a.zip?download=1",
        "zenodo",
        "https://zenodo.org/records/123",
    ),
    ("zenodo.org/records/123", "zenodo", "https://zenodo.org/records/123"),
    ("http://sandbox.zenodo.org/records/9#x", "zenodo", "https://sandbox.zenodo.org/records/9"),
    (
        "https://data.caltech.edu/records/ab12-cd34",
        "zenodo",
        "https://data.caltech.edu/records/ab12-cd34",
    ),
    (
        "https://figshare.com/articles/title/9782777",
        "figshare",
        "https://figshare.com/articles/title/9782777",
    ),
    (
        "https://www.figshare.com/articles/code/t/97/3",
        "figshare",
        "https://figshare.com/articles/code/t/97/3",
    ),
    (
        "https://www.hydroshare.org/resource/b8f6eae9d89241cf8b5904033460af61/",
        "hydroshare",
        "https://www.hydroshare.org/resource/b8f6eae9d89241cf8b5904033460af61",
    ),
    (
        "https://dv.example.org/dataset.xhtml?persistentId=doi:10.7910/DVN/T=J",
        "dataverse",
        "https://dv.example.org/dataset.xhtml?persistentId=doi:10.7910/DVN/T=J",
    ),
    (
        "https://dv.example.org/dataset.xhtml?persistentId=doi:10.7910/DVN/TJ&version=1",
        "dataverse",
        "https://dv.example.org/dataset.xhtml?persistentId=doi:10.7910/DVN/TJ",
    ),
    ("https://ckan.example.org/dataset/trees", "ckan", "https://ckan.example.org/dataset/trees"),
    (f"swh:1:dir:{SHA}", "swhid", f"swh:1:dir:{SHA}"),
    (f"SWH:1:REV:{SHA};origin=https://x.example/y", "swhid", f"swh:1:rev:{SHA}"),
    (f"https://archive.softwareheritage.org/swh:1:dir:{SHA};path=/a/", "swhid", f"swh:1:dir:{SHA}"),
    (f"https://archive.softwareheritage.org/swh:1:dir:{SHA}?x#y", "swhid", f"swh:1:dir:{SHA}"),
    (
        f"https://archive.softwareheritage.org/browse/swh%3A1%3Arev%3A{SHA}/",
        "swhid",
        f"swh:1:rev:{SHA}",
    ),
    ("hg+https://hg.example.org/a/b", "mercurial", "https://hg.example.org/a/b"),
]

# text -> a word of the sentence
REFUSED: list[tuple[str, str]] = [
    # nothing, or nothing that could be one
    ("", "Give the address"),
    (" \n\t ", "Give the address"),
    ("<>", "Give the address"),
    ("numpy", "owner/repo"),
    ("owner/", "owner/repo"),
    ("owner//repo", "owner/repo"),
    ("owner/repo/more", "owner/repo"),
    ("owner/re po", "space"),
    ("owner/repo@", "ref is empty"),
    ("owner/repo@-x", "hyphen"),
    ("owner/repo@a..b", ".."),
    ("owner/repo#x", "owner/repo"),
    ("my.host/repo", "https://"),
    ("öwner/repo", "owner/repo"),
    ("a" * 3000, "longer"),
    ("https://github.com/owner/" + "a" * 3000, "longer"),
    # what a command would take for an option: hazard A1
    ("-x", "hyphen"),
    (" -x", "hyphen"),
    ("\t--x", "hyphen"),
    ("--config=alias.identify=!touch /x", "hyphen"),
    ("--config=alias.identify=!touch${IFS}/x", "hyphen"),
    ("--upload-pack=touch /x", "hyphen"),
    ("--upload-pack=id", "hyphen"),
    ("-oProxyCommand=id", "hyphen"),
    ("<--upload-pack=id>", "hyphen"),
    ("\ufeff--upload-pack=id", "hyphen"),
    ("--", "hyphen"),
    ("-", "hyphen"),
    ("\u200b-x/y", "hyphen"),
    ("ssh://-oProxyCommand=id/x", "host name"),
    ("ssh://git@-oProxyCommand=id/x", "host name"),
    ("ssh://-oProxyCommand=id@host/x", "account"),
    ("-git@host:x", "hyphen"),
    ("git@-oProxyCommand=id:x", "host name"),
    ("git@host:-x", "hyphen"),
    ("git@host:--upload-pack=id", "hyphen"),
    ("git://-x/y", "can't be used"),
    ("https://-x/y", "host name"),
    ("https://x-/y", "host name"),
    # control characters and white space
    ("https://example.org/a\nb", "control"),
    ("https://example.org/a\r\nHost: x", "control"),
    ("https://example.org/a\0b", "control"),
    ("https://example.org/a\x7fb", "control"),
    ("https://example.org/a\x9bb", "control"),
    ("https://example.org/a\u202eb", "control"),
    ("https://example.org/a\u2028b", "control"),
    ("https://example.org/a\ud800b", "control"),
    ("https://example.org/a b", "space"),
    ("https://example.org/a\u00a0b", "space"),
    ("https://example.org/%0a", "control"),
    ("https://example.org/%00/x", "control"),
    ("https://example.org/%ff/x", "control"),
    ("https://github.com/owner/repo/tree/a%0d%0ab", "control"),
    ("https://github.com/owner/repo/tree/%e2%80%aea", "control"),
    # local paths (A4)
    ("/", "path on a computer"),
    ("/root", "path on a computer"),
    (".", "path on a computer"),
    ("..", "path on a computer"),
    ("./x", "path on a computer"),
    ("../x/y", "path on a computer"),
    ("~", "path on a computer"),
    ("~/x", "path on a computer"),
    ("~root/x", "path on a computer"),
    ("C:\\x", "path on a computer"),
    ("c:/x", "path on a computer"),
    ("\\\\host\\x", "path on a computer"),
    ("//host/x", "path on a computer"),
    ("file:///etc", "path on a computer"),
    ("FILE:///etc", "path on a computer"),
    ("file:x", "path on a computer"),
    ("owner\\repo", "backslash"),
    ("https:\\\\example.org\\x", "backslash"),
    ("https://good.example\\@evil.example/x", "backslash"),
    # transports and schemes
    ("ext::sh -c id", "space"),
    ("ext::sh", "transport::address"),
    ("fd::17", "transport::address"),
    ("hg::https://example.org/x", "transport::address"),
    ("::x", "transport::address"),
    ("ftp://example.org/x", "https:// or ssh://"),
    ("svn://example.org/x", "https:// or ssh://"),
    ("git+ssh://example.org/x", "https:// or ssh://"),
    ("git+https://example.org/x", "https:// or ssh://"),
    ("javascript://example.org/x", "https:// or ssh://"),
    ("data:text/html,x", "Begin the address"),
    ("javascript:alert(1)", "Begin the address"),
    ("https:example.org/x", "two slashes"),
    ("https:/example.org/x", "two slashes"),
    ("example.org:8080/a/b", "Begin the address"),
    # who and where
    ("https:///x", "no host"),
    ("https://", "no host"),
    ("https://:8080/x", "no host"),
    ("https://./x", "no host"),
    ("https://example.org", "no repository"),
    ("https://example.org/", "no repository"),
    ("https://example.org?x", "no repository"),
    ("https://h#@evil.example/x", "no repository"),
    ("https://user:hunter2@example.org/x", "user name"),
    ("https://hunter2@example.org/x", "user name"),
    ("https://hunter2:@github.com/owner/repo", "user name"),
    ("https://good.example@evil.example/x", "user name"),
    ("https://a@b@example.org/x", "user name"),
    ("https://@example.org/x", "user name"),
    ("ssh://git:hunter2@example.org/x", "user name"),
    ("ssh://@example.org/x", "account"),
    ("hunter2@github.com/owner/repo", "owner/repo"),
    ("user:hunter2@example.org/x", "Begin the address"),
    ("https://example.org:0/x", "port"),
    ("https://example.org:65536/x", "port"),
    ("https://example.org:/x", "port"),
    ("https://example.org:a/x", "port"),
    ("https://example.org:-1/x", "port"),
    ("https://example.org:٣/x", "port"),
    ("https://example.org:1:2/x", "port"),
    ("https://exa$mple.org/x", "host name"),
    ("https://exa%6dple.org/x", "host name"),
    ("https://a..b/x", "host name"),
    ("https://" + "a" * 64 + ".org/x", "host name"),
    ("https://" + "a." * 130 + "org/x", "host name"),
    ("https://bücher.example/x", "ASCII"),
    ("https://g\u0131thub.com/owner/repo", "ASCII"),
    ("https://github。com/owner/repo", "ASCII"),
    ("https://0x7f.1/x", "decimal"),
    ("https://2130706433/x", "decimal"),
    ("https://127.1/x", "decimal"),
    ("https://0177.0.0.1/x", "decimal"),
    ("https://1.2.3.4.5/x", "decimal"),
    ("https://[::1/x", "bracket"),
    ("https://[::1]x/y", "bracket"),
    ("https://[fe80::1%eth0]/x", "IPv6"),
    ("https://[evil]/x", "IPv6"),
    # what would mean something further on
    ('https://example.org/a"b', "percent-encoded"),
    ("https://example.org/$x", "percent-encoded"),
    ("https://example.org/`id`", "percent-encoded"),
    ("git@example.org:$(id)", "percent-encoded"),
    ("https://example.org/../x", ". or .."),
    ("https://example.org/a/%2e%2e/x", ". or .."),
    ("https://example.org/./x", ". or .."),
    ("https://example.org/a/b?private_token=hunter2", "?"),
    # pages that are no repository's
    ("https://github.com", "owner and a repository"),
    ("https://github.com/owner", "owner and a repository"),
    ("github.com", "owner and a repository"),
    ("GitHub.com/owner", "owner and a repository"),
    ("https://github.com/orgs/jupyter/repositories", "belongs to no repository"),
    ("https://github.com/settings/tokens", "belongs to no repository"),
    ("https://github.com/owner/.git", "characters"),
    ("https://github.com/owner/a@b", "characters"),
    ("https://github.com/own%2Fer/repo", "characters"),
    ("https://github.com/owner/repo/pull/x", "number"),
    ("https://github.com/owner/repo/tree/..%2F..%2Fx", "address can't be used"),
    ("https://github.com/owner/repo/tree/-x", "hyphen"),
    ("https://github.com/owner/repo/tree/--x/y", "hyphen"),
    ("https://github.com/owner/repo/tree/a~1/y", "main~1"),
    (f"https://github.com/owner/repo/blob/{SHA}/..%2Fx", "inside"),
    (f"https://github.com/owner/repo/blob/{SHA}/..%2Fy", "The path in the address"),
    ("https://github.com/owner/repo/blob/main/..%2Fx", "The path in the address"),
    ("https://codeberg.org/o/r/src/branch/a~1/x", "main~1"),
    ("https://codeberg.org/o/r/src/tag/a~1/x", "main~1"),
    ("https://codeberg.org/o/r/src/branch/.x/y", "begin with a dot"),
    ("https://mybinder.org/v2/gh/owner/repo/HEAD?filepath=../../etc", "The path in the address"),
    ("https://gist.github.com/discover", "gist"),
    ("https://gist.github.com", "gist"),
    ("https://gitlab.com/explore", "owner and a repository"),
    ("https://gitlab.com/-/ide", "owner and a repository"),
    ("https://gitlab.com/g/p/-/merge_requests/x", "number"),
    ("https://bitbucket.org/team/repo/pull-requests/3", "pull requests"),
    ("ssh://git@github.com/owner", "owner and a repository"),
    # providers that are off
    ("10.5281/zenodo.123", "Zenodo; its administrator"),
    ("doi:10.25345/abc", "DOIs; its administrator"),
    ("https://doi.org/10.7910/DVN/X", "Dataverse; its administrator"),
    ("https://zenodo.org/records/123", "Zenodo; its administrator"),
    ("https://figshare.com/articles/title/1", "Figshare; its administrator"),
    ("https://www.hydroshare.org/resource/b8f6eae9d89241cf8b5904033460af61", "HydroShare; its"),
    ("https://dv.example.org/dataset.xhtml?persistentId=doi:10.1/x", "Dataverse; its"),
    (f"swh:1:dir:{SHA}", "Software Heritage; its administrator"),
    ("hg+https://example.org/x", "Mercurial repositories; its administrator"),
    ("hg+--config=x", "Mercurial repositories; its administrator"),
    # almost
    ("doi:x", "not a DOI"),
    ("https://doi.org/", "not a DOI"),
    ('10.5281/"x', "not a DOI"),
    ("10.5281/$x", "not a DOI"),
    ("https://zenodo.org/communities/x", "no single record"),
    ("https://zenodo.org/records/x", "no single record"),
    ("https://figshare.com/browse", "no single record"),
    ("https://archive.softwareheritage.org/browse/", "no single record"),
    (f"swh:1:cnt:{SHA}", "Software Heritage id"),
    ("swh:1:dir:abc", "Software Heritage id"),
    (f"https://archive.softwareheritage.org/swh:1:dir:{SHA}X", "Software Heritage id"),
    ("doi:10.5281/zenodo.1?x", "not a DOI"),
]

# A2: as --ref, each of these does something, or names nothing
REFUSED_REFS = [
    *("-b", "--", "-", "--config=alias.update=!id", "--all", "-x/y"),
    *("a..b", "..", "a..", "..a", "main...dev", "refs/heads/../x"),
    *("@", "@{u}", "main@{1}", "@{-1}", "a@{b"),
    *("main~1", "main^", "v1^{}", "v1^0", ":/text", ":x", "a:b", "x?", "x*", "a[b", "a\\b"),
    *("/a", "a/", "a//b", "/", "a.", "a.lock", "a.lock/b", ".a", "a/.b", "."),
    *("a b", "a\tb", "refs/heads/x\n--y", "a\nb", "a\r", "a\0b", "\0", "a\x7f", "a\x9b"),
    *("a\u202eb", "a\u200bb", "a\u2028b", "a\u00a0b", "a\ud800b", "x" * 256, ""),
]

FINE_REFS = [
    *("main", "HEAD", "v1.0", "feature/x", "feature/main", "refs/heads/x", "refs/tags/v1"),
    *("refs/pull/3/head", "heads/x", "1", "é", "日本", "a-b_c.d+e", "a/-b", "x@y", "#1", "a'b"),
    *(SHA, SHA256, SHA[:7], "x" * 255, "a{b", '"', "$x", "a.lockx", "@x"),
]


def understand(text: str, **more: Any) -> RepoSpec:
    more = {"allowed_schemes": EVERY_SCHEME, **more}
    return parse_repo(text, **more)


@pytest.mark.parametrize(("text", "url", "said"), UNDERSTOOD, ids=[row[0] for row in UNDERSTOOD])
def test_an_address_is_understood(text: str, url: str, said: dict[str, str]) -> None:
    assert understand(text) == RepoSpec("git", url, **said)


@pytest.mark.parametrize("url", sorted({row[1] for row in UNDERSTOOD}))
def test_a_canonical_address_stays_as_it_is(url: str) -> None:
    assert understand(url) == RepoSpec("git", url)


@pytest.mark.parametrize(("text", "provider", "url"), RECORDS, ids=[row[0] for row in RECORDS])
def test_a_record_is_understood_where_its_provider_is_on(
    text: str, provider: str, url: str
) -> None:
    spec = understand(text, content_providers=EVERY_PROVIDER)
    assert spec == RepoSpec(provider, url)
    if provider != "mercurial":
        assert understand(url, content_providers=EVERY_PROVIDER) == spec


def test_the_page_of_a_record_is_no_address_to_fetch_from() -> None:
    for scheme, allowed in (("http", "https"), ("https", "ssh")):
        spec = parse_repo(
            f"{scheme}://zenodo.org/records/1",
            allowed_schemes=[allowed],
            content_providers=["zenodo"],
        )
        assert spec == RepoSpec("zenodo", "https://zenodo.org/records/1")


def test_what_a_link_says_beside_a_page_tells_its_ref_from_its_path() -> None:
    page = "https%3A%2F%2Fgithub.com%2Fowner%2Frepo%2Ftree%2Fmain%2Fdocs"
    link = f"https://hub.example.edu/hub/user-redirect/git-pull?repo={page}&branch=main"
    assert parse_repo(link) == RepoSpec("git", GH, "main", path="docs")


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=[repr(row[0])[:60] for row in REFUSED])
def test_what_names_no_repository_is_refused_with_a_sentence(text: str, words: str) -> None:
    with pytest.raises(RepoSpecError) as caught:
        parse_repo(text)
    message = caught.value.message
    assert words in message
    assert message.endswith(".")
    assert message[0].isupper() or "://" in message.split()[0]
    assert caught.value.status == 400
    assert caught.value.field in {"repo", "ref"}
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("https://example.org", "The address names a host, but no repository on it."),
        (
            "https://example.org/a/b?private_token=hunter2",
            "Leave out what follows the ? in the address; it is no part of a repository's.",
        ),
        ("10.5281/zenodo.123", OFF.format("Zenodo")),
        (f"swh:1:cnt:{SHA}", NO_SWHID),
    ],
)
def test_a_refusal_says_this_and_nothing_else(text: str, message: str) -> None:
    with pytest.raises(RepoSpecError) as caught:
        parse_repo(text)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        row
        for row in REFUSED
        if "hg+https" not in row[0] and "administrator" not in row[1] and "; its" not in row[1]
    ],
    ids=repr,
)
def test_it_is_refused_with_everything_switched_on_too(text: str, words: str) -> None:
    with pytest.raises(RepoSpecError):
        understand(text, content_providers=EVERY_PROVIDER)


@pytest.mark.parametrize("scheme", ["http", "git"])
def test_a_scheme_that_is_off_is_named_with_those_that_are_on(scheme: str) -> None:
    with pytest.raises(RepoSpecError) as caught:
        parse_repo(f"{scheme}://example.org/x")
    assert caught.value.message == (
        f"{scheme}:// addresses can't be used on this hub: use https:// or ssh://,"
        " or ask its administrator, who sets allowed_schemes."
    )


@pytest.mark.parametrize(
    "text", ["ssh://git@example.org/x", "git@example.org:x", "git@github.com:o/r"]
)
def test_ssh_is_refused_in_both_forms_where_it_is_off(text: str) -> None:
    with pytest.raises(RepoSpecError, match="ssh:// addresses"):
        parse_repo(text, allowed_schemes=["https"])


@pytest.mark.parametrize("text", ["owner/repo", "https://github.com/owner/repo"])
def test_https_is_refused_where_it_is_off(text: str) -> None:
    with pytest.raises(RepoSpecError, match="https:// addresses"):
        parse_repo(text, allowed_schemes=["ssh"])


@pytest.mark.parametrize("text", ["file:///etc", "ext::id", "ftp://example.org/x", "owner/repo"])
def test_no_configuration_lets_other_schemes_in(text: str) -> None:
    with pytest.raises(RepoSpecError):
        parse_repo(text, allowed_schemes=["file", "ext", "ftp"])


def test_git_can_be_switched_off() -> None:
    for text in ("owner/repo", "https://example.org/x", "git@example.org:x"):
        with pytest.raises(RepoSpecError, match="git repositories; its administrator"):
            parse_repo(text, content_providers=["zenodo"])


def test_a_doi_of_another_archive_is_refused_where_only_one_is_on() -> None:
    with pytest.raises(RepoSpecError, match="Zenodo"):
        parse_repo("10.5281/zenodo.1", content_providers=["figshare"])
    assert parse_repo("10.25345/x", content_providers=["figshare"]).provider == "doi"


def test_a_ckan_address_is_git_s_where_ckan_is_off() -> None:
    assert parse_repo("https://example.org/dataset/x").provider == "git"
    assert (
        parse_repo("https://github.com/dataset/x", content_providers=EVERY_PROVIDER).provider
        == "git"
    )


@pytest.mark.parametrize(
    ("host", "text", "url", "ref"),
    [
        ("gitlab.com", "g/s/p", "https://gitlab.com/g/s/p", ""),
        ("gitlab.com", "my.group/p@v1", "https://gitlab.com/my.group/p", "v1"),
        ("codeberg.org", "o/r", "https://codeberg.org/o/r", ""),
        ("git.example.org:8443", "o/r.git", "https://git.example.org:8443/o/r.git", ""),
        ("git.example.org", "o/r@v1", "https://git.example.org/o/r", "v1"),
    ],
)
def test_owner_and_name_are_looked_for_on_the_default_host(
    host: str, text: str, url: str, ref: str
) -> None:
    assert parse_repo(text, default_host=host) == RepoSpec("git", url, ref)


@pytest.mark.parametrize("ref", REFUSED_REFS, ids=lambda ref: ascii(ref)[:40])
def test_what_can_be_no_ref_is_refused(ref: str) -> None:
    with pytest.raises(RepoSpecError) as caught:
        check_ref(ref)
    assert caught.value.field == "ref"
    assert caught.value.message.endswith(".")
    if ref.strip() and ref == ref.strip():
        with pytest.raises(RepoSpecError):
            parse_repo("owner/repo", ref=ref)


@pytest.mark.parametrize("ref", FINE_REFS, ids=lambda ref: ascii(ref)[:40])
def test_what_can_be_a_ref_passes(ref: str) -> None:
    check_ref(ref)
    assert parse_repo("owner/repo", ref=f" {ref}\n").ref == ref


@pytest.mark.parametrize("ref", [ref for ref in FINE_REFS if len(ref) < 255])
def test_git_agrees_about_what_passes(ref: str) -> None:
    subprocess.run(["git", "check-ref-format", f"refs/heads/{ref}"], check=True)


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("ab./@{~^:?*[\\ -é"), min_size=1, max_size=8))
def test_git_never_refuses_what_passes(ref: str) -> None:
    try:
        check_ref(ref)
    except RepoSpecError:
        return
    subprocess.run(["git", "check-ref-format", f"refs/heads/{ref}"], check=True)


@pytest.mark.parametrize(
    ("text", "hand", "said"),
    [
        ("o/r@main", {"ref": "dev"}, {"ref": "dev"}),
        ("https://github.com/o/r/tree/main", {"ref": "dev"}, {"ref": "dev"}),
        ("https://github.com/o/r/blob/main/a", {"ref": "main"}, {"ref": "main", "path": "a"}),
        ("https://github.com/o/r/tree/x/y", {"ref": "x/y"}, {"ref": "x/y"}),
        ("https://github.com/o/r/blob/x/y/a", {"ref": "x/y"}, {"ref": "x/y", "path": "a"}),
        ("https://github.com/o/r/blob/xy/a", {"ref": "x"}, {"ref": "x", "tail": "xy/a"}),
        ("https://codeberg.org/o/r/src/branch/x/a", {"ref": "x"}, {"ref": "x", "path": "a"}),
        ("https://github.com/o/r/blob/main/a", {"path": "b"}, {"path": "b", "tail": "main/a"}),
        (
            "https://github.com/o/r/blob/main/a",
            {"ref": "x", "path": "b"},
            {"ref": "x", "path": "b"},
        ),
        (f"https://github.com/o/r/blob/{SHA}/a", {"path": "b"}, {"ref": SHA, "path": "b"}),
        (f"https://github.com/o/r/blob/{SHA}/a", {"ref": "x"}, {"ref": "x", "path": "a"}),
        ("o/r", {"subdir": " ./a//b/ "}, {"subdir": "a/b"}),
        ("o/r", {"subdir": "."}, {}),
        ("o/r", {"path": "a b/ç.ipynb"}, {"path": "a b/ç.ipynb"}),
        ("o/r", {"path": "a/..b/c..d"}, {"path": "a/..b/c..d"}),
        (
            "o/r",
            {"urlpath": "/lab/tree/x?y=https://z/../w"},
            {"urlpath": "lab/tree/x?y=https://z/../w"},
        ),
        ("o/r", {"urlpath": "rstudio"}, {"urlpath": "rstudio"}),
        ("o/r", {"urlpath": "lab/tree/RTC:x"}, {"urlpath": "lab/tree/RTC:x"}),
    ],
    ids=str,
)
def test_what_is_filled_in_by_hand_wins(
    text: str, hand: dict[str, str], said: dict[str, str]
) -> None:
    spec = parse_repo(text, **hand)  # type: ignore[arg-type]
    assert spec == RepoSpec("git", spec.url, **said)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[
            ("subdir", value)
            for value in ("/", "/etc", "..", "a/../..", "a\\b", "-x", "--x/y", "./-x")
        ],
        *[("subdir", value) for value in ("a\nb", "a\0", "a\u202eb", "\ud800", "x" * 2000)],
        *[
            ("path", value)
            for value in ("/", "/etc/passwd", "../x", "a/..", "a\\b", "a\rb", "x" * 2000)
        ],
        *[
            ("urlpath", value)
            for value in ("//evil", "///evil", "/\\evil", "https://evil", "https:evil")
        ],
        *[("urlpath", value) for value in ("javascript:x", "../x", "a/../b", "a/%2E./b", "a\nb")],
        *[("urlpath", value) for value in (" //evil", "/ /../x", "x" * 2000, "a/..?x", "..#x")],
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_path_that_leads_elsewhere_is_refused(field: str, value: str) -> None:
    with pytest.raises(RepoSpecError) as caught:
        parse_repo("owner/repo", **{field: value})  # type: ignore[arg-type]
    assert caught.value.field == field
    if field == "path":
        assert caught.value.message.startswith("The path to open ")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Owner/Repo", "https://www.github.com/owner/repo.git/"),
        ("https://gitlab.com/G/S/p", "https://gitlab.com/g/s/P.git"),
        ("https://bitbucket.org/Team/r", "https://bitbucket.org/team/R/src/main"),
        ("git@github.com:Owner/repo.git", "ssh://git@GITHUB.com/owner/Repo"),
        ("https://gist.github.com/someone/0A1B", "https://gist.github.com/0a1b"),
        ("https://Example.org:443/x/", "https://example.org/x"),
        ("10.5281/Zenodo.1", "https://doi.org/10.5281/zenodo.1"),
        ("https://zenodo.org/record/1", "https://zenodo.org/records/1"),
    ],
)
def test_two_spellings_of_one_repository_have_one_identity(one: str, other: str) -> None:
    first, second = (understand(text, content_providers=EVERY_PROVIDER) for text in (one, other))
    assert first.identity == second.identity


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("owner/repo", "git@github.com:owner/repo.git"),
        ("https://example.org/X", "https://example.org/x"),
        ("https://example.org/x", "https://example.org/x.git"),
        ("https://example.org/x", "http://example.org/x"),
        ("https://example.org/x", "https://example.org:8443/x"),
        ("foo/bar-baz", "foo-bar/baz"),
        ("owner/repo", "https://codeberg.org/owner/repo"),
        ("https://codeberg.org/Owner/repo", "https://codeberg.org/owner/repo"),
        ("git@example.org:x", "ssh://git@example.org/x"),
        ("https://example.org/é", "https://example.org/e\u0301"),
    ],
)
def test_what_may_be_two_repositories_has_two_identities(one: str, other: str) -> None:
    assert understand(one).identity != understand(other).identity


@pytest.mark.parametrize(
    ("text", "name", "host", "scheme"),
    [
        ("owner/repo", "owner/repo", "github.com", "https"),
        ("https://gitlab.com/g/s/p", "s/p", "gitlab.com", "https"),
        ("https://example.org:8443/x.git", "x", "example.org", "https"),
        ("https://[::1]/a/b", "a/b", "[::1]", "https"),
        ("git@example.org:r.git", "r", "example.org", "ssh"),
        ("git@[::1]:r.git", "r", "[::1]", "ssh"),
        ("ssh://me@example.org:22/srv/git/r.git", "git/r", "example.org", "ssh"),
        ("10.5281/zenodo.1", "10.5281/zenodo.1", "", ""),
        (f"swh:1:dir:{SHA}", f"swh:1:dir:{SHA}", "", ""),
        ("https://zenodo.org/records/1", "records/1", "zenodo.org", "https"),
    ],
)
def test_a_spec_says_its_name_and_host(text: str, name: str, host: str, scheme: str) -> None:
    spec = understand(text, content_providers=EVERY_PROVIDER)
    assert (spec.name, spec.host, spec.scheme) == (name, host, scheme)


def test_a_ref_is_shown_as_people_say_it() -> None:
    assert parse_repo("o/r", ref="refs/heads/a/b").ref_label == "a/b"
    assert parse_repo("o/r", ref="refs/pull/1/head").ref_label == "refs/pull/1/head"


PIECES = st.sampled_from(
    [
        *("https://", "ssh://", "http:", "git@", "owner", "repo", "/", "//", ":", "@", "?", "#"),
        *("github.com", "gitlab.com", "bitbucket.org", "codeberg.org", "gist.github.com"),
        *(
            "example.org",
            "[::1]",
            "127.0.0.1",
            "-",
            "--x",
            "-/",
            "/tree/",
            "/blob/",
            "/src/branch/",
        ),
        *("main", SHA, "%2F", "%0a", "%", "..", ".git", "www.", "10.5281/", "zenodo.org", "doi:"),
        *("zenodo.1", "swh:1:dir:", "records/1", "hg+", "\\", " ", "\n", "\0", "\ud800", "é", "~"),
        *("persistentId=", "/dataset/", "/commit/", "/pull/", "0a1b", "<", ">", '"', "$", ".", "1"),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(st.characters(), max_size=30).map(lambda text: f"https://github.com/{text}"),
    st.lists(PIECES, max_size=12).map("".join),
)


def is_harmless(text: str) -> bool:
    return not text.startswith("-") and not any(
        unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for char in text
    )


@settings(max_examples=2000, deadline=None)
@given(text=TEXTS, ref=TEXTS, path=TEXTS, on=st.booleans())
@example(text="\ud800", ref="", path="", on=True)
@example(text="x" * 10**6, ref="x" * 10**6, path="x" * 10**6, on=True)
@example(text="https://" + "%" * 2000, ref="", path="", on=True)
def test_any_text_is_understood_or_refused(text: str, ref: str, path: str, on: bool) -> None:
    options: dict[str, Any] = {"allowed_schemes": EVERY_SCHEME} if on else {}
    options |= {"content_providers": EVERY_PROVIDER} if on else {}
    for fields in ({}, {"ref": ref}, {"path": path}, {"urlpath": path}, {"subdir": path}):
        try:
            spec = parse_repo(text, **fields, **options)
        except RepoSpecError:
            continue
        assert all(is_harmless(part) for part in (spec.url, spec.ref, spec.tail, spec.subdir))
        assert spec.identity
        assert spec.name
        assert '"' not in spec.url
        assert "$" not in spec.url
        if spec.provider == "git":
            assert spec.host
            assert parse_repo(spec.url, **options) == RepoSpec("git", spec.url)


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=20))
def test_any_ref_is_passed_or_refused(ref: str) -> None:
    try:
        check_ref(ref)
    except RepoSpecError:
        return
    assert is_harmless(ref)
