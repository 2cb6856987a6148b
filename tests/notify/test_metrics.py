"""What a monitoring system reads, by its own parsers, of real stores."""

import os
import re
import sqlite3
import stat
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families as textfile_families

from taskrunner import Cron, Every, Manual, State, TaskRunner, schema
from taskrunner.cli import main
from taskrunner.notify import metrics
from tests.history import SECOND, ran
from tests.samples import NOON, ROOT, call, start, wait_for

DAY = timedelta(days=1)


def samples(text, read=openmetrics_families):
    """All samples of a text: by name, then by labels without that of the home, their values."""
    found = {}
    for family in read(text):
        for sample in family.samples:
            labels = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "home"))
            assert labels not in found.setdefault(sample.name, {}), "each sample stands there once"
            assert sample.timestamp is None
            found[sample.name][labels] = sample.value
    return found


def of(text, name, **labels):
    """One sample of a text."""
    return samples(text)[f"taskrunner_{name}"].get(tuple(sorted(labels.items())))


def settings(home, place):
    (home / "taskrunner.toml").write_text(f'metrics_textfile = "{place}"\n')


@pytest.fixture
def text(runner):
    """The metrics of the home as they are now."""
    return runner.metrics


# ---- the two formats


def test_both_formats_are_read_by_the_parsers_of_the_client_and_say_the_same(
    runner, text, tmp_path
):
    runner.add("a", ["true"], Every("1h"), now=True)
    runner.add("b", ["false"], Cron("0 2 * * *", tz="Europe/Berlin"), now=True)
    runner.tick()
    place = tmp_path / "t.prom"
    runner.write_metrics(place)
    one, other = samples(text()), samples(place.read_text(), textfile_families)
    assert one == other
    assert len(one) > 20
    assert text().endswith("# EOF\n")


def test_names_and_units_keep_to_the_conventions(runner, text):
    runner.add("a", ["true"], Every("1h"), now=True)
    runner.tick()
    for family in openmetrics_families(text()):
        assert family.name.startswith("taskrunner_")
        assert family.documentation.endswith(".")
        assert family.type in ("gauge", "counter", "summary", "info")
        assert not family.unit or family.name.endswith(f"_{family.unit}")
        assert not family.name.endswith(("_total", "_info", "_count", "_sum"))


def test_the_file_gives_each_name_a_type_that_the_older_format_knows(runner, tmp_path):
    runner.add("a", ["true"], Every("1h"))
    runner.write_metrics(tmp_path / "t.prom")
    lines = (tmp_path / "t.prom").read_text().splitlines()
    kinds = dict(line.split()[2:] for line in lines if line.startswith("# TYPE"))
    assert set(kinds.values()) == {"gauge", "counter", "summary"}
    assert kinds["taskrunner_runs_total"] == "counter"
    assert kinds["taskrunner_task_info"] == "gauge"


def test_signs_that_mean_something_in_a_label_are_escaped(tmp_path):
    home = tmp_path / 'a "quoted" \\ home\nof two lines'
    with TaskRunner(home) as runner:
        runner.add("a@b+c", ["true"], Cron("*/5 * * * *"))
        read = list(openmetrics_families(runner.metrics()))
    assert {s.labels["home"] for family in read for s in family.samples} == {str(home)}


def test_a_home_without_a_store_has_metrics_and_is_not_made(tmp_path):
    with TaskRunner(tmp_path / "none") as runner:
        found = samples(runner.metrics())
    assert found["taskrunner_held"] == {(): 0}
    assert "taskrunner_last_tick_timestamp_seconds" not in found
    assert not (tmp_path / "none").exists()


# ---- what they say


def test_the_last_tick_and_the_next_slot_are_reported(runner, text, clock):
    runner.add("a", ["true"], Cron("0 18 * * *", tz="UTC"))
    runner.tick()
    assert of(text(), "last_tick_timestamp_seconds") == clock().timestamp()
    six = clock().replace(hour=18).timestamp()
    assert of(text(), "next_slot_timestamp_seconds") == six
    assert of(text(), "task_next_slot_timestamp_seconds", task="a") == six
    runner.disable("a")
    assert "taskrunner_next_slot_timestamp_seconds" not in samples(text())
    assert of(text(), "task_enabled", task="a") == 0


def test_a_hold_is_reported(runner, text):
    runner.add("a", ["true"], Manual())
    runner.hold("1h")
    assert of(text(), "held") == 1


