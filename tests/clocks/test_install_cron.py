"""Our block in a crontab: written, replaced, removed, and told from what others wrote."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given, strategies as st

from taskrunner import errors
from taskrunner.cli import main
from taskrunner.clocks import cron_text, entry, install_cron
from taskrunner.home import program
from tests.samples import fake_crontab

HOME = "/srv/tasks"
LINE = "* * * * *  /usr/local/bin/taskrunner --home /srv/tasks tick"
OTHERS = "# mine\nMAILTO=me@example.org\n\n30 2 * * *  backup\n"


def written(text: str, home: str = HOME, line: str = LINE) -> str:
    return cron_text.with_block(text, home, line)


# ---- the block


def test_a_block_is_two_markers_round_one_line():
    first, line, last = written("").splitlines()
    assert first.startswith("# >>> taskrunner /srv/tasks >>> ")
    assert line == LINE
    assert last == "# <<< taskrunner /srv/tasks <<<"


def test_what_stands_there_stays_and_comes_first():
    assert written(OTHERS) == OTHERS + written("")


def test_writing_twice_is_writing_once():
    assert written(written(OTHERS)) == written(OTHERS)


def test_removing_gives_back_what_was_there():
    assert cron_text.without_block(written(OTHERS), HOME) == OTHERS
    assert cron_text.without_block(written(""), HOME) == ""


def test_a_last_line_that_does_not_end_is_ended_before_our_block():
    assert written("30 2 * * *  backup") == "30 2 * * *  backup\n" + written("")


def test_nothing_is_removed_where_there_is_no_block():
    assert cron_text.without_block(OTHERS, HOME) == OTHERS


def test_edits_inside_our_block_are_replaced_and_its_place_is_kept():
    text = written(OTHERS).replace(LINE, "MAILTO=x\n*/5 * * * *  taskrunner tick\n# note")
    after = "0 1 * * *  other\n"
    assert written(text + after) == written(OTHERS) + after


def test_two_blocks_of_one_home_become_one_in_the_place_of_the_first():
    between = "0 1 * * *  other\n"
    assert written(written("") + between + written("")) == written("") + between
    assert cron_text.without_block(written("") + between + written(""), HOME) == between


def test_each_home_has_a_block_of_its_own():
    other = "* * * * *  taskrunner --home /srv/b tick"
    both = written(written(""), "/srv/b", other)
    assert cron_text.without_block(both, HOME) == written("", "/srv/b", other)
    assert cron_text.without_block(both, "/srv/b") == written("")


def test_a_home_whose_name_begins_like_another_is_another():
    assert written(written(""), "/srv/tasks2") != written("", "/srv/tasks2")
    assert cron_text.without_block(written("", "/srv/tasks2"), HOME) == written("", "/srv/tasks2")


def test_a_block_without_its_end_takes_nothing_of_others_with_it():
    torn = "".join(written("").splitlines(keepends=True)[:2]) + OTHERS
    assert cron_text.without_block(torn, HOME) == OTHERS
    only_marker = written("").splitlines(keepends=True)[0] + OTHERS
    assert cron_text.without_block(only_marker, HOME) == OTHERS


def test_a_block_without_its_end_ends_before_the_next_block():
    torn = "".join(written("").splitlines(keepends=True)[:2])
    other = written("", "/srv/b", "* * * * *  taskrunner --home /srv/b tick")
    assert cron_text.without_block(torn + other, HOME) == other


def test_an_end_without_a_beginning_goes_alone():
    assert cron_text.without_block(f"{OTHERS}# <<< taskrunner {HOME} <<<\n", HOME) == OTHERS


MARKS = [*written("").splitlines(), *written("", "/srv/b", "@daily x").splitlines(), ""]


@given(st.lists(st.sampled_from([*OTHERS.splitlines(), *MARKS])).map("\n".join))
def test_whatever_stands_there_there_is_one_block_afterwards_and_others_keep_their_lines(text):
    once = written(text)
    assert written(once) == once
    assert len(cron_text.block(once, HOME)) == 3
    gone = cron_text.without_block(once, HOME)
    assert cron_text.block(gone, HOME) == []
    for line in filter(None, OTHERS.splitlines()):
        inside = cron_text.block(text, HOME).count(line)
        assert gone.splitlines().count(line) == text.splitlines().count(line) - inside


# ---- the line


def test_the_line_names_the_user_only_in_a_file_of_the_system():
    assert cron_text.entry(("/bin/x", "tick")) == "* * * * *  /bin/x tick"
    assert cron_text.entry(("/bin/x", "tick"), "root") == "* * * * *  root  /bin/x tick"


def test_the_line_of_a_packaged_program_does_nothing_once_that_is_removed():
    words = ("/usr/bin/taskrunner", "--home", "/srv/h", "tick")
    line = cron_text.entry(words)
    assert line == "* * * * *  [ -x /usr/bin/taskrunner ] && /usr/bin/taskrunner --home /srv/h tick"
    (found,) = cron_text.lines_that_call(line)
    assert (found.call.program, found.call.home, found.call.verb) == (words[0], "/srv/h", "tick")
    (found,) = cron_text.lines_that_call(cron_text.entry(words, "root"), users=True)
    assert (found.user, found.call.program, found.call.home) == ("root", words[0], "/srv/h")


def test_blanks_quotes_and_percent_signs_of_a_path_come_through_cron_and_the_shell():
    words = ("/opt/a b/taskrunner", "--home", "/srv/50% o'clock", "tick")
    line = cron_text.entry(words)
    assert "50\\% " in line
    # What cron does with the line, and then the shell.
    command = line.removeprefix(cron_text.EVERY_MINUTE).strip().replace("\\%", "%")
    said = subprocess.run(["/bin/sh", "-c", f"printf '%s\\n' {command}"], stdout=subprocess.PIPE)
    assert said.stdout.decode().splitlines() == list(words)
    (found,) = cron_text.lines_that_call(line)
    assert (found.call.program, found.call.home) == (words[0], words[2])


@pytest.mark.parametrize("home", ["/srv/a\nb", "/srv/a\\b"])
def test_a_path_that_no_crontab_can_hold_is_refused(home):
    with pytest.raises(errors.InputError, match="cannot be used"):
        program.words(("/bin/taskrunner",), home, "tick")


# ---- lines of others


@pytest.mark.parametrize(
    ("text", "users", "expected"),
    [
        (LINE, False, ("/usr/local/bin/taskrunner", "/srv/tasks", None)),
        ("* * * * * taskrunner tick >/dev/null 2>&1", False, ("taskrunner", None, None)),
        ("* * * * *\troot\t/bin/taskrunner tick", True, ("/bin/taskrunner", None, "root")),
        ("* * * * * -me /bin/taskrunner tick", True, ("/bin/taskrunner", None, "me")),
        ("@reboot /bin/taskrunner --home=/h daemon", False, ("/bin/taskrunner", "/h", None)),
        ("* * * * * TASKRUNNER_HOME=/h taskrunner tick", False, ("taskrunner", "/h", None)),
        ("* * * * * cd /x && ./bin/taskrunner tick", False, ("./bin/taskrunner", None, None)),
        ("* * * * * /v/bin/python3 -m taskrunner tick", False, ("/v/bin/python3", None, None)),
        ("TASKRUNNER_HOME=/h\n* * * * * taskrunner tick", False, ("taskrunner", "/h", None)),
    ],
)
def test_a_line_that_calls_a_tick_is_known(text, users, expected):
    (line,) = cron_text.lines_that_call(text, users=users)
    assert (line.call.program, line.call.home, line.user) == expected


@pytest.mark.parametrize(
    "text",
    [
        "# * * * * * taskrunner tick",
        "* * * * * taskrunner list",
        "* * * * * echo taskrunner%tick",
        "TASK=taskrunner tick",
        "* * * * * /opt/taskrunner/backup tick",
        "",
    ],
)
def test_any_other_line_is_not(text):
    assert cron_text.lines_that_call(text) == []


def test_a_line_in_a_block_is_told_from_one_that_somebody_wrote():
    lines = cron_text.lines_that_call(written(f"{LINE}\n"))
    assert [(line.number, line.ours) for line in lines] == [(1, False), (3, True)]


# ---- the program


def test_the_program_is_the_script_that_was_called(monkeypatch, tmp_path):
    script = tmp_path / "taskrunner"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script), "install", "cron"])
    assert program.own() == (str(script),)


def test_a_shim_is_never_the_program(monkeypatch, tmp_path):
    script = tmp_path / "shims" / "taskrunner"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script), "install", "cron"])
    assert str(script) not in program.own()


def test_the_script_beside_the_interpreter_is_the_program(monkeypatch, tmp_path):
    script = tmp_path / "taskrunner"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    assert program.own() == (str(script),)


def test_a_checkout_that_is_not_installed_is_called_by_the_interpreter(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    words = program.own()
    assert words[0] == "/usr/bin/env"
    assert words[-4:] == (str(tmp_path / "python3"), "-P", "-m", "taskrunner")


def test_an_installed_package_without_a_script_is_called_by_the_interpreter(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    monkeypatch.setattr("site.getsitepackages", lambda: [program.FOLDER])
    assert program.own() == (str(tmp_path / "python3"), "-P", "-m", "taskrunner")


@pytest.mark.parametrize(
    ("executable", "prefix", "base", "found"),
    [
        ("/venv/bin/python", "/venv", "/usr", "/venv/bin/python"),
        ("/usr/bin/python3.11", "/usr", "/usr", "/usr/bin/python3.11"),
        ("/usr/bin/pypy3", "/usr", "/usr", "/usr/bin/pypy3"),
        ("/usr/bin/python3.11", "/venv", "/usr", "/venv/bin/python3"),  # uWSGI in an environment
        ("/venv/bin/uwsgi", "/venv", "/usr", "/venv/bin/python3"),
        ("/usr/sbin/apache2", "/usr", "/usr", "/usr/bin/python3"),
        ("", "/usr", "/usr", "/usr/bin/python3"),
        (None, "/venv", "/usr", "/venv/bin/python3"),
    ],
)
def test_our_interpreter_is_found_in_a_web_server(monkeypatch, executable, prefix, base, found):
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(sys, "prefix", prefix)
    monkeypatch.setattr(sys, "base_prefix", base)
    assert program.interpreter() == found


def test_a_program_that_somebody_else_can_change_is_seen(tmp_path):
    file = tmp_path / "taskrunner"
    file.write_text("")
    file.chmod(0o777)
    tmp_path.chmod(0o755)
    if os.geteuid() == 0:
        assert program.changeable_by(str(file)) == 0
        os.chown(file, 4321, 4321)
        assert program.changeable_by(str(file)) == 4321
    assert program.changeable_by("/bin/sh") is None


# ---- the verbs, with a crontab(1) that keeps its text in a file


@pytest.fixture
def tab(tmp_path, monkeypatch):
    """The file of the user's crontab, as a fake crontab(1) keeps it."""
    folder = tmp_path / "fake"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr("taskrunner.processes.alive.process_named", lambda *_: True)
    return fake_crontab(folder)


