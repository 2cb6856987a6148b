"""The graph of history: a line of marks for each task, by its slots."""

import json
from datetime import timedelta
from itertools import pairwise

import pytest

from taskrunner import Every, InputError, Manual, State, UnknownTask
from taskrunner.render.graph import MARKS, graph_document, graph_page, room
from taskrunner.render.page import Page
from taskrunner.report import graph
from taskrunner.schedule.zones import zone
from tests.history import ran
from tests.samples import NOON, call

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BERLIN = zone("Europe/Berlin")
UTC = zone("UTC")


# ---- the spans of time


@pytest.mark.parametrize(
    ("days", "most", "length"),
    [(30, 60, 12), (30, 31, 24), (7, 60, 3), (1, 60, 0.5), (0.1, 60, 1 / 12), (90, 200, 12)],
)
def test_spans_are_as_short_as_there_is_room_for(days, most, length):
    edges = graph.spans(NOON - days * DAY, NOON, most, UTC)
    assert len(edges) - 1 <= most
    assert edges[1] - edges[0] == length * HOUR
    assert edges[0] <= NOON - days * DAY < edges[1]
    assert edges[-2] < NOON <= edges[-1]


def test_many_days_share_a_span_when_there_is_no_room():
    edges = graph.spans(NOON - 365 * DAY, NOON, 60, UTC)
    assert len(edges) - 1 <= 60
    assert edges[1] - edges[0] == 7 * DAY
    assert edges[-1] >= NOON


@pytest.mark.parametrize(("month", "day", "hours"), [(3, 29, 23), (10, 25, 25)])
def test_a_day_begins_at_midnight_also_when_clocks_change(month, day, hours):
    noon = NOON.replace(month=month, day=day)
    edges = graph.spans(noon - 3 * DAY, noon + 3 * DAY, 10, BERLIN)
    assert {edge.astimezone(BERLIN).hour for edge in edges} == {0}
    assert hours * HOUR in {late - early for early, late in pairwise(edges)}


# ---- from a store


def marks(runner, **asked):
    """The line of each task, as signs."""
    found = runner.graph(**{"most": 10, "since": NOON - 8 * DAY, "until": NOON, **asked})
    spans = range(len(found.edges) - 1)
    return {
        line.task: "".join(MARKS[line.marks[at][0]] if at in line.marks else "." for at in spans)
        for line in found.lines
    }


def test_each_day_has_the_mark_of_what_became_of_its_slot(runner):
    runner.add("x", ["true"], Every("1d"))
    runner.add("never", ["true"], Manual())
    store = runner._here().store
    for day, state in enumerate([State.SUCCEEDED, State.FAILED, State.MISSED, State.SKIPPED]):
        ran(store, state, NOON - day * DAY - HOUR)
    assert marks(runner) == {"never": ".........", "x": ".....SMF+"}


def test_of_many_slots_in_a_span_the_worst_is_the_mark_and_all_are_counted(runner):
    runner.add("x", ["true"], Every("1m"))
    for minute in range(60):
        state = State.TIMED_OUT if minute == 30 else State.SUCCEEDED
        ran(runner._here().store, state, NOON - HOUR - minute * timedelta(minutes=1))
    found = runner.graph(since=NOON - 8 * DAY, until=NOON, most=10)
    (line,) = found.lines
    assert line.marks == {8: (State.TIMED_OUT, 60)}


@pytest.mark.parametrize("worse", range(len(graph.WORST) - 1))
def test_each_state_wins_over_those_after_it(worse):
    found: dict = {}
    graph._add(found, 0, graph.WORST[worse + 1], 1)
    graph._add(found, 0, graph.WORST[worse], 2)
    graph._add(found, 0, graph.WORST[worse + 1], 3)
    assert found == {0: (graph.WORST[worse], 6)}


def test_every_state_has_a_rank_and_a_mark():
    assert set(graph.WORST) == set(State) == set(MARKS)
    assert len(set(MARKS.values())) == len(MARKS)


def test_a_slot_whose_second_attempt_succeeded_is_not_a_failure(runner):
    runner.add("x", ["true"], Every("1d"), retries=1)
    store, slot = runner._here().store, NOON - HOUR
    ran(store, State.FAILED, NOON - HOUR / 2, slot=slot)
    assert marks(runner)["x"] == "........F"
    ran(store, State.SUCCEEDED, NOON - HOUR / 4, slot=slot, attempt=2)
    assert marks(runner)["x"] == "........+"


