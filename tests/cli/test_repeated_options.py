"""Options that are given more than once: a filter takes all of them, any other is refused; nothing is lost in silence."""

import argparse
import json

import pytest

from taskrunner import At, Every, Manual, TaskRunner
from taskrunner.cli import main
from taskrunner.cli.common import Several
from taskrunner.errors import InputError, UnknownTask

USAGE = 2


@pytest.fixture
def tell(home, capsys):
    """Do what a command line asks for; returns stdout, stderr and the exit code."""

    def tell(*words):
        code = main.main(["--home", str(home), *words])
        return *capsys.readouterr(), code

    return tell


@pytest.fixture
def three(home):
    """A home with three tasks that have run: a succeeds, b fails, c succeeds; d is to come."""
    with TaskRunner(home) as runner:
        for name, command in (("a", "true"), ("b", "false"), ("c", "true")):
            runner.add(name, [command], Manual())
            runner.run(name)
        runner.add("d", ["true"], Every("1h"))
        yield runner


def options():
    """Each option that takes a value, of each verb."""
    whole = main.parser()
    (verbs,) = (a for a in whole._actions if isinstance(a, argparse._SubParsersAction))
    for verb, parser in verbs.choices.items():
        for action in parser._actions:
            if action.option_strings and action.nargs != 0:
                yield pytest.param(parser, action, id=f"{verb} {action.option_strings[-1]}")


