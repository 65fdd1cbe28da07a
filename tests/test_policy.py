"""Which repositories the administrator's patterns mean."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo2dockerspawner.errors import LaunchError, PolicyError, RepoSpecError
from repo2dockerspawner.launch import LaunchRules, launch_request
from repo2dockerspawner.policy import Policy, matches_allowed, matches_denied
from repo2dockerspawner.repos import RepoSpec, parse_repo

SHA = "0123456789abcdef0123456789abcdef01234567"
EVERY: dict[str, Any] = {
    "allowed_schemes": ("https", "ssh", "http", "git"),
    "content_providers": (
        *("git", "zenodo", "figshare", "dataverse", "hydroshare", "swhid", "ckan", "mercurial"),
    ),
}


def spec(text: str) -> RepoSpec:
    return parse_repo(text, **EVERY)


# (pattern, address): the pattern surely means it
MEANT = [
    ("github.com/our/*", "our/repo"),
    ("github.com/our/*", "https://github.com/our/repo"),
    ("github.com/our/*", "http://github.com/our/repo.git/"),
    ("github.com/our/*", "git@github.com:our/repo.git"),
    ("github.com/our/*", "ssh://git@github.com/our/repo"),
    ("github.com/our/*", "https://www.github.com/our/repo"),
    ("github.com/our/*", "https://github.com./our/repo"),
    ("github.com/our/*", "https://github.com:443/our/repo"),
    ("github.com/our/*", "https://GitHub.com/OUR/Repo"),
    ("github.com/our/*", "https://github.com/our/repo/blob/main/a.ipynb"),
    ("github.com/our/*", "https://raw.githubusercontent.com/our/repo/main/a.py"),
    ("github.com/our/*", "https://mybinder.org/v2/gh/our/repo/main"),
    ("github.com/our/*", "ssh://git@ssh.github.com:443/our/repo.git"),
    ("ssh.github.com/our/*", "https://github.com/our/repo"),
    ("WWW.GitHub.com/Our/*", "https://github.com/our/repo"),
    ("github.com./our/*", "our/repo"),
    ("github.com/our/repo", "our/repo"),
    ("github.com/our/repo.git", "our/repo"),
    ("github.com/our/repo/", "our/repo"),
    ("github.com/*/course", "our/course"),
    ("github.com/*", "our/course"),
    ("git@github.com/our/*", "our/course"),
    ("gitlab.com/group/*", "https://gitlab.com/group/sub/project/-/tree/main"),
    ("gitlab.com/group/*", "git@gitlab.com:group/sub/project.git"),
    ("gitlab.com/group/*", "ssh://git@altssh.gitlab.com:443/group/project"),
    ("gist.github.com/*", "https://gist.github.com/me/0a1b"),
    ("gist.github.com/0a1b", "https://gist.github.com/0A1B"),
    ("git.example.org/team/*", "https://git.example.org/team/Course.git"),
    ("git.example.org/team/course", "https://git.example.org/team/course.git"),
    ("git.example.org/Team/X", "https://git.example.org/Team/X"),
    # a star is as short as it can be, and may be nothing
    ("*git.example.org/*", "https://git.example.org/team/x"),
    ("git.example.org/*a/*b/*", "https://git.example.org/a/b/a/c"),
    ("git.example.org/ab*ba", "https://git.example.org/abba"),
    ("Git.Example.ORG/team/*", "https://git.example.org/team/x"),
    ("git.example.org/team/*", "git@git.example.org:team/x.git"),
    ("git.example.org/team/*", "ssh://git@git.example.org/team/x.git"),
    ("git.example.org/team/*", "https://git.example.org//team//x"),
    ("git.example.org/team/*", "https://git.example.org/%74eam/x"),
    ("git.example.org/a team/*", "https://git.example.org/a%20team/x"),
    ("git.example.org:8443/team/*", "https://git.example.org:8443/team/x"),
    ("git.example.org:2222/team/*", "ssh://git@git.example.org:2222/team/x"),
    ("me@git.example.org/team/*", "ssh://me@git.example.org/team/x"),
    ("me@git.example.org/team/*", "me@git.example.org:team/x"),
    ("[::1]/team/*", "https://[::1]/team/x"),
    ("[::1]:8443/team/*", "https://[0:0::1]:8443/team/x"),
    ("hg.example.org/*", "hg+https://hg.example.org/a/b"),
    ("doi.org/10.5281/*", "10.5281/zenodo.1234"),
    ("doi.org/10.5281/zenodo.1234", "https://doi.org/10.5281/Zenodo.1234"),
    ("zenodo.org/records/*", "https://zenodo.org/records/1234"),
    ("zenodo.org/records/*", "https://zenodo.org/record/1234"),
    ("archive.softwareheritage.org/*", f"swh:1:dir:{SHA}"),
    ("archive.softwareheritage.org/swh:1:rev:*", f"SWH:1:REV:{SHA}"),
]

# (pattern, address): it may mean it, so who denies it denies this, and who allows it does not
MAYBE = [
    ("git.example.org/team/*", "https://git.example.org/Team/x"),
    ("git.example.org/team/x", "https://git.example.org/team/x.GIT"),
    ("git.example.org/team/*", "https://git.example.org:8443/team/x"),
    ("git.example.org/team/*", "ssh://git@git.example.org:2222/team/x"),
    ("git.example.org/team/*", "ssh://me@git.example.org/team/x"),
    ("git.example.org/team/*", "me@git.example.org:team/x"),
    ("git.example.org/team/*", "https://git.example.org/team%2Fx"),
    ("git.example.org/team/*", "https://git.example.org/team%5cx"),
    ("git.example.org/team/*", "https://git.example.org/other/..;/team/x"),
    ("git.example.org/team/*", "https://git.example.org/other%2f..%2fteam/x"),
    ("git.example.org/team/*", "https://git.example.org/team;a=b/x"),
    ("git.example.org/secret/x", "https://git.example.org/secret/x;jsessionid=1"),
    ("git.example.org/é/*", "https://git.example.org/e%CC%81/x"),
    ("git.example.org/straße", "https://git.example.org/STRASSE"),
    # one way of these may lead out of the team's
    ("git.example.org/team/*", "https://git.example.org/team/..;/other/x"),
    ("git.example.org/team/*", "https://git.example.org/team/x%2f..%2f..%2fother"),
    ("git.example.org/team/*", "https://git.example.org/team/x%5c..%5c..%5cother"),
]

# (pattern, address): they have nothing to do with one another
OTHERS = [
    ("github.com/our/*", "others/repo"),
    ("github.com/our/*", "others/our"),
    ("github.com/our/*", "our-friends/repo"),
    ("github.com/our/repo", "our/repository"),
    ("github.com/our/repo", "our/my-repo"),
    ("github.com/our/*", "https://gitlab.com/our/repo"),
    ("github.com/our/*", "https://github.com.example.org/our/repo"),
    ("github.com/our/*", "https://example.org/github.com/our/repo"),
    ("github.com/our/*", "git@example.org:github.com/our/repo"),
    ("github.com/our/*", "https://notgithub.com/our/repo"),
    ("github.com/our/*", "https://githubxcom.example/our/repo"),
    ("githubxcom/our/*", "our/repo"),
    ("gith.b.com/our/*", "our/repo"),
    ("github.com/o?r/*", "our/repo"),
    ("github.com/[o]ur/*", "our/repo"),
    ("git.example.org:8443/team/*", "https://git.example.org/team/x"),
    # a path that begins with digits is no port
    ("git.example.org:2222/team/*", "git@git.example.org:2222/team/x"),
    ("me@git.example.org/team/*", "ssh://git@git.example.org/team/x"),
    ("me@git.example.org/team/*", "ssh://you@git.example.org/team/x"),
    ("[::1]/team/*", "https://[::2]/team/x"),
    ("doi.org/10.5281/*", "10.6084/m9.figshare.9782777"),
    ("doi.org/10.5281/*", "https://zenodo.org/records/1234"),
    ("doi.org/*", f"swh:1:dir:{SHA}"),
    ("git.example.org/team/course", "https://git.example.org/team/course/more"),
    ("git*.example.org/*/course", "https://git.example.com/team/course"),
    ("git.example.org/*a/*a/*z", "https://git.example.org/a/z"),
    ("git.example.org/ab*ba", "https://git.example.org/aba"),
]


def name(row: tuple[str, str]) -> str:
    return " | ".join(row)


@pytest.mark.parametrize("row", MEANT, ids=name)
def test_a_repository_is_known_under_each_of_its_addresses(row: tuple[str, str]) -> None:
    pattern, address = row
    assert matches_allowed(spec(address), [pattern])
    assert matches_denied(spec(address), [pattern])
    assert not matches_allowed(spec(address), [])
    assert matches_allowed(spec(address), ["x.example/y", pattern])


@pytest.mark.parametrize("row", MAYBE, ids=name)
def test_what_only_may_be_it_is_denied_and_never_allowed(row: tuple[str, str]) -> None:
    pattern, address = row
    assert matches_denied(spec(address), [pattern])
    assert not matches_allowed(spec(address), [pattern])


@pytest.mark.parametrize("row", OTHERS, ids=name)
def test_what_only_looks_like_it_is_another_one(row: tuple[str, str]) -> None:
    pattern, address = row
    assert not matches_allowed(spec(address), [pattern])
    assert not matches_denied(spec(address), [pattern])


words = st.text("abAB01.-_", min_size=1, max_size=6).filter(lambda text: text.strip("."))


@given(words, words, words)
def test_what_is_surely_meant_may_be_meant_too(owner: str, repo: str, other: str) -> None:
    try:
        found = spec(f"https://git.example.org/{owner}/{repo}")
    except RepoSpecError:
        return
    assert matches_allowed(found, [f"git.example.org/{owner}/*"])
    pattern = f"git.example.org/{other}/*"
    assert not matches_allowed(found, [pattern]) or matches_denied(found, [pattern])
    assert matches_allowed(found, [pattern]) == (other == owner)


@given(st.text("ab/", max_size=12), st.text("ab/*", max_size=8))
def test_a_star_is_any_text_as_in_a_shell(path: str, pattern: str) -> None:
    found = RepoSpec("git", f"https://x/{path}")
    wanted = f"x/{pattern}".rstrip("/")
    place = "x/" + "/".join(part for part in path.split("/") if part)
    assert matches_allowed(found, [wanted]) == fnmatchcase(place, wanted)


def test_a_host_that_ends_with_a_dot_is_the_same() -> None:
    dotted = RepoSpec("git", "https://git.example.org./team/x")
    assert not Policy(denied=["git.example.org/team/*"]).permits(dotted)
    assert Policy(allowed=["git.example.org/team/*"]).permits(dotted)


def test_many_stars_take_no_time() -> None:
    found = RepoSpec("git", "https://x/" + "a/" * 1000)
    began = time.perf_counter()
    assert not matches_allowed(found, ["x/" + "*/" * 20 + "*b"])
    assert not matches_denied(found, ["x/" + "*a*" * 20 + "*b"])
    assert time.perf_counter() - began < 5  # and not for ever


class TestPolicy:
    def test_without_lists_everything_is_allowed(self) -> None:
        Policy().check(spec("owner/repo"))
        assert Policy().permits(spec("10.5281/zenodo.1"))

    def test_what_is_not_in_the_list_is_refused_with_what_to_do(self) -> None:
        policy = Policy(allowed=["github.com/our/*"])
        policy.check(spec("our/repo"))
        with pytest.raises(PolicyError) as raised:
            policy.check(spec("ssh://git@github.com/others/repo"))
        error = raised.value
        assert (error.reason, error.field, error.status) == ("repo_not_allowed", "repo", 403)
        assert error.message == (
            "This hub builds only what its administrator has listed (allowed_repos), and "
            "github.com/others/repo is not in the list. Choose another repository, or ask the "
            "administrator to add it."
        )
        assert not policy.permits(spec("others/repo"))

    def test_what_is_denied_is_refused_although_it_is_in_the_list(self) -> None:
        policy = Policy(allowed=["github.com/our/*"], denied=["github.com/our/secret"])
        policy.check(spec("our/repo"))
        with pytest.raises(PolicyError) as raised:
            policy.check(spec("our/Secret.git"))
        error = raised.value
        assert (error.reason, error.field, error.status) == ("repo_denied", "repo", 403)
        assert error.message == (
            "This hub doesn't build our/Secret: its administrator has excluded it (denied_repos). "
            "Choose another repository, or ask the administrator."
        )
        assert not policy.permits(spec("our/secret"))

    def test_a_doi_is_denied_by_where_it_leads_as_well(self) -> None:
        policy = Policy(denied=["zenodo.org/records/1234"])
        doi = spec("10.5281/zenodo.1234")
        policy.check(doi)
        policy.check(doi, "https://zenodo.org/records/5678")
        for page in ("https://zenodo.org/records/1234", "https://zenodo.org/record/1234"):
            with pytest.raises(PolicyError, match="denied_repos"):
                policy.check(doi, page)

    def test_where_a_doi_leads_allows_nothing(self) -> None:
        policy = Policy(allowed=["zenodo.org/records/1234"])
        with pytest.raises(PolicyError, match="allowed_repos"):
            policy.check(spec("10.5281/zenodo.1234"), "https://zenodo.org/records/1234")


def test_an_entry_is_checked_where_it_is_read() -> None:
    rules = LaunchRules(policy=Policy(denied=["github.com/evil/*"]))
    assert launch_request({"repo": "good/repo"}, rules).repo is not None
    with pytest.raises(LaunchError) as raised:
        launch_request({"repo": "https://github.com/Evil/repo/tree/main"}, rules)
    assert (raised.value.field, raised.value.reason) == ("repo", "repo_denied")
    # what starts no repository is no business of the list's
    only = LaunchRules(policy=Policy(allowed=["github.com/our/*"]))
    launch_request({"image": "any"}, only)
    launch_request({"environment": "any"}, only)
    launch_request({}, only)
