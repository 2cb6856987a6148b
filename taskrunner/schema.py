"""The schema of the store, as an append-only list of steps; their comments document it.

`PRAGMA user_version` counts the steps that a store has taken. Each step runs in a transaction of its own. A released
step is never edited: a change is a new step at the end. The schema page of the manual is generated from a store made
by all steps, comments included.
"""

import sqlite3

STEPS = (
    """
CREATE TABLE tasks (
  -- One row is one task: what to run and when. Its owner writes it; ticks write only what stands below "clock".
  id             INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again
  name           TEXT NOT NULL,     -- unique among tasks that are not removed
  enabled        INTEGER NOT NULL,  -- 0 or 1
  created        INTEGER NOT NULL,  -- when it was added
  removed        INTEGER,           -- when it was removed; the row stays for its history
  kind           TEXT NOT NULL,     -- cron, every, at, after, boot or manual
  schedule       TEXT NOT NULL,     -- expression, interval, instant or parent; empty for boot and manual
  tz             TEXT,              -- IANA name of its zone
  anchor         INTEGER,           -- every: slot 0
  from_finish    INTEGER NOT NULL DEFAULT 0, -- every: 1 when counted from the end of the last run
  command        TEXT NOT NULL,     -- the argv, a JSON array; empty when `shell` is given
  shell          TEXT,              -- a text for /bin/sh -c
  cwd            TEXT,              -- directory; the user's home when null
  env            TEXT NOT NULL,     -- variables of its own, a JSON object
  env_file       TEXT,              -- a file of variables, read at each run
  stdin          TEXT,              -- what it reads; /dev/null when null
  umask          INTEGER,
  user           TEXT,              -- run as this user; the owner of the store when null
  nice           INTEGER,
  timeout        INTEGER,           -- milliseconds; null is none
  kill_after     INTEGER NOT NULL,  -- milliseconds between TERM and KILL
  catch_up       TEXT NOT NULL,     -- last, all or none
  catch_up_limit INTEGER,           -- with all: how many slots at most; null is 100
  deadline       INTEGER,           -- milliseconds; a slot that could start only later is missed
  overlap        TEXT NOT NULL,     -- skip, queue, replace or allow
  max_instances  INTEGER,           -- with allow: how many at most; null is no limit
  -- clock
  evaluated      INTEGER NOT NULL,  -- every slot up to this instant has been decided
  next           INTEGER,           -- the slot after it, a cache
  following      INTEGER,           -- the slot after that, so that a claim computes nothing
  requested      INTEGER,           -- an extra run was asked for at this instant
  boot_id        TEXT,              -- boot: the last boot it has been evaluated in
  error          TEXT,              -- why the last tick could not evaluate it
  last_run       INTEGER,           -- when the last of its runs that have ended started
  last_state     TEXT,              -- how that run ended
  last_success   INTEGER            -- when its last run that succeeded ended
);
CREATE UNIQUE INDEX tasks_by_name ON tasks (name) WHERE removed IS NULL;
CREATE INDEX tasks_ever ON tasks (name); -- those that were removed, too
CREATE INDEX tasks_due ON tasks (next) WHERE enabled AND removed IS NULL AND next IS NOT NULL;
CREATE INDEX tasks_requested ON tasks (requested) WHERE requested IS NOT NULL;
CREATE INDEX tasks_by_parent ON tasks (schedule) WHERE kind = 'after' AND removed IS NULL;
CREATE INDEX tasks_of_boot ON tasks (boot_id) WHERE kind = 'boot' AND removed IS NULL;

CREATE TABLE runs (
  -- One row is what became of one slot, of several that were folded into one, or of one manual start.
  id             INTEGER PRIMARY KEY AUTOINCREMENT,
  task_id        INTEGER NOT NULL REFERENCES tasks (id),
  slot           INTEGER NOT NULL,  -- the instant it runs for; of several the newest
  first_slot     INTEGER NOT NULL,  -- of several the oldest
  coalesced      INTEGER NOT NULL DEFAULT 1, -- how many slots it stands for
  at_least       INTEGER NOT NULL DEFAULT 0, -- 1 when counting stopped there
  attempt        INTEGER NOT NULL DEFAULT 1,
  trigger        TEXT NOT NULL,     -- schedule, catch-up, retry, manual or after
  state          TEXT NOT NULL,     -- pending, running, succeeded, failed, timed_out, cancelled, lost, skipped, missed
  reason         TEXT,              -- why it is in this state
  forced         INTEGER NOT NULL DEFAULT 0, -- 1 when it may start beside others of its task
  claimed        INTEGER NOT NULL,  -- when it was decided
  started        INTEGER,
  finished       INTEGER,
  exit_code      INTEGER,
  signal         INTEGER,           -- the signal that ended it
  cpu            INTEGER,           -- milliseconds of user and system time
  peak_memory    INTEGER,           -- bytes
  output_size    INTEGER            -- bytes
);
CREATE UNIQUE INDEX runs_once ON runs (task_id, slot, attempt)
  -- A slot is started at most once. A manual run has no slot of the schedule.
  WHERE trigger <> 'manual';
CREATE INDEX runs_of_task ON runs (task_id, id);
CREATE INDEX runs_pending ON runs (slot, id) WHERE state = 'pending';
CREATE INDEX runs_waiting ON runs (task_id) WHERE state = 'pending';
CREATE INDEX runs_running ON runs (task_id) WHERE state = 'running';

CREATE TABLE processes (
  -- One row is one run that is running, and how its process can be recognised by those who did not start it.
  run_id         INTEGER PRIMARY KEY REFERENCES runs (id),
  supervisor     TEXT NOT NULL,     -- its file in supervisors/, locked while it lives
  boot_id        TEXT NOT NULL,
  output         TEXT NOT NULL,     -- its file in output/ while it runs
  inode          INTEGER NOT NULL,  -- of that file
  pid_namespace  INTEGER,           -- inode of the pid namespace that `pid` is a number in
  pid            INTEGER,           -- also its session and process group
  pid_started    INTEGER,           -- clock ticks after boot, proc_pid_stat(5)
  stop_state     TEXT,              -- cancelled or timed_out: somebody is stopping it, said before the signal
  stop_reason    TEXT,
  stop_at        INTEGER            -- when that was
);

CREATE TABLE outputs (
  -- One row is the output of one run, when it was small; larger output is the file output/<run>.log.
  run_id         INTEGER PRIMARY KEY REFERENCES runs (id),
  data           BLOB NOT NULL      -- zlib, RFC 1950
);

CREATE TABLE events (
  -- One row is something worth telling that is not a run: a task was changed, the clock had a gap.
  id             INTEGER PRIMARY KEY,
  at             INTEGER NOT NULL,
  what           TEXT NOT NULL,     -- added, changed, enabled, disabled, removed, gap, step back, ...
  by             TEXT,              -- the user, or "tick"
  task_id        INTEGER REFERENCES tasks (id),
  text           TEXT
);
CREATE INDEX events_of_task ON events (task_id, id);

CREATE TABLE facts (
  -- One row is one thing that is true of the whole store.
  name           TEXT PRIMARY KEY,  -- boot_id, zone_data
  value          TEXT
) WITHOUT ROWID;

CREATE VIEW v_tasks AS
  -- The tasks that are not removed, instants as ISO 8601 text in UTC, durations in seconds.
  SELECT id, name, enabled, kind, schedule, tz, command, shell,
         strftime('%Y-%m-%dT%H:%M:%fZ', next / 1000.0, 'unixepoch') AS next,
         strftime('%Y-%m-%dT%H:%M:%fZ', last_run / 1000.0, 'unixepoch') AS last_run,
         last_state,
         strftime('%Y-%m-%dT%H:%M:%fZ', last_success / 1000.0, 'unixepoch') AS last_success,
         timeout / 1000.0 AS timeout, overlap, catch_up, error
    FROM tasks WHERE removed IS NULL;

CREATE VIEW v_runs AS
  -- All runs, instants as ISO 8601 text in UTC, durations in seconds.
  SELECT runs.id, tasks.name AS task,
         strftime('%Y-%m-%dT%H:%M:%fZ', slot / 1000.0, 'unixepoch') AS slot,
         strftime('%Y-%m-%dT%H:%M:%fZ', first_slot / 1000.0, 'unixepoch') AS first_slot,
         coalesced, at_least, attempt, trigger, state, reason,
         strftime('%Y-%m-%dT%H:%M:%fZ', started / 1000.0, 'unixepoch') AS started,
         strftime('%Y-%m-%dT%H:%M:%fZ', finished / 1000.0, 'unixepoch') AS finished,
         (finished - started) / 1000.0 AS duration,
         exit_code, signal, cpu / 1000.0 AS cpu_seconds, peak_memory, output_size
    FROM runs JOIN tasks ON tasks.id = runs.task_id;
""",
    """
ALTER TABLE tasks ADD COLUMN jitter INTEGER; -- milliseconds; each start is delayed by a share of it
ALTER TABLE tasks ADD COLUMN retries INTEGER NOT NULL DEFAULT 0; -- further attempts of a slot
ALTER TABLE tasks ADD COLUMN retry_delay INTEGER NOT NULL DEFAULT 60000; -- milliseconds before the first of them
ALTER TABLE tasks ADD COLUMN retry_backoff REAL NOT NULL DEFAULT 1; -- what the delay is multiplied by each time
ALTER TABLE tasks ADD COLUMN retry_codes TEXT NOT NULL DEFAULT '[]'; -- exit codes that are retried, a JSON array; empty is all
ALTER TABLE tasks ADD COLUMN on_lost TEXT NOT NULL DEFAULT 'fail'; -- fail or retry
ALTER TABLE tasks ADD COLUMN group_name TEXT; -- tasks of a group share a limit
ALTER TABLE tasks ADD COLUMN group_limit INTEGER; -- of the group, where this task gives one; null is what others give, else 1
ALTER TABLE tasks ADD COLUMN priority INTEGER NOT NULL DEFAULT 0; -- what is higher starts first when capacity is short
ALTER TABLE tasks ADD COLUMN ok_codes TEXT NOT NULL DEFAULT '[0]'; -- exit codes that are success, a JSON array
ALTER TABLE tasks ADD COLUMN noop_codes TEXT NOT NULL DEFAULT '[]'; -- those that are success with nothing done
ALTER TABLE tasks ADD COLUMN expect TEXT; -- a regular expression that the output has to match
ALTER TABLE tasks ADD COLUMN reject TEXT; -- one that it must not match
ALTER TABLE tasks ADD COLUMN max_silence INTEGER; -- milliseconds without output after which it is stopped
ALTER TABLE tasks ADD COLUMN max_output INTEGER NOT NULL DEFAULT 10000000; -- bytes of output that are kept
ALTER TABLE tasks ADD COLUMN limits TEXT NOT NULL DEFAULT '{}'; -- setrlimit(2): memory and files, cpu in seconds, ..., a JSON object
ALTER TABLE tasks ADD COLUMN on_failure TEXT; -- channels to tell of a failure, as @NAME, or a text for /bin/sh -c
ALTER TABLE tasks ADD COLUMN notify TEXT NOT NULL DEFAULT '{}'; -- the same by event, a JSON object; "usual" are the usual ones
ALTER TABLE tasks ADD COLUMN late_after INTEGER; -- milliseconds after its slot that a start is told as late
ALTER TABLE tasks ADD COLUMN long_after REAL; -- times its usual time that a run is told as long
ALTER TABLE tasks ADD COLUMN python TEXT; -- a function, module:name, instead of a command; `command` is empty then
ALTER TABLE tasks ADD COLUMN args TEXT; -- of that function, a JSON array or object
ALTER TABLE tasks ADD COLUMN code TEXT; -- a text of Python instead of a command
ALTER TABLE tasks ADD COLUMN code_file TEXT; -- a file with such a text, read at each run
ALTER TABLE tasks ADD COLUMN interpreter TEXT; -- the Python of these three, a program or the folder of a virtual environment; null is that of taskrunner
ALTER TABLE tasks ADD COLUMN django TEXT; -- the settings module that Django is set up with before
ALTER TABLE tasks ADD COLUMN description TEXT; -- what it is for, in its owner's words
ALTER TABLE tasks ADD COLUMN source TEXT; -- the task file or crontab that it was made from; null when made by hand
CREATE INDEX tasks_of_group ON tasks (group_name) WHERE group_name IS NOT NULL;

ALTER TABLE runs ADD COLUMN ready INTEGER; -- a pending run is not started before this instant; null is at once
ALTER TABLE runs ADD COLUMN priority INTEGER NOT NULL DEFAULT 0; -- of its task, when it was claimed
DROP INDEX runs_pending;
CREATE INDEX runs_pending ON runs (priority DESC, slot, id, ready) WHERE state = 'pending';
CREATE INDEX processes_stopped ON processes (run_id) WHERE stop_state IS NOT NULL;
CREATE INDEX runs_delayed ON runs (ready) WHERE state = 'pending' AND ready IS NOT NULL;

CREATE TABLE totals (
  -- One row is what the runs of one task that have been pruned come to, by how they ended.
  task_id        INTEGER NOT NULL REFERENCES tasks (id),
  state          TEXT NOT NULL,     -- a final state
  runs           INTEGER NOT NULL,
  started        INTEGER NOT NULL,  -- how many of them had started
  duration       INTEGER NOT NULL,  -- milliseconds that they ran, together
  last_slot      INTEGER NOT NULL,  -- of the newest
  last_end       INTEGER NOT NULL,  -- when the last of them ended
  PRIMARY KEY (task_id, state)
) WITHOUT ROWID;

CREATE TABLE tallies (
  -- One row is what all runs of one task that ever ended come to, by how they ended: those that were pruned, too.
  task_id        INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
  state          TEXT NOT NULL,     -- a final state
  runs           INTEGER NOT NULL,
  slots          INTEGER NOT NULL,  -- that they stand for
  started        INTEGER NOT NULL,  -- how many of them had started
  duration       INTEGER NOT NULL,  -- milliseconds that those ran, together
  punctual       INTEGER NOT NULL,  -- how many of them were the first attempt of a slot of the schedule
  late           INTEGER NOT NULL,  -- milliseconds after their slots that those started, together
  last_end       INTEGER NOT NULL,  -- when the last of them ended
  last_duration  INTEGER,           -- milliseconds; of the last that had started
  last_late      INTEGER,           -- milliseconds; of the last that was such a first attempt
  PRIMARY KEY (task_id, state)
) WITHOUT ROWID;
INSERT INTO tallies
SELECT task_id, state, count(*), sum(coalesced), count(started), coalesce(sum(max(finished - started, 0)), 0),
       coalesce(sum(started IS NOT NULL AND trigger <> 'manual' AND attempt = 1), 0),
       coalesce(sum(iif(trigger <> 'manual' AND attempt = 1, max(started - slot, 0), 0)), 0),
       max(finished), NULL, NULL
  FROM runs WHERE finished IS NOT NULL GROUP BY task_id, state;
CREATE TRIGGER runs_ended_tallied AFTER UPDATE OF finished ON runs
  WHEN OLD.finished IS NULL AND NEW.finished IS NOT NULL BEGIN
  INSERT INTO tallies VALUES (NEW.task_id, NEW.state, 1, NEW.coalesced, NEW.started IS NOT NULL,
    coalesce(max(NEW.finished - NEW.started, 0), 0),
    NEW.started IS NOT NULL AND NEW.trigger <> 'manual' AND NEW.attempt = 1,
    iif(NEW.trigger <> 'manual' AND NEW.attempt = 1, coalesce(max(NEW.started - NEW.slot, 0), 0), 0),
    NEW.finished, max(NEW.finished - NEW.started, 0),
    iif(NEW.trigger <> 'manual' AND NEW.attempt = 1, max(NEW.started - NEW.slot, 0), NULL))
  ON CONFLICT (task_id, state) DO UPDATE SET runs = runs + 1, slots = slots + excluded.slots,
    started = started + excluded.started, duration = duration + excluded.duration,
    punctual = punctual + excluded.punctual, late = late + excluded.late,
    last_end = max(last_end, excluded.last_end),
    last_duration = coalesce(excluded.last_duration, last_duration),
    last_late = coalesce(excluded.last_late, last_late);
END;
CREATE TRIGGER runs_not_run_tallied AFTER INSERT ON runs WHEN NEW.finished IS NOT NULL BEGIN
  -- Such a row stands for slots that were not run.
  INSERT INTO tallies VALUES (NEW.task_id, NEW.state, 1, NEW.coalesced, 0, 0, 0, 0, NEW.finished, NULL, NULL)
  ON CONFLICT (task_id, state) DO UPDATE SET runs = runs + 1, slots = slots + excluded.slots,
    last_end = max(last_end, excluded.last_end);
END;

ALTER TABLE tasks ADD COLUMN streak INTEGER NOT NULL DEFAULT 0; -- how many runs in a row succeeded, or, negative, failed
CREATE INDEX runs_ended ON runs (finished) WHERE finished IS NOT NULL;

CREATE TABLE outbox (
  -- One row is one message to one channel, from when it is decided; written with what it tells of.
  id             INTEGER PRIMARY KEY,
  event          TEXT NOT NULL,     -- start, success, first-success, failure, recovery, missed, lost, late or long
  task_id        INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
  run_id         INTEGER NOT NULL,  -- the run it tells of
  channel        TEXT NOT NULL,     -- its name in taskrunner.toml; empty for a command of the task's own
  command        TEXT,              -- that command, for /bin/sh -c
  created        INTEGER NOT NULL,
  due            INTEGER,           -- not tried before this instant; null when it was sent or given up
  attempts       INTEGER NOT NULL DEFAULT 0,
  sent           INTEGER,           -- when the channel took it
  error          TEXT               -- why the last attempt failed
);
CREATE INDEX outbox_due ON outbox (due) WHERE due IS NOT NULL;
CREATE INDEX outbox_of_run ON outbox (run_id) WHERE event = 'long';

CREATE TABLE told (
  -- One row is what a channel was told of a task that is not over yet, so that it is not told each time.
  task_id        INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
  channel        TEXT NOT NULL,     -- as in `outbox`
  event          TEXT NOT NULL,     -- failure, missed, late or long
  at             INTEGER NOT NULL,  -- when it was told last
  PRIMARY KEY (task_id, channel, event)
) WITHOUT ROWID;

DROP VIEW v_tasks;
CREATE VIEW v_tasks AS
  -- The tasks that are not removed, instants as ISO 8601 text in UTC, durations in seconds.
  SELECT id, name, enabled, kind, schedule, tz, command, shell, python, args, code, code_file,
         strftime('%Y-%m-%dT%H:%M:%fZ', next / 1000.0, 'unixepoch') AS next,
         strftime('%Y-%m-%dT%H:%M:%fZ', last_run / 1000.0, 'unixepoch') AS last_run,
         last_state,
         strftime('%Y-%m-%dT%H:%M:%fZ', last_success / 1000.0, 'unixepoch') AS last_success,
         timeout / 1000.0 AS timeout, overlap, catch_up, error
    FROM tasks WHERE removed IS NULL;

INSERT INTO facts SELECT 'output_bytes', coalesce(sum(length(data)), 0) FROM outputs; -- so that nobody has to add them up
CREATE TRIGGER outputs_added AFTER INSERT ON outputs BEGIN
  UPDATE facts SET value = value + length(NEW.data) WHERE name = 'output_bytes';
END;
CREATE TRIGGER outputs_removed AFTER DELETE ON outputs BEGIN
  UPDATE facts SET value = value - length(OLD.data) WHERE name = 'output_bytes';
END;
""",
    """
ALTER TABLE processes ADD COLUMN cut_at INTEGER;   -- byte of its output file where a mark stands; null while there is none
ALTER TABLE processes ADD COLUMN left_out INTEGER; -- bytes that the mark stands for
ALTER TABLE runs ADD COLUMN cut_at INTEGER;        -- byte of the kept output where a mark stands; null when it is whole
ALTER TABLE runs ADD COLUMN left_out INTEGER;      -- bytes of output that the mark stands for
""",
    """
-- From here on tasks and runs take their ids from one sequence, the greater of these two: a number names one thing.
UPDATE sqlite_sequence SET seq = (SELECT max(seq) FROM sqlite_sequence);
""",
    """
-- Small indexes for questions about a long history: none of them has an entry for a plain run that succeeded.
CREATE INDEX runs_not_succeeded ON runs (state) WHERE state NOT IN ('succeeded', 'pending', 'running');
CREATE INDEX runs_not_succeeded_of_task ON runs (task_id, state) WHERE state NOT IN ('succeeded', 'pending', 'running');
CREATE INDEX runs_by_hand ON runs (task_id, slot) WHERE trigger = 'manual';
CREATE INDEX runs_of_several ON runs (task_id, slot) WHERE first_slot < slot; -- that stand for several slots
CREATE INDEX tasks_failing ON tasks (name) WHERE removed IS NULL AND last_state IN ('failed', 'timed_out', 'lost');
CREATE INDEX tasks_of_error ON tasks (name) WHERE removed IS NULL AND error IS NOT NULL;
CREATE INDEX tasks_of_zone ON tasks (tz) WHERE removed IS NULL;
""",
    """
ALTER TABLE tasks ADD COLUMN queue TEXT;       -- the queue of taskrunner.toml that carries its runs; null is this host
ALTER TABLE processes ADD COLUMN queue TEXT;   -- the queue that carries the run; null is this host
ALTER TABLE processes ADD COLUMN engine TEXT;  -- the server of that queue when the run was claimed, as it names itself
ALTER TABLE processes ADD COLUMN handed INTEGER; -- when the queue took the run; null while that is not certain
CREATE INDEX processes_in_queue ON processes (queue) WHERE queue IS NOT NULL;
ALTER TABLE tasks ADD COLUMN pass_env TEXT NOT NULL DEFAULT '[]'; -- names of variables that a run takes from whoever starts it, a JSON array
""",
)


# The condition for a boot task that has not been evaluated in the boot of that name, as in `host.is_new_boot`.
NEW_BOOT = "(boot_id IS NULL OR :boot > boot_id OR substr(:boot, 1, 36) <> substr(boot_id, 1, 36))"


def version(connection: sqlite3.Connection) -> int:
    """Return how many steps a store has taken."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> None:
    """Take all missing steps, each in one transaction; another process may do the same at the same time."""
    # A step sorts all runs, and /var/tmp may be read-only.
    connection.execute("PRAGMA temp_store = MEMORY")
    for number in range(version(connection), len(STEPS)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if version(connection) == number:  # else another process was first
                for statement in statements(STEPS[number]):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def statements(text: str) -> list[str]:
    """Split a step into its statements; `executescript` would commit before it runs them."""
    found, rest = [], ""
    for piece in text.split(";")[:-1]:
        rest += piece + ";"
        if sqlite3.complete_statement(rest):
            found.append(rest.strip())
            rest = ""
    return found
