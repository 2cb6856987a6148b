"""What a person sees on a real terminal: pages that are drawn again, what fits, how far long work has come.

The terminal is tmux, so that what is looked at is what is on the screen and not what was written to it.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import timedelta

import pytest

from taskrunner import Cron, Every, Manual, State, TaskRunner
from taskrunner.cli import progress, screen
from taskrunner.errors import InputError, StateError
from tests.history import ran
from tests.samples import ROOT, call, command_lines, program, wait_for

pytestmark = pytest.mark.one_python

WIDTHS = (60, 80, 140)


class Screen:
    """A terminal of some size with a shell in it."""

    def __init__(self, socket, columns, lines):
        self._tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        env.pop("NO_COLOR", None)
        size = ["-x", str(columns), "-y", str(lines)]
        made = ["new-session", "-d", *size, "env PS1='% ' /bin/sh"]
        subprocess.run([*self._tmux, *made], env=env, check=True)

    def do(self, *words):
        done = subprocess.run([*self._tmux, *words], capture_output=True, text=True, check=True)
        return done.stdout

    def type(self, *keys):
        self.do("send-keys", *keys)

    def enter(self, home, *words):
        line = " ".join(f"'{word}'" for word in program(home, *words))
        self.do("clear-history")
        self.type("clear", "Enter")
        wait_for(lambda: "ended=" not in self.text())
        self.type(f'clear; {line}; echo end""ed=$?', "Enter")

    def text(self):
        return self.do("capture-pane", "-p").rstrip("\n")

    def shows(self, what):
        """Wait until the screen has a text, and return all of it."""
        return wait_for(lambda: next((text for text in [self.text()] if what in text), None))

    def lines_of(self, home, *words):
        """The lines that a command prints, once it has ended."""
        self.enter(home, *words)
        text = self.shows("ended=")
        return text[: text.index("ended=")].rstrip().split("\n")

    def close(self):
        self.do("kill-server")


@pytest.fixture
def terminal(tmp_path, needs):
    """Make terminals of any size."""
    needs("tmux", shutil.which("tmux"), "tmux is the terminal of these tests")
    made = []

    def make(columns=80, lines=30):
        made.append(Screen(tmp_path / f"tmux{len(made)}", columns, lines))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def runner(home):
    with TaskRunner(home) as made:
        yield made


# ---- what is drawn again


@pytest.mark.parametrize("leads", [True, False], ids=["hangup", "no-hangup"])
def test_a_terminal_that_is_closed_ends_it_without_a_word_of_a_bug(home, runner, leads):
    ours, its = os.openpty()
    words = program(home, "status", "--watch", "0.1")
    if leads:  # it is told by HUP that its terminal is gone
        words = [*shlex.split("setsid --ctty --wait"), *words]
    with tempfile.TemporaryFile() as said:
        watched = subprocess.Popen(words, stdin=its, stdout=its, stderr=said)
        os.close(its)
        seen = b""
        while b"q ends" not in seen:
            seen += os.read(ours, 4096)
        os.close(ours)
        watched.wait(60)
        said.seek(0)
        assert said.read().decode() in (
            "",
            "taskrunner: stdout cannot be written: Input/output error\n",
        )


def test_a_watched_status_shows_a_run_that_was_over_between_two_looks(terminal, home, runner):
    runner.add("quick", ["true"], Manual())
    watched = terminal()
    watched.enter(home, "status", "--watch", "60")
    assert "ended      nothing" in watched.shows("every 1m 00s; q ends")
    runner.run("quick")
    # Long before the 60 seconds are over: it was seen that something changed, perhaps also in between.
    text = watched.shows("exit code 0")
    assert "quick" in text and "succeeded" in text


def test_a_watched_status_shows_what_runs_and_that_it_ended(terminal, home, runner, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    runner.add("slow", ["cat", str(fifo)], Manual())
    watched = terminal()
    watched.enter(home, "status", "--watch")
    watched.shows("running    nothing")
    runner.run("slow", detach=True)
    assert "so far" in watched.shows("running    1")
    fifo.write_text("")
    assert "succeeded" in watched.shows("ended      1")


def test_q_gives_the_screen_back_and_the_exit_code_is_0(terminal, home, runner):
    runner.add("x", ["true"], Every("1d"))
    watched = terminal()
    watched.type("echo before", "Enter")
    watched.shows("before")
    line = " ".join(program(home, "status", "--watch"))
    watched.type(f'{line}; echo end""ed=$?', "Enter")
    assert "before" not in watched.shows("last tick")
    watched.type("q")
    text = watched.shows("ended=0")
    assert "before" in text
    assert "last tick" not in text
    watched.type("clear; stty -a", "Enter")
    assert " icanon" in watched.shows("icanon")
    assert " echo " in watched.text()


@pytest.mark.parametrize("key", ["C-c", "C-d", "Q"])
def test_other_keys_that_end_it(terminal, home, key):
    watched = terminal()
    watched.enter(home, "history", "--watch", "1")
    watched.shows("no runs match")
    watched.type("x")  # any other key does not
    watched.type(key)
    watched.shows("ended=0")


@pytest.mark.parametrize("keys", [("x", "q"), ("x", "Escape")], ids="".join)
def test_keys_that_come_at_once_are_all_read(terminal, home, keys):
    watched = terminal()
    watched.enter(home, "history", "--watch", "1")
    watched.shows("no runs match")
    watched.type("F2")  # its last letter is a Q, but it is one key
    time.sleep(2 * screen.LOOK)
    watched.type(*keys)
    watched.shows("ended=0")


def test_a_stop_by_a_signal_gives_the_screen_back_too(terminal, home):
    watched = terminal()
    watched.enter(home, "status", "--watch")
    watched.shows("q ends")
    words = f"--home {home} status --watch"
    children = [pid for pid, line in command_lines().items() if words in line and "-m " in line]
    os.kill(max(children), signal.SIGTERM)  # the newest, as a shell has the same words
    assert "q ends" not in watched.shows("ended=0")


def test_a_watched_page_follows_the_size_of_the_terminal(terminal, home, runner):
    for number in range(20):
        task = runner.add(f"task{number:02}", ["true"], Manual())
        ran(runner._here().store, task=task.id)
    watched = terminal(80, 30)
    watched.enter(home, "history", "--watch", "60")
    watched.shows("task00")
    watched.do("resize-window", "-x", "60", "-y", "10")
    text = watched.shows("… 13 more lines")
    assert len(text.split("\n")) == 10
    assert max(map(len, text.split("\n"))) <= 60


def test_watching_a_task_that_is_not_there_is_refused_at_once(terminal, home, runner):
    runner.add("x", ["true"], Manual())
    shown = terminal(140).lines_of(home, "history", "nothing", "--watch")
    assert shown == ["taskrunner: there is no task 'nothing': `taskrunner list` shows all"]


@pytest.mark.parametrize("words", [("status", "--watch"), ("history", "--watch", "5")])
def test_without_a_terminal_watching_is_refused_with_a_sentence(home, words):
    out, err, code = call(home, *words)
    assert (out, code) == ("", 1)
    assert err.count("\n") == 1
    assert "stdout is not one" in err


@pytest.mark.parametrize(
    ("text", "found"), [("2", 2), ("0.5", 0.5), ("1m", 60), ("86400", 86_400), ("5s", 5)]
)
def test_the_seconds_between_two_looks(text, found):
    assert screen.seconds(text) == found


@pytest.mark.parametrize("text", ["backup", "0", "-1", "", "nan", "inf", "1e9", "0.01"])
def test_an_invalid_time_for_watch_is_refused(text):
    with pytest.raises(InputError, match="is not a valid time for --watch"):
        screen.seconds(text)


@pytest.fixture
def unseen(monkeypatch):
    """A screen that nobody looks at; returns what is put on it."""
    drawn = []
    monkeypatch.setattr(screen, "check", lambda: None)
    monkeypatch.setattr(screen, "_put", drawn.append)
    monkeypatch.setattr(screen.os, "get_terminal_size", lambda _: os.terminal_size((80, 24)))
    with open(os.devnull) as nowhere:
        monkeypatch.setattr(sys, "stdout", nowhere)
        monkeypatch.setattr(sys, "stdin", None)
        yield drawn
        monkeypatch.undo()


@pytest.mark.usefixtures("unseen")
def test_a_page_that_takes_long_is_made_less_often(monkeypatch):
    made, until = [], time.monotonic() + 1.5
    monkeypatch.setattr(screen, "_quit", lambda wait: time.sleep(0.01) or time.monotonic() > until)
    screen.watch(lambda: made.append(time.sleep(0.1)) or "", iter(range(10_000)).__next__, 0.1)
    assert len(made) <= 5


def test_what_goes_wrong_later_is_shown_and_tried_again(unseen, monkeypatch):
    answers = ["first", StateError("it hurts"), "again"]

    def draw():
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(screen, "_quit", lambda _: time.sleep(0.02) or not answers)
    screen.watch(draw, lambda: 1, 0.1)
    assert [word in "".join(unseen) for word in ("first", "it hurts", "again")] == [True] * 3


# ---- what fits


PAGES = (
    ["list"],
    ["history"],
    ["history", "--graph"],
    ["status"],
    ["stats"],
    ["next"],
    ["next", "--until", "2d"],
    ["tick", "--dry-run", "--at", "2030-01-01"],
)


@pytest.fixture
def busy(runner):
    """A home with long names, long reasons and every kind of state."""
    name = "synchronise-customers-from-the-old-system"
    runner.add(
        name, ["/bin/true", "--with", "many", "long", "options"], Cron("0 2 * * *"), tz="UTC"
    )
    runner.add("b", ["true"], Cron("0 2 * * *"), tz="UTC", group="db")
    runner.add("c", ["true"], Cron("0 2 * * *"), tz="UTC", group="db")
    runner.add("often", ["true"], Every("1m"))
    store, now = runner._here().store, runner.now()
    finals = [state for state in State if state not in (State.PENDING, State.RUNNING)]
    for number, state in enumerate(finals * 3):
        ran(store, state, now - timedelta(hours=5 * number), task=1 + number % 3)
    return runner


@pytest.mark.parametrize("columns", WIDTHS)
def test_no_page_is_wider_than_the_terminal(terminal, home, busy, columns):
    busy.close()
    shown = terminal(columns + 60, 60)  # what is too wide would be seen, and not folded
    shown.type(f"stty cols {columns}", "Enter")
    for words in PAGES:
        lines = shown.lines_of(home, *words)
        said = [line for line in lines if not line.startswith("taskrunner: ")]
        assert max(map(len, said)) <= columns, words
        assert len(said) > 2, words


def test_a_wide_terminal_has_all_columns_and_a_narrow_one_what_matters(terminal, home, busy):
    busy.close()
    wide, narrow = terminal(160).lines_of(home, "list"), terminal(60).lines_of(home, "list")
    assert wide[0].split() == ("id task schedule next (UTC) in last last run ago command".split())
    assert narrow[0].split() == "task schedule in last".split()
    assert "…" in "".join(narrow)


def test_colours_can_be_asked_for_and_declined(terminal, home, busy):
    busy.close()
    assert "\033[31mfailed\033[0m" in call(home, "--color", "always", "history")[0]
    assert "\033" not in call(home, "history")[0]
    shown = terminal(100)
    for words, coloured in ((["history"], True), (["history", "--color", "never"], False)):
        shown.lines_of(home, *words)
        assert ("\033[31m" in shown.do("capture-pane", "-p", "-e")) is coloured
    shown.type("export NO_COLOR=1", "Enter")
    for words, coloured in ((["history"], False), (["history", "--color", "always"], True)):
        shown.lines_of(home, *words)
        assert ("\033[31m" in shown.do("capture-pane", "-p", "-e")) is coloured


def test_a_colour_that_is_none_is_refused(home):
    out, err, code = call(home, "list", "--color", "pink")
    assert (out, code) == ("", 2)
    assert "'pink'" in err


# ---- how far long work has come


def test_a_line_of_progress():
    assert progress.line("tasks", 5, 10) == "tasks [############............]  50%  5 of 10"
    assert progress.line("runs", 7, None) == "runs: 7"
    assert progress.line("tasks", 12, 10).endswith("100%  10 of 10")


@pytest.mark.slow
def test_progress_of_a_long_apply_is_seen_and_gone_at_the_end(terminal, home, tmp_path):
    file = tmp_path / "tasks.toml"
    text = '[tasks.t{0}]\ncron = "{1} 2 * * *"\ncommand = ["true"]\n'
    file.write_text("".join(text.format(number, number % 60) for number in range(12_000)))
    shown = terminal()
    shown.enter(home, "apply", str(file), "--quiet")
    shown.shows(" of 12000")
    assert shown.shows("ended=0").split("\n")[0].startswith("ended=0")


def test_where_stderr_is_not_a_terminal_nothing_is_said_of_progress(home, capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET", 0)
    with progress.Progress() as tell:
        tell("runs", 1, 2)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["prune", "backup", "restore", "import"])
def test_long_work_shows_its_progress(home, runner, tmp_path, verb):
    told = []

    def tell(what, done, total):
        told.append(what)
        assert total is None or 0 <= done <= total

    runner.add("x", ["true"], Manual())
    store = runner._here().store
    for number in range(200):
        ran(store, ended=runner.now() - timedelta(days=400, minutes=number))
    match verb:
        case "prune":
            runner.tick()
            runner.prune(progress=tell)
        case "backup":
            runner.backup(progress=tell)
        case "restore":
            runner.restore(runner.backup().place, progress=tell)
        case "import":
            runner.import_crontab(text="0 2 * * * true\n", progress=tell)
    assert told
