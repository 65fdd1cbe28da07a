"""What people paste: addresses as they stand in address bars, on badges and in handouts."""

from __future__ import annotations

from dataclasses import fields
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repo2dockerspawner.errors import RepoSpecError
from repo2dockerspawner.links import read_link, without_badge
from repo2dockerspawner.repos import RepoSpec, parse_repo

SHA = "5d4f2e9a1b3c4d5e6f708192a3b4c5d6e7f80912"
GH = "https://github.com/"
BH = "https://mybinder.org/v2/"
ALL = ("git", "zenodo", "figshare", "dataverse", "hydroshare", "swhid", "ckan", "mercurial")
PULL = "https://hub.example.edu/hub/user-redirect/git-pull?repo="
REQ = "https%3A%2F%2Fgithub.com%2Fbinder-examples%2Frequirements"
REQ_URL = GH + "binder-examples/requirements"
DATA8 = "https%3A%2F%2Fgithub.com%2Fdata-8%2Fmaterials-fa23"
DATA8_URL = GH + "data-8/materials-fa23"
CKAN_VERSION = (
    "https://demo.ckan.org/en/dataset/sample-dataset-1"
    "?activity_id=b7ea2c5e-7b7c-4e54-8a4c-11d1b3b1a4a2"
)
HS = "8f7c2f0341ef4180b0dbe97f59130756"

