"""The page of a repository's host that shows what is started."""

from __future__ import annotations

import pytest

from repo2dockerspawner.commitpages import commit_page
from repo2dockerspawner.repos import RepoSpec

COMMIT = "0123456789abcdef0123456789abcdef01234567"

PAGES = {
    "https://github.com/geo/course": f"https://github.com/geo/course/tree/{COMMIT}",
    "https://github.com/geo/course.git": f"https://github.com/geo/course/tree/{COMMIT}",
    "git@github.com:geo/course.git": f"https://github.com/geo/course/tree/{COMMIT}",
    "ssh://git@github.com/geo/course": f"https://github.com/geo/course/tree/{COMMIT}",
    "https://gitlab.com/a/b/c": f"https://gitlab.com/a/b/c/-/tree/{COMMIT}",
    "https://bitbucket.org/geo/course": f"https://bitbucket.org/geo/course/src/{COMMIT}",
    "https://codeberg.org/geo/course": f"https://codeberg.org/geo/course/src/commit/{COMMIT}",
    "https://gist.github.com/0a1b": f"https://gist.github.com/0a1b/{COMMIT}",
    # what a stranger's server shows at an address of our making nobody can tell
    "https://git.example.org/geo/course": "",
    "http://127.0.0.1:8080/geo/course.git": "",
    "https://github.com.example.org/geo/course": "",
}


@pytest.mark.parametrize("url", PAGES)
def test_a_commit_has_its_page_where_the_host_is_known(url: str) -> None:
    assert commit_page(RepoSpec("git", url), COMMIT) == PAGES[url]


@pytest.mark.parametrize(
    ("provider", "url", "page"),
    [
        ("doi", "10.5281/zenodo.123", "https://doi.org/10.5281/zenodo.123"),
        ("zenodo", "10.5281/zenodo.1?x=1#y", "https://doi.org/10.5281/zenodo.1%3Fx%3D1%23y"),
        ("zenodo", "https://zenodo.org/records/123", "https://zenodo.org/records/123"),
        (
            "swhid",
            "swh:1:dir:" + "0" * 40,
            "https://archive.softwareheritage.org/swh:1:dir:" + "0" * 40,
        ),
        ("mercurial", "http://hg.example.org/x", ""),
    ],
)
def test_a_record_has_its_page(provider: str, url: str, page: str) -> None:
    assert commit_page(RepoSpec(provider, url), "whatever it is") == page


def test_the_folder_is_part_of_the_page_and_cannot_break_out_of_it() -> None:
    spec = RepoSpec("git", "https://github.com/geo/course", subdir='docs/"?#<x>')
    page = commit_page(spec, COMMIT)
    assert page == f"https://github.com/geo/course/tree/{COMMIT}/docs/%22%3F%23%3Cx%3E"


@pytest.mark.parametrize("content_id", ["", "0123abc", "main", "javascript:alert(1)"])
def test_without_the_whole_commit_there_is_no_page(content_id: str) -> None:
    assert commit_page(RepoSpec("git", "https://github.com/geo/course"), content_id) == ""