def test_a_run_that_came_late_is_where_it_should_have_been(runner):
    runner.add("x", ["true"], Every("1d"))
    ran(runner._here().store, ended=NOON - HOUR, slot=NOON - 3 * DAY)
    assert marks(runner)["x"] == ".....+..."


def test_only_one_task_one_state_one_time(runner):
    for name in ("x", "y"):
        runner.add(name, ["true"], Every("1d"))
    store = runner._here().store
    for task, state in ((1, State.FAILED), (1, State.SUCCEEDED), (2, State.SUCCEEDED)):
        ran(store, state, NOON - task * DAY - (state is State.FAILED) * 2 * DAY, task=task)
    assert marks(runner, name="x") == {"x": ".....F.+."}
    assert marks(runner, state="failed") == {"x": ".....F...", "y": "........."}
    assert marks(runner, since=NOON - 2 * DAY, most=3) == {"x": ".+.", "y": "+.."}


def test_a_removed_task_is_shown_where_it_has_runs_and_counts_with_its_namesake(runner):
    runner.add("x", ["true"], Manual())
    runner.add("gone", ["true"], Manual())
    ran(runner._here().store, task=2, ended=NOON - HOUR)
    runner.remove("gone")
    runner.remove("x")
    runner.add("x", ["true"], Manual())
    found = runner.graph(until=NOON)
    assert [(line.task, line.removed) for line in found.lines] == [("gone", True), ("x", False)]


def test_what_is_asked_wrongly_is_refused(runner):
    runner.add("x", ["true"], Manual())
    with pytest.raises(UnknownTask):
        runner.graph("y")
    with pytest.raises(InputError, match="swap since and until"):
        runner.graph(since=NOON, until=NOON - DAY)
    with pytest.raises(InputError, match="is not a state"):
        runner.graph(state="good")


# ---- for people and programs


def test_the_page_has_a_ruler_lines_and_a_legend(runner):
    runner.add("x", ["true"], Every("1d"))
    ran(runner._here().store, State.FAILED, NOON - HOUR)
    found = runner.graph(since=NOON - 8 * DAY, until=NOON, most=10)
    assert graph_page(Page("UTC", NOON), found).split("\n") == [
        "   Nov 12",
        "x  ........F",
        "",
        "F failed  . nothing",
        "a mark is 1d (UTC), the worst of its slots",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 140, 300])
def test_the_page_fits_and_long_names_are_cut(runner, width):
    runner.add("synchronise-customers-from-the-old-system", ["true"], Every("1d"))
    page = Page("UTC", NOON, width)
    found = runner.graph(until=NOON, most=room(page, [task.name for task in runner.tasks()]))
    assert max(map(len, graph_page(page, found).split("\n"))) <= width


def test_a_name_in_a_graph_cannot_steer_the_terminal():
    line = graph.Line("a\033[2J", {})
    found = graph.Graph([NOON - DAY, NOON], [line])
    assert "\033" not in graph_page(Page("UTC", NOON), found)


def test_a_colour_for_each_mark(runner):
    runner.add("x", ["true"], Every("1d"))
    ran(runner._here().store, State.FAILED, NOON - HOUR)
    text = graph_page(Page("UTC", NOON, 80, colour=True), runner.graph(until=NOON))
    assert text.count("\033[31mF\033[0m") == 2  # on the line and in the legend


def test_the_document_has_the_marks_with_their_times(runner):
    runner.add("x", ["true"], Every("1d"))
    ran(runner._here().store, State.FAILED, NOON - HOUR)
    found = json.loads(graph_document(runner.graph(since=NOON - 2 * DAY, until=NOON, most=3)))
    assert found == {
        "version": 1,
        "since": "2026-11-18T00:00:00Z",
        "until": "2026-11-21T00:00:00Z",
        "graph": [
            {
                "task": "x",
                "marks": [
                    {
                        "from": "2026-11-20T00:00:00Z",
                        "until": "2026-11-21T00:00:00Z",
                        "state": "failed",
                        "runs": 1,
                    }
                ],
            }
        ],
    }


def test_the_verb(home):
    assert call(home, "history", "--graph")[1] == "taskrunner: no runs match\n"
    call(home, "add", "x", "--manual", "--", "true")
    call(home, "run", "x")
    out, err, code = call(home, "history", "--graph", "--since", "7d")
    assert (err, code) == ("", 0)
    assert "+ succeeded" in out
    assert json.loads(call(home, "history", "x", "--graph", "--json")[0])["graph"][0]["task"] == "x"
    out, err, code = call(home, "history", "--graph", "-n", "5")
    assert (out, code) == ("", 2)
    assert "-n 5" in err
