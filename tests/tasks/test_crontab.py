"""Crontabs of others: read as cron reads them, and written so that cron reads them back."""

import subprocess
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import example, given, strategies as st

from taskrunner import Boot, Cron
from taskrunner.model.values import Kind
from taskrunner.tasks import crontab, crontab_names, crontab_writing, debian_cron, readers
from tests.samples import NOON, TASK

FRESH = """\
# Edit this file to introduce tasks to be run by cron.
#
# For more information see the manual pages of crontab(5) and cron(8)
#
# m h  dom mon dow   command
"""


def lines(text, **how):
    found, left = crontab.read(text, **how)
    assert left == []
    return found


def line(text, **how):
    """The last entry of a crontab."""
    return lines(text, **how)[-1]


def left(text, **how):
    return [(each.number, each.why) for each in crontab.read(text, **how)[1]]


# ---- lines


def test_an_entry_has_five_fields_or_a_nickname_and_a_command():
    found = lines("30 2 * * *  a  b\n\t@daily\tc\n@reboot d\n")
    assert [(each.number, each.when, each.command) for each in found] == [
        (1, "30 2 * * *", "a  b"),
        (2, "@daily", "c"),
        (3, "@reboot", "d"),
    ]
    assert [crontab.schedule(each) for each in found] == [
        Cron("30 2 * * *"),
        Cron("@daily"),
        Boot(),
    ]


def test_a_system_crontab_has_a_user_in_each_entry():
    found = line("17 * * * *  root\tcd / && run-parts\n", system=True)
    assert (found.user, found.command) == ("root", "cd / && run-parts")
    assert left("17 * * * * root\n", system=True) == [
        (1, "it lacks the user and the command that a line of a system crontab has")
    ]


def test_an_invalid_entry_is_reported_with_its_number():
    assert left("hello\n\n* * * * *\nA=\n@daily\n@reboot \na b c d e\n") == [
        (1, "it is not a valid crontab line"),
        (3, "it has no command"),
        (4, 'an empty value needs quotes: NAME=""'),
        (5, "it has no command"),
        (6, "it has no command"),
        (7, "it is not a valid crontab line"),
    ]


# ---- bytes


def test_a_comment_that_is_not_utf_8_costs_its_description_and_not_the_line():
    text = b"# t\xe4glich\n0 5 * * * x\n# good\n0 6 * * * y\n".decode(errors="surrogateescape")
    assert [(each.command, each.description) for each in lines(text)] == [
        ("x", None),
        ("y", "good"),
    ]


def test_an_entry_or_a_setting_that_is_not_utf_8_is_left_alone():
    text = b"A=\xe4\n@daily x \xff\n@daily y\n".decode(errors="surrogateescape")
    found, others = crontab.read(text)
    assert [(each.command, crontab.environment(each)) for each in found] == [("y", {})]
    assert [(each.number, each.text, each.why) for each in others] == [
        (1, "A=\\xe4", "it is not UTF-8"),
        (2, "@daily x \\xff", "it is not UTF-8"),
    ]


def test_a_mark_before_the_text_and_line_ends_of_windows_are_not_part_of_a_line():
    found = lines("\ufeff# mine\r\nA=1\r\n@daily x\r\n\r\n0 5 * * * cat%a\r\n")
    assert [(each.number, each.command, each.stdin, each.settings) for each in found] == [
        (3, "x", None, {"A": "1"}),
        (5, "cat", "a\n", {"A": "1"}),
    ]
    assert line("\ufeff@daily x\n").command == "x"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("A=b c ", "b c"),
        ("A = b", "b"),
        ("  A=b", "b"),
        ("A=' b '", " b "),
        ('A="b # c"', "b # c"),
        ("A=b # c", "b # c"),
        ('"A"=b', "b"),
        ("A=''", ""),
        ("A=$HOME/x", "$HOME/x"),
        ("A=b=c", "b=c"),
    ],
)
def test_a_setting_is_read_as_cron_reads_it(setting, value):
    assert line(f"{setting}\n@daily x\n").settings == {"A": value}


def test_a_setting_holds_for_the_lines_below_it():
    found = lines("@daily a\nX=1\n@daily b\nX=2\n@daily c\n")
    assert [each.settings for each in found] == [{}, {"X": "1"}, {"X": "2"}]


def test_an_entry_with_an_assignment_in_its_command_is_not_a_setting():
    assert line("* * * * * A=1 x\n").command == "A=1 x"


