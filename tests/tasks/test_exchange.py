"""Crontabs imported: lines to tasks, once, compared with Debian's rules, and turned into comments with a backup."""

import os

import pytest

from taskrunner import InputError, Manual, StateError
from taskrunner.clocks import install_cron
from taskrunner.model.values import Kind

TAB = """\
MAILTO=ops
# every night
30 2 * * * dump --all
61 * * * * wrong
* * * * * /usr/local/bin/taskrunner tick
@reboot warm-up
0 4 * * * cat%a%b
"""


@pytest.fixture
def crontab(tmp_path, monkeypatch):
    """A crontab(1) of our own, first on PATH, that keeps the crontab in a file."""
    kept = tmp_path / "kept"
    tool = tmp_path / "bin" / "crontab"
    tool.parent.mkdir()
    tool.write_text(
        f"#!/bin/sh\nif [ \"$1\" = -l ]; then [ -e {kept} ] || {{ echo 'no crontab for you' >&2; exit 1; }}\n"
        f"cat {kept}; else cat > {kept}; fi\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    return kept


def told(found):
    return [(each.line, each.action, each.task) for each in found.lines]


def test_each_line_becomes_a_task_or_is_left_alone_with_the_reason(runner):
    found = runner.import_crontab(text=TAB)
    assert told(found) == [
        (3, "add", "dump"),
        (4, "leave", None),
        (5, "leave", None),
        (6, "add", "warm-up"),
        (7, "add", "cat"),
    ]
    assert "'61' as its minute" in found.lines[1].notes[0]
    assert found.lines[2].notes == ("it calls taskrunner itself",)
    dump, cat, warm = (runner.task(name) for name in ("dump", "cat", "warm-up"))
    assert (dump.schedule, dump.shell, dump.description) == (
        "30 2 * * *",
        "dump --all",
        "every night",
    )
    assert (dump.timeout, dump.env, dump.user) == (None, {}, None)
    assert (cat.shell, cat.stdin) == ("cat", "a\nb\n")
    assert warm.kind is Kind.BOOT


def test_the_slots_of_each_line_are_proved(runner):
    found = runner.import_crontab(text=TAB, dry_run=True)
    assert [each.differing for each in found.lines] == [0, None, None, None, 0]


def test_importing_twice_makes_no_doubles_whatever_was_changed_of_a_task_since(runner):
    runner.import_crontab(text=TAB)
    runner.set("dump", timeout="5m", rename="nightly")
    before = runner.tasks()
    again = runner.import_crontab(text=TAB)
    assert told(again)[0] == (3, "keep", "nightly")
    assert runner.tasks() == before


def test_two_lines_that_are_the_same_are_two_tasks_and_stay_two(runner):
    text = "0 1 * * * x\n0 1 * * * x\n"
    for _ in range(2):
        runner.import_crontab(text=text)
        assert [task.name for task in runner.tasks()] == ["x", "x-2"]


def test_a_name_that_is_taken_is_left_to_its_task(runner):
    runner.add("dump", ["true"], Manual())
    found = runner.import_crontab(text="0 1 * * * dump\n")
    assert found.lines[0].task == "dump-2"


def test_a_dry_run_makes_no_store(runner, home):
    found = runner.import_crontab(text=TAB, dry_run=True)
    assert found.dry_run
    assert list(home.iterdir()) == []


def test_a_crontab_without_entries_makes_no_store(runner, home):
    assert runner.import_crontab(text="A=1\n").lines == []
    assert list(home.iterdir()) == []


def test_a_line_for_a_user_that_is_not_here_is_left_alone_and_the_others_are_not(runner):
    text = "0 1 * * * nonesuch x\n0 1 * * * root y\n"
    found = runner.import_crontab(text=text, system=True)
    assert "there is no user 'nonesuch'" in found.lines[0].notes[0]
    assert found.lines[0].action == "leave"
    if os.geteuid() == 0:
        assert told(found)[1] == (2, "add", "y")
        assert runner.task("y").user is None


def test_the_path_that_tasks_see_anyway_is_not_a_variable_of_theirs(runner):
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    runner.import_crontab(text=f"PATH={path}\n@daily a\nPATH=/opt\n@daily b\nHOME=/srv\n@daily c\n")
    assert [task.env for task in runner.tasks()] == [
        {},
        {"PATH": "/opt"},
        {"PATH": "/opt", "HOME": "/srv"},
    ]
    assert runner.task("c").cwd == "/srv"


def test_a_file_is_imported_under_its_own_name(runner, tmp_path):
    place = tmp_path / "tab"
    place.write_text("@daily a\n")
    assert runner.import_crontab(place).source == f"crontab {place}"
    with pytest.raises(StateError, match="nothing' cannot be read"):
        runner.import_crontab(tmp_path / "nothing")


WINDOWS = "\ufeffA=1\r\n# t\udce4glich\r\n@daily a\r\n*/5 * * * *\r\n"


def test_a_file_stdin_and_our_own_crontab_are_read_alike(runner, tmp_path, crontab):
    data = WINDOWS.encode(errors="surrogateescape")
    place = tmp_path / "tab"
    place.write_bytes(data)
    crontab.write_bytes(data)
    for more in ({"file": place}, {"text": WINDOWS}, {}):
        found = runner.import_crontab(**more, dry_run=True)
        assert [(each.line, each.action, each.notes) for each in found.lines] == [
            (3, "add", ("the program 'a' is not found on the PATH that the task will see",)),
            (4, "leave", ("it has no command",)),
        ]
        assert "CRLF" in found.told[0]
    runner.import_crontab()
    assert (runner.task("a").env, runner.task("a").description) == ({"A": "1"}, None)


def test_bytes_that_are_not_utf_8_stay_when_lines_are_made_comments(runner, crontab):
    data = WINDOWS.encode(errors="surrogateescape")
    crontab.write_bytes(data)
    runner.import_crontab(comment_out=True)
    assert crontab.read_bytes() == data.replace(b"@daily", b"# moved to taskrunner as a: @daily")


def test_a_task_runs_the_command_that_cron_runs(runner):
    found = runner.import_crontab(text="0 1 * * * sed 's/\\\\./x/'%a\\\\b\n")
    assert (runner.task("sed").shell, runner.task("sed").stdin) == ("sed 's/\\./x/'", "a\\\\b\n")
    assert "Debian's cron makes \\\\ in a command one backslash" in found.lines[0].notes[0]
    back = runner.export_crontab()
    assert [each.action for each in runner.import_crontab(text=back).lines] == ["keep"]


def test_where_cronie_is_the_cron_backslashes_stay(runner, monkeypatch):
    monkeypatch.setattr(install_cron, "DEBIANS", "/nonexistent")
    monkeypatch.setattr(install_cron, "CRONIES", ("/bin/sh",))
    found = runner.import_crontab(text="0 1 * * * sed 's/\\\\./x/'\n")
    assert runner.task("sed").shell == "sed 's/\\\\./x/'"
    assert found.lines[0].notes[0].endswith("the task has both")


def test_imported_tasks_go_to_a_task_file_and_are_not_pruned_by_another(runner, tmp_path):
    runner.import_crontab(text="@daily a\n")
    place = tmp_path / "t.toml"
    place.write_text("")
    runner.apply(place, prune=True)
    place.write_text(runner.export().text)
    assert runner.apply(place).tasks[0].action == "change"
    assert runner.task("a").source == str(place)


# ---- lines that do not do what their owner thinks


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 0 12 * * ? true", "begins with '?': cron has five fields"),
        ("0 */5 * * * * true", "begins with '*': cron has five fields"),
        ("0 0 1 1 * 2027 true", "begins with '2027': cron has five fields"),
        ("0 0 12 1 * MON-FRI true", "begins with 'MON-FRI': cron has five fields"),
        ("0 0 12 ? * MON true", "begins with 'MON': cron has five fields"),
        ("0 30 9 1 * 1,3#2 true", "begins with '1,3#2': cron has five fields"),
        ("*/5 * * * * root /bin/true", "begins with 'root', a user"),
        ("* * * * * -n true", "begins with '-n': cron does not know this word"),
        ("* * * * * @timeout true", "begins with '@timeout': cron does not know this word"),
        ("@every 5m true", "`taskrunner add NAME --every 5m"),
        ('0 1 * * * echo "$(date +%F)"', "first bare %, inside quotes or brackets"),
        ("0 1 * * * echo $(date +%F)", "first bare %, inside quotes or brackets"),
        ("0 1 * * * echo `date +%F`", "first bare %, inside quotes or brackets"),
        ("0 1 * * * [ $(( 7 % 2 )) = 1 ]", "first bare %, inside quotes or brackets"),
        ("0 1 * * * echo ${A%.*}", "first bare %, inside quotes or brackets"),
        ("0 1 * * * date +%F", "first bare %: this one is 'date +'"),
        ("0 1 * * * printf %s x", "first bare %: this one is 'printf '"),
        ("0 1 * * * echo http://x/a%20b", "first bare %"),
        ("PATH=$PATH:/opt\n0 1 * * * true", "PATH is '$PATH:/opt' literally"),
        ("A=${B}\n0 1 * * * true", "A is '${B}' literally"),
        ("PATH=/bin:~/bin\n0 1 * * * true", "PATH is '/bin:~/bin' literally"),
        ("HOME=~\n0 1 * * * true", "HOME is '~' literally"),
        ("A=$HOME/x\n0 1 * * * true", "A is '$HOME/x' literally"),
        ("A=`x`\n0 1 * * * true", "A is '`x`' literally"),
        ("A=1 # one\n0 1 * * * true", "cron does not support a comment after a setting"),
        ("0 1 * * * nosuch-program --x", "the program 'nosuch-program' is not found"),
        ("HOME=/no/such\n0 1 * * * true", "the directory '/no/such' does not exist"),
        ("0/5 * * * * true", "Debian's crontab refuses '0/5 * * * *'"),
        ("5/10,7 * * * * true", "Debian's crontab refuses '5/10,7 * * * *'"),
        ("@Daily true", "Debian's crontab refuses '@Daily'"),
        ("@Reboot true", "Debian's crontab refuses '@Reboot'"),
    ],
)
def test_a_line_that_does_not_do_what_its_owner_thinks_is_reported(runner, text, said):
    (found,) = runner.import_crontab(text=f"{text}\n", dry_run=True).lines
    assert any(said in each for each in found.notes), found.notes


