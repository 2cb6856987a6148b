"""Random tasks, policies, clocks, crashes and people against a small model: what must hold whatever happens.

The model knows arithmetic only: which instants of a grid of minutes have come due while a tick could see them.
TASKRUNNER_TEST_LONG=1 tries much more.
"""

import os
import shutil
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from taskrunner import Every, State, TaskRunner, Trigger, host
from taskrunner.model.values import Process
from taskrunner.processes.alive import pid_namespace
from taskrunner.tick import visit

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LIVE = (State.PENDING, State.RUNNING)
RETRIED = (State.FAILED, State.TIMED_OUT, State.LOST)
GRID = (Trigger.SCHEDULE, Trigger.CATCH_UP)
PARALLEL, GROUP = 3, 2
# It says that it was started, fails when it can be divided by three, and tells how many run beside it.
SHELL = """
mkdir "$PLACE/busy/$TASKRUNNER_RUN" || echo "$TASKRUNNER_RUN twice" >> "$PLACE/faults"
echo "$TASKRUNNER_RUN" >> "$PLACE/started"
test "$(ls "$PLACE/busy" | wc -l)" -le 3 || echo "too many" >> "$PLACE/faults"
rmdir "$PLACE/busy/$TASKRUNNER_RUN"
exit $((TASKRUNNER_RUN % 3 == 0))
"""

OPTIONS = st.fixed_dictionaries(
    {
        "overlap": st.sampled_from(["skip", "queue", "replace", "allow"]),
        "catch_up": st.sampled_from(["last", "all", "none"]),
        "deadline": st.sampled_from([None, None, "20m", "2h"]),
        "group": st.sampled_from([None, f"db:{GROUP}"]),
        "priority": st.integers(-2, 2),
        "retries": st.integers(0, 2),
        "retry_delay": st.sampled_from(["1m", "15m"]),
        "on_lost": st.sampled_from(["fail", "retry"]),
        "jitter": st.sampled_from([None, "3m"]),
    }
)


