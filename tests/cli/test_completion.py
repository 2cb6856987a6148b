"""What the shells themselves offer, with the completions that we ship."""

import os
import pty
import re
import runpy
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from taskrunner import Manual, TaskRunner
from taskrunner.cli import completion, main, meant
from tests.samples import ROOT, call

pytestmark = pytest.mark.one_python

FOLDER = ROOT / "taskrunner" / "completions"
BASH_COMPLETION = Path("/usr/share/bash-completion/bash_completion")
CASES = [
    ("li", {"list"}),
    ("list --ki", {"--kind"}),
    ("list --kind ", {"cron", "every", "on", "at", "after", "boot", "manual"}),
    ("show ", {"backup", "bad.one", "quo"}),
    ("rm qu", {"quo"}),
    ("add x --overlap re", {"replace"}),
    ("add x --after qu", {"quo"}),
    ("add x --tz Europe/Berl", {"Europe/Berlin"}),
    ("install ", {"cron", "page", "systemd"}),
    ("completion ", {"bash", "zsh", "fish"}),
    ("history --state mi", {"missed"}),
    ("--home {other} show ", {"elsewhere"}),
    ("--home {nowhere} show ", set()),
]


@pytest.fixture
def places(home, tmp_path):
    """A home with tasks and another one; the variables of a shell that finds the program."""
    for folder, names in (
        (home, ["backup", "bad.one", "quo"]),
        (tmp_path / "other", ["elsewhere"]),
    ):
        with TaskRunner(folder) as live_runner:
            for name in names:
                live_runner.add(name, ["true"], Manual())
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "taskrunner").write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m taskrunner "$@"\n')
    (tools / "taskrunner").chmod(0o755)
    return {
        "PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "TASKRUNNER_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "COLUMNS": "300",
        "other": str(tmp_path / "other"),
        "nowhere": str(tmp_path / "nowhere"),
    }


def run(argv, env, text=None):
    done = subprocess.run(argv, env=env, capture_output=True, text=True, input=text, timeout=100)
    assert done.stderr == "", done.stderr
    return done.stdout


def bash(line, env):
    """What the function of bash leaves in COMPREPLY."""
    script = f"""
        {f"source {BASH_COMPLETION}" if BASH_COMPLETION.exists() else ""}
        source {FOLDER}/taskrunner
        compopt() {{ :; }}
        COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}
        COMP_WORDS=({line}); [[ $COMP_LINE != *" " ]] || COMP_WORDS+=("")
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _taskrunner taskrunner
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return set(run(["bash", "--norc"], env, script).split())


def fish(line, env):
    """What fish offers by itself."""
    script = f"source {FOLDER}/taskrunner.fish; complete -C '{line}'"
    out = run(["fish", "--no-config", "-c", script], env)
    return {each.partition("\t")[0] for each in out.splitlines()}


def zsh(line, env, offered=frozenset(["printenv"])):
    """What an interactive zsh has on its screen once a tabulator was typed twice."""
    setup = (
        "PS1='> '; autoload -Uz compinit; compinit -u -D; "
        f'eval "$(cat {FOLDER}/_taskrunner)"; setopt no_beep no_always_last_prompt; echo REA""DY\n'
    )
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe("zsh", ["zsh", "-f"], env)
    try:
        os.write(fd, setup.encode())
        read(fd, "READY", 30)
        os.write(fd, f"{line}\t\t".encode())
        seen, end = "", time.monotonic() + 100
        while not (offered and offered <= set(plain(seen).split())) and time.monotonic() < end:
            more = read(fd, None, 1)
            seen += more
            if not more and not offered:
                break
        return set(plain(seen).split())
    finally:
        os.close(fd)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def read(fd, until, quiet):
    """What a terminal shows until a text comes, or nothing for so many seconds."""
    seen, end = "", time.monotonic() + 100
    while time.monotonic() < end and (until is None or until not in seen.replace('""', "")):
        if not select.select([fd], [], [], quiet)[0]:
            break
        seen += os.read(fd, 65536).decode(errors="replace")
    return seen


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x07", "", text)


def typed(case, env):
    return f"taskrunner {case}".format(**env)


@pytest.mark.parametrize(("case", "offered"), CASES, ids=[case for case, _ in CASES])
def test_bash_offers_verbs_flags_values_and_tasks(needs, places, case, offered):
    needs("bash", shutil.which("bash") and BASH_COMPLETION.exists(), "bash-completion is not here")
    assert bash(typed(case, places), places) == offered


@pytest.mark.slow
@pytest.mark.parametrize(("case", "offered"), CASES, ids=[case for case, _ in CASES])
def test_fish_offers_verbs_flags_values_and_tasks(needs, places, case, offered):
    needs("fish", shutil.which("fish"), "fish is not here")
    found = fish(typed(case, places), places)
    assert offered <= found
    assert not offered or not found - offered or case.endswith("-ki")


@pytest.mark.slow
@pytest.mark.parametrize(("case", "offered"), CASES, ids=[case for case, _ in CASES])
def test_zsh_offers_verbs_flags_values_and_tasks(needs, places, case, offered):
    needs("zsh", shutil.which("zsh"), "zsh is not here")
    assert offered <= zsh(typed(case, places), places, offered)


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_after_the_dashes_the_command_is_completed_and_no_task(needs, places, shell):
    there = {"bash": BASH_COMPLETION.exists(), "fish": True, "zsh": True}[shell]
    needs(shell, there and shutil.which(shell), f"{shell} is not here")
    found = globals()[shell]("taskrunner add x --every 1d -- printen", places)
    assert "printenv" in found


def test_bash_completes_a_name_with_an_at_sign(needs, places):
    needs("bash", shutil.which("bash") and BASH_COMPLETION.exists(), "bash-completion is not here")
    with TaskRunner(places["TASKRUNNER_HOME"]) as live_runner:
        live_runner.add("sync@host", ["true"], Manual())
    line = "taskrunner show sync@h"
    script = f"""
        source {BASH_COMPLETION}
        source {FOLDER}/taskrunner
        COMP_WORDBREAKS=$' \\t\\n"@><=;|&(:'
        COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}
        COMP_WORDS=(taskrunner show sync @ h); COMP_CWORD=4
        _taskrunner taskrunner
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    assert run(["bash", "--norc"], places, script).split() == ["host"]  # what follows the @