# ---- percent signs


@pytest.mark.parametrize(
    ("text", "command", "stdin"),
    [
        ("date +\\%F", "date +%F", None),
        ("cat%a%b", "cat", "a\nb\n"),
        ("cat%a\\%b%", "cat", "a%b\n"),
        ("cat%", "cat", ""),
        ("a \\n b", "a \\n b", None),
        ("cat%\\", "cat", "\\"),
        ("cat%a%\\", "cat", "a\n\\"),
        ("cat%a\\", "cat", "a\\\n"),
        ("cat%a\\\\%b", "cat", "a\\%b\n"),
    ],
)
def test_a_percent_sign_ends_the_command_unless_a_backslash_stands_before_it(text, command, stdin):
    for halves in (True, False):
        assert crontab.unescaped(text, halves=halves) == (command, stdin)


@pytest.mark.parametrize(
    ("text", "debian", "cronie"),
    [
        (r"a \\ b", (r"a \ b", None), (r"a \\ b", None)),
        (r"a \\% b", ("a \\", " b\n"), (r"a \\"[:4], " b\n")),
        (r"a \\\% b", (r"a \% b", None), (r"a \\% b", None)),
        (r"a \\\\ %\\", (r"a \\ ", "\\\\"), (r"a \\\\ ", "\\\\")),
    ],
)
def test_debians_cron_halves_backslashes_and_cronie_does_not(text, debian, cronie):
    assert crontab.unescaped(text) == debian
    assert crontab.unescaped(text, halves=False) == cronie
    (said,) = crontab.notes(line(f"* * * * * {text}\n"))
    assert said.endswith("cronie keeps both; the task has one")
    (said,) = crontab.notes(line(f"* * * * * {text}\n", halves=False))
    assert said.endswith("cronie keeps both; the task has both")


@given(st.text(st.sampled_from("%\\ab '"), max_size=12), st.booleans(), st.booleans())
def test_commands_are_proved_by_a_second_reading(text, halves, system):
    """It goes sign by sign as the sources of both crons do."""
    whole = f"\t1 2\t*  * * {'root  ' * system}\t x{text}"
    found = line(whole, system=system, halves=halves)
    assert debian_cron.work(whole, users=system, halves=halves) == (found.command, found.stdin)


# ---- comments


def test_comments_right_above_a_line_describe_it():
    assert line("# one\n#two\n@daily x\n").description == "one\ntwo"
    assert line("# one\n\n@daily x\n").description is None
    assert line("# one\nA=1\n@daily x\n").description is None
    assert [each.description for each in lines("# one\n@daily x\n@daily y\n")] == ["one", None]


def test_the_heading_of_a_fresh_crontab_describes_nothing():
    assert line(f"{FRESH}@daily x\n").description is None
    assert line(f"{FRESH}# mine\n@daily x\n").description == "mine"


def test_an_entry_that_was_made_a_comment_describes_nothing():
    assert line("#0 5 * * * old\n@daily x\n").description is None
    assert line("# moved to taskrunner as a: 0 5 * * * a\n@daily x\n").description is None
    assert line("# this is what we do here every day\n@daily x\n").description is not None


def test_a_long_description_is_cut():
    assert len(line(f"# {'x' * 5000}\n@daily x\n").description) == 1000


# ---- what a line becomes


def test_settings_of_cron_itself_are_not_variables():
    text = "MAILTO=a\nCRON_TZ=Asia/Kolkata\nLOGNAME=no\nTZ=UTC\nPATH=/opt\n0 1 * * * x\n"
    assert crontab.environment(line(text)) == {"TZ": "UTC", "PATH": "/opt"}
    assert crontab.schedule(line(text)) == Cron("0 1 * * *", "Asia/Kolkata")
    told = crontab.notes(line(text))
    assert told[0] == "its output is kept, and not mailed to a"
    assert "CRON_TZ" in told[1]


def test_a_shell_of_its_own_becomes_the_program():
    assert crontab.work(line("@daily [ a ]\n")) == (None, "[ a ]")
    text = "SHELL=/bin/bash\n@daily [[ a ]]\n"
    assert crontab.work(line(text)) == (("/bin/bash", "-c", "[[ a ]]"), None)


def test_lines_become_comments_and_the_rest_stays():
    text = "A=1\n  0 5 * * * a\n@daily b\n"
    assert crontab.commented_out(text, {2: "a"}) == (
        "A=1\n# moved to taskrunner as a: 0 5 * * * a\n@daily b\n"
    )


