"""The kept answer of the idle check: what makes it void, when it is not kept, and that it is never wrong."""

import contextlib
import os
import random
import shutil
import sqlite3
import time
import zlib
from types import SimpleNamespace

import pytest
from hypothesis import settings

from taskrunner import Cron, Every, host, schema
from taskrunner.home import heartbeat, lock, paths
from taskrunner.tick import idle_check, idle_question

MINUTE = 60_000
STEPS = 500
SEEDS = (
    10 if settings.default.max_examples >= 5000 else 1
)  # TASKRUNNER_TEST_PROFILE=long tries 5,000 steps

PENDING = (
    "INSERT INTO runs (task_id, slot, first_slot, trigger, state, claimed, ready) "
    "VALUES (1, {n}, {n}, '{trigger}', 'pending', 1, {ready})"
)
MESSAGE = (
    "INSERT INTO outbox (event, task_id, run_id, channel, created, due) "
    "VALUES ('late', 1, 1, 'c', 1, {due})"
)
RUNNING = (
    "INSERT OR REPLACE INTO processes (run_id, supervisor, boot_id, output, inode) "
    "VALUES (1, '{supervisor}', 'boot', 'x', 1)"
)
QUIET = (
    "UPDATE tasks SET requested = NULL, next = {later}, boot_id = '{boot}'",
    "DELETE FROM processes",
    "DELETE FROM runs WHERE state = 'pending'",
    "DELETE FROM outbox",
    "DELETE FROM facts WHERE name LIKE 'held%'",
    "INSERT OR REPLACE INTO facts VALUES ('zone_data', '{zone_data}')",
)


