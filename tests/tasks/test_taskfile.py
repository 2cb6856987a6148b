"""Task files: TOML to definitions and back, and every fault at its line."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from taskrunner import After, At, Boot, Cron, Every, Manual, On
from taskrunner.tasks import options, places, taskfile_parser, writing
from taskrunner.tasks.taskfile import KEYS
from tests.samples import TASK

USUAL = options.usual({})


def read(text, profile=None, zone="UTC"):
    return taskfile_parser.read(text, "t.toml", "/t.toml", zone=zone, profile=profile)


def one(text, profile=None, zone="UTC"):
    """The one task of a text without faults."""
    found = read(text, profile, zone)
    assert found.faults == []
    (task,) = found.definitions
    return task


def faults(text, profile=None):
    return [(fault.line, fault.text) for fault in read(text, profile).faults]


def task(body, head="[tasks.a]"):
    return one(f'{head}\ncommand = ["true"]\n{body}\n')


# ---- what a task says


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ('every = "1h"', Every("1h")),
        ('every = "1h"\nfrom_finish = true', Every("1h", from_finish=True)),
        ('cron = "0 2 * * *"', Cron("0 2 * * *")),
        ('on = "first monday"\nat_time = "09:00"', On("first monday", "09:00")),
        (
            'on = "last day of march, june"\nat_time = 09:00:00',
            On("last day of march,june", "09:00"),
        ),
        ('on = "last day at 18:00"\nat_time = false', On("last day", "18:00")),
        ('at = "2030-12-01 22:00"', At("2030-12-01 22:00")),
        ("at = 2030-12-01T22:00:00+01:00", At("2030-12-01T22:00:00+01:00")),
        ("at = 2030-12-01 22:00:00", At("2030-12-01 22:00")),
        ("at = 2030-12-01", At("2030-12-01")),
        ('after = "b"', After("b")),
        ('after = "b:any"', After("b", "any")),
        ("boot = true", Boot()),
        ("manual = true", Manual()),
        ('boot = false\nevery = "1h"', Every("1h")),
    ],
)
def test_each_kind_of_schedule_has_a_key(text, schedule):
    assert task(text).schedule == schedule


def test_an_anchor_without_offset_is_in_the_zone_of_the_task_else_in_that_of_the_home():
    body = '[tasks.a]\nshell = "x"\nevery = "1d"\nanchor = 2026-06-01 08:00:00\n'
    berlin = datetime(2026, 6, 1, 6, tzinfo=UTC)
    assert one(body + 'tz = "Europe/Berlin"').schedule.anchor == berlin
    assert one(body, zone="Europe/Berlin").schedule.anchor == berlin
    assert one(body).schedule.anchor == datetime(2026, 6, 1, 8, tzinfo=UTC)


def test_a_command_is_a_list_and_a_shell_text_a_text():
    assert task("manual = true").command == ("true",)
    assert one('[tasks.a]\nmanual = true\nshell = "a | b"').shell == "a | b"


def test_options_are_under_the_names_of_their_flags():
    found = task('manual = true\ntimeout = "2h"\nenv = { A = "1" }\numask = "027"\nretries = 3')
    assert options.read(found.given) == {
        "timeout": timedelta(hours=2),
        "env": {"A": "1"},
        "umask": 0o027,
        "retries": 3,
    }


def test_every_option_of_a_task_is_a_key():
    assert set(options.OPTIONS) <= set(KEYS)


def test_false_takes_a_default_away():
    text = '[defaults]\ngroup = "db"\ntimeout = "5m"\n[tasks.a]\nmanual = true\nshell = "x"\n'
    assert one(text + "group = false\ntimeout = false").given == {"group": None, "timeout": None}


def test_a_length_may_be_seconds_with_a_fraction():
    assert task("manual = true\ntimeout = 0.5").given == {"timeout": timedelta(seconds=0.5)}


# ---- defaults and profiles


def test_an_option_of_a_task_goes_before_the_default_and_variables_come_together():
    text = '[defaults]\ntimeout = "5m"\nnice = 5\nenv = { A = "1", B = "1" }\n'
    found = one(text + '[tasks.a]\nmanual = true\nshell = "x"\nnice = 7\nenv = { B = "2" }')
    assert found.given == {"timeout": "5m", "nice": 7, "env": {"A": "1", "B": "2"}}


def test_the_default_zone_is_for_tasks_that_have_one():
    text = '[defaults]\ntz = "Europe/Berlin"\n[tasks.a]\nshell = "x"\n'
    assert one(text + "manual = true").tz is None
    assert one(text + 'cron = "0 2 * * *"').tz == "Europe/Berlin"


def test_the_limit_of_a_policy_goes_when_a_task_has_another_policy():
    text = (
        '[defaults]\ncatch_up = "all"\ncatch_up_limit = 5\n[tasks.a]\nshell = "x"\nmanual = true\n'
    )
    assert one(text).given == {"catch_up": "all", "catch_up_limit": 5}
    assert one(text + 'catch_up = "last"').given == {"catch_up": "last"}


def test_a_profile_goes_before_all_and_replaces_a_schedule_as_a_whole():
    text = (
        '[tasks.a]\nevery = "4h"\nanchor = "2026-01-01"\ntz = "UTC"\nshell = "x"\ntimeout = "1h"\n'
        '[profiles.test.tasks.a]\ncron = "* * * * *"\n'
        "[profiles.hand.tasks.a]\nmanual = true\n"
        '[profiles.quick]\ndefaults = { nice = 3 }\n[profiles.quick.tasks.a]\ntimeout = "5m"\n'
    )
    assert one(text).schedule.interval == "4h"
    assert one(text, "test").schedule == Cron("* * * * *")
    assert (one(text, "hand").schedule, one(text, "hand").tz) == (Manual(), None)
    assert one(text, "quick").given == {"timeout": "5m", "nice": 3}
    assert read(text).profiles == ("test", "hand", "quick")


def test_a_profile_may_have_tasks_and_a_command_of_its_own():
    text = '[tasks.a]\nmanual = true\ncommand = ["a"]\n[profiles.p.tasks.a]\nshell = "b"\n'
    assert (one(text, "p").command, one(text, "p").shell) == (None, "b")
    extra = text + '[profiles.p.tasks.z]\nmanual = true\nshell = "z"\n'
    assert [each.name for each in read(extra, "p").definitions] == ["a", "z"]
    assert [each.name for each in read(extra).definitions] == ["a"]


# ---- faults


@pytest.mark.parametrize(
    ("body", "line", "text"),
    [
        ('every = "1x"', 4, "'1x' is not a valid length"),
        ("every = 5", 4, "every '5' is not text: put it in quotes"),
        ('cron = "61 * * * *"', 4, "'61' as its minute"),
        ('at = "+30m"', 4, "a different time whenever"),
        ('at = "now"', 4, "a different time whenever"),
        ("at = 22:00:00", 4, "'22:00:00' is not a valid time"),
        ('after = "b:never"', 4, "'never' is not a valid end of a run"),
        ('manual = "yes"', 4, "manual 'yes': it must be true or false"),
        ('manual = true\nevery = "1h"', 5, "every and manual are 2 schedules: give one of them"),
        ("nice = 3", 1, "there is no schedule: give one of every, cron"),
        ('manual = true\ntz = "UTC"', 5, "manual has no time zone: leave out 'UTC'"),
        ('every = "1h"\ntz = "Berlin"', 5, "did you mean 'Europe/Berlin'"),
        ('cron = "@daily"\nanchor = "2026-01-01"', 4, "anchor '2026-01-01' goes only with every"),
        ('cron = "@daily"\nat_time = "09:00"', 4, "at_time '09:00' goes only with on"),
        ('on = "fifth monday"\nat_time = "09:00"', 4, "write 'last monday'"),
        ('on = "last day"\nat_time = "9am"', 5, "'9am' is not a time of day"),
        ('on = "last day at 09:00"\nat_time = "10:00"', 5, "or leave out at_time '10:00'"),
        ('on = "last day"\nat_time = 9', 5, "'9' is not a time of day"),
        ("on = true", 4, "on 'True' is not text: put it in quotes"),
        ("manual = true\nfrom_finish = true", 4, "from_finish 'True' goes only with every"),
        ('manual = true\nshell = "x"', 3, "there is a command and a shell text: give one"),
        (
            "manual = true\ntimout = 1",
            5,
            "'timout' is not an option of a task: did you mean timeout?",
        ),
        ("manual = true\ntimeout = 60", 5, "'60' is not a valid length of time"),
        ("manual = true\numask = 22", 5, 'must be text in octal, such as "022"'),
        ('manual = true\noverlap = "maybe"', 5, "overlap 'maybe': it must be one of skip, queue"),
        ('manual = true\nenv = { A = "***" }', 5, "A is ***, which stands for a value that export"),
        ('manual = true\nenabled = "no"', 5, "enabled 'no': it must be true or false"),
        ("manual = true\nretries = false", 5, "retries 'False': it must be a number"),
    ],
)
def test_each_fault_is_one_sentence_at_its_line(body, line, text):
    (found,) = faults(f'[tasks.a]\n\ncommand = ["true"]\n{body}\n')
    assert found[0] == line
    assert text in found[1]
    assert found[1].startswith("a: ")


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("x = ", 1, "this is not valid TOML: Invalid value"),
        ("[tasks.a]\n[tasks.a]\n", 2, "this is not valid TOML: Cannot declare"),
        ("a = " + "[" * 100_000, 1, "this is not valid TOML"),
        ("task = 1", 1, "'task' is not a table of a task file: did you mean tasks?"),
        ("[[tasks]]\nname = 'a'", 1, "tasks is not a table (tasks are tables of their own"),
        ("\n[tasks]\na = 1", 3, "a is not a table"),
        ("[defaults]\ncron = '@daily'", 2, "'cron' cannot be a default"),
        ("[profiles.p]\nx = 1", 2, "'x' is not a table of a profile: write defaults or tasks"),
        ("\n[tasks.a.b]\nmanual = true", 2, 'needs quotes, such as [tasks."a.b"]'),
        ("[tasks.'1']\nmanual = true\nshell = 'x'", 1, "'1' cannot be the name of a task"),
    ],
)
def test_a_file_of_another_form_is_refused_with_what_to_write(text, line, sentence):
    found = faults(text)
    assert (line, sentence) in [(each, told[: len(sentence)]) for each, told in found] or any(
        each == line and sentence in told for each, told in found
    )


def test_a_fault_of_a_default_is_reported_at_its_line():
    text = '[defaults]\nnice = 99\n[tasks.a]\nmanual = true\nshell = "x"\n'
    assert faults(text) == [(2, "a: nice '99': it must be a number from -20 to 19")]


def test_all_faults_are_reported_and_the_good_tasks_are_read():
    text = '[tasks.a]\nevery = "1x"\nnice = 99\n[tasks.b]\nmanual = true\nshell = "x"\n[tasks.c]\n'
    found = read(text)
    assert [fault.line for fault in found.faults] == [3, 1, 2, 7, 7]
    assert [each.name for each in found.definitions] == ["b"]
    assert found.names == {"a", "b", "c"}


def test_the_value_of_a_variable_is_in_no_sentence():
    text = "[tasks.a]\nmanual = true\nshell = 'x'\nenv = { TOKEN = 'geheim', N = 1 }\n"
    ((line, sentence),) = faults(text)
    assert line == 4
    assert "geheim" not in sentence


VALUES = [
    "1",
    "-1",
    "1.5",
    "nan",
    "inf",
    "true",
    "false",
    "''",
    "'x'",
    "'***'",
    "[]",
    "[1]",
    "['a']",
]
VALUES += [
    "{}",
    "{ a = 1 }",
    "{ A = 'x' }",
    "2026-01-01",
    "10:00:00",
    "2026-01-01T10:00:00Z",
    "'1h'",
]
VALUES += ["9223372036854775808", "'\\u0000'", "[[1]]", "'2026-01-01'", "'UTC'", "'a:b'", "''"]


@given(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=6))
def test_whatever_a_key_is_given_is_a_task_or_a_fault(values):
    body = "".join(f"{key} = {value}\n" for key, value in values.items())
    for head in ("[defaults]\n", "[tasks.a]\n", "[profiles.p.tasks.a]\n", ""):
        found = read(f"{head}{body}[tasks.b]\nmanual = true\nshell = 'x'\n", "p")
        assert found.definitions or found.faults
        assert all(fault.line for fault in found.faults)


@given(st.text(st.sampled_from("[]{}=.\"'#\n atsk1,-"), max_size=40))
def test_any_text_is_read_or_refused_at_a_line(text):
    found = read(text)
    assert all(1 <= fault.line <= text.count("\n") + 1 for fault in found.faults)
    places.lines(text)


def test_a_description_is_short():
    assert task("manual = true\ndescription = 'x'").given == {"description": "x"}
    text = f"[tasks.a]\nmanual = true\nshell = 'x'\ndescription = '{'x' * 1001}'\n"
    ((line, sentence),) = faults(text)
    assert line == 4
    assert sentence.endswith("it must be at most 1000 characters long")


def test_a_file_that_is_too_long_is_refused_before_it_is_read():
    assert faults("#" * (taskfile_parser.LARGEST + 1)) == [
        (1, f"a task file has at most {taskfile_parser.LARGEST} characters: split it")
    ]


# ---- where things stand


def test_the_line_of_each_key_is_found():
    text = (
        "# a comment [tasks.no]\n[tasks]\nx.every = '1h'\n\n[tasks.'a.b'] # c\nshell = '''\n[tasks.c]\n"
        "every = 1\n'''\nenv = { A = '1',\n B = '2' }\ncommand = [\n 'a',\n]\n'a = b' = 1\n[tasks.d.e]\n"
    )
    found = places.lines(text.replace(",\n B", ", B"))
    assert found[("tasks", "x", "every")] == 3
    assert found[("tasks", "a.b")] == 5
    assert found[("tasks", "a.b", "shell")] == 6
    assert found[("tasks", "a.b", "env")] == 10
    assert found[("tasks", "a.b", "command")] == 11
    assert found[("tasks", "a.b", "a = b")] == 14
    assert found[("tasks", "d")] == 15
    assert ("tasks", "c") not in found


# ---- text


def test_a_text_of_several_lines_is_written_as_such():
    text, _ = writing.write([model(command=(), shell="a 'b'\n\tc \\ \"d\"\n")], USUAL)
    assert "shell = \"a 'b'\\n\\tc" in text
    text, _ = writing.write([model(command=(), shell="a 'b'\nc \\ \"d\"\n")], USUAL)
    assert "shell = '''\na 'b'\nc \\ \"d\"\n'''" in text


def model(**values):
    from dataclasses import replace

    return replace(TASK, **values)


def test_only_what_differs_from_the_usual_is_written():
    assert writing.write([TASK], USUAL)[0] == (
        '[tasks.report]\ncron = "* * * * *"\ntz = "UTC"\ncommand = ["true"]\n'
    )
    usual = options.usual({"timeout": "5m", "group": "db:2"})
    text, _ = writing.write([TASK], usual)
    assert 'timeout = "1h"\ngroup = false\n' in text  # else they would be those of the config
    text, _ = writing.write([model(timeout=timedelta(minutes=5))], usual)
    assert 'timeout = "5m"' in text  # else they would be ours where there is no such config


def test_secret_values_are_hidden_unless_asked_for():
    tasks = [model(env={"TOKEN": "geheim", "PLAIN": "x"})]
    text, hiding = writing.write(tasks, USUAL)
    assert 'env = { PLAIN = "x", TOKEN = "***" }' in text
    assert hiding == ["report"]
    text, hiding = writing.write(tasks, USUAL, secrets=True)
    assert "geheim" in text
    assert hiding == []


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_any_text_comes_back(text):
    if not text.strip():
        return
    written, _ = writing.write([model(command=(), shell=text, stdin=text)], USUAL)
    found = one(written)
    assert found.shell == text
    assert found.given["stdin"] == text