# ---- names


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/usr/local/bin/backup.sh --all", "backup"),
        ("cd /srv/app && ./run.py", "run"),
        ("/usr/bin/python3 -u /opt/app/manage.py clear", "manage"),
        ("[ -x /usr/lib/php/clean ] && /usr/lib/php/clean", "clean"),
        ("test -x /a || ( cd / && run-parts --report /etc/cron.daily )", "run-parts"),
        ("A=1 nice -n 10 ionice -c3 /opt/b", "b"),
        ("flock -n /tmp/a.lock sync-all", "sync-all"),
        ("timeout 5m curl -s https://example.org", "curl"),
        ("dump db | gzip > x", "dump"),
        ("bash -c '/opt/nightly.sh --all'", "nightly"),
        ("/bin/bash -lc 'cd /srv/app && exec bundle exec rake db:backup'", "bundle"),
        ("sh -c \"A=1 sh -c 'cd /x; ./inner'\"", "inner"),
        ("sudo -u www-data /opt/clean-up", "clean-up"),
        ("su - postgres -c 'pg_dump shop > /x'", "pg_dump"),
        ("runuser -u app -- /opt/feed", "feed"),
        ("flock -w 5 /run/lock/feed /opt/feed --all", "feed"),
        ("flock -n /tmp/x -c 'sync-all now'", "sync-all"),
        ("if [ -e /x ]; then /opt/report; fi", "report"),
        ("if ! /opt/check; then mail root; fi", "check"),
        ("(cd /srv && ./run)", "run"),
        ("( sleep 30; /opt/late )", "late"),
        ("for f in a b; do gzip $f; done", "gzip"),
        ("{ . /etc/profile; /opt/env-report; }", "env-report"),
        ("A=$(hostname) /opt/b", "b"),
        ("A=`hostname` B='x y' /opt/b", "b"),
        ("A=1; export A; /opt/b", "b"),
        (">/dev/null 2>&1 /opt/quiet", "quiet"),
        ("/opt/loud>/var/log/x 2>&1", "loud"),
        ("/opt/loud</dev/null|tee log", "loud"),
        ("tar czf /b-$(date +%F).tgz /etc", "tar"),
        ("python3 -m shop.nightly", "shop.nightly"),
        ("python3 -c 'import x; x.y()'", "python3"),
        ("cd /srv", "cd"),
        ("bash", "bash"),
        ("$HOME/bin/backup.sh", "backup"),
        ("nice -n 10 timeout -k 5 1h env -u A B=1 /opt/b", "b"),
        ("'", "task"),
        ("12345", "task"),
        ("/opt/größe", "gr-e"),
    ],
)
def test_a_name_says_what_the_command_is_about(command, name):
    assert crontab_names.name(command, ()) == name


def test_names_are_told_apart_by_what_follows_and_then_by_numbers():
    taken = []
    for command in ("m.py send", "m.py clear", "m.py clear", "m.py clear", "m.py"):
        taken.append(crontab_names.name(command, taken))
    assert taken == ["m", "m-clear", "m-2", "m-3", "m-4"]


@example("''")
@given(st.text(max_size=30))
def test_any_command_has_a_name_that_a_task_can_have(command):
    assert readers.name(crontab_names.name(command, ()))


@given(st.text(st.sampled_from("* #%\\=@'\"ab0\t\n5/-,"), max_size=60), st.booleans())
def test_any_text_is_read(text, system):
    found, others = crontab.read(text, system=system)
    numbers = [each.number for each in [*found, *others]]
    assert len(numbers) == len(set(numbers))


# ---- tasks to lines


def written(*tasks, zone="UTC"):
    return crontab_writing.write(tasks, "/bin", zone)


def entry(**values):
    """The entry that a task becomes."""
    return written(replace(TASK, **values)).splitlines()[-1]