@pytest.mark.parametrize(
    "text",
    [
        "0 1 * * * cat%hello",
        "0 1 * * * cat%%a%20",
        "0 1 * * * echo \"it's $(date +\\%F)\" '$( ' \\\" | cat%in",
        "A=pa$$ word\n0 1 * * * true",
        "A=a~b\n0 1 * * * true",
        "0 1 * * * [ -e /x ] && true",
        "0 1 * * * root",
        "0 1 * jan-dec mon true",
        "@reboot true",
        "*/5 0-23/2 1,2 * 7 true",
    ],
)
def test_a_line_that_is_as_usual_is_not_spoken_of(runner, text):
    (found,) = runner.import_crontab(text=f"{text}\n", dry_run=True).lines
    assert [each for each in found.notes if "'root' is not found" not in each] == []


def test_a_system_crontab_that_is_read_as_a_users_is_reported(runner, tmp_path, monkeypatch):
    monkeypatch.setattr(install_cron, "CRON_FOLDER", str(tmp_path))
    place = tmp_path / "tab"
    place.write_text("@daily root true\n")
    assert runner.import_crontab(place, dry_run=True).told[0].endswith("give --system")
    assert not runner.import_crontab(place, system=True, dry_run=True).told


@pytest.mark.parametrize(
    ("text", "nothing"),
    [
        ("61 * * * * x\n* * * * *\n", True),
        ("61 * * * * x\n@daily x\n", False),
        ("A=1\n", False),
        ("* * * * * /usr/bin/taskrunner tick\n", False),
        ("* * * * * /usr/bin/taskrunner tick\n61 * * * * x\n", True),
    ],
)
def test_an_import_that_left_every_line_alone_says_so(runner, text, nothing):
    assert runner.import_crontab(text=text, dry_run=True).nothing is nothing
    assert runner.import_crontab(text=text).nothing is nothing


