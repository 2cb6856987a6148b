"""The drawing of the folders tells what the imports are; and the hooks before a commit do what bin/check does."""

import re
import runpy
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
STRUCTURE = runpy.run_path(str(ROOT / "docs" / "structure.py"))
SPACE = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def package(tmp_path):
    """Make a package from texts by file name."""

    def make(**texts):
        folder = tmp_path / "made"
        for name, text in {"__init__": "", **texts}.items():
            path = folder / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return folder

    return make


def boxes(svg):
    """Each box with its name, place and size."""
    root = ET.fromstring(svg)
    names = [each.text for each in root.iter(f"{SPACE}text") if each.get("class") != "size"]
    numbers = ("x", "y", "width", "height")
    places = [[float(each.get(n)) for n in numbers] for each in root.iter(f"{SPACE}rect")]
    return dict(zip(names, places, strict=True))


def arrows(svg, kind=None):
    marked = [each for each in ET.fromstring(svg).iter(f"{SPACE}path") if each.get("marker-end")]
    return sum(each.get("class") == kind for each in marked)


def test_a_folder_stands_above_all_that_it_imports(package):
    made = package(
        top__in__main="from made.middle import part",
        middle__in__part="def later():\n    from made import base",
        base="import os",
    )
    svg = STRUCTURE["drawing"](made)
    assert sorted(boxes(svg)) == ["base", "middle", "top"]
    assert boxes(svg)["top"][1] < boxes(svg)["middle"][1] < boxes(svg)["base"][1]
    assert (arrows(svg), arrows(svg, "back")) == (2, 0)


def test_an_arrow_that_others_imply_and_what_type_checkers_read_is_left_out(package):
    made = package(
        top="from made import middle, base",
        middle="import made.base",
        base="if TYPE_CHECKING:\n    from made import top\nelse:\n    from made import floor",
        floor="",
    )
    assert STRUCTURE["read"](made)[1]["top"] == {"middle", "base"}
    assert STRUCTURE["read"](made)[1]["base"] == {"floor"}
    assert arrows(STRUCTURE["drawing"](made)) == 3


def test_a_circle_is_drawn_as_an_arrow_upwards(package):
    made = package(one="import made.two", two="import made.one", three="import made.one, made.two")
    svg = STRUCTURE["drawing"](made)
    assert arrows(svg, "back") == 1
    assert boxes(svg)["three"][1] < min(boxes(svg)["one"][1], boxes(svg)["two"][1])


def test_each_folder_of_the_package_has_a_box_and_no_two_overlap():
    package = ROOT / "taskrunner"
    found = boxes(STRUCTURE["drawing"](package))
    there = {path.parent.name for path in package.glob("*/*.py")}
    there |= {path.stem for path in package.glob("*.py")} - {"__init__"}
    assert found.keys() == there
    for name, (x, y, wide, _) in found.items():
        beside = [other for other, place in found.items() if other > name and place[1] == y]
        for other in beside:
            left, size = found[other][0], found[other][2]
            assert x + wide < left or left + size < x, f"{name} and {other}"


def test_the_hooks_before_a_commit_are_the_steps_of_bin_check():
    steps = re.findall(r'step "[^"]*" "\$python" (.*)', (ROOT / "bin/check").read_text())
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert len(steps) >= 5
    assert re.findall(r"entry: \.venv/bin/python (.*)", hooks) == steps
