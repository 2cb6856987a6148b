"""Whatever is typed or read: an answer or one sentence, never a traceback, a hang or half of something.

The targets are those of the fuzzer (tests/fuzz); here hypothesis chooses what they are fed, and all that the
fuzzer was given or found is fed to them again.
"""

import json
import os
import pty
import re
import select
import sqlite3
import subprocess
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from taskrunner import Every, Manual, TaskRunner
from tests.fuzz import targets, typed
from tests.samples import ROOT, call, program

pytestmark = pytest.mark.one_python

FUZZ = Path(targets.__file__).parent
KEPT = sorted(
    place
    for folder in ("corpus", "found")
    for place in (FUZZ / folder).glob("*/*")
    if place.is_file()
)
# Words of our grammars: strung together they get further than bytes by chance.
WORDS = sorted(
    {
        *(word for some in (*typed.VALUES.values(), *typed.FLAGS.values()) for word in some),
        *typed.LENGTHS,
        *("every", "cron", "[tasks.a]\n", "command = ['x']\n", "[defaults]\n", "{", "}", "[", "]"),
        *(
            " ",
            "\n",
            ",",
            "-",
            "/",
            "*",
            "=",
            '"',
            "'",
            "#",
            "\\",
            "%",
            "@",
            "\t",
            "\x1b",
            "ä",
            "\0",
        ),
    }
)
TEXTS = st.lists(st.sampled_from(WORDS), max_size=12).map(
    lambda words: "".join(words).encode(errors="surrogateescape")
)
COSTLY = ("commands", "applied", "imported", "outcomes")  # each example of theirs makes a store


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", targets.TARGETS)
def test_whatever_is_fed_to_a_parser_is_taken_or_refused_in_one_sentence(name):
    few = settings().max_examples // (4 if name in COSTLY else 1)

    @settings(max_examples=few)
    @given(st.binary(max_size=300) | TEXTS)
    def feed(data):
        targets.TARGETS[name](data)

    feed()


@pytest.mark.parametrize("place", KEPT, ids=lambda place: f"{place.parent.name}-{place.name[:20]}")
def test_what_the_fuzzer_was_given_and_what_it_found_stays_mended(place):
    targets.TARGETS[place.parent.name](place.read_bytes())


def test_every_target_has_a_corpus_and_every_corpus_a_target():
    assert {place.parent.name for place in KEPT} == {*targets.TARGETS}
    assert sum(place.stat().st_size for place in KEPT) < 500_000


def test_every_verb_and_every_flag_comes_up_in_command_lines():
    lines = [
        line for n in range(256) for line in typed.lines(os.urandom(0) + bytes([n, *range(n, 256)]))
    ]
    assert {words[0] for words in lines if words} >= {"add", "apply", "log", "tick"}
    assert typed.verbs().keys() >= {"add", "set", "run", "explain", "apply"}
    given = {word for words in lines for word in words}
    flags = {
        each.option_strings[-1]
        for verb in typed.verbs().values()
        for each in verb
        if each.option_strings
    }
    assert len(flags & given) > len(flags) / 2


# ---- the targets themselves tell good from bad


def test_a_traceback_is_told_from_a_sentence(tmp_path, monkeypatch):
    def broken(_):
        raise KeyError("x")

    monkeypatch.setattr("taskrunner.api.task_runner.TaskRunner.tasks", lambda *_, **__: broken(0))
    (tmp_path / "home").mkdir(mode=0o700)
    with pytest.raises(AssertionError, match="this is a bug"):
        typed.type_one(str(tmp_path), ["list"])


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE runs SET state = 'running'",
        "UPDATE runs SET reason = NULL",
        "INSERT INTO processes (run_id, supervisor, boot_id, output, inode) VALUES (1, 'x', 'y', 'z', 1)",
    ],
)
def test_a_store_that_is_half_written_is_noticed(home, spoil):
    with TaskRunner(home) as runner:
        runner.add("a", ["true"], Manual())
        runner.run("a")
    typed.check_store(str(home))
    with closing(sqlite3.connect(home / "taskrunner.db")) as connection, connection:
        connection.execute(spoil)
    with pytest.raises(AssertionError):
        typed.check_store(str(home))