class World:
    """A home whose clock, boots, zone data and file times are made up; what happens to its database is real."""

    def __init__(self, home, monkeypatch, seed):
        self.home, self.random = home, random.Random(seed)
        self.store = home / paths.STORE
        self.now, self.up = 1_800_000_000_000, 1_000_000
        self.boot, self.zone_data, self.precision = "boot-1", "zones 1", 1
        self.times, self.writers, self.copies = {}, [], []
        self.locks = contextlib.ExitStack()
        self.asked = self.kept = self.numbers = 0
        self.intruded = False
        monkeypatch.setattr(host, "boot_id", lambda: self.boot)
        monkeypatch.setattr(host, "since_boot", lambda: self.up)
        monkeypatch.setattr(host, "zone_stamp", lambda: self.zone_data)
        monkeypatch.setattr(idle_check, "_look", self.look)
        real = idle_question.idle_until

        def asked(*given):
            self.asked += 1
            answer = real(*given)
            self.intruded = self.random.random() < 0.05
            if self.intruded:  # somebody writes at that very moment
                self.write(self.sql())
                self.note()
            return answer

        monkeypatch.setattr(idle_question, "idle_until", asked)
        self.truth_of = real
        self.quiet()
        self.beat()

    # ---- what is made up

    def look(self, place):
        """Return what lstat says, with times of our clock: those of the last step that changed the file."""
        try:
            found = os.lstat(place)
        except FileNotFoundError:
            return None
        if place != str(self.store):
            return found
        modified, changed = self.times.get(self.content(), (self.now, self.now))
        return SimpleNamespace(
            st_mode=found.st_mode,
            st_nlink=found.st_nlink,
            st_dev=found.st_dev,
            st_ino=found.st_ino,
            st_size=found.st_size,
            st_mtime_ns=modified // self.precision * self.precision * 1_000_000,
            st_ctime_ns=changed // self.precision * self.precision * 1_000_000,
        )

    def content(self):
        return self.store.stat().st_ino, zlib.crc32(self.store.read_bytes())

    def note(self, modified=None):
        """Give the database the times of this moment when it was changed."""
        self.times.setdefault(self.content(), (modified or self.now, self.now))

    def beat(self, period=MINUTE):
        heartbeat.write(
            str(self.home / paths.HEARTBEAT),
            heartbeat.Beat(self.now, period, self.boot, "cron", self.up),
        )

    # ---- steps

    def later(self):
        return self.now + self.random.choice((1, 500, 20_000, 59_999, 70_000, 10**7, 10**10))

    def sql(self):
        """Return a statement that matters to a tick, or that does not."""
        self.numbers += 1
        when = self.random.choice((self.now - 1, self.now, self.later(), self.later()))
        return self.random.choice(
            (
                f"UPDATE tasks SET next = {when} WHERE id = 1",
                f"UPDATE tasks SET next = {when} WHERE id = 1",
                f"UPDATE tasks SET enabled = 1 - enabled WHERE id = {self.random.randint(1, 3)}",
                f"UPDATE tasks SET requested = {self.random.choice(('NULL', when))} WHERE id = 2",
                f"UPDATE tasks SET boot_id = '{self.random.choice(('boot-0', 'boot-1'))}' WHERE kind = 'boot'",
                PENDING.format(n=self.numbers, trigger="manual", ready=when),
                PENDING.format(n=self.numbers, trigger="manual", ready="NULL"),
                MESSAGE.format(due=self.random.choice(("NULL", when))),
                f"INSERT OR REPLACE INTO facts VALUES ('held_until', {when}), ('held_since', {self.now - 1})",
                RUNNING.format(supervisor=self.random.choice(("lives", "gone"))),
                "UPDATE processes SET stop_at = 1",
                "INSERT INTO events (at, what) VALUES (1, 'gap')",
                f"INSERT OR REPLACE INTO facts VALUES ('zone_data', 'zones {self.random.randint(1, 2)}')",
                f"PRAGMA user_version = {self.random.choice((len(schema.STEPS),) * 3 + (99,))}",
            )
        )

    def open(self):
        connection = sqlite3.connect(self.store, timeout=0.05, isolation_level=None)
        connection.execute("PRAGMA synchronous = off")  # thousands of writes
        return connection

    def write(self, *statements):
        """Let another program write, and close the database."""
        with contextlib.closing(self.open()) as connection, contextlib.suppress(sqlite3.Error):
            for each in statements:
                connection.execute(each)

    def killed(self):
        """Let a program write and die by SIGKILL, after its commit or before it."""
        statement, commit = self.sql(), self.random.random() < 0.8
        if (child := os.fork()) == 0:
            with contextlib.suppress(sqlite3.Error):
                connection = self.open()
                connection.execute("BEGIN")
                connection.execute(statement)
                if commit:
                    connection.execute("COMMIT")
            os.kill(os.getpid(), 9)
        os.waitpid(child, 0)

    def open_writer(self):
        """Let a program write and keep the database open; or let one that has it open go on."""
        if self.writers and self.random.random() < 0.7:
            connection = self.writers.pop()
            does = self.random.choice(("write", "passive", "truncate", "close"))
        else:
            connection, does = self.open(), "write"
        with contextlib.suppress(sqlite3.Error):
            if does == "write":
                connection.execute(self.sql())
            elif does != "close":
                connection.execute(f"PRAGMA wal_checkpoint({does})").fetchall()
        if does == "close" or len(self.writers) > 2:
            connection.close()
        else:
            self.writers.append(connection)

    def close_writers(self):
        while self.writers:
            self.writers.pop().close()

    def whole(self):
        """Have all of the database in its one file."""
        self.close_writers()
        self.write("PRAGMA wal_checkpoint(truncate)")

    def swap(self):
        """Put another database in its place by a rename, with the file times of before."""
        self.whole()
        other = self.home / "other.db"
        shutil.copy2(self.store, other)
        with contextlib.closing(sqlite3.connect(other)) as connection, connection:
            connection.execute(self.sql())
        modified = self.times.get(self.content(), (self.now,))[0]
        for kind in ("-wal", "-shm"):
            (self.home / f"other.db{kind}").unlink(missing_ok=True)
        other.replace(self.store)
        self.note(modified=modified)

    def restore(self):
        """Copy a database of earlier over it, or keep a copy."""
        self.whole()
        copy = self.home / f"copy-{len(self.copies)}"
        if self.copies and self.random.random() < 0.6:
            copy, modified = self.random.choice(self.copies)
            shutil.copyfile(copy, self.store)
            self.times.pop(self.content(), None)
            self.note(modified=modified)
        else:
            shutil.copyfile(self.store, copy)
            self.copies.append((copy, self.times.get(self.content(), (self.now,))[0]))

    def journal(self):
        """Let a program use a rollback journal, and die with it or not."""
        self.whole()
        self.write("PRAGMA journal_mode = delete")
        self.note()
        if self.random.random() < 0.5:
            self.killed()
        else:
            self.write(self.sql())
        self.note()
        self.write("PRAGMA journal_mode = wal")

    def go_on(self, *lengths):
        lengths = lengths or (1, 400, 2_000, 3_500, 20_000, MINUTE, MINUTE, 2 * MINUTE)
        length = self.random.choice(lengths)
        self.now += length
        self.up += length

    def set_clock(self):
        """Set the wall clock, sometimes to the instant of the last write, and about right again before the next tick."""
        written = max(self.times.get(self.content(), (self.now,))) - self.now
        length = self.random.choice((-MINUTE, -5_000, 2_000, -7_200_000, written, written))
        self.now += length
        if self.random.random() < 0.7:
            self.write(self.sql())
            self.note()
            self.now -= length - self.random.choice((-700, 700))

    def change_host(self):
        match self.random.randrange(4):
            case 0:
                self.zone_data = f"zones {self.random.randint(1, 2)}"
            case 1:
                self.boot = f"boot-{self.random.randint(1, 2)}"
            case 2:
                self.precision = self.random.choice((1, 4, 1000, 2000))
            case 3:
                self.beat(self.random.choice((10_000, MINUTE, MINUTE)))

    def spool(self):
        place = self.home / paths.SPOOL / "end.json"
        if place.exists():
            place.unlink()
        else:
            place.write_text("{}")

    def supervise(self):
        """Let the supervisor live, or end."""
        place = str(self.home / paths.SUPERVISORS / "lives")
        if lock.is_held(place):
            self.locks.close()
        else:
            self.locks.enter_context(lock.held_own(place))

    def quiet(self):
        """Let nothing be due for a while, and nobody have the database open."""
        with contextlib.suppress(OSError):
            (self.home / paths.SPOOL / "end.json").unlink()
        self.whole()
        self.numbers += 1
        soon = self.now + self.random.choice((70_000, 10**8))
        values = {"later": soon, "zone_data": self.zone_data, "boot": self.boot}
        hold = f"INSERT INTO facts VALUES ('held_until', {soon}), ('held_since', 1)"
        others = (
            MESSAGE.format(due=soon),
            PENDING.format(n=self.numbers, trigger="manual", ready=soon + MINUTE),
            RUNNING.format(supervisor="lives"),
            hold,
            "SELECT 1",
            "SELECT 1",
        )
        self.write(
            f"PRAGMA user_version = {len(schema.STEPS)}",
            *(each.format(**values) for each in QUIET),
            self.random.choice(others),
        )
        self.note()

    def settle(self):
        """Have an answer kept, most often."""
        self.quiet()
        for _ in range(self.random.choice((1, 2))):
            self.go_on(1, 3_500, 20_000, MINUTE)
            self.tick()

    # ---- the comparison

    def really_idle(self):
        last = heartbeat.read(str(self.home / paths.HEARTBEAT))
        if not idle_check.steady(last, self.now, self.boot) or list(
            (self.home / paths.SPOOL).iterdir()
        ):
            return False
        answer = self.truth_of(str(self.home), str(self.store), self.now, last.period, self.boot)
        return answer is not None

    def tick(self):
        """Ask, compare the answer with what the database says, and leave a heartbeat as a tick does."""
        before, self.intruded = self.asked, False
        found = idle_check.idle(str(self.home), self.now, "cron")
        self.kept += found and self.asked == before
        self.note()  # a log that was left behind was recovered
        assert self.intruded or found == self.really_idle()
        self.beat(heartbeat.read(str(self.home / paths.HEARTBEAT)).period)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_kept_answer_is_never_wrong(runner, home, monkeypatch, seed):
    runner.add("report", ["true"], Cron("0 18 * * *", tz="UTC"))
    runner.add("other", ["true"], Every("1d"))
    runner.add("at-boot", ["true"], Every("1d"))
    runner.tick()
    runner.close()
    world = World(home, monkeypatch, seed)
    world.write("UPDATE tasks SET kind = 'boot', next = NULL WHERE id = 3")
    world.note()
    steps = {
        world.go_on: 4,
        world.open_writer: 3,
        world.close_writers: 2,
        lambda: world.write(world.sql()): 3,
        world.killed: 3,
        world.swap: 2,
        world.restore: 3,
        world.journal: 1,
        world.set_clock: 4,
        world.change_host: 3,
        world.spool: 1,
        world.supervise: 2,
    }
    for _ in range(STEPS):
        if world.random.random() < 0.5:
            world.settle()
        (step,) = world.random.choices([*steps], [*steps.values()])
        step()
        world.note()
        if world.random.random() < 0.3:
            world.go_on()
        world.tick()
    world.close_writers()
    world.locks.close()
    assert world.kept > STEPS // 20  # else it has not been tried