# ---- the verb


@pytest.mark.parametrize(("shell", "name"), completion.FILES.items())
def test_the_verb_prints_the_file_that_is_shipped(home, shell, name):
    out, err, code = call(home, "completion", shell)
    assert (err, code) == ("", 0)
    assert out == (FOLDER / name).read_text().rstrip("\n") + "\n"


def test_the_files_are_those_of_this_parser():
    generate = runpy.run_path(str(ROOT / "docs/generate.py"), run_name="generate")
    for place, text in generate["completions"]():
        assert place.read_text() == text, f"{place.name} is stale: run python docs/generate.py"
    assert {place.name for place, _ in generate["completions"]()} == set(os.listdir(FOLDER))


@pytest.mark.parametrize(
    "words", [["completion"], ["completion", "tcsh"], ["completion", "bash", "--tasks"]]
)
def test_another_shell_is_refused_with_those_we_know(home, words):
    out, err, code = call(home, *words)
    assert (out, code) == ("", 2)
    assert "bash, zsh, fish" in err


@pytest.mark.parametrize("words", [[], ["-v"]], ids=["quick", "by the parser"])
def test_the_names_of_the_tasks_are_printed_one_a_line(places, home, words):
    assert call(home, *words, "completion", "--tasks") == ("backup\nbad.one\nquo\n", "", 0)


def test_asking_for_names_is_silent_where_nothing_can_be_read(home, tmp_path):
    assert call(tmp_path / "none", "completion", "--tasks") == ("", "", 0)
    assert not (tmp_path / "none").exists()
    (home / "taskrunner.db").write_text("no store")
    assert call(home, "completion", "--tasks") == ("", "", 0)


def test_asking_for_names_needs_no_parser():
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[1:] = ['completion', '--tasks']\n"
        "from taskrunner.__main__ import main; main(); print(*sys.modules)"
    )
    argv = [sys.executable, "-I", "-c", code]
    loaded = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    assert not {"argparse", "taskrunner.api.task_runner", "taskrunner.cli.main", "croniter"} & set(
        loaded
    )


# ---- short forms, and what was meant


@pytest.mark.parametrize(("alias", "verb"), main.ALIASES.items())
def test_short_forms_do_what_the_verb_does_and_stand_in_the_help(home, places, alias, verb, capsys):
    words, said = (["quo"], "quo") if verb == "remove" else ([], SAID[verb])
    out, err, code = call(home, alias, *words)
    assert code == 0
    assert said in out + err
    assert main.main([]) == 0
    (listed,) = re.findall(rf"^ +{verb} \((.*)\)", capsys.readouterr().out, re.MULTILINE)
    assert alias in listed.split(", ")
    assert call(home, "help", alias) == call(home, "help", verb)


