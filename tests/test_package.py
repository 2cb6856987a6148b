"""The package as an index shows it: with the address of the project all links lead there, without one there are none."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser

import pytest

import taskrunner
from tests.samples import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.one_python, pytest.mark.xdist_group("package")]

GITHUB = "https://github.com/example/taskrunner"
GITLAB = "https://git.example.org/group/taskrunner"
GIVEN = "TASKRUNNER_PROJECT_URL", "GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "CI_PROJECT_URL"
TAG = f"v{taskrunner.__version__}"
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def package(needs, tmp_path_factory):
    """A function that makes the sdist as bin/package does, with these variables, and the wheel if asked; the folder."""

    def make(*, wheel=False, **variables):
        folder = tmp_path_factory.mktemp("package")
        address = run("bin/package", "--address", **variables).strip()
        only = [] if wheel else ["--sdist"]
        known = {**variables, "TASKRUNNER_PROJECT_URL": address}
        run(sys.executable, "-m", "build", *only, "--outdir", folder, **known)
        return folder

    tools = all(importlib.util.find_spec(name) for name in ("build", "twine"))
    needs("package", tools, "build and twine are not here: bin/package installs them")
    return make


def run(*words, **variables):
    env = {name: value for name, value in os.environ.items() if name not in GIVEN}
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=env | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=350,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def metadata(folder):
    """The metadata of the sdist and of the wheel, if there is one: both say the same."""
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as files:
        place = sdist.name.removesuffix(".tar.gz")
        text = files.extractfile(f"{place}/PKG-INFO").read().decode()
        readme = files.extractfile(f"{place}/README.md").read()
    assert readme == (ROOT / "README.md").read_bytes(), "the README of the sdist is not ours"
    assert {of_wheel(wheel) for wheel in folder.glob("*.whl")} <= {text}
    found = Parser().parsestr(text)
    assert found["Description-Content-Type"] == "text/markdown"
    links = dict(link.split(", ") for link in found.get_all("Project-URL", []))
    return links, found.get_payload(), text


def of_wheel(wheel):
    with zipfile.ZipFile(wheel) as files:
        (name,) = [name for name in files.namelist() if name.endswith(".dist-info/METADATA")]
        return files.read(name).decode()


def test_with_an_address_each_link_of_the_package_leads_to_a_file_of_the_tag(package, tmp_path):
    known = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "example/taskrunner"}
    folder = package(wheel=True, **known)
    run(sys.executable, "-m", "twine", "check", "--strict", *folder.iterdir())
    links, text, whole = metadata(folder)
    assert links == {
        "Homepage": GITHUB,
        "Documentation": f"{GITHUB}/blob/{TAG}/docs/index.md",
        "Source": GITHUB,
        "Changelog": f"{GITHUB}/blob/{TAG}/CHANGELOG.md",
        "Issues": f"{GITHUB}/issues",
    }
    for link in [*LINK.findall(text), *links.values()]:
        kind, _, path = link.removeprefix(GITHUB).strip("/").partition(f"/{TAG}/")
        assert link.startswith(GITHUB) and kind in {"blob", "raw", "issues", ""}, link
        assert (kind == "raw") == path.endswith((".svg", ".png")), link
        assert (ROOT / path.partition("#")[0]).exists(), link
    assert len(LINK.findall(text)) == len(LINK.findall((ROOT / "README.md").read_text()))

    # Whoever builds from the sdist knows no address, and gets the same.
    (sdist,) = folder.glob("*.tar.gz")
    run(
        sys.executable,
        *shlex.split("-m pip wheel -q --no-deps -w"),
        tmp_path,
        sdist,
    )
    (wheel,) = tmp_path.glob("*.whl")
    assert of_wheel(wheel) == whole


def test_the_addresses_of_gitlab_are_its_own(package):
    known = {"CI_PROJECT_URL": GITLAB, "TASKRUNNER_PROJECT_URL": f"{GITLAB}.git/"}
    links, text, _ = metadata(package(**known))
    assert links["Changelog"] == f"{GITLAB}/-/blob/{TAG}/CHANGELOG.md"
    assert links["Issues"] == f"{GITLAB}/-/issues"
    assert f"({GITLAB}/-/raw/{TAG}/docs/_static/terminal.svg)" in text


def test_the_address_is_known_on_gitlab_and_github_and_a_given_one_wins():
    hub = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "example/taskrunner"}
    for variables, address in (
        ({}, ""),
        (hub, GITHUB),
        ({"CI_PROJECT_URL": GITLAB}, GITLAB),
        (
            {**hub, "CI_PROJECT_URL": GITLAB, "TASKRUNNER_PROJECT_URL": "https://x.org/a"},
            "https://x.org/a",
        ),
    ):
        assert run("bin/package", "--address", **variables) == f"{address}\n"


@pytest.mark.skipif((ROOT / "PKG-INFO").exists(), reason="an sdist knows its address")
def test_without_an_address_the_package_has_no_link_that_leads_nowhere(package):
    links, text, _ = metadata(package())
    assert links == {}
    assert LINK.findall(text) == []
    assert "*taskrunner explain says: started 6h 10m late;" in text
    assert "Runs can be handed to other machines." in text


@pytest.mark.parametrize(
    "address", ["example", "http://x.org/a", "https://x.org/", "https:///a", "https://x.org/a b"]
)
def test_an_address_that_is_none_is_refused_when_it_is_asked_for(address):
    refused = f"TASKRUNNER_PROJECT_URL='{address}' must be the address of the repository"
    with pytest.raises(AssertionError, match=refused):
        run("bin/package", "--address", TASKRUNNER_PROJECT_URL=address)


def test_an_address_that_is_none_is_refused_when_it_is_built(package, tmp_path):
    assert package
    words = (sys.executable, "-m", "build", "--sdist", "--outdir", tmp_path)
    with pytest.raises(AssertionError, match="'example' must be the address of the repository"):
        run(*words, TASKRUNNER_PROJECT_URL="example")


def test_the_files_that_the_image_is_built_from_are_enough(package, tmp_path):
    copied = re.findall(
        r"^COPY (?!--)(.+) (/src/\S*)$", (ROOT / "contrib/container/Dockerfile").read_text(), re.M
    )
    assert copied
    for names, place in copied:
        into = tmp_path / place.removeprefix("/")
        for name in names.split():
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, into, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                into.mkdir(exist_ok=True)
                shutil.copy(ROOT / name, into)
    run(
        sys.executable,
        *shlex.split("-m pip wheel -q --no-deps -w"),
        tmp_path,
        tmp_path / "src",
    )
    assert [*tmp_path.glob("*.whl")]