def test_an_input_that_takes_too_long_is_reported(monkeypatch):
    monkeypatch.setattr(targets, "HANG", -1)
    with pytest.raises(targets.Slow, match="durations took"):
        targets.TARGETS["durations"](b"1h")


# ---- the program itself


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_the_program_answers_what_the_function_does(home, tmp_path, seed):
    """The same command lines, typed to a process of its own each."""
    data = bytes((seed * 31 + n * n * 17) % 256 for n in range(80))
    folder = str(tmp_path)
    (tmp_path / "home").rmdir()
    with typed.in_folder(folder):
        for words in typed.lines(data)[:4]:
            if any("\0" in word for word in words):
                continue
            _, err, code = call(tmp_path / "home", *words)
            assert "Traceback" not in err and "this is a bug" not in err, (words, err)
            assert code in typed.CODES or words[0] == "run", (words, code, err)
            typed.check_store(f"{folder}/home")


# ---- what is shown on a terminal

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\u202e\x00".replace("\x00", "")
OURS = re.compile(r"\x1b\[[0-9;]*m|\r\x1b\[K")  # the colours we paint with, and a line of progress
STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def on_a_terminal(home, *words, stdin=b""):
    """Run the program with a terminal for all three, and return what it showed there."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "LANG": "C.UTF-8"}
    with subprocess.Popen(
        program(home, *words), stdin=theirs, stdout=theirs, stderr=theirs, env=env
    ):
        os.close(theirs)
        found = b""
        with suppress(OSError):  # EIO: everybody has closed it
            while select.select([ours], [], [], 20)[0] and (more := os.read(ours, 65536)):
                found += more
    os.close(ours)
    return found.decode(errors="replace").replace("\r\n", "\n")


@pytest.fixture
def evil_home(tmp_path):
    """A home with control characters in everything that takes a text, itself included."""
    place = tmp_path / f"home{EVIL}"
    place.mkdir(mode=0o700)
    (tmp_path / f"env{EVIL}").write_text(f"A={EVIL}\nno assignment {EVIL}\n")
    with TaskRunner(place) as runner:
        evil = {"env": {"A": EVIL}, "cwd": str(tmp_path), "description": f"it {EVIL}"}
        runner.add(
            "a", ["/bin/sh", "-c", f"echo '{EVIL}'; exit 3", EVIL], Every("1m"), now=True, **evil
        )
        runner.add(
            "b", shell=f"echo '{EVIL}'", schedule=Manual(), expect=re.escape(f"x{EVIL}"), **evil
        )
        runner.add("c", [f"/no/{EVIL}"], Manual(), cwd=f"/no/where{EVIL}", stdin=EVIL)
        runner.add("d", ["true"], Manual(), env_file=str(tmp_path / f"env{EVIL}"))
        runner.tick()
        for name in "abcd":
            with suppress(Exception):
                runner.run(name)
        runner.set("a", shell=f"echo '{EVIL}'; exit 3")
        runner.hold(timedelta(hours=1), reason="why")
    with closing(sqlite3.connect(place / "taskrunner.db")) as connection, connection:
        # As if somebody had refused less once: reasons, and what is remembered of changes.
        connection.execute("UPDATE runs SET reason = reason || ?", [EVIL])
        connection.execute("UPDATE events SET text = coalesce(text, '') || ?", [EVIL])
    (tmp_path / f"bad{EVIL}.toml").write_text(
        f"[tasks.'x{EVIL}']\nevery='1h'\n".replace("\x1b", "")
    )
    (tmp_path / f"tab{EVIL}").write_text(f"*/5 * * * * echo '{EVIL}'\nnonsense {EVIL}\n")
    return place


EVERY_VERB = [
    *(["ls"], ["metrics"], ["completion", "bash"], ["rm", EVIL], ["delete", EVIL]),
    *(
        ["env", "a"],
        ["env", "d"],
        ["env", "a", "--show-secrets"],
        ["notify"],
        ["notify", "--test", EVIL],
    ),
    *(["list"], ["show", "a"], ["show", "b"], ["show", "c"], ["show", "d"], ["next"], ["history"]),
    *(["history", "a", "--verbose"], ["stats"], ["status"], ["status", "--check"], ["doctor"]),
    *(
        ["explain", "a"],
        ["explain", "1"],
        ["log", "a"],
        ["log", "b"],
        ["log", "a", "-f"],
        ["export"],
    ),
    *(
        ["export", "--crontab"],
        ["tick", "--dry-run", "-v"],
        ["tick", "-v"],
        ["run", "b"],
        ["run", "c"],
    ),
    *(
        ["run", "d"],
        ["prune", "--dry-run"],
        ["backup"],
        ["resume"],
        ["pause"],
        ["unpause"],
        ["disable", "a"],
        ["enable", "a"],
    ),
    *(
        ["show", EVIL],
        ["log", EVIL],
        [EVIL],
        ["list", EVIL],
        ["list", f"--{EVIL}"],
        ["--home", EVIL, "list"],
    ),
    *(["add", EVIL, "--manual", "--", "true"], ["add", "x", "--cron", EVIL, "--", "true"]),
    *(
        ["add", "x", "--manual", "--env", EVIL, "--", "true"],
        ["add", "x", "--manual", "--", f"/{EVIL}"],
    ),
    *(["add", "y", "--manual", "--cwd", f"/{EVIL}", "--", "true"], ["set", "a", "--tz", EVIL]),
    *(["set", "a", "--overlap", EVIL], ["set", "a", "--user", EVIL], ["next", "--at", EVIL]),
    *(["history", "--since", EVIL], ["history", "--state", EVIL], ["hold", "--for", EVIL]),
    *(["apply", f"bad{EVIL}.toml"], ["apply", f"none{EVIL}"], ["import", "crontab", f"tab{EVIL}"]),
    *(
        ["import", "crontab", f"none{EVIL}"],
        ["restore", f"none{EVIL}"],
        ["backup", f"no{EVIL}/where"],
    ),
    *(
        ["cancel", EVIL],
        ["remove", EVIL],
        ["export", EVIL],
        ["export", "--with-secrets", f"/no/{EVIL}"],
    ),
    *(
        ["queue", EVIL],
        ["page", "--listen", EVIL],
        ["page", "--remove", EVIL],
    ),
]


@pytest.mark.slow
def test_nothing_that_a_task_or_a_file_says_steers_the_terminal(evil_home, tmp_path):
    (tmp_path / "fakes").mkdir()
    for name in ("crontab", "systemctl", "loginctl"):
        (tmp_path / "fakes" / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "fakes" / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PATH", f"{tmp_path}/fakes:{os.environ['PATH']}")
        for words in EVERY_VERB:
            shown = on_a_terminal(evil_home, *words)
            assert shown or words[0] == "tick", words
            steers = STEERS.search(OURS.sub("", shown))
            assert steers is None, f"{words} shows {steers.group()!r}: {shown!r}"
            assert "this is a bug" not in shown and "Traceback" not in shown, (words, shown)


def test_every_verb_that_shows_something_is_among_those_tried():
    tried = {word for words in EVERY_VERB for word in words}
    assert {*typed.verbs()} <= tried


def test_a_log_that_is_piped_is_what_the_task_wrote(evil_home):
    with subprocess.Popen(
        program(evil_home, "log", "b"), stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout.read() == f"{EVIL}\n".encode()


@pytest.mark.parametrize(
    "words", [["list"], ["show", "a"], ["history"], ["export"], ["explain", "a"]]
)
def test_a_document_has_no_raw_control_character(evil_home, words):
    out, _, code = call(evil_home, *words, "--json")
    assert code == 0 and json.loads(out)
    assert STEERS.search(out) is None