# ---- importing again after an edit


EDITED = """\
PATH=/opt/bin:/bin
A=1
30 2 * * * dump --all
@reboot warm-up
0 4 * * * cat%a
15 5 * * * report --weekly
"""


def again(runner, old, new, **more):
    """What becomes of the lines when a crontab is imported a second time with another text in it."""
    assert old in EDITED
    return runner.import_crontab(text=EDITED.replace(old, new), **more)


@pytest.fixture
def imported(runner):
    runner.import_crontab(text=EDITED)
    runner.set("dump", timeout="5m", env={**runner.task("dump").env, "B": "mine"})
    return runner


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("30 2 * * * dump", "45 3 * * * dump", {"dump": {"schedule": "45 3 * * *"}}),
        ("dump --all", "dump --some", {"dump": {"shell": "dump --some"}}),
        ("30 2 * * * dump --all", "1 1 * * * dump -a", {"dump": {"shell": "dump -a"}}),
        ("dump --all", "/opt/other", {"dump": {"shell": "/opt/other"}}),
        ("dump --all", "dump --all%in", {"dump": {"stdin": "in\n"}}),
        ("cat%a", "cat", {"cat": {"stdin": None}}),
        ("30 2", "# said\n30 2", {"dump": {"description": "said"}}),
        ("30 2", "CRON_TZ=Asia/Kolkata\n30 2", None),
        ("A=1", "A=2", None),
        ("PATH=/opt/bin:/bin\n", "", None),
        ("A=1", "A=1\nSHELL=/bin/bash", None),
        ("@reboot warm-up", "@daily warm-up", {"warm-up": {"schedule": "@daily"}}),
    ],
)
def test_what_was_edited_of_a_line_is_changed_in_its_task_and_nothing_else(
    imported, old, new, changed
):
    before = {task.name: task for task in imported.tasks()}
    found = again(imported, old, new)
    after = {task.name: task for task in imported.tasks()}
    assert after.keys() == before.keys()
    assert found.told[1:] == ()
    if changed is not None:
        acts = {each.task: each.action for each in found.lines}
        assert [name for name, act in acts.items() if act == "change"] == [*changed]
        for name, values in changed.items():
            assert {key: getattr(after[name], key) for key in values} == values
    else:
        timed = [each.action for each in found.lines if each.task != "warm-up"]
        assert timed == ["change"] * 3
    assert (after["dump"].timeout, after["dump"].env["B"]) == (before["dump"].timeout, "mine")
    assert [each.action for each in again(imported, old, new).lines] == ["keep"] * 4


