"""The examples of `--help`: they are done, not only read, each in a home that has what it speaks of."""

import argparse
import os
import re
import shlex
import stat

import pytest

from taskrunner import Cron, State, TaskRunner
from taskrunner.cli import common, define, main
from taskrunner.tasks import options
from tests.history import ran

# Those that never end by themselves, and those whose work is on the host; their verbs have tests of their own.
ELSEWHERE = {
    "daemon": "it goes on until a signal comes",
    "page": "it goes on until a signal comes",
    "doctor": "it asks the host",
    "install": "it writes to the host",
    "uninstall": "it writes to the host",
}
NOT_HERE = (
    "--watch",
    "log -f --all",
    "import crontab --",
    "crontab -l",
    "... |",
    "env -i",
    "* * * *",
    "source <(",
)
OUTSIDE = re.compile(r"(?<![\w.])/(?:var|mnt|opt|srv|etc|usr)/[\w./-]+")
MAY_WARN = {"prune": {0, 1}, "status": {0, 1, 2}, "queue": {0, 1}}  # there is none
if os.geteuid() != 0:
    MAY_WARN["import"] = {0, 1}  # a line of root is left alone

TOML = """
[notify.ops]
kind = "command"
shell = "true"
[notify.mail]
kind = "mail"
to = "ops@example.org"
smtp = "mail.example.org:587"
"""
FILE = (
    '[tasks.one]\nmanual = true\nshell = "true"\n[profiles.production.tasks.one]\ntimeout = "2h"\n'
)


def examples():
    (verbs,) = (a for a in main.parser()._actions if isinstance(a, argparse._SubParsersAction))
    for verb in main.VERBS:
        whole = re.sub(r"\\\n +", "", verbs.choices[verb].epilog)
        lines = [line for line in whole.splitlines()[1:] if line[:3] != "  #"]
        for line in (re.split(r" {3,}", each.strip())[0] for each in lines):
            if verb not in ELSEWHERE and not any(each in line for each in NOT_HERE):
                yield pytest.param(verb, line, id=line)


@pytest.fixture
def furnished(home, tmp_path, monkeypatch):
    """A home with what the examples speak of; returns how to say an example there."""
    monkeypatch.chdir(tmp_path)
    (home / "taskrunner.toml").write_text(TOML)
    with TaskRunner(home) as runner:
        for name in ("backup", "nothing"):
            runner.add(name, ["true"], Cron("0 2 * * *", tz="UTC"))
        store = runner._here().store
        run_id = ran(store)
        ran(store, State.PENDING, slot=store.runs.get(run_id).slot.replace(year=2025))
        live = store.runs.live()[0].id
        runner.backup(tmp_path / "copy.db")
    (tmp_path / "tasks.toml").write_text(FILE)
    (tmp_path / "folder.d").mkdir()
    (tmp_path / "folder.d" / "tasks.toml").write_text(FILE)
    (tmp_path / "cron").write_text("5 4 * * * root true\n")

    def place(found):
        path = found[0]
        for sign, mine in (
            ("cron.d", "cron"),
            ("/etc/taskrunner.d", "folder.d"),
            ("backups/", "copy.db"),
        ):
            if (sign in path and not path.endswith(".db")) or (sign == "backups/" and sign in path):
                return str(tmp_path / mine)
        return str(tmp_path / path.rpartition("/")[2])

    def say(verb, line):
        text = OUTSIDE.sub(place, line).replace(" 42", f" {live if verb == 'cancel' else run_id}")
        words = shlex.split(text.partition(" > ")[0])
        assert words.pop(0) in ("taskrunner", "eval"), line
        return words

    return say


@pytest.mark.parametrize(("verb", "line"), list(examples()))
def test_an_example_of_the_help_does_what_it_says(furnished, home, capsys, verb, line):
    words = furnished(verb, line)
    if line.startswith("eval"):
        words = ["completion", "zsh"]
    if verb != "cancel":  # nothing is to be waited for
        assert main.main(["--home", str(home), "cancel", "backup"]) == 0
    if verb == "add" and words[1] == "backup":
        assert main.main(["--home", str(home), "remove", "backup"]) == 0
    if verb in ("enable", "resume"):
        assert main.main(["--home", str(home), "hold"]) == 0
    if "--detach" in words:
        words.remove("--detach")  # it would leave a process behind
    capsys.readouterr()
    code = main.main(["--home", str(home), *words])
    out, err = capsys.readouterr()
    assert code in MAY_WARN.get(verb, {0}), err
    assert "Traceback" not in out + err


def test_every_verb_has_examples_that_are_done_or_says_where_else():
    done = {each.values[0] for each in examples()}
    assert done | set(ELSEWHERE) == set(main.VERBS)


def test_a_file_with_secrets_of_an_example_is_private(furnished, home, tmp_path):
    words = furnished("export", "taskrunner export --with-secrets tasks.toml")
    assert main.main(["--home", str(home), *words]) == 0
    assert stat.S_IMODE((tmp_path / "tasks.toml").stat().st_mode) == 0o600


def helped(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main.main([*words])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", ["", *main.VERBS])
def test_no_line_of_a_help_is_wider_than_a_terminal_of_80_columns(verb, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    for flag in ("-h", "--help"):
        text = helped(capsys, *filter(None, [verb]), flag)
        assert [line for line in text.splitlines() if len(line) > 80] == []


def test_the_help_begins_with_three_examples_and_has_each_verb_once_in_a_group(capsys):
    text = helped(capsys, "--help")
    head, *groups = re.split(r"^([a-z ]+):\n", text, flags=re.M)
    titles = groups[::2]
    assert titles == ["examples", *common.GROUPS, "options"]
    assert groups[1].count("  taskrunner ") == 3
    listed = [re.findall(r"^  ([a-z]+)", block, re.M) for block in groups[3:-1:2]]
    assert listed == [[*group] for group in common.GROUPS.values()]
    assert "usage: taskrunner [options] VERB" in head


def test_no_verb_prints_the_same_help(capsys):
    assert main.main([]) == 0
    assert capsys.readouterr().out == helped(capsys, "--help")


@pytest.mark.parametrize("verb", ["add", "set"])
def test_h_shows_the_usual_options_and_help_all_of_them(verb, capsys):
    short, whole = helped(capsys, verb, "-h"), helped(capsys, verb, "--help")
    flags = [set(re.findall(r"^  (--[\w-]+)", text, re.M)) for text in (short, whole)]
    usual = {f"--{name.replace('_', '-')}" for name in define.USUAL}
    assert flags[0] == usual | {"--help"}
    assert len(usual) <= 15
    assert {option.flag for option in options.OPTIONS.values()} < flags[1]
    assert short.endswith(f"taskrunner {verb} --help shows all.\n")
    assert "usual options:" not in whole


def test_the_examples_of_add_have_what_people_look_for():
    for each in ("a failure is mailed", "on weekdays", "last day of the month", "first Monday"):
        assert re.search(rf"^  # .*{each}", define.ADD, re.M)


@pytest.mark.parametrize("width", [60, 200])
def test_the_help_is_as_wide_as_the_terminal(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    with pytest.raises(SystemExit):
        main.main(["add", "--help"])
    flags = (
        capsys.readouterr().out.partition("schedule (exactly one):")[2].partition("examples:")[0]
    )
    longest = max(map(len, flags.splitlines()))
    assert longest <= width
    assert (longest > 80) == (width > 80)