# text -> url, and what is understood besides; the provider is git unless it says otherwise
ADDRESSES: list[tuple[str, str, dict[str, str]]] = [
    # owner and name
    ("norvig/pytudes", GH + "norvig/pytudes", {}),
    ("norvig/pytudes@main", GH + "norvig/pytudes", {"ref": "main"}),
    ("binder-examples/conda@HEAD", GH + "binder-examples/conda", {"ref": "HEAD"}),
    (f"binder-examples/r@{SHA}", GH + "binder-examples/r", {"ref": SHA}),
    ("jupyterhub/repo2docker@2024.07.0", GH + "jupyterhub/repo2docker", {"ref": "2024.07.0"}),
    ("scikit-learn/scikit-learn@1.5.X", GH + "scikit-learn/scikit-learn", {"ref": "1.5.X"}),
    ("some-one/a.b_c@fix/x", GH + "some-one/a.b_c", {"ref": "fix/x"}),
    # GitHub
    ("https://github.com/norvig/pytudes", GH + "norvig/pytudes", {}),
    ("http://github.com/norvig/pytudes", "http://github.com/norvig/pytudes", {}),
    ("github.com/norvig/pytudes", GH + "norvig/pytudes", {}),
    ("www.github.com/norvig/pytudes/", GH + "norvig/pytudes", {}),
    ("https://github.com/norvig/pytudes.git", GH + "norvig/pytudes", {}),
    ("https://github.com/norvig/pytudes#readme", GH + "norvig/pytudes", {}),
    ("https://github.com/norvig/pytudes?tab=readme-ov-file", GH + "norvig/pytudes", {}),
    (
        "https://github.com/norvig/pytudes/tree/main/ipynb",
        GH + "norvig/pytudes",
        {"tail": "main/ipynb"},
    ),
    (
        "https://github.com/norvig/pytudes/blob/main/ipynb/Sudoku.ipynb",
        GH + "norvig/pytudes",
        {"tail": "main/ipynb/Sudoku.ipynb"},
    ),
    (
        "https://github.com/norvig/pytudes/blob/main/ipynb/How%20to%20Do.ipynb#L3",
        GH + "norvig/pytudes",
        {"tail": "main/ipynb/How to Do.ipynb"},
    ),
    (
        f"https://github.com/norvig/pytudes/blob/{SHA}/ipynb/Sudoku.ipynb",
        GH + "norvig/pytudes",
        {"ref": SHA, "path": "ipynb/Sudoku.ipynb"},
    ),
    (
        f"https://github.com/norvig/pytudes/tree/{SHA[:10]}",
        GH + "norvig/pytudes",
        {"ref": SHA[:10]},
    ),
    (
        "https://github.com/jupyterlab/jupyterlab/tree/4.2.x",
        GH + "jupyterlab/jupyterlab",
        {"ref": "4.2.x"},
    ),
    (
        "https://github.com/jupyterlab/jupyterlab/releases/tag/v4.2.0",
        GH + "jupyterlab/jupyterlab",
        {"ref": "refs/tags/v4.2.0"},
    ),
    (
        "https://github.com/jupyterlab/jupyterlab/releases/tag/%40jupyterlab%2Flsp%404.2.0",
        GH + "jupyterlab/jupyterlab",
        {"ref": "refs/tags/@jupyterlab/lsp@4.2.0"},
    ),
    (
        "https://github.com/jupyterlab/jupyterlab/releases/download/v4.2.0/a.whl",
        GH + "jupyterlab/jupyterlab",
        {"ref": "refs/tags/v4.2.0"},
    ),
    ("https://github.com/jupyterlab/jupyterlab/releases", GH + "jupyterlab/jupyterlab", {}),
    ("https://github.com/jupyterlab/jupyterlab/releases/latest", GH + "jupyterlab/jupyterlab", {}),
    ("https://github.com/jupyterlab/jupyterlab/branches/all", GH + "jupyterlab/jupyterlab", {}),
    ("https://github.com/jupyterlab/jupyterlab/tags", GH + "jupyterlab/jupyterlab", {}),
    (
        f"https://github.com/jupyterlab/jupyterlab/commit/{SHA}",
        GH + "jupyterlab/jupyterlab",
        {"ref": SHA},
    ),
    (
        "https://github.com/jupyterlab/jupyterlab/commits/main/",
        GH + "jupyterlab/jupyterlab",
        {"ref": "main"},
    ),
    (
        "https://github.com/jupyterlab/jupyterlab/commits/main/docs",
        GH + "jupyterlab/jupyterlab",
        {"tail": "main/docs"},
    ),
    (
        "https://github.com/jupyterlab/jupyterlab/pull/16000",
        GH + "jupyterlab/jupyterlab",
        {"ref": "refs/pull/16000/head"},
    ),
    (
        "https://github.com/jupyterlab/jupyterlab/pull/16000/files#diff-1",
        GH + "jupyterlab/jupyterlab",
        {"ref": "refs/pull/16000/head"},
    ),
    (
        "https://github.com/jupyterlab/jupyterlab/pull/16000/checks?check_run_id=1",
        GH + "jupyterlab/jupyterlab",
        {"ref": "refs/pull/16000/head"},
    ),
    (
        f"https://github.com/jupyterlab/jupyterlab/pull/16000/commits/{SHA}",
        GH + "jupyterlab/jupyterlab",
        {"ref": SHA},
    ),
    (
        "https://github.com/jupyterlab/jupyterlab/issues?q=is%3Aopen",
        GH + "jupyterlab/jupyterlab",
        {},
    ),
    (
        "https://github.com/jupyterlab/jupyterlab/issues/1#issuecomment",
        GH + "jupyterlab/jupyterlab",
        {},
    ),
    ("https://github.com/jupyterlab/jupyterlab/discussions/7", GH + "jupyterlab/jupyterlab", {}),
    (
        "https://github.com/jupyterlab/jupyterlab/actions/runs/12345",
        GH + "jupyterlab/jupyterlab",
        {},
    ),
    ("https://github.com/jupyterlab/jupyterlab/wiki", GH + "jupyterlab/jupyterlab", {}),
    (
        "https://github.com/jupyterlab/jupyterlab/archive/refs/heads/main.zip",
        GH + "jupyterlab/jupyterlab",
        {"ref": "refs/heads/main"},
    ),
    (
        "https://github.com/jupyterlab/jupyterlab/archive/refs/tags/v4.2.0.tar.gz",
        GH + "jupyterlab/jupyterlab",
        {"ref": "refs/tags/v4.2.0"},
    ),
    (
        "https://github.com/jupyterlab/jupyterlab/archive/main.zip",
        GH + "jupyterlab/jupyterlab",
        {"ref": "main"},
    ),
    (
        "https://github.com/jupyterlab/jupyterlab/zipball/v4.2.0",
        GH + "jupyterlab/jupyterlab",
        {"ref": "v4.2.0"},
    ),
    (
        "https://codeload.github.com/jupyterlab/jupyterlab/zip/refs/heads/main",
        GH + "jupyterlab/jupyterlab",
        {"ref": "refs/heads/main"},
    ),
    (
        "https://github.com/norvig/pytudes/raw/refs/heads/main/ipynb/Sudoku.ipynb",
        GH + "norvig/pytudes",
        {"tail": "refs/heads/main/ipynb/Sudoku.ipynb"},
    ),
    (
        "https://raw.githubusercontent.com/norvig/pytudes/main/ipynb/Sudoku.ipynb",
        GH + "norvig/pytudes",
        {"tail": "main/ipynb/Sudoku.ipynb"},
    ),
    (
        "https://raw.githubusercontent.com/norvig/pytudes/refs/heads/main/ipynb/Sudoku.ipynb",
        GH + "norvig/pytudes",
        {"tail": "refs/heads/main/ipynb/Sudoku.ipynb"},
    ),
    ("git@github.com:norvig/pytudes.git", "ssh://git@github.com/norvig/pytudes", {}),
    ("ssh://git@github.com/norvig/pytudes.git", "ssh://git@github.com/norvig/pytudes", {}),
    ("git://github.com/norvig/pytudes.git", "git://github.com/norvig/pytudes", {}),
    ("https://ghe.example.com/team/course", "https://ghe.example.com/team/course", {}),
    (
        "https://ghe.example.com/team/course/tree/main/week1",
        "https://ghe.example.com/team/course",
        {"tail": "main/week1"},
    ),
    (
        "https://ghe.example.com/team/course/pull/3/files",
        "https://ghe.example.com/team/course",
        {"ref": "refs/pull/3/head"},
    ),
    # gists
    (
        "https://gist.github.com/mbostock/4062045",
        "https://gist.github.com/4062045",
        {},
    ),
    ("gist.github.com/mbostock/4062045", "https://gist.github.com/4062045", {}),
    (
        "https://gist.github.com/mbostock/4062045#file-readme-md",
        "https://gist.github.com/4062045",
        {},
    ),
    (
        f"https://gist.github.com/mbostock/4062045/{SHA}",
        "https://gist.github.com/4062045",
        {"ref": SHA},
    ),
    ("https://gist.github.com/4062045.git", "https://gist.github.com/4062045", {}),
    ("git@gist.github.com:4062045.git", "ssh://git@gist.github.com/4062045", {}),
    (
        f"https://gist.githubusercontent.com/mbostock/4062045/raw/{SHA}/index.html",
        "https://gist.github.com/4062045",
        {"ref": SHA},
    ),
    (
        "https://gist.githubusercontent.com/mbostock/4062045/raw/index.html",
        "https://gist.github.com/4062045",
        {},
    ),
    # GitLab
    ("https://gitlab.com/inkscape/inkscape", "https://gitlab.com/inkscape/inkscape", {}),
    ("gitlab.com/inkscape/inkscape", "https://gitlab.com/inkscape/inkscape", {}),
    (
        "https://gitlab.com/inkscape/infra/inkscape-ci-docker.git",
        "https://gitlab.com/inkscape/infra/inkscape-ci-docker",
        {},
    ),
    (
        "https://gitlab.com/inkscape/inkscape/-/tree/master",
        "https://gitlab.com/inkscape/inkscape",
        {"ref": "master"},
    ),
    (
        "https://gitlab.com/inkscape/inkscape/-/tree/master/doc?ref_type=heads",
        "https://gitlab.com/inkscape/inkscape",
        {"tail": "master/doc"},
    ),
    (
        "https://gitlab.com/inkscape/inkscape/-/blob/master/doc/a.md?ref_type=heads#L4",
        "https://gitlab.com/inkscape/inkscape",
        {"tail": "master/doc/a.md"},
    ),
    (
        f"https://gitlab.com/inkscape/inkscape/-/commit/{SHA}",
        "https://gitlab.com/inkscape/inkscape",
        {"ref": SHA},
    ),
    (
        "https://gitlab.com/inkscape/inkscape/-/merge_requests/6400",
        "https://gitlab.com/inkscape/inkscape",
        {"ref": "refs/merge-requests/6400/head"},
    ),
    (
        "https://gitlab.com/inkscape/inkscape/-/merge_requests/6400/diffs?tab=x",
        "https://gitlab.com/inkscape/inkscape",
        {"ref": "refs/merge-requests/6400/head"},
    ),
    (
        "https://gitlab.com/inkscape/inkscape/-/tags/INKSCAPE_1_3",
        "https://gitlab.com/inkscape/inkscape",
        {"ref": "refs/tags/INKSCAPE_1_3"},
    ),
    (
        "https://gitlab.com/inkscape/inkscape/-/releases/INKSCAPE_1_3",
        "https://gitlab.com/inkscape/inkscape",
        {"ref": "refs/tags/INKSCAPE_1_3"},
    ),
    (
        "https://gitlab.com/inkscape/inkscape/-/archive/master/inkscape-master.zip",
        "https://gitlab.com/inkscape/inkscape",
        {"ref": "master"},
    ),
    ("https://gitlab.com/inkscape/inkscape/-/issues/1", "https://gitlab.com/inkscape/inkscape", {}),
    (
        "https://gitlab.com/inkscape/inkscape/-/pipelines",
        "https://gitlab.com/inkscape/inkscape",
        {},
    ),
    ("git@gitlab.com:inkscape/inkscape.git", "ssh://git@gitlab.com/inkscape/inkscape", {}),
    (
        "https://gitlab.example.edu/group/sub/course/-/tree/main/week1",
        "https://gitlab.example.edu/group/sub/course",
        {"tail": "main/week1"},
    ),
    (
        "https://gitlab.example.edu/group/course/-/merge_requests/4",
        "https://gitlab.example.edu/group/course",
        {"ref": "refs/merge-requests/4/head"},
    ),
    # Bitbucket
    ("https://bitbucket.org/team/notes", "https://bitbucket.org/team/notes", {}),
    ("https://bitbucket.org/team/notes.git", "https://bitbucket.org/team/notes", {}),
    ("https://bitbucket.org/team/notes/src", "https://bitbucket.org/team/notes", {}),
    (
        "https://bitbucket.org/team/notes/src/main/",
        "https://bitbucket.org/team/notes",
        {"ref": "main"},
    ),
    (
        "https://bitbucket.org/team/notes/src/main/week1/a.ipynb",
        "https://bitbucket.org/team/notes",
        {"tail": "main/week1/a.ipynb"},
    ),
    (
        f"https://bitbucket.org/team/notes/src/{SHA}/week1/a.ipynb?at=main",
        "https://bitbucket.org/team/notes",
        {"ref": SHA, "path": "week1/a.ipynb"},
    ),
    (
        "https://bitbucket.org/team/notes/branch/feature/x",
        "https://bitbucket.org/team/notes",
        {"ref": "refs/heads/feature/x"},
    ),
    (
        f"https://bitbucket.org/team/notes/commits/{SHA}",
        "https://bitbucket.org/team/notes",
        {"ref": SHA},
    ),
    ("git@bitbucket.org:team/notes.git", "ssh://git@bitbucket.org/team/notes", {}),
    (
        "https://stash.example.edu/projects/GEO/repos/course/browse",
        "https://stash.example.edu/scm/geo/course.git",
        {},
    ),
    (
        "https://stash.example.edu/projects/GEO/repos/course/browse/week1?at=refs%2Fheads%2Fdev",
        "https://stash.example.edu/scm/geo/course.git",
        {"ref": "refs/heads/dev", "path": "week1"},
    ),
    (
        "https://stash.example.edu/users/ann/repos/course/browse",
        "https://stash.example.edu/scm/~ann/course.git",
        {},
    ),
    (
        "https://stash.example.edu/scm/geo/course.git",
        "https://stash.example.edu/scm/geo/course.git",
        {},
    ),
    # Gitea, Forgejo, Codeberg
    ("https://codeberg.org/forgejo/forgejo", "https://codeberg.org/forgejo/forgejo", {}),
    ("codeberg.org/forgejo/forgejo.git", "https://codeberg.org/forgejo/forgejo", {}),
    (
        "https://codeberg.org/forgejo/forgejo/src/branch/forgejo/docs",
        "https://codeberg.org/forgejo/forgejo",
        {"tail": "refs/heads/forgejo/docs"},
    ),
    (
        "https://codeberg.org/forgejo/forgejo/src/tag/v7.0.0",
        "https://codeberg.org/forgejo/forgejo",
        {"ref": "refs/tags/v7.0.0"},
    ),
    (
        f"https://codeberg.org/forgejo/forgejo/src/commit/{SHA}/README.md",
        "https://codeberg.org/forgejo/forgejo",
        {"ref": SHA, "path": "README.md"},
    ),
    (
        "https://codeberg.org/forgejo/forgejo/pulls/3000/files",
        "https://codeberg.org/forgejo/forgejo",
        {"ref": "refs/pull/3000/head"},
    ),
    (
        "https://codeberg.org/forgejo/forgejo/releases/tag/v7.0.0",
        "https://codeberg.org/forgejo/forgejo",
        {"ref": "refs/tags/v7.0.0"},
    ),
    (
        "https://codeberg.org/forgejo/forgejo/archive/v7.0.0.tar.gz",
        "https://codeberg.org/forgejo/forgejo",
        {"ref": "v7.0.0"},
    ),
    (
        "https://git.example.edu/geo/course/src/branch/main/week1",
        "https://git.example.edu/geo/course",
        {"tail": "refs/heads/main/week1"},
    ),
    # any git server
    ("https://git.example.edu/course.git", "https://git.example.edu/course.git", {}),
    ("https://git.savannah.gnu.org/git/gsl.git", "https://git.savannah.gnu.org/git/gsl.git", {}),
    ("https://git.sr.ht/~sircmpwn/scdoc", "https://git.sr.ht/~sircmpwn/scdoc", {}),
    ("git@git.example.edu:geo/course.git", "git@git.example.edu:geo/course.git", {}),
    (
        "ssh://git@git.example.edu:2222/geo/course.git",
        "ssh://git@git.example.edu:2222/geo/course.git",
        {},
    ),
    ("git://git.kernel.org/pub/scm/git/git.git", "git://git.kernel.org/pub/scm/git/git.git", {}),
    # Binder
    (BH + "gh/binder-examples/requirements", REQ_URL, {}),
    (BH + "gh/binder-examples/requirements/HEAD", REQ_URL, {"ref": "HEAD"}),
    (BH + "gh/binder-examples/requirements.git/HEAD", REQ_URL, {"ref": "HEAD"}),
    (BH + "gh/binder-examples/requirements/master/", REQ_URL, {"ref": "master"}),
    (f"{BH}gh/binder-examples/requirements/{SHA}", REQ_URL, {"ref": SHA}),
    (BH + "gh/binder-examples/requirements/feature/x", REQ_URL, {"ref": "feature/x"}),
    (BH + "gh/binder-examples/requirements/feature%2Fx", REQ_URL, {"ref": "feature/x"}),
    (
        BH + "gh/binder-examples/requirements/HEAD?labpath=index.ipynb",
        REQ_URL,
        {"ref": "HEAD", "path": "index.ipynb"},
    ),
    (
        BH + "gh/binder-examples/requirements/HEAD?labpath=docs%2Fmy%20file.ipynb",
        REQ_URL,
        {"ref": "HEAD", "path": "docs/my file.ipynb"},
    ),
    (
        BH + "gh/binder-examples/requirements/HEAD?filepath=index.ipynb",
        REQ_URL,
        {"ref": "HEAD", "path": "index.ipynb"},
    ),
    (
        BH + "gh/binder-examples/requirements/HEAD?filepath=%2Fdocs",
        REQ_URL,
        {"ref": "HEAD", "path": "docs"},
    ),
    (
        BH + "gh/binder-examples/requirements/HEAD?urlpath=lab",
        REQ_URL,
        {"ref": "HEAD", "urlpath": "lab"},
    ),
    (
        BH + "gh/binder-examples/requirements/HEAD?urlpath=%2Flab%2Ftree%2Findex.ipynb",
        REQ_URL,
        {"ref": "HEAD", "urlpath": "lab/tree/index.ipynb"},
    ),
    (
        BH + "gh/binder-examples/r/HEAD?urlpath=rstudio",
        GH + "binder-examples/r",
        {"ref": "HEAD", "urlpath": "rstudio"},
    ),
    (
        BH + "gh/binder-examples/r/HEAD?urlpath=shiny/bus-dashboard/",
        GH + "binder-examples/r",
        {"ref": "HEAD", "urlpath": "shiny/bus-dashboard/"},
    ),
    (
        BH + "gh/binder-examples/voila/HEAD?urlpath=voila%2Frender%2Findex.ipynb",
        GH + "binder-examples/voila",
        {"ref": "HEAD", "urlpath": "voila/render/index.ipynb"},
    ),
    (
        f"{BH}gh/me/env/main?urlpath={quote(f'git-pull?repo={DATA8}&urlpath=lab', safe='')}",
        GH + "me/env",
        {"ref": "main", "urlpath": f"git-pull?repo={DATA8}&urlpath=lab"},
    ),
    ("mybinder.org/v2/gh/binder-examples/requirements/HEAD", REQ_URL, {"ref": "HEAD"}),
    ("https://www.mybinder.org/v2/gh/binder-examples/requirements/HEAD", REQ_URL, {"ref": "HEAD"}),
    ("https://gke.mybinder.org/v2/gh/binder-examples/requirements/HEAD", REQ_URL, {"ref": "HEAD"}),
    (
        "https://notebooks.gesis.org/binder/v2/gh/binder-examples/requirements/HEAD",
        REQ_URL,
        {"ref": "HEAD"},
    ),
    ("http://binder.lan:8585/v2/gh/binder-examples/requirements/HEAD", REQ_URL, {"ref": "HEAD"}),
    (
        BH + "gl/rruizz%2Finforme/HEAD",
        "https://gitlab.com/rruizz/informe",
        {"ref": "HEAD"},
    ),
    (
        BH + "gl/group%2Fsub%2Fproject/main?filepath=a.ipynb",
        "https://gitlab.com/group/sub/project",
        {"ref": "main", "path": "a.ipynb"},
    ),
    (BH + "gl/group/project/main", "https://gitlab.com/group/project", {"ref": "main"}),
    (
        BH + "gist/mbostock/4062045/HEAD",
        "https://gist.github.com/4062045",
        {"ref": "HEAD"},
    ),
    (BH + "gist/mbostock/4062045", "https://gist.github.com/4062045", {}),
    (
        f"{BH}git/https%3A%2F%2Fgit.example.edu%2Fcourse.git/{SHA}?urlpath=lab",
        "https://git.example.edu/course.git",
        {"ref": SHA, "urlpath": "lab"},
    ),
    (
        BH + "git/https%3A%2F%2Fcodeberg.org%2Fforgejo%2Fdocs/next",
        "https://codeberg.org/forgejo/docs",
        {"ref": "next"},
    ),
    (BH + "zenodo/10.5281/zenodo.3242074/", "10.5281/zenodo.3242074", {"provider": "zenodo"}),
    (
        BH + "zenodo/10.5281/zenodo.3242074/?labpath=a.ipynb",
        "10.5281/zenodo.3242074",
        {"provider": "zenodo", "path": "a.ipynb"},
    ),
    (
        BH + "figshare/10.6084/m9.figshare.9782777.v3",
        "10.6084/m9.figshare.9782777.v3",
        {"provider": "figshare"},
    ),
    (BH + "dataverse/10.7910/DVN/TJCLKP/", "10.7910/DVN/TJCLKP", {"provider": "dataverse"}),
    (
        f"{BH}hydroshare/{HS}/",
        f"https://www.hydroshare.org/resource/{HS}",
        {"provider": "hydroshare"},
    ),
    (
        f"{BH}hydroshare/https%3A%2F%2Fwww.hydroshare.org%2Fresource%2F{HS}%2F",
        f"https://www.hydroshare.org/resource/{HS}",
        {"provider": "hydroshare"},
    ),
    (
        BH + "ckan/https%3A%2F%2Fdemo.ckan.org%2Fdataset%2Fsample-dataset-1",
        "https://demo.ckan.org/dataset/sample-dataset-1",
        {"provider": "ckan"},
    ),
    # badges
    (
        f"[![Binder](https://mybinder.org/badge_logo.svg)]({BH}gh/binder-examples/requirements/HEAD)",
        REQ_URL,
        {"ref": "HEAD"},
    ),
    (
        (
            f'<a href="{BH}gh/binder-examples/requirements/HEAD?a=b&amp;labpath=x.ipynb">'
            '<img src="https://mybinder.org/badge_logo.svg"></a>'
        ),
        REQ_URL,
        {"ref": "HEAD", "path": "x.ipynb"},
    ),
    (
        (
            ".. image:: https://mybinder.org/badge_logo.svg\n"
            f" :target: {BH}gh/binder-examples/requirements/HEAD"
        ),
        REQ_URL,
        {"ref": "HEAD"},
    ),
    ("[the course](https://github.com/geo/course)", GH + "geo/course", {}),
    # nbgitpuller
    (PULL + REQ, REQ_URL, {}),
    (PULL + REQ + "&branch=master", REQ_URL, {"ref": "master"}),
    (
        PULL + DATA8 + "&urlpath=lab%2Ftree%2Fmaterials-fa23%2Flec%2Flec01.ipynb&branch=main",
        DATA8_URL,
        {"ref": "main", "path": "lec/lec01.ipynb"},
    ),
    (
        PULL + DATA8 + "&branch=main&urlpath=tree%2Fmaterials-fa23%2Flec",
        DATA8_URL,
        {"ref": "main", "path": "lec"},
    ),
    (
        PULL + DATA8 + "&urlpath=notebooks/materials-fa23/a%2520b.ipynb?autodecode",
        DATA8_URL,
        {"path": "a b.ipynb"},
    ),
    (
        PULL + DATA8 + "&urlpath=lab/tree/materials-fa23/a%20b.ipynb%3Fautodecode&branch=main",
        DATA8_URL,
        {"ref": "main", "path": "a b.ipynb"},
    ),
    (PULL + DATA8 + "&urlpath=lab%2Ftree%2Fmaterials-fa23%2F", DATA8_URL, {}),
    (PULL + DATA8 + "&urlpath=rstudio%2F", DATA8_URL, {"urlpath": "rstudio/"}),
    (
        PULL + DATA8 + "&urlpath=lab/tree/elsewhere/a.ipynb",
        DATA8_URL,
        {"urlpath": "lab/tree/elsewhere/a.ipynb"},
    ),
    (
        PULL + DATA8 + "&targetpath=course&urlpath=lab/tree/course/a.ipynb",
        DATA8_URL,
        {"path": "a.ipynb"},
    ),
    (PULL + DATA8 + "&subPath=lec/lec01.ipynb&app=lab", DATA8_URL, {"path": "lec/lec01.ipynb"}),
    (PULL + DATA8 + ".git&urlpath=tree/materials-fa23/a", DATA8_URL, {"path": "a"}),
    (
        f"https://hub.example.edu/base/user-redirect/git-sync?repo={DATA8}&subPath=lec",
        DATA8_URL,
        {"path": "lec"},
    ),
    (
        f"https://hub.example.edu/user/ann/git-pull?repo={DATA8}&branch=main",
        DATA8_URL,
        {"ref": "main"},
    ),
    (f"hub.example.edu/hub/user-redirect/git-pull?repo={DATA8}", DATA8_URL, {}),
    (
        (
            "https://hub.example.edu/user-redirect/interact?account=data-8&repo=materials-fa23"
            "&branch=main&path=lec"
        ),
        DATA8_URL,
        {"ref": "main", "path": "lec"},
    ),
    (
        (
            f"https://nbgitpuller.link/?tab=hub&hub=https://hub.example.edu&repo={DATA8}"
            "&branch=main&filepath=lec/lec01.ipynb&app=jupyterlab"
        ),
        DATA8_URL,
        {"ref": "main", "path": "lec/lec01.ipynb"},
    ),
    (
        f"https://nbgitpuller.readthedocs.io/en/latest/link.html?repo={DATA8}&branch=main",
        DATA8_URL,
        {"ref": "main"},
    ),
    (
        f"https://jupyterhub.github.io/nbgitpuller/link.html?repo={DATA8}&urlpath=rstudio/",
        DATA8_URL,
        {"urlpath": "rstudio/"},
    ),
    (
        (
            "https://hub.example.edu/hub/lti/launch?next=%2Fhub%2Fuser-redirect%2Fgit-pull%3Frepo%3D"
            "https%253A%252F%252Fgithub.com%252Fdata-8%252Fmaterials-fa23%26branch%3Dmain"
        ),
        DATA8_URL,
        {"ref": "main"},
    ),
    (
        f"https://hub.example.edu/hub/login?next={quote(f'/hub/user-redirect/git-pull?repo={DATA8}')}",
        DATA8_URL,
        {},
    ),
    # launch links of a hub with this spawner
    ("https://hub.example.edu/hub/spawn?opt-repo=geo/course", GH + "geo/course", {}),
    (
        (
            f"https://hub.example.edu/base/hub/spawn?opt-repo={DATA8}&opt-ref=main&opt-subdir=env"
            "&opt-path=env/a.ipynb"
        ),
        DATA8_URL,
        {"ref": "main", "subdir": "env", "path": "env/a.ipynb"},
    ),
    (
        "https://hub.example.edu/hub/spawn/ann/second?opt-repo=geo/course&opt-urlpath=lab",
        GH + "geo/course",
        {"urlpath": "lab"},
    ),
    (
        "https://hub.example.edu/hub/spawn?repourl=geo/course&reporef=v1",
        GH + "geo/course",
        {"ref": "v1"},
    ),
    # services that show what a forge has
    (
        "https://nbviewer.org/github/norvig/pytudes/blob/main/ipynb/Sudoku.ipynb",
        GH + "norvig/pytudes",
        {"tail": "main/ipynb/Sudoku.ipynb"},
    ),
    (
        "https://nbviewer.jupyter.org/github/norvig/pytudes/tree/main/",
        GH + "norvig/pytudes",
        {"ref": "main"},
    ),
    ("https://nbviewer.org/gist/mbostock/4062045", "https://gist.github.com/4062045", {}),
    (
        "https://nbviewer.org/urls/raw.githubusercontent.com/norvig/pytudes/main/a.ipynb",
        GH + "norvig/pytudes",
        {"tail": "main/a.ipynb"},
    ),
    (
        "https://colab.research.google.com/github/norvig/pytudes/blob/main/ipynb/Sudoku.ipynb",
        GH + "norvig/pytudes",
        {"tail": "main/ipynb/Sudoku.ipynb"},
    ),
    (
        "https://colab.research.google.com/#fileId=https%3A//github.com/norvig/pytudes/blob/main/a.ipynb",
        GH + "norvig/pytudes",
        {"tail": "main/a.ipynb"},
    ),
    (
        "https://githubtocolab.com/norvig/pytudes/blob/main/a.ipynb",
        GH + "norvig/pytudes",
        {"tail": "main/a.ipynb"},
    ),
    ("https://github.dev/norvig/pytudes", GH + "norvig/pytudes", {}),
    (
        "https://vscode.dev/github/norvig/pytudes/blob/main/a.py",
        GH + "norvig/pytudes",
        {"tail": "main/a.py"},
    ),
    ("https://codespaces.new/norvig/pytudes?quickstart=1", GH + "norvig/pytudes", {}),
    ("https://gitpod.io/#https://github.com/norvig/pytudes", GH + "norvig/pytudes", {}),
    (
        "https://deepnote.com/launch?url=https%3A%2F%2Fgithub.com%2Fnorvig%2Fpytudes",
        GH + "norvig/pytudes",
        {},
    ),
    (
        "https://kaggle.com/kernels/welcome?src=https://github.com/norvig/pytudes/blob/main/a.ipynb",
        GH + "norvig/pytudes",
        {"tail": "main/a.ipynb"},
    ),
    (
        "https://studiolab.sagemaker.aws/import/github/norvig/pytudes/blob/main/a.ipynb",
        GH + "norvig/pytudes",
        {"tail": "main/a.ipynb"},
    ),
    # archives
    ("10.5281/zenodo.3242074", "10.5281/zenodo.3242074", {"provider": "zenodo"}),
    ("doi:10.5281/zenodo.3242074", "10.5281/zenodo.3242074", {"provider": "zenodo"}),
    ("https://doi.org/10.5281/zenodo.3242074", "10.5281/zenodo.3242074", {"provider": "zenodo"}),
    ("https://dx.doi.org/10.5281/zenodo.3242074", "10.5281/zenodo.3242074", {"provider": "zenodo"}),
    (
        "https://zenodo.org/record/3242074#.XP",
        "https://zenodo.org/record/3242074",
        {"provider": "zenodo"},
    ),
    (
        "https://zenodo.org/records/3242074?preview_file=a.zip",
        "https://zenodo.org/records/3242074",
        {"provider": "zenodo"},
    ),
    (
        "https://zenodo.org/doi/10.5281/zenodo.3242074",
        "https://zenodo.org/records/3242074",
        {"provider": "zenodo"},
    ),
    (
        "https://zenodo.org/badge/DOI/10.5281/zenodo.3242074.svg",
        "https://zenodo.org/records/3242074",
        {"provider": "zenodo"},
    ),
    (
        "https://figshare.com/articles/dataset/Binder-ready_openSenseMap/9782777",
        "https://figshare.com/articles/dataset/Binder-ready_openSenseMap/9782777",
        {"provider": "figshare"},
    ),
    (
        "https://figshare.com/articles/dataset/Binder-ready_openSenseMap/9782777/3",
        "https://figshare.com/articles/dataset/Binder-ready_openSenseMap/9782777/3",
        {"provider": "figshare"},
    ),
    (
        "https://doi.org/10.6084/m9.figshare.9782777.v3",
        "10.6084/m9.figshare.9782777.v3",
        {"provider": "figshare"},
    ),
    (
        "https://dataverse.harvard.edu/dataset.xhtml?persistentId=doi:10.7910/DVN/TJCLKP",
        "https://dataverse.harvard.edu/dataset.xhtml?persistentId=doi:10.7910/DVN/TJCLKP",
        {"provider": "dataverse"},
    ),
    (
        "https://dataverse.harvard.edu/citation?persistentId=doi:10.7910/DVN/TJCLKP&version=1.0",
        "https://dataverse.harvard.edu/citation?persistentId=doi:10.7910/DVN/TJCLKP",
        {"provider": "dataverse"},
    ),
    ("https://doi.org/10.7910/DVN/TJCLKP", "10.7910/DVN/TJCLKP", {"provider": "dataverse"}),
    (
        f"https://www.hydroshare.org/resource/{HS}/",
        f"https://www.hydroshare.org/resource/{HS}",
        {"provider": "hydroshare"},
    ),
    (f"10.4211/hs.{HS}", f"10.4211/hs.{HS}", {"provider": "hydroshare"}),
    (
        "https://demo.ckan.org/dataset/sample-dataset-1",
        "https://demo.ckan.org/dataset/sample-dataset-1",
        {"provider": "ckan"},
    ),
    (
        CKAN_VERSION,
        CKAN_VERSION,
        {"provider": "ckan"},
    ),
    (f"swh:1:rev:{SHA}", f"swh:1:rev:{SHA}", {"provider": "swhid"}),
    (f"swh:1:dir:{SHA};origin=https://github.com/a/b", f"swh:1:dir:{SHA}", {"provider": "swhid"}),
    (
        f"https://archive.softwareheritage.org/swh:1:rev:{SHA}",
        f"swh:1:rev:{SHA}",
        {"provider": "swhid"},
    ),
    (
        f"https://archive.softwareheritage.org/browse/directory/{SHA}/",
        f"swh:1:dir:{SHA}",
        {"provider": "swhid"},
    ),
    (
        f"https://archive.softwareheritage.org/browse/revision/{SHA}/?path=a",
        f"swh:1:rev:{SHA}",
        {"provider": "swhid"},
    ),
    (
        "hg+https://foss.heptapod.net/pypy/pypy",
        "https://foss.heptapod.net/pypy/pypy",
        {"provider": "mercurial"},
    ),
]