class Whatever(RuleBasedStateMachine):
    """One store, a few tasks, a clock in hand, and people who do what they like."""

    @initialize(first=OPTIONS, second=OPTIONS)
    def start(self, first, second):
        self.place = Path(tempfile.mkdtemp(prefix="taskrunner-model-"))
        (self.place / "busy").mkdir()
        home = self.place / "home"
        home.mkdir(mode=0o700)
        (home / "taskrunner.toml").write_text(f"max_parallel = {PARALLEL}\n")
        self.now, self.boot, self.real_boot_id = NOON, 0, host.boot_id
        host.boot_id = lambda: f"boot-{self.boot}"
        self.runner = TaskRunner(home, clock=lambda: self.now)
        self.tasks = {}  # name to minutes between slots, anchor, and up to when its slots have been decided
        self.due = {}  # name to the slots that were decided
        self.held = False
        self.add(1, first)
        self.add(7, second)

    def teardown(self):
        if hasattr(self, "runner"):
            self.runner.close()
            host.boot_id = self.real_boot_id
            shutil.rmtree(self.place)

    # ---- what happens

    @precondition(lambda self: len(self.tasks) < 4)
    @rule(minutes=st.sampled_from([1, 7, 60]), options=OPTIONS)
    def add(self, minutes, options):
        if options["catch_up"] == "all":
            options = {**options, "catch_up_limit": 3}
        name = f"t{len(self.tasks)}"
        env = {"PLACE": str(self.place)}
        self.runner.add(name, shell=SHELL, schedule=Every(f"{minutes}m"), env=env, **options)
        anchor = self.now.replace(second=0)  # the whole minute
        self.tasks[name] = [timedelta(minutes=minutes), anchor, self.now]
        self.due[name] = []

    @rule(seconds=st.sampled_from([1, 30, 60, 60, 60, 90, 600, 4000, 100_000, -40, -3000]))
    def time_passes(self, seconds):
        self.now += timedelta(seconds=seconds)

    @rule(minutes=st.integers(0, 4))
    def ticks_come(self, minutes):
        for _ in range(minutes + 1):
            self.runner.tick()
            self.decided()
            if not self.held:
                self.nothing_waits_without_need()
            self.now += timedelta(minutes=1)

    @rule()
    def tick_dies_between_claim_and_start(self):
        visit.Tick(self.runner._here(), "test").claim_under_lock()
        self.decided()

    @rule()
    def supervisor_dies(self):
        here = self.runner._here()
        with here.store.transaction():
            for run in here.store.runs.startable_in(None, 2, self.now)[:1]:
                process = Process(run.id, "dead", host.boot_id(), "none", 1, pid_namespace())
                here.store.runs.start([process], self.now)

    @rule()
    def machine_starts_again(self):
        self.boot += 1

    @rule(hold=st.booleans())
    def somebody_holds_or_resumes(self, hold):
        if self.tasks:
            self.held = hold
            self.runner.hold() if hold else self.runner.resume()

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def somebody_disables_and_enables(self, data):
        name = data.draw(st.sampled_from(sorted(self.tasks)))
        self.runner.disable(name)
        self.runner.enable(name)
        length, anchor, seen = self.tasks[name]
        self.tasks[name] = [length, anchor, max(self.now, seen)]

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def somebody_cancels_what_waits(self, data):
        waiting = [run.id for run in self.runner.history(state="pending")]
        if waiting:
            self.runner.cancel(data.draw(st.sampled_from(waiting)))

    def decided(self):
        """Note in the model the slots that a tick now has to decide."""
        for name, (length, anchor, seen) in self.tasks.items():
            if not self.held and self.now > seen:
                first = max(0, -((anchor - seen) // length)) if seen >= anchor else 0
                slots = [
                    anchor + length * k for k in range(first, (self.now - anchor) // length + 1)
                ]
                self.due[name] += [slot for slot in slots if seen < slot <= self.now]
                self.tasks[name][2] = self.now

    # ---- what must hold

    def runs(self, name=None):
        return self.runner.history(name, limit=None) if self.tasks else []

    @invariant()
    def every_slot_that_came_due_has_one_row_that_stands_for_it(self):
        if not hasattr(self, "runner"):
            return
        for name, due in self.due.items():
            rows = [run for run in self.runs(name) if run.trigger in GRID]
            assert sum(run.coalesced for run in rows) == len(due), name
            stand = Counter(s for run in rows for s in due if run.first_slot <= s <= run.slot)
            assert set(stand) == set(due) and set(stand.values()) <= {1}, name

    @invariant()
    def every_run_was_started_at_most_once_and_within_the_limits(self):
        if not hasattr(self, "runner"):
            return
        assert not (self.place / "faults").exists(), (self.place / "faults").read_text()
        log = self.place / "started"
        started = Counter(log.read_text().split()) if log.exists() else Counter()
        assert set(started.values()) <= {1}
        ended = {str(run.id) for run in self.runs() if run.state in (State.SUCCEEDED, State.FAILED)}
        assert ended == set(started)

    @invariant()
    def attempts_of_a_slot_follow_each_other(self):
        if not hasattr(self, "runner"):
            return
        for name in self.tasks:
            task = self.runner.task(name)
            slots = {}
            for run in reversed(self.runs(name)):
                slots.setdefault(run.slot, []).append(run)
            for runs in slots.values():
                assert [run.attempt for run in runs] == list(range(1, len(runs) + 1))
                assert all(run.state in RETRIED for run in runs[:-1])
                assert len(runs) <= max(task.retries, task.on_lost == "retry") + 1

    def nothing_waits_without_need(self):
        """After a tick a run waits for an instant, or for one of its task that does."""
        waiting = [run for run in self.runs() if run.state in LIVE]
        assert {run.state for run in waiting} <= {State.PENDING}
        for run in waiting:
            ahead = [r for r in waiting if r.task == run.task and r.slot <= run.slot]
            assert any(r.ready is not None and r.ready > self.now for r in ahead), run


LONG = bool(os.environ.get("TASKRUNNER_TEST_LONG"))
Whatever.TestCase.settings = settings(
    max_examples=1000 if LONG else 20,
    stateful_step_count=60 if LONG else 40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
test_whatever_happens_every_slot_is_accounted_for = Whatever.TestCase
