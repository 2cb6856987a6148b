"""Values to text: widths, cuts, control characters, distances, masks. Nothing here touches a home."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from taskrunner.model.answers import Status, Upcoming
from taskrunner.model.decisions import Action, Decision, Span
from taskrunner.model.values import Kind, Overlap, State, Trigger
from taskrunner.render import documents, spelling, tables
from taskrunner.render.page import COLOURS, ESCAPE, Column, Page, ascii_only, visible
from taskrunner.tasks import options
from tests.samples import MINUTE, NOON, TASK, run

PLAIN = Page("UTC", NOON)
NARROW = Page("UTC", NOON, width=40)
COLOURED = Page("UTC", NOON, width=100, colour=True)

DONE = run(
    7,
    State.SUCCEEDED,
    started=NOON + timedelta(seconds=3),
    finished=NOON + timedelta(seconds=73),
    exit_code=0,
)


# ---- tables


def test_columns_are_as_wide_as_their_widest_cell_and_two_apart():
    assert PLAIN.table(("a", "long head", "c"), [("xyz", "1", "z"), ("x", "2", "")]).split(
        "\n"
    ) == [
        "a    long head  c",
        "xyz  1          z",
        "x    2",
    ]


def test_a_table_without_rows_is_its_head():
    assert PLAIN.table(("a", "b"), []) == "a  b"


def test_nothing_is_cut_without_a_terminal():
    text = PLAIN.table(("a", "b"), [("x" * 300, "y" * 300)])
    assert "x" * 300 + "  " + "y" * 300 in text


def test_only_the_last_column_is_cut_and_only_to_the_width_of_the_terminal():
    head, row = NARROW.table(("a", "b"), [("x" * 20, "y" * 40)], cut=True).split("\n")
    assert row == "x" * 20 + "  " + "y" * 17 + "…"
    assert len(row) == 40
    assert head.endswith("b")


def test_what_just_fits_is_not_cut():
    assert NARROW.table(("a", "b"), [("x" * 20, "y" * 18)]).split("\n")[1][-1] == "y"


def test_a_first_column_wider_than_the_terminal_is_whole_and_the_last_keeps_some_room():
    row = NARROW.table(("a", "b"), [("x" * 60, "y" * 60)], cut=True).split("\n")[1]
    assert row == "x" * 60 + "  " + "y" * 7 + "…"


def test_colours_take_no_room():
    plain = PLAIN.table(("s", "t"), [("failed", "1"), ("succeeded", "2")])
    rows = [(COLOURED.state(State.FAILED), "1"), (COLOURED.state(State.SUCCEEDED), "2")]
    assert ESCAPE.sub("", COLOURED.table(("s", "t"), rows)) == plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\x0ab"),
        ("tab\there", "tab\\x09here"),
        ("bell\a", "bell\\x07"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b1m", "\\x9b1m"),
        ("del\x7f", "del\\x7f"),
        ("ünï 漢", "ünï 漢"),
    ],
)
def test_control_characters_are_made_visible(text, shown):
    assert visible(text) == shown
    assert PLAIN.table(("a",), [(text,)]).split("\n") == ["a", shown]


@pytest.mark.parametrize("sign", ["\x1b[31m", "\x1b[0m", "\x1b[m", "\x1b[8m"])
def test_a_colour_of_the_users_text_is_made_visible_too(sign):
    task = replace(TASK, command=("echo", f"{sign}x"))
    assert "\x1b" not in tables.tasks_table(PLAIN, [task])
    assert "\x1b" not in tables.runs_table(PLAIN, [replace(DONE, reason=f"{sign}x")])


def test_wide_signs_count_twice():
    rows = PLAIN.table(("a", "b"), [("漢字", "x"), ("abcd", "y")]).split("\n")
    assert rows[1:] == ["漢字  x", "abcd  y"]


def test_only_our_own_colours_reach_a_terminal():
    task = replace(TASK, last_state=State.FAILED, command=("echo", "\x1b[31mx"))
    text = tables.tasks_table(COLOURED, [task])
    assert ESCAPE.findall(text) == ["\x1b[31m", "\x1b[0m"]
    assert "\x1b[31mfailed\x1b[0m" in text


def test_a_problem_of_the_status_cannot_steer_the_terminal():
    text = tables.status_page(PLAIN, replace(EMPTY, problems=["it \x1b[2J hurts"]))
    assert "\x1b" not in text


def test_wide_signs_are_cut_to_the_columns_they_take():
    row = NARROW.table(("a", "b"), [("x" * 20, "漢" * 10)], cut=True).split("\n")[1]
    assert row == "x" * 20 + "  " + "漢" * 8 + "…"
    row = NARROW.table(("a", "b"), [("x" * 20, "漢" * 9)]).split("\n")[1]
    assert row.endswith("漢" * 9)


def test_a_mark_on_the_sign_before_it_takes_no_column():
    rows = PLAIN.table(("a", "b"), [("e\u0301", "x"), ("ab", "y")]).split("\n")
    assert rows[1] == "e\u0301   x"


@pytest.mark.parametrize("sign", ["\u202e", "\u2028", "\u2066", "\ufeff"])
def test_signs_that_turn_or_break_the_line_are_made_visible(sign):
    assert sign not in visible(f"a{sign}b")


# ---- pages


def test_times_are_in_the_zone_of_the_page():
    assert PLAIN.time(NOON) == "2026-11-20 12:00:00"
    assert Page("Asia/Kolkata", NOON).time(NOON) == "2026-11-20 17:30:00"
    assert PLAIN.time(None) == "-"


@pytest.mark.parametrize(
    ("apart", "told"),
    [
        ({"seconds": 0}, "in 0s"),
        ({"seconds": 5.25}, "in 5.2s"),
        ({"seconds": 59}, "in 59s"),
        ({"minutes": 4, "seconds": 10}, "in 4m 10s"),
        ({"hours": 3, "minutes": 20}, "in 3h 20m"),
        ({"days": 2, "hours": 4}, "in 2d 4h"),
        ({"seconds": -30}, "30s ago"),
        ({"days": -400}, "400d 0h ago"),
    ],
)
def test_distances(apart, told):
    assert PLAIN.distance(NOON + timedelta(**apart)) == told


def test_states_have_colours_only_where_wanted():
    assert PLAIN.state(State.FAILED) == "failed"
    assert COLOURED.state(State.FAILED) == "\033[31mfailed\033[0m"
    assert COLOURED.state(None) == "-"
    assert set(COLOURS) == set(State)


# ---- columns that fit


def narrowed(width):
    """The head of a table of four columns on a terminal of some width."""
    page = Page("UTC", NOON, width)
    columns = [
        Column("name", ["n" * 40], least=12),
        Column("when", ["2026-11-20"], rank=2, short=["today"]),
        Column("more", ["m" * 20], rank=1),
        Column("why", ["because"]),
    ]
    return page.columns(columns).split("\n")


def test_a_table_gives_up_columns_by_rank_and_then_cuts_names():
    assert narrowed(None)[1] == f"{'n' * 40}  2026-11-20  {'m' * 20}  because"
    assert narrowed(85)[1] == f"{'n' * 40}  2026-11-20  {'m' * 20}  because"
    assert narrowed(70)[1] == f"{'n' * 26}…  2026-11-20  {'m' * 20}  because"
    assert narrowed(62)[1] == f"{'n' * 23}…  today  {'m' * 20}  because"
    assert narrowed(45)[1] == f"{'n' * 28}…  today  because"
    assert narrowed(30)[1] == f"{'n' * 13}…  today  because"


def test_what_is_for_the_screen_is_not_in_a_pipe():
    columns = [Column("a", ["1"]), Column("ago", ["3s ago"], screen=True)]
    assert PLAIN.columns(columns) == "a\n1"
    assert NARROW.columns(columns) == "a  ago\n1  3s ago"


@pytest.mark.parametrize(
    ("apart", "told"),
    [
        (timedelta(minutes=-3), "11:57:00"),
        (timedelta(days=-1), "Nov 19 12:00"),
        (timedelta(days=-400), "2025-10-16"),
    ],
)
def test_short_times(apart, told):
    assert PLAIN.shortly(NOON + apart) == told


def test_show_begins_with_how_it_went():
    page = Page("UTC", NOON)
    task = replace(TASK, last_run=NOON - MINUTE, last_state=State.FAILED, streak=-3)
    lines = dict(
        line.split("  ", 1) for line in tables.task_page(page, task, "x", [], []).split("\n")
    )
    assert lines["last run"].strip() == (
        "2026-11-20 11:59:00 (UTC), 1m 00s ago: failed, 3 in a row"
    )
    assert lines["last success"].strip() == "never"
    text = tables.task_page(page, replace(task, last_success=NOON - MINUTE * 2), "x", [], [])
    assert "last success  2026-11-20 11:58:00 (UTC), 2m 00s ago" in text


# ---- tasks


def test_the_table_of_tasks():
    other = replace(
        TASK,
        id=12,
        name="x",
        enabled=False,
        kind=Kind.EVERY,
        schedule="1h",
        from_finish=True,
        command=(),
        shell="a | b",
        last_state=State.FAILED,
        last_run=NOON - MINUTE,
    )
    ready = replace(TASK, next=NOON + MINUTE, command=("echo", "two words"))
    assert tables.tasks_table(PLAIN, [ready, other]).split("\n") == [
        "id  task    schedule              next (UTC)           last    last run             command",
        "1   report  * * * * *             2026-11-20 12:01:00  -       -                    echo 'two words'",
        "12  x       every 1h from finish  disabled             failed  2026-11-20 11:59:00  a | b",
    ]


def test_the_page_of_a_task_masks_its_secrets():
    task = replace(TASK, env={"DB_PASSWORD": "geheim", "PLAIN": "two words"})
    text = tables.task_page(PLAIN, task, "every minute (UTC)", options.told(task), [])
    assert "geheim" not in text
    assert "PLAIN='two words'" in text
    assert "***" in text


def test_the_mask_is_not_in_quotes():
    task = replace(TASK, env={"DB_PASSWORD": "geheim"})
    text = tables.task_page(PLAIN, task, "every minute (UTC)", options.told(task), [])
    assert "DB_PASSWORD=***" in text


def test_the_page_of_a_task_reports_its_options_in_the_words_of_the_flags():
    task = replace(
        TASK,
        timeout=None,
        deadline=timedelta(minutes=90),
        umask=0o27,
        nice=-5,
        overlap=Overlap.ALLOW,
        max_instances=3,
        cwd="/tmp",
        stdin="geheim",
        next=NOON + MINUTE,
    )
    text = tables.task_page(PLAIN, task, "every minute (UTC)", options.told(task), [])
    lines = dict(line.split(None, 1) for line in text.split("\n") if len(line.split(None, 1)) > 1)
    assert lines["report"] == "task 1, enabled"
    assert lines["schedule"] == "* * * * *: every minute (UTC)"
    assert lines["next"] == "2026-11-20 12:01:00 (UTC), in 1m 00s"
    assert lines["timeout"].startswith("none")
    assert (lines["deadline"], lines["umask"], lines["nice"]) == ("1h30m", "027", "-5")
    assert (lines["overlap"], lines["max-instances"]) == ("allow", "3")
    assert lines["stdin"] == "6 characters"
    assert "env-file" not in lines


def test_the_page_of_a_task_reports_its_times_in_its_own_zone():
    task = replace(TASK, tz="Europe/Berlin", next=NOON + MINUTE, last_success=NOON - MINUTE)
    text = tables.task_page(PLAIN, task, "every minute", options.told(task), [])
    assert "next          2026-11-20 13:01:00 (Europe/Berlin), in 1m 00s" in text
    assert "last success  2026-11-20 12:59:00 (Europe/Berlin), 1m 00s ago" in text
    gone = tables.task_page(
        PLAIN, replace(task, tz="Mars/Phobos"), "broken", options.told(task), []
    )
    assert "next          2026-11-20 12:01:00 (UTC), in 1m 00s" in gone


def test_the_page_of_a_task_shows_what_is_wrong_with_it_and_its_last_runs():
    task = replace(TASK, error="the zone is gone")
    text = tables.task_page(PLAIN, task, "every minute (UTC)", options.told(task), [DONE])
    assert "the zone is gone" in text
    assert text.split("\n\n")[1] == tables.runs_table(PLAIN, [DONE])


@pytest.mark.parametrize(
    "name",
    "password DB_PASS PGPASSWORD secret X_TOKEN token API_KEY apikey ACCESS_KEY PRIVATE_PEM "
    "AUTHORIZATION AWS_CREDENTIALS PASSWORD2 AUTH_TOKEN BASIC_AUTH MYSQL_PWD AWS_SECRET_ACCESS_KEY "
    "DB_PASSWORD_FILE secrets".split(),
)
def test_names_that_look_secret(name):
    assert spelling.masked({name: "v"}) == {name: "***"}


@pytest.mark.parametrize("name", "PATH HOME LANG KEYBOARD A MONKEY TOKYO EDITOR".split())
def test_names_that_do_not_look_secret(name):
    assert spelling.masked({name: "v"}) == {name: "v"}


@pytest.mark.parametrize(
    "name", "PWD OLDPWD GIT_AUTHOR_NAME PASSENGERS BYPASS SSH_AUTH_SOCK".split()
)
def test_everyday_names_that_only_hold_a_secret_word(name):
    assert spelling.masked({name: "v"}) == {name: "v"}


# ---- runs


def test_the_table_of_runs():
    rows = tables.runs_table(PLAIN, [DONE, run(8, State.SKIPPED)]).split("\n")
    assert rows == [
        "run  task    slot (UTC)           state      late  took    why",
        "7    report  2026-11-20 12:00:00  succeeded  3s    1m 10s  because",
        "8    report  2026-11-20 12:00:00  skipped    -     -       because",
    ]


def test_a_run_by_hand_is_never_late():
    by_hand = replace(DONE, trigger=Trigger.MANUAL)
    assert tables.runs_table(PLAIN, [by_hand]).split("\n")[1].split()[5] == "-"


def test_a_run_that_still_runs_says_for_how_long():
    going = replace(run(7, State.RUNNING), started=NOON - timedelta(minutes=5), reason=None)
    assert "5m 00s so far  -" in tables.runs_table(PLAIN, [going])


def test_a_clock_that_went_back_gives_no_negative_time():
    going = replace(run(7, State.RUNNING), started=NOON + timedelta(minutes=5))
    assert "0s so far" in tables.runs_table(PLAIN, [going])


@pytest.mark.parametrize(
    ("count", "at_least", "told"),
    [
        (1, False, "because"),
        (2, False, "because [stands for 2 slots]"),
        (10_000, True, "because [stands for at least 10000 slots]"),
    ],
)
def test_a_run_that_stands_for_several_slots_says_so(count, at_least, told):
    row = replace(DONE, coalesced=count, coalesced_at_least=at_least)
    assert tables.runs_table(PLAIN, [row]).endswith(f"  {told}")


# ---- what comes, what would be done, how things stand


def test_slots_to_come_are_shown_in_their_own_zone():
    local = NOON.astimezone(Page("Asia/Kolkata", NOON)._zone)
    by_hand, named = Upcoming(None, NOON, local), Upcoming("x", NOON, local, "odd")
    assert tables.upcoming_table(PLAIN, [by_hand]).split("\n") == [
        "slot (Asia/Kolkata)      when",
        "Fri 2026-11-20 17:30:00  in 0s",
    ]
    assert tables.upcoming_table(PLAIN, [named]).split("\n")[1] == (
        "x     Fri 2026-11-20 17:30:00  in 0s  odd"
    )


def test_slots_of_several_zones_are_shown_in_the_zone_of_the_page():
    items = [
        Upcoming(name, NOON, NOON.astimezone(Page(zone, NOON)._zone))
        for name, zone in (("x", "Asia/Kolkata"), ("y", "Europe/Berlin"))
    ]
    assert tables.upcoming_table(PLAIN, items).split("\n") == [
        f"task  slot ({PLAIN.tz})               when",
        "x     Fri 2026-11-20 12:00:00  in 0s",
        "y     Fri 2026-11-20 12:00:00  in 0s",
    ]


def test_slots_on_both_sides_of_a_clock_change_name_their_time():
    page = Page("Europe/Berlin", NOON)
    night = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    items = [Upcoming(None, at, page.placed(at)) for at in (night, night + timedelta(hours=1))]
    heading, first, second = tables.upcoming_table(page, items).split("\n")
    assert heading.startswith("slot (Europe/Berlin)")
    assert first.startswith("Sun 2026-10-25 02:30:00 CEST")
    assert second.startswith("Sun 2026-10-25 02:30:00 CET ")


def decision(action, count=1):
    span = Span(NOON, NOON - MINUTE, count)
    return Decision(1, "report", span, action, "why not", Trigger.SCHEDULE)


def test_decisions_say_what_and_why():
    text = tables.decisions_table(PLAIN, [decision(Action.RUN, 2), decision(Action.SKIP)])
    assert text.split("\n") == [
        "task    slot (UTC)           slots  decision  why",
        "report  2026-11-20 12:00:00  2      run       why not",
        "report  2026-11-20 12:00:00  1      skip      why not",
    ]


def test_the_words_for_decisions_are_those_of_the_contract():
    assert set(Action) == {"run", "queue", "skip", "miss", "replace", "wait"}
    document = documents.decision_document(decision(Action.RUN, 2))
    assert (document["slot"], document["first_slot"]) == (
        "2026-11-20T12:00:00Z",
        "2026-11-20T11:59:00Z",
    )


EMPTY = Status(None, None, None, [], [], [], [], [])


def test_status_where_there_is_nothing():
    assert tables.status_page(PLAIN, EMPTY).split("\n") == [
        "last tick  never",
        "running    nothing",
        "pending    nothing",
        "failing    nothing",
        "next       nothing",
    ]


def test_status_names_what_fails_runs_and_hurts():
    failing = replace(TASK, last_state=State.TIMED_OUT, last_run=NOON, streak=-3)
    status = replace(
        EMPTY,
        last_tick=NOON - MINUTE,
        clock="cron",
        failing=[failing],
        failures=[run(6, State.TIMED_OUT, started=NOON)],
        running=[run(7, State.RUNNING, started=NOON)],
        problems=["it hurts"],
    )
    lines = tables.status_page(PLAIN, status).split("\n")
    assert lines[0] == "last tick  1m 00s ago, called by cron"
    assert lines[1] == "running    1"
    assert lines[2].startswith("  run  task")
    at = lines.index("failing    1")
    assert lines[at + 1].split() == "task state in a row last run (UTC) why".split()
    assert lines[at + 2].split() == "report timed_out 3 2026-11-20 12:00:00 because".split()
    assert lines[-1] == "problem    it hurts"


def test_a_document_is_one_json_text_with_its_version_first():
    text = documents.document(a=["ü"], b=None)
    assert json.loads(text) == {"version": 1, "a": ["ü"], "b": None}
    assert text.index("version") < text.index('"a"')
    assert "ü" in text


def test_a_document_in_ascii_means_the_same():
    text = documents.document(a="ü 漢 😀 \n")
    plain = ascii_only(text)
    assert plain.isascii()
    assert json.loads(plain) == json.loads(text)


@pytest.mark.parametrize(
    ("length", "number"),
    [(timedelta(hours=1), 3600), (timedelta(milliseconds=1500), 1.5), (None, None)],
)
def test_lengths_are_seconds_whole_ones_as_integers(length, number):
    found = documents.seconds(length)
    assert found == number
    assert type(found) is type(number)