# ---- one by one


class Kept:
    """A home whose database was asked at `now`, in the near future, and for which the answer was kept."""

    def __init__(self, home, monkeypatch):
        self.home, self.store = home, home / paths.STORE
        self.now = time.time_ns() // 1_000_000 + 60_000
        self.up, self.asked = 1_000_000, 0
        monkeypatch.setattr(host, "since_boot", lambda: self.up)
        real = idle_question.idle_until

        def asked(*given):
            self.asked += 1
            return real(*given)

        monkeypatch.setattr(idle_question, "idle_until", asked)

    def ask(self, *, after=1_000):
        """Return whether it is idle some time later, as by a clock that was not set."""
        self.now, self.up = self.now + after, self.up + after
        beat = heartbeat.Beat(self.now - 1, MINUTE, host.boot_id(), "cron", self.up - 1)
        heartbeat.write(str(self.home / paths.HEARTBEAT), beat)
        return idle_check.idle(str(self.home), self.now, "cron")

    def write(self, *statements):
        with contextlib.closing(sqlite3.connect(self.store)) as connection, connection:
            for each in statements:
                connection.execute(each)


@pytest.fixture
def made(runner, home, monkeypatch):
    runner.add("report", ["true"], Every("1d"))
    runner.tick()
    runner.close()
    made = Kept(home, monkeypatch)
    made.write("UPDATE tasks SET next = 4000000000000, following = NULL")
    return made


