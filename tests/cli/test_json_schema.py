"""Each JSON document is what taskrunner/json.schema.json says, and docs/reference/json.md names each of its keys."""

import copy
import json
import os
import re
import shutil
import subprocess

import jsonschema
import pytest

from taskrunner.model.values import CatchUp, Kind, OnLost, Overlap, Severity, State
from tests import surface
from tests.samples import ROOT

SCHEMA = json.loads((ROOT / "taskrunner/json.schema.json").read_text())
PAGE = (ROOT / "docs/reference/json.md").read_text()
CHANNEL = '[notify.mine]\nkind = "command"\ncommand = "true"\non = ["failure"]\n'
QUEUE = '[queues.far]\nengine = "rq"\nurl = "redis://127.0.0.1:1/0"\n'  # which does not answer

# What prints a document, the definition of it, and the section of the page.
LINES = {
    "list --json": ("tasks", "Tasks"),
    "show report --json": ("tasks", "Tasks"),
    "add new --every 1h --json -- true": ("tasks", "Tasks"),
    "set report --timeout 5m --retries 2 --env B=2 --json": ("tasks", "Tasks"),
    "export --json": ("tasks", "Tasks"),
    "history --json": ("runs", "Runs"),
    "log report --json": ("runs", "Runs"),
    "next --json": ("next", "Coming slots"),
    "next --until 2d --json": ("next", "Coming slots"),
    "next --cron @daily --json": ("next", "Coming slots"),
    "history --graph --json": ("graph", "Graph"),
    "tick --dry-run --at +3d --json": ("decisions", "Decisions"),
    "status --json": ("status", "Status"),
    "explain report --json": ("explanation", "Explanations"),
    "explain report bad --json": ("explanation", "Explanations"),
    "stats --json": ("stats", "Statistics"),
    "prune --dry-run --json": ("pruned", "Pruning"),
    "apply tasks.toml --json": ("plan", "Apply"),
    "import crontab crontab --json": ("import", "Apply"),
    "env bad --json": ("environment", "Environment"),
    "env bad --diff --json": ("environment", "Environment"),
    "notify --json": ("notifications", "Notifications"),
    "notify --test mine --json": ("deliveries", "Notifications"),
    "notify --send --json": ("deliveries", "Notifications"),
    "queue --json": ("queues", "Queues"),
    "doctor --json": ("doctor", "Doctor"),
}


def strict(part):
    """A copy of a schema under which a key that it does not name is an error."""
    if isinstance(part, list):
        return [strict(each) for each in part]
    if not isinstance(part, dict):
        return part
    found = {key: strict(value) for key, value in part.items()}
    if "properties" in part and "anyOf" not in part:
        found["additionalProperties"] = False
    return found


def checked(name):
    exact = strict(copy.deepcopy(SCHEMA))
    explained = exact["$defs"]["explained"]["properties"]
    explained["version"] = {"const": 1}  # it stands beside the keys of the one explanation
    return jsonschema.Draft202012Validator({"$defs": exact["$defs"], "$ref": f"#/$defs/{name}"})


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    home = tmp_path_factory.mktemp("original") / "home"
    home.mkdir(mode=0o700)
    surface.furnish(home)
    (home / "taskrunner.toml").write_text(CHANNEL + QUEUE)
    return home


@pytest.fixture
def furnished(original, tmp_path, monkeypatch):
    shutil.copytree(original.parent, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.mark.xdist_group("documents")
@pytest.mark.parametrize("line", LINES)
def test_a_document_is_what_its_schema_says(furnished, line):
    _, out, err = surface.ask(furnished, *line.split())
    assert out, err
    found = [
        f"{each.json_path}: {each.message}"
        for each in checked(LINES[line][0]).iter_errors(json.loads(out))
    ]
    assert found == []


def test_every_verb_with_json_is_among_those_tried():
    verbs = {
        verb.split()[0] for verb, flags in surface.recorded("help").items() if "--json" in flags
    }
    assert verbs == {line.split()[0] for line in LINES}
    opening = PAGE.partition(" take `--json`")[0]
    assert verbs == {*re.findall(r"`(\w+)[ `]", opening)}


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (State, "state"),
        (Kind, "task/properties/kind"),
        (Overlap, "task/properties/overlap"),
        (CatchUp, "task/properties/catch_up"),
        (OnLost, "task/properties/on_lost"),
        (Severity, "doctor/properties/findings/items/properties/severity"),
    ],
)
def test_the_schema_knows_each_constant(words, place):
    part = SCHEMA["$defs"]
    for each in place.split("/"):
        part = part[each]
    assert {*part["enum"]} == {*words}


def names(name):
    """Every key that a definition has, also by way of other definitions."""
    found = set()

    def see(part):
        if isinstance(part, list):
            for each in part:
                see(each)
        elif isinstance(part, dict):
            found.update(part.get("properties", {}))
            for key, value in part.items():
                if key == "$ref":
                    see(SCHEMA["$defs"][value.rpartition("/")[2]])
                elif key != "enum":
                    see(value)

    see(SCHEMA["$defs"][name])
    return found


SHARED = {"status": ["Runs", "Coming slots"], "decisions": ["Runs"]}  # "as above" on the page


@pytest.mark.parametrize("name", sorted({name for name, _ in LINES.values()}))
def test_the_page_names_every_key_of_a_document(name):
    (section,) = {section for each, section in LINES.values() if each == name}
    sections = dict(part.partition("\n")[::2] for part in PAGE.split("\n## "))
    told = [sections[each] for each in [section, *SHARED.get(name, [])]]
    named = {word for text in told for word in re.findall(r"`(\w+)`", text)}
    assert names(name) - named == {"version"}


def test_an_unknown_key_would_be_noticed():
    document = {"version": 1, "next": [], "more": 1}
    assert [each.message for each in checked("next").iter_errors(document)]


@pytest.mark.slow
def test_the_lines_for_jq_print_what_they_should(furnished, needs):
    needs("jq", shutil.which("jq"), "jq is not installed")
    lines = PAGE.partition("## Use it with jq")[2].split("```")[1].splitlines()[1:]
    said = []
    for line in lines:
        env = {
            **os.environ,
            "TASKRUNNER_HOME": str(furnished),
            "PATH": f"{ROOT}/bin:{os.environ['PATH']}",
        }
        done = subprocess.run(["sh", "-c", line], env=env, capture_output=True, text=True)
        assert done.stderr == ""
        said.append(done.stdout)
    assert "bad: exit code 3" in said[0].splitlines()
    assert "report" not in said[1].splitlines() and "gone" in said[1].splitlines()
    assert all(row.count(",") == 3 for row in said[2].splitlines())