def test_runs_are_counted_by_how_they_ended_and_begin_at_zero(runner, text):
    runner.add("a", ["true"], Manual())
    assert {of(text(), "runs_total", task="a", state=s) for s in metrics.ENDS} == {0}
    for number, state in enumerate(metrics.ENDS):
        ran(runner._here().store, state, NOON + number * DAY)
    assert {of(text(), "runs_total", task="a", state=s) for s in metrics.ENDS} == {1}


def test_counters_survive_pruning(runner, text):
    runner.add("a", ["true"], Manual())
    (Path(runner.home) / "taskrunner.toml").write_text('keep_runs = 1\nkeep_age = "1d"\n')
    runner.close()
    runner.tick()
    store = runner._here().store
    for number in range(6):
        ran(store, State.FAILED if number % 2 else State.SUCCEEDED, NOON - (20 - number) * DAY)
    before = samples(text())
    taken = store.pruning.old_runs(NOON, 1, (-(2**63), 0), 100)
    with store.transaction():
        assert store.pruning.drop_runs([run_id for (_, run_id), may_go in taken if may_go])[0] > 2
    after = samples(text())
    for name in ("runs_total", "run_duration_seconds_sum", "run_lateness_seconds_count"):
        assert after[f"taskrunner_{name}"] == before[f"taskrunner_{name}"]
    assert of(text(), "runs_total", task="a", state="failed") == 3


def test_durations_and_latenesses_are_summed_and_the_last_is_reported(runner, text):
    runner.add("a", ["true"], Every("1h"))
    store = runner._here().store
    ran(store, took=10 * SECOND, late=2 * SECOND)
    ran(store, State.FAILED, NOON + SECOND, took=5 * SECOND, late=4 * SECOND)
    ran(store, State.LOST, NOON + DAY, took=100 * SECOND, attempt=2)
    assert of(text(), "run_duration_seconds_sum", task="a") == 15
    assert of(text(), "run_duration_seconds_count", task="a") == 2
    assert of(text(), "run_lateness_seconds_sum", task="a") == 6
    assert of(text(), "run_lateness_seconds_count", task="a") == 2
    assert of(text(), "task_last_duration_seconds", task="a") == 5
    assert of(text(), "task_last_lateness_seconds", task="a") == 4


def test_the_last_success_the_last_failure_and_the_streak_are_reported(runner, text):
    runner.add("a", ["true"], Manual())
    store = runner._here().store
    ran(store, ended=NOON)
    for minutes in (1, 2):
        ran(store, State.TIMED_OUT, NOON + timedelta(minutes=minutes))
    assert of(text(), "task_last_success_timestamp_seconds", task="a") == NOON.timestamp()
    failed = (NOON + timedelta(minutes=2)).timestamp()
    assert of(text(), "task_last_failure_timestamp_seconds", task="a") == failed
    assert of(text(), "task_streak", task="a") == -2


def test_missed_slots_are_counted_one_by_one(runner, text, clock):
    runner.add("a", ["true"], Cron("0 * * * *", tz="UTC"), catch_up="none")
    runner.tick()
    clock.forward(hours=5, minutes=30)
    runner.tick()
    assert of(text(), "missed_slots_total", task="a") == 5
    assert of(text(), "runs_total", task="a", state="missed") == 1


def test_running_and_pending_runs_are_reported_with_their_start(home, text, runner):
    runner.add("a", ["sleep", "60"], Manual())
    with start(home, "run", "a") as process:
        wait_for(lambda: runner.history("a", state="running"))
        assert of(text(), "task_running", task="a") == 1
        (run,) = runner.history("a")
        assert of(text(), "task_running_since_timestamp_seconds", task="a") == pytest.approx(
            run.started.timestamp()
        )
        runner.cancel("a")
        process.communicate()
    assert of(text(), "task_running", task="a") == 0
    assert "taskrunner_task_running_since_timestamp_seconds" not in samples(text())


def test_a_task_that_was_removed_has_no_metrics_and_a_new_one_of_its_name_starts_at_zero(
    runner, text
):
    runner.add("a", ["true"], Manual())
    ran(runner._here().store)
    runner.remove("a")
    assert "taskrunner_runs_total" not in samples(text())
    runner.add("a", ["true"], Manual())
    assert of(text(), "runs_total", task="a", state="succeeded") == 0


# ---- the tallies behind them