SAID = {"list": "quo", "hold": "scheduled runs are paused", "resume": "nothing was paused"}


def test_pause_and_unpause_are_a_hold_and_its_end(home, places):
    with TaskRunner(home) as runner:
        assert call(home, "pause", "--for", "1h", "--reason", "move")[2] == 0
        assert runner.held().reason == "move"
        assert call(home, "unpause")[2] == 0
        assert runner.held() is None


@pytest.mark.parametrize(
    ("verb", "instead"), [("pause", "disable"), ("hold", "disable"), ("unpause", "enable")]
)
def test_a_hold_of_one_task_is_answered_with_the_verb_for_one(home, places, verb, instead):
    out, err, code = call(home, verb, "quo")
    assert (out, code) == ("", 2)
    assert f"it acts on all tasks; for one task use `taskrunner {instead} quo`" in err
    with TaskRunner(home) as runner:
        assert runner.held() is None


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("start", ["run", "enable"]),
        ("stop", ["cancel", "disable"]),
        ("kill", ["cancel"]),
        ("edit", ["set"]),
        ("logs", ["log"]),
        ("jobs", ["list", "status"]),
        ("why", ["explain"]),
        ("check", ["status", "doctor"]),
        ("restart", ["run"]),
        ("create", ["add"]),
        ("del", ["remove"]),
        ("clean", ["prune"]),
        ("START", ["run"]),
    ],
)
def test_the_word_of_another_program_is_answered_with_the_verb_here(home, places, word, meant):
    before = states(home)
    for words in ([word], [word, "quo"]):
        out, err, code = call(home, *words)
        assert (out, code) == ("", 2)
        assert f"unknown verb '{word}': " in err
        assert [verb for verb in meant if f"`taskrunner {verb}" not in err] == []
        assert "did you mean" not in err
    assert states(home) == before


def test_every_verb_in_such_an_answer_is_one(home):
    answers = [
        meant.advice(word, (*main.VERBS,)) for word in (*meant.ANSWERS, "new", "purge", "ps")
    ]
    named = [verb for each in answers for verb in re.findall("`taskrunner ([a-z]+)", each)]
    assert {*named} <= {*main.VERBS}


@pytest.mark.parametrize(
    "word",
    "remov remvoe re r delet delte prun prunes restor reset cance cancle uninstal disabl rmm d".split(),
)
def test_a_verb_that_takes_something_away_is_never_guessed(home, places, word):
    before = states(home)
    out, err, code = call(home, word, "quo")
    assert (out, code) == ("", 2)
    guessed = err.partition("did you mean ")[2].partition("?")[0]
    assert guessed not in meant.DESTRUCTIVE
    assert states(home) == before


def states(home):
    with TaskRunner(home) as runner:
        return [(task.name, task.enabled) for task in runner.tasks()], len(runner.history())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["lits"], "unknown verb 'lits': did you mean list?"),
        (["list", "--jsn"], "list does not know '--jsn': did you mean --json?"),
        (["ls", "--jsn"], "list does not know '--jsn': did you mean --json?"),
        (["history", "--sinc=7d"], "did you mean --since?"),
        (["add", "x", "--evry", "1d", "--", "true"], "did you mean --every?"),
        (["list", "--zzzzzzzz"], "list does not know '--zzzzzzzz'\n"),
        (
            ["show", "bakup"],
            "there is no task 'bakup': did you mean backup? `taskrunner list` shows all",
        ),
        (["show", "BACKUP"], "did you mean backup?"),
        (["run", "zzz"], "there is no task 'zzz': `taskrunner list` shows all"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_a_word_that_is_nearly_known_is_answered_with_that(home, places, words, told):
    out, err, code = call(home, *words)
    assert out == ""
    assert code in (1, 2, 125)
    assert told in err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("max_paralel = 3", "max_paralel in .* is not a setting: did you mean max_parallel?"),
        ('[notfy.ops]\nkind = "mail"', "is not a setting: did you mean notify?"),
        (
            '[notify.ops]\nkind = "mail"\nsendmial = "/x"',
            "is not a setting of mail: did you mean sendmail?",
        ),
    ],
)
def test_a_setting_that_is_nearly_known_is_answered_with_that(home, text, told):
    (home / "taskrunner.toml").write_text(text)
    out, err, code = call(home, "notify")
    assert (out, code) == ("", 2)
    assert re.search(told.replace("?", r"\?"), err)