# text -> a word of the sentence
REFUSED = [
    (BH + "gh/", "names no repository"),
    (BH + "gh/owner", "owner and a repository"),
    (BH + "gh/owner/repo/-x", "hyphen"),
    (BH + "gh/owner/repo/HEAD?filepath=../../etc", "inside the repository"),
    (BH + "gh/owner/repo/HEAD?urlpath=https://evil.example/", "path on the server"),
    (BH + "git/file%3A%2F%2F%2Fetc/HEAD", "path on a computer"),
    (BH + "git/https%3A%2F%2Fme%3Ahunter2%40git.example.edu%2Fx/HEAD", "user name"),
    (BH + "git/--upload-pack=x/HEAD", "hyphen"),
    (BH + "git/ext%3A%3Ash/HEAD", "transport"),
    (BH + "zenodo/x", "owner/repo"),
    (PULL + "https%3A%2F%2Ftoken%40github.com%2Fa%2Fb", "user name"),
    (PULL + REQ + "&branch=--x", "hyphen"),
    (PULL + REQ + "&urlpath=../../x", ".."),
    ("https://me:hunter2@mybinder.org/v2/gh/a/b/HEAD", "user name"),
    ("https://hub.example.edu/hub/spawn?opt-repo=/etc", "path on a computer"),
    ("https://hub.example.edu/hub/spawn?opt-repo=a/b&opt-subdir=../x", "inside the repository"),
    ("https://hub.example.edu/hub/spawn?opt-environment=0123456789ab", "ready environment"),
    ("https://nbviewer.org/", "nbviewer"),
    ("https://colab.research.google.com/drive/1x", "Colab"),
    ("https://github.dev/", "names no repository"),
    ("https://gitpod.io/workspaces", "names no repository"),
    ("https://deepnote.com/launch", "names no repository"),
    ("https://stash.example.edu/projects/A/repos/b/pull-requests/3", "pull requests"),
]