@pytest.fixture
def kept(made):
    assert made.ask() and made.asked == 1
    made.asked = 0
    return made


def test_the_database_is_not_asked_again(kept, home):
    assert kept.ask() and kept.ask(after=MINUTE) and kept.asked == 0
    assert (home / paths.IDLE_ANSWER).stat().st_size == idle_check.SIZE


def _touch(kept):
    os.utime(kept.store)


def _other_file(kept):
    other = kept.home / "other"
    shutil.copy2(kept.store, other)
    other.replace(kept.store)


def _second_name(kept):
    os.link(kept.store, kept.home / "second")


def _log(kept):
    (kept.home / f"{paths.STORE}-journal").write_text("x")


def _clock_set(kept):
    kept.up -= 1_000


def _torn(kept):
    place = kept.home / paths.IDLE_ANSWER
    place.write_bytes(b"9" + place.read_bytes()[1:])


@pytest.mark.parametrize("change", [_touch, _other_file, _second_name, _log, _clock_set, _torn])
def test_what_may_have_changed_is_asked_again(kept, change):
    change(kept)
    assert kept.ask() and kept.asked == 1


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [(idle_check, "SCHEMA", 0), (idle_check, "__version__", "0"), (host, "boot", lambda **_: "b")],
    ids=["schema", "program", "boot"],
)
def test_the_answer_of_another_program_or_boot_is_void(kept, monkeypatch, where, name, value):
    monkeypatch.setattr(where, name, value)
    kept.ask()
    assert kept.asked == 1


def test_new_zone_data_make_it_void(kept, monkeypatch):
    monkeypatch.setattr(host, "zone_stamp", lambda: "of tomorrow")
    assert not kept.ask() and kept.asked == 1


def test_an_answer_holds_for_some_hours_at_most(kept):
    assert kept.ask(after=idle_check.LONGEST - 1) and kept.asked == 0
    assert kept.ask(after=2) and kept.asked == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tasks SET next = {soon}",
        MESSAGE.format(due="{soon}"),
        PENDING.format(n=1, trigger="manual", ready=f"{{soon}} + {MINUTE}"),
    ],
    ids=["slot", "message", "delayed run"],
)
def test_an_answer_holds_until_the_next_instant_that_counts(made, statement):
    soon = made.now + 100_000
    made.write(statement.format(soon=soon))
    made.now += 20_000
    made.up += 20_000
    assert made.ask() and made.ask() and made.asked == 1
    assert made.ask(after=soon - made.now - 1) and made.asked == 1
    assert not made.ask(after=1)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO facts VALUES ('held_until', 4000000000000), ('held_since', 1)",
        RUNNING.format(supervisor="lives"),
    ],
    ids=["paused", "running"],
)
def test_nothing_is_kept_while_tasks_are_paused_or_a_run_goes_on(made, home, statement):
    made.write(statement)
    with lock.held_own(str(home / paths.SUPERVISORS / "lives")):
        assert made.ask() and made.ask() and made.asked == 2
        assert not (home / paths.IDLE_ANSWER).exists()


def test_nothing_is_kept_of_a_database_that_was_just_written_to(made):
    made.now = made.store.stat().st_mtime_ns // 1_000_000
    assert made.ask() and made.ask() and made.asked == 2
    assert made.ask(after=idle_check.RECENT) and made.ask() and made.asked == 3


def test_nothing_is_kept_on_a_network_file_system(made, monkeypatch):
    monkeypatch.setattr(paths, "network_file_system", lambda _: "nfs4")
    assert made.ask() and made.ask() and made.asked == 2


def test_nothing_is_kept_of_a_database_behind_a_symbolic_link(made, home):
    made.store.rename(home / "elsewhere.db")
    made.store.symlink_to("elsewhere.db")
    assert made.ask() and made.ask() and made.asked == 2


def test_a_heartbeat_that_cannot_be_written_is_not_an_idle_tick(kept, monkeypatch):
    real = os.open

    def refused(place, flags, *mode, **more):
        if flags & os.O_WRONLY and str(place).endswith(paths.HEARTBEAT):
            raise OSError(30, "Read-only file system")
        return real(place, flags, *mode, **more)

    assert kept.ask()
    monkeypatch.setattr(os, "open", refused)
    assert not idle_check.idle(str(kept.home), kept.now, "cron")