def test_the_tallies_of_an_older_store_are_those_of_its_runs(tmp_path):
    place = tmp_path / "old.db"
    with closing(sqlite3.connect(place, isolation_level=None)) as old:
        for statement in schema.statements(schema.STEPS[0]):
            old.execute(statement)
        old.execute("PRAGMA user_version = 1")
        old.execute(
            "INSERT INTO tasks (name, enabled, created, kind, schedule, command, env, kill_after, "
            "catch_up, overlap, evaluated) VALUES ('a', 1, 0, 'manual', '', '[]', '{}', 1, 'last', 'skip', 0)"
        )
        row = "INSERT INTO runs (task_id, slot, first_slot, coalesced, trigger, state, claimed, started, finished) VALUES (1, "
        old.execute(row + "1000, 1000, 1, 'schedule', 'succeeded', 1500, 2000, 5000)")
        old.execute(row + "3000, 3000, 1, 'manual', 'succeeded', 3000, 9000, 10000)")
        old.execute(row + "9000, 4000, 6, 'schedule', 'missed', 9000, NULL, 9000)")
        old.execute(row + "9500, 9500, 1, 'schedule', 'running', 9000, 9500, NULL)")
        schema.migrate(old)
        old.execute("UPDATE runs SET state = 'succeeded', finished = 10500 WHERE finished IS NULL")
        found = {row[1]: row[2:] for row in old.execute("SELECT * FROM tallies")}
    assert found == {
        "succeeded": (3, 3, 3, 5000, 2, 1000, 10500, 1000, 0),
        "missed": (1, 6, 0, 0, 0, 0, 9000, None, None),
    }


def test_a_run_that_is_touched_after_its_end_is_counted_once(runner, text):
    runner.add("a", ["true"], Manual())
    ran(runner._here().store)
    with closing(sqlite3.connect(Path(runner.home) / "taskrunner.db")) as other, other:
        other.execute("UPDATE runs SET finished = finished + 1, reason = 'told later'")
    assert of(text(), "runs_total", task="a", state="succeeded") == 1


def test_the_cost_does_not_grow_with_the_number_of_runs(runner, text):
    runner.add("a", ["true"], Manual())
    connection = runner._here().store.connection.raw

    def cost():
        steps = []
        connection.set_progress_handler(lambda: steps.append(1), 10)
        text()
        connection.set_progress_handler(None, 0)
        return len(steps)

    ran(runner._here().store)
    few = cost()
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) "
        "INSERT INTO runs (task_id, slot, first_slot, trigger, state, claimed, started, finished) "
        "SELECT 1, i, i, 'schedule', 'succeeded', i, i, i FROM n"
    )
    assert of(text(), "runs_total", task="a", state="succeeded") == 20001
    assert cost() <= few + 5


# ---- the file


def test_a_working_tick_writes_the_file_and_an_idle_one_does_not(home, tmp_path):
    place = tmp_path / "t.prom"
    settings(home, place)
    with TaskRunner(home) as live_runner:
        live_runner.add("a", ["true"], Every("1d"), now=True)
    assert call(home, "tick") == ("", "", 0)
    found = samples(place.read_text(), textfile_families)
    assert found["taskrunner_runs_total"][(("state", "succeeded"), ("task", "a"))] == 1
    before = place.stat()
    assert call(home, "tick") == ("", "", 0)
    assert place.stat() == before
    assert os.listdir(tmp_path).count("t.prom") == 1


def test_while_a_tick_waits_for_its_runs_the_file_reports_them(home, tmp_path):
    place = tmp_path / "t.prom"
    settings(home, place)
    with TaskRunner(home) as live_runner:
        live_runner.add("a", ["sleep", "60"], Every("1d"), now=True)
        with start(home, "tick") as process:
            wait_for(place.exists)
            found = samples(place.read_text(), textfile_families)
            assert found["taskrunner_task_running"] == {(("task", "a"),): 1}
            live_runner.cancel("a")
            process.communicate()
    found = samples(place.read_text(), textfile_families)
    assert found["taskrunner_task_running"] == {(("task", "a"),): 0}


def test_a_tick_of_the_library_and_a_run_by_hand_write_it_too(home, tmp_path):
    place = tmp_path / "t.prom"
    settings(home, place)
    with TaskRunner(home) as live_runner:
        live_runner.add("a", ["false"], Every("1d"), now=True)
        live_runner.tick()
        assert place.exists()
        place.unlink()
        live_runner.run("a")
    found = samples(place.read_text(), textfile_families)
    assert found["taskrunner_runs_total"][(("state", "failed"), ("task", "a"))] == 2