def test_a_setting_that_was_edited_reaches_the_tasks_below_it(imported):
    again(imported, "A=1", "A=2\nC=3")
    assert imported.task("dump").env == {"B": "mine", "A": "2", "C": "3"} | {
        "PATH": "/opt/bin:/bin"
    }
    again(imported, "A=1\n", "")
    assert imported.task("dump").env == {"B": "mine", "PATH": "/opt/bin:/bin"}
    again(imported, "PATH=/opt/bin:/bin\nA=1\n", "CRON_TZ=Asia/Kolkata\n")
    assert imported.task("dump").tz == "Asia/Kolkata"
    assert imported.task("dump").env == {"B": "mine"}


def test_a_line_that_only_moved_changes_nothing(imported):
    lines = EDITED.splitlines(keepends=True)
    before = imported.tasks()
    found = imported.import_crontab(text="".join([*lines[:2], "# x\n\n", *reversed(lines[2:])]))
    assert {each.action for each in found.lines} == {"keep"}
    assert imported.tasks() == before
    assert not any("gone" in each for each in found.told)


def test_a_line_that_is_gone_is_named_with_the_command_that_removes_its_task(imported):
    for more in ({"dry_run": True}, {}, {}):
        found = again(imported, "30 2", "#30 2", **more)
        assert found.told[-1] == (
            "dump came from line 3, which is gone, and still runs: `taskrunner remove dump`, or import with --prune"
        )
    assert imported.task("dump").enabled