def verb(*words) -> int:
    return main.main([str(word) for word in words])


def test_install_makes_a_crontab_where_there_is_none_and_uninstall_removes_it(tab, home, capsys):
    assert verb("--home", home, "install", "cron") == 0
    assert f"--home {home} tick" in tab.read_text()
    assert "cron calls" in capsys.readouterr().err
    assert verb("--home", home, "uninstall", "cron") == 0
    assert not tab.exists()


def test_install_keeps_what_was_there_before(tab, home, capsys):
    tab.write_text(OTHERS)
    assert verb("--home", home, "install", "cron") == 0
    (kept,) = (home / "backups").iterdir()
    assert kept.read_text() == OTHERS
    assert kept.stat().st_mode & 0o777 == 0o600
    assert str(kept) in capsys.readouterr().err
    assert verb("--home", home, "uninstall", "cron") == 0
    assert tab.read_text() == OTHERS


def test_a_second_install_changes_nothing_and_keeps_no_copy(tab, home, capsys):
    verb("--home", home, "install", "cron")
    before = tab.read_text()
    assert verb("--home", home, "install", "cron") == 0
    assert tab.read_text() == before
    assert not list((home / "backups").iterdir())
    assert "already" in capsys.readouterr().err


def test_a_dry_run_prints_the_difference_and_changes_nothing(tab, home, capsys):
    tab.write_text("30 2 * * *  backup")
    assert verb("--home", home, "install", "cron", "--dry-run") == 0
    said = capsys.readouterr().out
    assert said.startswith("--- crontab of ")
    assert "\n+* * * * *  " in said
    assert tab.read_text() == "30 2 * * *  backup"
    assert not list(home.iterdir())