def test_the_daemon_writes_it_when_something_has_ended(home, tmp_path):
    place = tmp_path / "t.prom"
    settings(home, place)
    with TaskRunner(home) as live_runner:
        live_runner.add("a", ["sleep", "0.5"], Every("1d"), now=True)

        def told():
            return place.exists() and 'state="succeeded"} 1\n' in place.read_text()

        with start(home, "daemon", "--interval", "1s") as process:
            wait_for(told)
            process.terminate()
            process.communicate()
        assert process.returncode == 0


def test_a_file_that_cannot_be_written_costs_no_run_and_is_named(home, tmp_path):
    settings(home, tmp_path / "nowhere" / "t.prom")
    with TaskRunner(home) as live_runner:
        live_runner.add("a", ["true"], Every("1d"), now=True)
        visit = live_runner.tick()
        assert [run.state for run in visit.runs] == [State.SUCCEEDED]
        assert "cannot be written to" in visit.warning
    assert "cannot be written to" in (home / "taskrunner.log").read_text()


def test_the_file_can_be_read_by_others_whatever_our_umask_is(runner, tmp_path):
    runner.add("a", ["true"], Manual())
    before = os.umask(0o077)
    try:
        runner.write_metrics(tmp_path / "t.prom")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "t.prom").stat().st_mode) == 0o644


def test_who_reads_while_others_write_sees_a_whole_file(runner, home, tmp_path):
    for number in range(50):
        runner.add(f"t{number}", ["true"], Manual())
    place = tmp_path / "t.prom"
    runner.write_metrics(place)
    whole = len(place.read_text().splitlines())
    done = threading.Event()

    def write():
        with TaskRunner(home) as other:
            while not done.is_set():
                other.write_metrics(place)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        seen = {len(place.read_text().splitlines()) for _ in range(200)}
    finally:
        done.set()
        for writer in writers:
            writer.join()
    assert seen == {whole}
    assert os.listdir(tmp_path).count("t.prom") == 1
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".new")]


@pytest.mark.parametrize("value", ["t.prom", "/var/lib/", ""])
def test_a_setting_that_is_not_a_path_from_the_root_on_is_refused(home, value, capsys):
    (home / "taskrunner.toml").write_text(f'metrics_textfile = "{value}"\n')
    assert main.main(["--home", str(home), "metrics"]) == 2
    assert "it must be the path of a file, from / on" in capsys.readouterr().err


# ---- the verb


def test_the_verb_prints_openmetrics(home):
    with TaskRunner(home) as live_runner:
        live_runner.add("a", ["true"], Manual())
    out, err, code = call(home, "metrics")
    assert (err, code) == ("", 0)
    assert samples(out)["taskrunner_task_enabled"] == {(("task", "a"),): 1}


def test_the_verb_writes_a_file_or_says_why_not(home, tmp_path):
    assert call(home, "metrics", "--textfile", str(tmp_path / "t.prom")) == ("", "", 0)
    assert (tmp_path / "t.prom").exists()
    out, err, code = call(home, "metrics", "--textfile", str(tmp_path / "none" / "t.prom"))
    assert (out, code) == ("", 1)
    assert (
        err.startswith("taskrunner: the metrics cannot be written to '") and "No such file" in err
    )
    assert call(home, "metrics", "--textfile", "")[2] == 2


# ---- the rules that we give away


def test_the_alert_rules_name_only_metrics_and_labels_that_there_are(runner, text):
    """promtool checks their grammar by hand: it comes with a whole Prometheus."""
    rules = (ROOT / "contrib/prometheus/taskrunner.rules.yml").read_text()
    runner.add("a", ["false"], Every("1h"), now=True)
    runner.tick()
    store = runner._here().store
    ran(store)
    store.connection.raw.execute(
        "INSERT INTO runs (task_id, slot, first_slot, trigger, state, claimed, started) "
        "VALUES (1, 1, 1, 'manual', 'running', 1, 1)"
    )
    known = samples(text())
    named = set(re.findall(r"\btaskrunner_\w+", rules))
    assert len(named) >= 8
    assert named <= set(known)
    states = set(re.findall(r'state="(\w+)"', rules))
    assert states <= set(State)