def test_pruning_removes_the_tasks_whose_lines_are_gone_and_no_others(imported):
    imported.add("hand", ["true"], Manual())
    found = again(imported, "30 2", "#30 2", prune=True, dry_run=True)
    assert [each.name for each in imported.tasks()] == ["cat", "dump", "hand", "report", "warm-up"]
    assert again(imported, "30 2", "#30 2", prune=True).lines == found.lines
    (gone,) = [each for each in found.lines if each.action == "remove"]
    assert (gone.line, gone.task, gone.notes) == (3, "dump", ("its line is gone",))
    assert [each.name for each in imported.tasks()] == ["cat", "hand", "report", "warm-up"]
    assert not any("gone" in each for each in again(imported, "30 2", "#30 2").told)


def test_a_line_that_cannot_be_a_task_any_more_leaves_its_task_as_it_was(imported):
    found = again(imported, "30 2", "61 2", prune=True)
    assert found.lines[0].action == "leave"
    assert found.lines[0].notes[-1] == "dump stays as it was"
    assert imported.task("dump").schedule == "30 2 * * *"
    assert again(imported, "30 2", "50 2").lines[0].action == "change"


def test_a_swap_of_two_commands_is_two_changes(runner):
    runner.import_crontab(text="0 1 * * * a\n0 2 * * * b\n")
    runner.import_crontab(text="0 1 * * * b\n0 2 * * * a\n")
    assert {task.name: task.schedule for task in runner.tasks()} == {
        "a": "0 2 * * *",
        "b": "0 1 * * *",
    }


def test_crontabs_do_not_prune_each_other(imported, tmp_path):
    place = tmp_path / "tab"
    place.write_text("@daily other\n")
    imported.import_crontab(place)
    place.write_text("")
    imported.import_crontab(place, prune=True)
    assert [each.name for each in imported.tasks()] == ["cat", "dump", "report", "warm-up"]


def test_lines_that_were_made_comments_are_not_gone(runner, crontab):
    crontab.write_text(EDITED)
    runner.import_crontab(comment_out=True)
    runner.set("dump", rename="nightly")
    found = runner.import_crontab(prune=True)
    assert found.lines == []
    assert len(runner.tasks()) == 4


# ---- our own crontab


def test_our_own_crontab_is_read(runner, crontab):
    assert runner.import_crontab().lines == []
    crontab.write_text(TAB)
    assert len(runner.import_crontab().lines) == 5
    assert crontab.read_text() == TAB


def test_lines_are_made_comments_and_what_was_there_is_kept(runner, crontab, home):
    crontab.write_text(TAB)
    found = runner.import_crontab(comment_out=True)
    assert crontab.read_text() == TAB.replace(
        "30 2 * * * dump", "# moved to taskrunner as dump: 30 2 * * * dump"
    ).replace("@reboot", "# moved to taskrunner as warm-up: @reboot").replace(
        "0 4 *", "# moved to taskrunner as cat: 0 4 *"
    )
    (kept,) = [each for each in (home / "backups").iterdir() if "crontab" in each.name]
    assert kept.read_text() == TAB
    assert found.told[0].startswith("3 lines of the crontab of ")
    assert [each.action for each in runner.import_crontab(comment_out=True).lines] == [
        "leave",
        "leave",
    ]


def test_lines_of_an_earlier_import_are_made_comments_later(runner, crontab):
    crontab.write_text(TAB)
    runner.import_crontab()
    assert runner.import_crontab(comment_out=True).lines[0].action == "keep"
    assert "# moved to taskrunner as dump" in crontab.read_text()


def test_a_dry_run_leaves_the_crontab_alone(runner, crontab):
    crontab.write_text(TAB)
    runner.import_crontab(comment_out=True, dry_run=True)
    assert crontab.read_text() == TAB


@pytest.mark.parametrize("more", [{"text": TAB}, {"system": True}])
def test_only_lines_of_our_own_crontab_are_made_comments(runner, more):
    with pytest.raises(InputError, match="goes only with your own crontab"):
        runner.import_crontab(comment_out=True, **more)


def test_what_export_writes_for_cron_is_imported_as_the_same(runner):
    text = "30 2 * * * dump --all\n0 4 * * * date +\\%F > x\n@reboot a\n"
    runner.import_crontab(text=text)
    back = runner.export_crontab()
    again = runner.import_crontab(text=back, dry_run=True)
    assert [each.action for each in again.lines] == ["keep"] * 3