def understand(text: str, **more: Any) -> RepoSpec:
    schemes = ("https", "ssh", "http", "git")
    return parse_repo(text, allowed_schemes=schemes, content_providers=ALL, **more)


@pytest.mark.parametrize(("text", "url", "said"), ADDRESSES, ids=[row[0] for row in ADDRESSES])
def test_what_people_paste_is_understood(text: str, url: str, said: dict[str, str]) -> None:
    assert understand(text) == RepoSpec(**{"provider": "git", "url": url, **said})


def test_there_are_enough_of_them() -> None:
    assert len({row[0] for row in ADDRESSES}) == len(ADDRESSES) >= 150


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=[row[0] for row in REFUSED])
def test_a_link_that_leads_nowhere_is_refused_at_its_own_field(text: str, words: str) -> None:
    with pytest.raises(RepoSpecError) as raised:
        understand(text)
    assert words in raised.value.message
    assert raised.value.field == "repo"
    assert "hunter2" not in raised.value.message


@pytest.mark.parametrize(
    ("by_hand", "said"),
    [
        ({"ref": "dev"}, {"ref": "dev", "path": "a/b.ipynb"}),
        ({"path": "c.ipynb"}, {"ref": "main", "path": "c.ipynb"}),
        ({"urlpath": "rstudio"}, {"ref": "main", "path": "a/b.ipynb", "urlpath": "rstudio"}),
        ({"subdir": "a"}, {"ref": "main", "path": "a/b.ipynb", "subdir": "a"}),
    ],
    ids=str,
)
def test_what_is_filled_in_by_hand_wins_over_the_link(
    by_hand: dict[str, str], said: dict[str, str]
) -> None:
    link = BH + "gh/owner/repo/main?labpath=a/b.ipynb"
    assert understand(link, **by_hand) == RepoSpec("git", GH + "owner/repo", **said)