def test_a_task_becomes_a_line_with_what_cron_cannot_express():
    task = replace(TASK, schedule="0 2 * * *", description="the\nreport", retries=2)
    assert written(task) == (
        "PATH=/bin\n\n# report: the report\n"
        "#   cron cannot express: timeout 1h, overlap skip, catch-up last, retries 2\n"
        "0 2 * * *  true\n"
    )


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"command": ("date", "+%F")}, "* * * * *  date +\\%F"),
        ({"command": ("a b", "c"), "cwd": "/x y"}, "* * * * *  cd '/x y' && 'a b' c"),
        ({"env": {"A": "b c"}}, "* * * * *  A='b c' true"),
        (
            {"command": (), "shell": "a | b", "env": {"A": "1"}},
            "* * * * *  export A=1; a | b",
        ),
        ({"umask": 0o27}, "* * * * *  umask 027; true"),
        ({"stdin": "a%b\nc\n"}, "* * * * *  true%a\\%b%c"),
        ({"kind": Kind.BOOT, "schedule": "", "tz": None}, "@reboot  true"),
        ({"kind": Kind.MANUAL, "schedule": "", "tz": None}, "# - - - - -  true"),
        ({"kind": Kind.EVERY, "schedule": "7h", "anchor": NOON}, "# - - - - -  true"),
        ({"kind": Kind.EVERY, "schedule": "15m", "anchor": NOON}, "*/15 * * * *  true"),
        (
            {"kind": Kind.EVERY, "schedule": "15m", "anchor": NOON + timedelta(minutes=7)},
            "7-59/15 * * * *  true",
        ),
        ({"kind": Kind.EVERY, "schedule": "1h", "anchor": NOON}, "0 * * * *  true"),
        ({"kind": Kind.EVERY, "schedule": "30s", "anchor": NOON}, "# - - - - -  true"),
        ({"kind": Kind.ON, "schedule": "second day at 09:05"}, "5 9 2 * *  true"),
        ({"kind": Kind.ON, "schedule": "first day of march,june at 00:00"}, "0 0 1 3,6 *  true"),
        ({"kind": Kind.ON, "schedule": "last day at 09:00"}, "# - - - - -  true"),
        ({"kind": Kind.ON, "schedule": "first monday at 09:00"}, "# - - - - -  true"),
        ({"enabled": False}, "# * * * * *  true"),
    ],
)
def test_what_cron_can_express_is_written(values, line):
    assert entry(**values) == line


def test_a_zone_stands_above_the_lines_that_are_in_another():
    berlin, kolkata = (
        replace(TASK, name=tz[-3:], tz=tz) for tz in ("Europe/Berlin", "Asia/Kolkata")
    )
    text = written(berlin, kolkata, zone="Europe/Berlin")
    assert text.count("CRON_TZ") == 1
    assert crontab.schedule(lines(text)[0]).tz is None
    assert crontab.schedule(lines(text)[1]).tz == "Asia/Kolkata"


def test_a_secret_is_not_in_a_crontab():
    text = written(replace(TASK, env={"TOKEN": "geheim"}))
    assert "geheim" not in text
    assert "the value of TOKEN, which looks secret" in text


TEXTS = st.text(st.sampled_from("ab %\\'\"$\n|*é"), min_size=1, max_size=20)


@given(TEXTS)
def test_a_text_for_the_shell_is_read_back_as_a_command_that_does_the_same(text):
    from shlex import quote

    command = entry(command=(), shell=f"printf '[%s]' {quote(text)}").partition("  ")[2]
    back, stdin = crontab.unescaped(command)
    assert stdin is None
    assert "\n" not in command
    done = subprocess.run(["/bin/sh", "-c", back], capture_output=True, text=True, check=True)
    assert done.stdout == f"[{text}]"


@given(TEXTS)
def test_every_cron_reads_the_same_command_from_a_line_that_is_written(text):
    command = entry(command=(), shell=text, stdin=text).partition("  ")[2]
    assert crontab.unescaped(command) == crontab.unescaped(command, halves=False)


def test_a_command_that_is_too_long_for_debians_cron_is_a_comment():
    fits, longer = (written(replace(TASK, command=("x" * size,))) for size in (998, 999))
    assert fits.splitlines()[-1].startswith("* * * * *  x")
    assert longer.splitlines()[-1].startswith("# * * * * *  x")
    assert "a command of more than 998 bytes, so the line is a comment" in longer


@pytest.mark.slow
@given(TEXTS)
def test_what_a_task_reads_is_read_back(text):
    for given_ in (text, f"{text}\n"):
        back, stdin = crontab.unescaped(entry(command=("cat",), stdin=given_).partition("  ")[2])
        done = subprocess.run(
            ["/bin/sh", "-c", back], input=stdin or "", capture_output=True, text=True, check=True
        )
        assert done.stdout == given_