@pytest.mark.parametrize(("parser", "action"), list(options()))
def test_each_option_keeps_all_its_values_or_refuses_a_second_one(parser, action):
    flag = action.option_strings[-1]
    first, second = (list(action.choices) * 2)[:2] if action.choices else ("7", "8")
    parser.given = {}
    positional = [a for a in parser._actions if not a.option_strings and a.nargs in (None, "+")]
    words = ["cron" if a.dest == "clock" else "crontab" for a in positional]
    try:
        found = parser.parse_args([*words, flag, first, flag, second])
    except InputError as exc:
        assert f"{action.option_strings[0]} is given twice" in str(
            exc
        ) or f"{flag} is given" in str(exc)
    else:
        assert [str(each) for each in getattr(found, action.dest)][-2:] == [first, second]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["history", "--since", "1d", "--since", "2d"], "--since is given twice, '1d' and '2d'"),
        (["history", "-n", "3", "--limit", "3"], "--limit is given twice, both times '3'"),
        (["history", "--since=-1d", "--since", "-2d"], "--since is given twice, '-1d' and '-2d'"),
        (["add", "x", "--manual", "--timeout", "1h", "--timeout=2h", "--", "true"], "--timeout"),
        (["add", "x", "--cron", "1 * * * *", "--cron", "2 * * * *", "--", "true"], "--cron"),
        (["set", "a", "--group", "db", "--group", "web"], "--group is given twice"),
        (["--color", "never", "list", "--color", "always"], "--color is given twice"),
        (["list", "--home", "/tmp/other"], "--home is given twice"),
        (["metrics", "--textfile", "x", "--textfile", "y"], "--textfile is given twice"),
        (["add", "x", "--manual", "--env", "A=1", "--env", "A=2", "--", "true"], "gives A twice"),
        (["add", "x", "--manual", "--limit", "files=1,files=2", "--", "true"], "given twice"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_an_option_that_may_not_be_repeated_is_refused_with_both_values(three, tell, words, told):
    out, err, code = tell(*words)
    assert (out, code) == ("", USAGE)
    assert told in err
    assert len(err.splitlines()) <= 2
    assert [task.name for task in three.tasks()] == ["a", "b", "c", "d"]


def test_the_values_of_variables_that_are_given_twice_are_not_shown(tell):
    words = ["--env", "TOKEN=hunter2", "--env", "TOKEN=hunter3"]
    assert "hunter" not in tell("add", "x", "--manual", *words, "--", "true")[1]


def test_a_variable_may_be_given_twice_with_one_value(tell):
    assert tell("add", "x", "--manual", "--env", "A=1", "--env", "A=1", "--", "true")[2] == 0


@pytest.mark.parametrize(
    ("words", "tasks"),
    [
        (["--state", "succeeded", "--state", "failed"], "cba"),
        (["--state", "succeeded,failed"], "cba"),
        (["--state", "failed,lost", "--state", "missed"], "b"),
        (["--task", "a", "--task", "b"], "ba"),
        (["--task", "a,b"], "ba"),
        (["a", "b"], "ba"),
        (["a,c"], "ca"),
        (["a", "--task", "b"], "ba"),
        (["a", "a", "--task=a"], "a"),
        (["a,b", "--state", "failed"], "b"),
    ],
    ids=" ".join,
)
def test_history_takes_several_of_each_filter(three, tell, words, tasks):
    found = json.loads(tell("history", "--json", *words)[0])["runs"]
    assert "".join(run["task"] for run in found) == tasks
    table = tell("history", *words)[0]
    assert "".join(line.split()[1] for line in table.splitlines()[1:]) == tasks


def test_a_graph_and_figures_are_of_several_tasks(three, tell):
    for words in (["a", "b"], ["a,b"]):
        found = json.loads(tell("history", "--graph", "--json", *words)[0])["graph"]
        assert [line["task"] for line in found] == ["a", "b"]
        found = json.loads(tell("stats", "--json", *words)[0])
        assert [each["task"] for each in found["tasks"]] == ["a", "b"]
        assert (found["total"]["runs"], found["total"]["failed"]) == (2, 1)
    words = ["history", "--graph", "--json", "--state", "succeeded", "--state=failed"]
    found = json.loads(tell(*words)[0])["graph"]
    assert [bool(line["marks"]) for line in found] == [True, True, True, False]


def test_list_takes_several_kinds(three, tell):
    three.add("e", ["true"], At("2099-01-01 00:00"), tz="UTC")
    for words in (["--kind", "every,at"], ["--kind", "every", "--kind", "at"]):
        found = json.loads(tell("list", "--json", *words)[0])["tasks"]
        assert [task["name"] for task in found] == ["d", "e"]


def test_what_is_to_come_is_of_several_tasks(three, tell):
    three.add("e", ["true"], Every("1h"))
    three.add("f", ["true"], Every("1h"))
    for words in (["d", "e"], ["d,e"]):
        found = json.loads(tell("next", "--json", "-n", "2", *words)[0])["next"]
        assert sorted(item["task"] for item in found) == ["d", "e"]
        agenda = tell("next", "--until", "3h", *words)[0]
        assert {line.split()[1] for line in agenda.splitlines()[2:]} >= {"d", "e"}
        assert " f " not in agenda.replace("starts together with", "")


def test_explain_reports_several_tasks_one_after_another(three, tell):
    for words in (["a", "b"], ["a,b"]):
        assert [
            each["task"] for each in json.loads(tell("explain", "--json", *words)[0])["tasks"]
        ] == ["a", "b"]
        out = tell("explain", *words)[0]
        assert out.index("a: only by hand") < out.index("b: only by hand")
    assert json.loads(tell("explain", "--json", "a")[0])["task"] == "a"


def test_a_tick_looks_at_several_tasks_only(three, tell):
    for name in ("x", "y", "z"):
        three.add(name, ["true"], Manual(), now=True)
    found = json.loads(tell("tick", "--dry-run", "--json", "--task", "x,y")[0])["decisions"]
    assert sorted(each["task"] for each in found) == ["x", "y"]
    assert tell("tick", "--task", "x", "--task", "y")[2] == 0
    assert sorted(run.task for run in three.history(["x", "y", "z"])) == ["x", "y"]


@pytest.mark.parametrize("verb", ["history", "stats", "next", "explain"])
def test_one_unknown_task_among_several_is_named(three, tell, verb):
    out, err, code = tell(verb, "a,nosuch")
    assert (out, code) == ("", 1)
    assert "'nosuch'" in err


@pytest.mark.parametrize("words", [["--state", "failed,"], ["--state", "failed,bogus"]])
def test_one_wrong_state_among_several_is_named(three, tell, words):
    _, err, code = tell("history", *words)
    assert code == USAGE
    assert repr(words[1].partition(",")[2]) in err


def test_the_library_takes_one_or_several(three):
    assert [run.task for run in three.history(["a", "b"], state=["failed", "succeeded"])] == [
        "b",
        "a",
    ]
    assert [run.task for run in three.history("a", state="succeeded")] == ["a"]
    assert three.history([]) == []
    assert [each.task for each in three.stats(("a", "b")).tasks] == ["a", "b"]
    assert [line.task for line in three.graph(["c", "a"]).lines] == ["a", "c"]
    assert [task.name for task in three.tasks(kind=["every"])] == ["d"]
    with pytest.raises(UnknownTask, match="nosuch"):
        three.history(["a", "nosuch"])


def test_names_before_and_after_each_other_are_kept_in_order():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", action=Several)
    parser.add_argument("--name", dest="names", action=Several)
    assert parser.parse_args(["--name", "a,b", "c", "d"]).names == ["a", "b", "c", "d"]
    assert parser.parse_args([]).names == []