def test_a_file_filled_in_by_hand_wins_over_the_links_url() -> None:
    spec = understand(BH + "gh/owner/repo/main?urlpath=rstudio", path="a.ipynb")
    assert (spec.path, spec.urlpath) == ("a.ipynb", "")


@pytest.mark.parametrize(
    "text",
    [
        "owner/repo",
        "https://github.com/v2/gh",
        "https://github.com/kubernetes/git-sync",
        "https://git.example.edu/infra/git-sync",
        "https://git.example.edu/v2/repo",
        "https://git.example.edu/hub/repo",
        "https://git.example.edu/repo/a/b",
        "git@mybinder.org:v2/gh/x",
        "ssh://mybinder.org/v2/gh/a/b/c",
        "not a link",
        "",
    ],
)
def test_a_plain_address_is_no_link(text: str) -> None:
    assert read_link(text) is None


def test_login_pages_in_login_pages_come_to_an_end() -> None:
    link = "/hub/spawn?opt-repo=a/b"
    for _ in range(2):
        link = f"/hub/login?next={quote(link, safe='')}"
    assert read_link(f"https://hub.example.edu{link}") is not None
    for _ in range(5):
        link = f"/hub/login?next={quote(link, safe='')}"
    assert read_link(f"https://hub.example.edu{link}") is None


@settings(max_examples=200)
@given(
    st.sampled_from(
        [BH, BH + "gh/", BH + "git/", PULL, "https://h.example/hub/spawn?opt-repo=", "[![a](b)]("]
    ),
    st.text(max_size=60),
)
def test_any_link_is_understood_or_refused(lead: str, text: str) -> None:
    try:
        spec = understand(lead + text)
    except RepoSpecError as error:
        assert error.message.endswith(".")  # noqa: PT017
    else:
        for field in fields(spec):
            assert not set(getattr(spec, field.name)) & set("\0\n\r")


@pytest.mark.parametrize(
    "text",
    ["[![" * 5000, "<a " * 5000, ".. image:: " + " :target: " * 5000, "[x](" * 5000],
    ids=["markdown", "html", "restructuredtext", "markdown link"],
)
def test_what_only_looks_like_a_badge_costs_nothing(text: str) -> None:
    assert without_badge(text) == text