def test_quiet_says_nothing_when_all_is_well(tab, home, capsys):
    assert verb("--home", home, "install", "cron", "--quiet") == 0
    assert verb("--home", home, "uninstall", "cron", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_the_home_that_cron_finds_by_itself_is_not_named(tab, monkeypatch, tmp_path):
    monkeypatch.setattr(entry, "own_default", lambda: str(tmp_path / "own"))
    assert verb("--home", tmp_path / "own", "install", "cron") == 0
    assert "--home" not in tab.read_text()


def test_a_line_that_somebody_wrote_for_the_same_home_is_reported(tab, home, capsys):
    tab.write_text(f"* * * * *  /x/taskrunner --home {home} tick\n")
    assert verb("--home", home, "install", "cron", "--quiet") == 0
    assert "line 1 of crontab of" in capsys.readouterr().err


def test_install_refuses_where_there_is_no_crontab(tmp_path, home, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("taskrunner.processes.programs.TOOLS", ())
    assert verb("--home", home, "install", "cron") == 1
    said = capsys.readouterr().err
    assert "cron is not installed" in said
    assert said.count("\n") == 1


FLEETING = (
    ".cache/uv/archive-v0/3fXc_dq0/bin/taskrunner",
    "elsewhere/environments-v2/run-1a2b/bin/taskrunner",
    ".cache/uv/builds-v0/.tmpAb12/bin/taskrunner",
    ".local/share/pipx/.cache/0123456789abcde/bin/taskrunner",
    ".local/pipx/.cache/0123456789abcde/bin/taskrunner",
    ".cache/pipx/0123456789abcde/bin/taskrunner",
    "own/.cache/fedcba987654321/bin/taskrunner",
)
LASTING = (
    ".local/share/pipx/venvs/taskrunner-tick/bin/taskrunner",
    ".local/share/uv/tools/taskrunner-tick/bin/taskrunner",
    ".cache/pypoetry/virtualenvs/app-1a2b3c-py3.11/bin/taskrunner",
    "archive/bin/taskrunner",
)


@pytest.fixture
def script(monkeypatch, tmp_path):
    """Let a script below a folder be the one that was called."""

    def called(place):
        file = tmp_path / place
        file.parent.mkdir(parents=True)
        file.write_text("#!/bin/sh\n")
        file.chmod(0o755)
        monkeypatch.setattr(sys, "argv", [str(file), "install"])
        return str(file)

    return called


@pytest.mark.parametrize("words", [("cron",), ("cron", "--dry-run"), ("systemd",)], ids=" ".join)
@pytest.mark.parametrize("place", FLEETING)
def test_a_program_that_is_there_for_one_call_is_not_a_program_of_a_clock(
    tab, home, script, capsys, place, words
):
    file = script(place)
    assert verb("--home", home, "install", *words) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert file in err
    assert "`pipx install taskrunner-tick`" in err
    assert ("uvx" if "-v" in place else "pipx run") in err
    assert not tab.exists()
    assert not list(home.iterdir())


@pytest.mark.parametrize("place", LASTING)
def test_a_program_that_was_installed_to_stay_is_taken(tab, home, script, place):
    file = script(place)
    assert verb("--home", home, "install", "cron", "--quiet") == 0
    assert file in tab.read_text()


def test_an_entry_of_a_program_that_is_there_for_one_call_can_be_removed(tab, home, script):
    assert verb("--home", home, "install", "cron", "--quiet") == 0
    script(FLEETING[0])
    assert verb("--home", home, "uninstall", "cron", "--quiet") == 0
    assert not tab.exists()


def test_install_warns_when_no_cron_daemon_runs(tab, home, monkeypatch, capsys):
    monkeypatch.setattr("taskrunner.processes.alive.process_named", lambda *_: False)
    assert verb("--home", home, "install", "cron", "--quiet") == 0
    assert "the cron daemon is not running" in capsys.readouterr().err


def test_a_crontab_that_does_not_take_what_is_written_is_an_error(tab, home, capsys):
    fake = tab.with_name("crontab")
    fake.write_text(fake.read_text().replace("-) ", "-) echo broken >&2; exit 1; "))
    assert verb("--home", home, "install", "cron") == 1
    assert "'broken'" in capsys.readouterr().err


def test_a_crontab_that_keeps_something_else_is_an_error(tab, home, capsys):
    fake = tab.with_name("crontab")
    fake.write_text(fake.read_text().replace("-) ", '-) cat >/dev/null; echo x >"$tab"; exit; '))
    assert verb("--home", home, "install", "cron") == 1
    assert "does not hold the lines" in capsys.readouterr().err


def test_a_user_who_may_have_no_crontab_gets_the_message_of_crontab(tab, home, capsys):
    tab.with_name("crontab").write_text("#!/bin/sh\necho 'You are not allowed' >&2; exit 1\n")
    assert verb("--home", home, "install", "cron") == 1
    assert "You are not allowed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", ["no crontab for me", "crontab: can't open 'me': No such file or directory"]
)
def test_no_crontab_is_known_by_the_words_of_cron_cronie_and_busybox(tab, home, capsys, words):
    fake = tab.with_name("crontab")
    fake.write_text(fake.read_text().replace("no crontab for $(id -un)", words))
    assert verb("--home", home, "install", "cron") == 0
    assert tab.exists()


def test_signs_that_are_not_utf_8_survive(tab, home):
    tab.write_bytes(b"# caf\xe9\x85\x0c\n")
    verb("--home", home, "install", "cron")
    verb("--home", home, "uninstall", "cron")
    assert tab.read_bytes() == b"# caf\xe9\x85\x0c\n"


def test_a_refused_home_changes_no_crontab(tab, home, capsys):
    home.chmod(0o777)
    assert verb("--home", home, "install", "cron") == 1
    assert not tab.exists()


# ---- the file of the system


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that stands for /etc/cron.d, as root sees it."""
    made = tmp_path / "cron.d"
    made.mkdir()
    monkeypatch.setattr(install_cron, "CRON_FOLDER", str(made))
    monkeypatch.setattr(install_cron, "CRON_FILE", str(made / "taskrunner"))
    monkeypatch.setattr("taskrunner.processes.alive.process_named", lambda *_: True)
    monkeypatch.setattr(program, "changeable_by", lambda _: None)
    return made


def needs_root():
    if os.geteuid() != 0:
        pytest.skip("only root can write files of the system")


def test_a_system_entry_names_root_and_goes_with_its_file(folder, home, capsys):
    needs_root()
    mask = os.umask(0o077)
    try:
        assert verb("--home", home, "install", "cron", "--system") == 0
    finally:
        os.umask(mask)
    file = folder / "taskrunner"
    assert "* * * * *  root  " in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o644
    assert verb("--home", home, "uninstall", "cron", "--system") == 0
    assert list(folder.iterdir()) == []


def test_two_homes_share_the_file_of_the_system(folder, home, tmp_path):
    needs_root()
    verb("--home", home, "install", "cron", "--system")
    before = (folder / "taskrunner").read_text()
    verb("--home", tmp_path / "b", "install", "cron", "--system")
    verb("--home", tmp_path / "b", "uninstall", "cron", "--system")
    assert (folder / "taskrunner").read_text() == before


def test_a_system_entry_needs_root(folder, home, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert verb("--home", home, "install", "cron", "--system") == 1
    assert "only root" in capsys.readouterr().err


def test_a_program_of_somebody_else_is_reported_before_root_runs_it(
    folder, home, monkeypatch, capsys
):
    needs_root()
    monkeypatch.setattr(program, "changeable_by", lambda _: 1000)
    verb("--home", home, "install", "cron", "--system", "--quiet")
    assert "can be changed by user id 1000" in capsys.readouterr().err
