"""What pyproject.toml cannot say: metadata that depends on the address of the project.

The address is given when the package is made, in TASKRUNNER_PROJECT_URL (see CONTRIBUTING.md). With it the package has
its links, and its description, which is README.md, leads to the files of the version's tag. Without it the description
has no links, as there is nothing beside it to lead to. From an sdist the package gets what its PKG-INFO says.
"""

import os
import re
from email.parser import Parser
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
README = (HERE / "README.md").read_text(encoding="utf-8")
VERSION = re.search(
    r'^__version__ = "(.+)"', (HERE / "taskrunner/__init__.py").read_text(encoding="utf-8"), re.M
)[1]
# A link or a picture of Markdown that leads to a file of the checkout.
RELATIVE = re.compile(r"(!?)\[([^\]]+)\]\((?!\w+:|#)([^)\s]+)\)")


def with_address(address):
    """Return the description and the links of a package whose project is at this address."""
    if not re.fullmatch(r"https://[^\s/]+/\S+", address):
        raise SystemExit(
            f"TASKRUNNER_PROJECT_URL={address!r} must be the address of the repository: https://HOST/OWNER/NAME"
        )
    address = address.rstrip("/").removesuffix(".git")
    gitlab = "gitlab" in address or address == os.environ.get("CI_PROJECT_URL")
    place = address + "/-" * gitlab
    files = f"{place}/blob/v{VERSION}"

    def absolute(found):
        start = f"{place}/raw/v{VERSION}" if found[1] else files
        return f"{found[1]}[{found[2]}]({start}/{found[3]})"

    return RELATIVE.sub(absolute, README), {
        "Homepage": address,
        "Documentation": f"{files}/docs/index.md",
        "Source": address,
        "Changelog": f"{files}/CHANGELOG.md",
        "Issues": f"{place}/issues",
    }


def of_sdist(text):
    """Return the description and the links that the PKG-INFO of an sdist has."""
    known = Parser().parsestr(text)
    links = known.get_all("Project-URL") or []
    return known.get_payload(), dict(link.split(", ", 1) for link in links)


def described():
    """Return the description and the links of the package."""
    if address := os.environ.get("TASKRUNNER_PROJECT_URL"):
        return with_address(address)
    if (HERE / "PKG-INFO").exists():
        return of_sdist((HERE / "PKG-INFO").read_text(encoding="utf-8"))
    return RELATIVE.sub(lambda found: f"*{found[2]}*" if found[1] else found[2], README), {}


DESCRIPTION, LINKS = described()
setup(
    long_description=DESCRIPTION,
    long_description_content_type="text/markdown",
    project_urls=LINKS,
)
