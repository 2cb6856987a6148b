"""The page that follows one run names functions that exist, in the files that it links to."""

import ast
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs/explanation/one-run.md"
NAMED = re.compile(r"`([A-Za-z_.]+)`\s+in\s+\[([^\]]+)\]\(([^)]+\.py)\)")
STEP = re.compile(r"^\d+\. ", re.MULTILINE)


def defined_in(place: Path) -> set[str]:
    """Return the functions and classes of a module, and the methods as Class.method."""
    body = ast.parse(place.read_text(encoding="utf-8")).body
    functions = {each.name for each in body if isinstance(each, ast.FunctionDef)}
    classes = [each for each in body if isinstance(each, ast.ClassDef)]
    methods = {
        f"{each.name}.{method.name}"
        for each in classes
        for method in each.body
        if isinstance(method, ast.FunctionDef)
    }
    return functions | methods | {each.name for each in classes}


def test_each_named_function_exists_where_the_page_says():
    found = NAMED.findall(PAGE.read_text(encoding="utf-8"))
    missing = [
        f"{name} in {shown}"
        for name, shown, link in found
        if not link.endswith("taskrunner/" + shown.replace("\\", ""))
        or name not in defined_in((PAGE.parent / link).resolve())
    ]
    assert not missing


def test_each_step_of_the_page_names_a_function():
    text = PAGE.read_text(encoding="utf-8")
    steps = STEP.split(text.partition("## What is different elsewhere")[0])[1:]
    assert len(steps) > 12
    assert all(NAMED.match(step) for step in steps)


def test_a_function_that_is_elsewhere_is_noticed():
    assert "claim_due" not in defined_in((PAGE.parent / "../../taskrunner/tick/visit.py").resolve())
