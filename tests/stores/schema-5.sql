-- A store of schema 4 as taskrunner upgraded it when its schema was 5: kept as it was, and never made anew.
BEGIN TRANSACTION;
CREATE TABLE events (
  -- One row is something worth telling that is not a run: a task was changed, the clock had a gap.
  id             INTEGER PRIMARY KEY,
  at             INTEGER NOT NULL,
  what           TEXT NOT NULL,     -- added, changed, enabled, disabled, removed, gap, step back, ...
  by             TEXT,              -- the user, or "tick"
  task_id        INTEGER REFERENCES tasks (id),
  text           TEXT
);
INSERT INTO "events" VALUES(1,1777896000000,'added','root',1,'cron 0 * * * *');
INSERT INTO "events" VALUES(2,1777896000000,'added','root',2,'every 1d');
INSERT INTO "events" VALUES(3,1777896000000,'added','root',3,'at 2027-02-28T12:00:00+00:00');
INSERT INTO "events" VALUES(4,1777896000000,'added','root',4,'after cron');
INSERT INTO "events" VALUES(5,1777896000000,'added','root',5,'boot');
INSERT INTO "events" VALUES(6,1777896000000,'added','root',6,'manual');
INSERT INTO "events" VALUES(7,1777896000000,'added','root',7,'manual');
INSERT INTO "events" VALUES(8,1777896000000,'removed','root',7,NULL);
INSERT INTO "events" VALUES(9,1777906800000,'gap','tick',NULL,'no tick since 2026-05-04T12:00:00Z: the clock entry did not fire, or the machine was suspended');
INSERT INTO "events" VALUES(10,1778079600000,'gap','tick',NULL,'no tick since 2026-05-04T15:00:00Z: the clock entry did not fire, or the machine was suspended');
CREATE TABLE facts (
  -- One row is one thing that is true of the whole store.
  name           TEXT PRIMARY KEY,  -- boot_id, zone_data
  value          TEXT
) WITHOUT ROWID;
INSERT INTO "facts" VALUES('output_bytes','24');
INSERT INTO "facts" VALUES('zone_data','tzdata.zi 114350 1756065323000000000');
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
CREATE TABLE outputs (
  -- One row is the output of one run, when it was small; larger output is the file output/<run>.log.
  run_id         INTEGER PRIMARY KEY REFERENCES runs (id),
  data           BLOB NOT NULL      -- zlib, RFC 1950
);
INSERT INTO "outputs" VALUES(2,X'7801CB2F2DE1020004110163');
INSERT INTO "outputs" VALUES(4,X'7801CB2F2DE1020004110163');
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
, cut_at INTEGER, left_out INTEGER);
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
, ready INTEGER, priority INTEGER NOT NULL DEFAULT 0, cut_at INTEGER, left_out INTEGER);
INSERT INTO "runs" VALUES(1,6,1777896000000,1777896000000,1,0,1,'manual','succeeded','exit code 0',0,1777896000000,1777896000000,1777896000000,0,NULL,1,NULL,100000,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(2,1,1777906800000,1777899600000,3,0,1,'catch-up','succeeded','exit code 0',0,1777906800000,1777906800000,1777906800000,0,NULL,1,NULL,4,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(3,4,1777906800000,1777899600000,3,0,1,'after','succeeded','exit code 0',0,1777906800000,1777906800000,1777906800000,0,NULL,1,NULL,0,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(4,1,1778079600000,1777910400000,48,0,1,'catch-up','succeeded','exit code 0',0,1778079600000,1778079600000,1778079600000,0,NULL,1,NULL,4,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(5,2,1777982400000,1777982400000,1,0,1,'catch-up','failed','exit code 3',0,1778079600000,1778079600000,1778079600000,3,NULL,1,NULL,0,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(6,2,1778068800000,1778068800000,1,0,1,'catch-up','failed','exit code 3',0,1778079600000,1778079600000,1778079600000,3,NULL,1,NULL,0,NULL,0,NULL,NULL);
INSERT INTO "runs" VALUES(7,4,1778079600000,1777910400000,48,0,1,'after','succeeded','exit code 0',0,1778079600000,1778079600000,1778079600000,0,NULL,0,NULL,0,NULL,0,NULL,NULL);
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
INSERT INTO "tallies" VALUES(1,'succeeded',2,51,2,0,2,0,1778079600000,NULL,NULL);
INSERT INTO "tallies" VALUES(2,'failed',2,2,2,0,2,108000000,1778079600000,NULL,NULL);
INSERT INTO "tallies" VALUES(4,'succeeded',2,51,2,0,2,0,1778079600000,NULL,NULL);
INSERT INTO "tallies" VALUES(6,'succeeded',1,1,1,0,0,0,1777896000000,NULL,NULL);
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
, jitter INTEGER, retries INTEGER NOT NULL DEFAULT 0, retry_delay INTEGER NOT NULL DEFAULT 60000, retry_backoff REAL NOT NULL DEFAULT 1, retry_codes TEXT NOT NULL DEFAULT '[]', on_lost TEXT NOT NULL DEFAULT 'fail', group_name TEXT, group_limit INTEGER, priority INTEGER NOT NULL DEFAULT 0, ok_codes TEXT NOT NULL DEFAULT '[0]', noop_codes TEXT NOT NULL DEFAULT '[]', expect TEXT, reject TEXT, max_silence INTEGER, max_output INTEGER NOT NULL DEFAULT 10000000, limits TEXT NOT NULL DEFAULT '{}', on_failure TEXT, notify TEXT NOT NULL DEFAULT '{}', late_after INTEGER, long_after REAL, python TEXT, args TEXT, code TEXT, code_file TEXT, interpreter TEXT, django TEXT, description TEXT, source TEXT, streak INTEGER NOT NULL DEFAULT 0);
INSERT INTO "tasks" VALUES(1,'cron',1,1777896000000,NULL,'cron','0 * * * *','Europe/Berlin',NULL,0,'[]','echo out',NULL,'{"A":"b"}',NULL,NULL,NULL,NULL,NULL,300000,10000,'last',NULL,NULL,'skip',NULL,1778079600000,1778083200000,1778086800000,NULL,NULL,NULL,1778079600000,'succeeded',1778079600000,NULL,0,60000,1.0,'[]','fail',NULL,NULL,0,'[0]','[]',NULL,NULL,NULL,10000000,'{}',NULL,'{}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0);
INSERT INTO "tasks" VALUES(2,'every',1,1777896000000,NULL,'every','1d','Etc/UTC',1777896000000,0,'["sh","-c","exit 3"]',NULL,NULL,'{}',NULL,NULL,NULL,NULL,NULL,3600000,10000,'all',NULL,NULL,'queue',NULL,1778079600000,1778155200000,1778241600000,NULL,NULL,NULL,1778079600000,'failed',NULL,NULL,0,60000,1.0,'[]','fail',NULL,NULL,0,'[0]','[]',NULL,NULL,NULL,10000000,'{}',NULL,'{}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0);
INSERT INTO "tasks" VALUES(3,'once',1,1777896000000,NULL,'at','2027-02-28T12:00:00+00:00','Etc/UTC',NULL,0,'["true"]',NULL,NULL,'{}',NULL,NULL,NULL,NULL,NULL,3600000,10000,'last',NULL,NULL,'skip',NULL,1777896000000,1803816000000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,60000,1.0,'[]','fail',NULL,NULL,0,'[0]','[]',NULL,NULL,NULL,10000000,'{}',NULL,'{}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0);
INSERT INTO "tasks" VALUES(4,'then',1,1777896000000,NULL,'after','cron',NULL,NULL,0,'["true"]',NULL,NULL,'{}',NULL,NULL,NULL,NULL,NULL,3600000,10000,'last',NULL,NULL,'skip',NULL,1777896000000,NULL,NULL,NULL,NULL,NULL,1778079600000,'succeeded',1778079600000,NULL,0,60000,1.0,'[]','fail',NULL,NULL,0,'[0]','[]',NULL,NULL,NULL,10000000,'{}',NULL,'{}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0);
INSERT INTO "tasks" VALUES(5,'boot',1,1777896000000,NULL,'boot','',NULL,NULL,0,'["true"]',NULL,NULL,'{}',NULL,NULL,NULL,NULL,NULL,3600000,10000,'last',NULL,NULL,'skip',NULL,1777896000000,NULL,NULL,NULL,'00000000-0000-0000-0000-000000000000',NULL,NULL,NULL,NULL,NULL,0,60000,1.0,'[]','fail',NULL,NULL,0,'[0]','[]',NULL,NULL,NULL,10000000,'{}',NULL,'{}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0);
INSERT INTO "tasks" VALUES(6,'big',1,1777896000000,NULL,'manual','',NULL,NULL,0,'[]','head -c 100000 /dev/zero',NULL,'{}',NULL,NULL,NULL,NULL,NULL,3600000,10000,'last',NULL,NULL,'skip',NULL,1777896000000,NULL,NULL,NULL,NULL,NULL,1777896000000,'succeeded',1777896000000,NULL,0,60000,1.0,'[]','fail',NULL,NULL,0,'[0]','[]',NULL,NULL,NULL,10000000,'{}',NULL,'{}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0);
INSERT INTO "tasks" VALUES(7,'gone',0,1777896000000,1777896000000,'manual','',NULL,NULL,0,'["true"]',NULL,NULL,'{}',NULL,NULL,NULL,NULL,NULL,3600000,10000,'last',NULL,NULL,'skip',NULL,1777896000000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,60000,1.0,'[]','fail',NULL,NULL,0,'[0]','[]',NULL,NULL,NULL,10000000,'{}',NULL,'{}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0);
CREATE TABLE told (
  -- One row is what a channel was told of a task that is not over yet, so that it is not told each time.
  task_id        INTEGER NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
  channel        TEXT NOT NULL,     -- as in `outbox`
  event          TEXT NOT NULL,     -- failure, missed, late or long
  at             INTEGER NOT NULL,  -- when it was told last
  PRIMARY KEY (task_id, channel, event)
) WITHOUT ROWID;
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
CREATE UNIQUE INDEX tasks_by_name ON tasks (name) WHERE removed IS NULL;
CREATE INDEX tasks_ever ON tasks (name);
CREATE INDEX tasks_due ON tasks (next) WHERE enabled AND removed IS NULL AND next IS NOT NULL;
CREATE INDEX tasks_requested ON tasks (requested) WHERE requested IS NOT NULL;
CREATE INDEX tasks_by_parent ON tasks (schedule) WHERE kind = 'after' AND removed IS NULL;
CREATE INDEX tasks_of_boot ON tasks (boot_id) WHERE kind = 'boot' AND removed IS NULL;
CREATE UNIQUE INDEX runs_once ON runs (task_id, slot, attempt)
  -- A slot is started at most once. A manual run has no slot of the schedule.
  WHERE trigger <> 'manual';
CREATE INDEX runs_of_task ON runs (task_id, id);
CREATE INDEX runs_waiting ON runs (task_id) WHERE state = 'pending';
CREATE INDEX runs_running ON runs (task_id) WHERE state = 'running';
CREATE INDEX events_of_task ON events (task_id, id);
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
CREATE INDEX tasks_of_group ON tasks (group_name) WHERE group_name IS NOT NULL;
CREATE INDEX runs_pending ON runs (priority DESC, slot, id, ready) WHERE state = 'pending';
CREATE INDEX processes_stopped ON processes (run_id) WHERE stop_state IS NOT NULL;
CREATE INDEX runs_delayed ON runs (ready) WHERE state = 'pending' AND ready IS NOT NULL;
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
CREATE INDEX runs_ended ON runs (finished) WHERE finished IS NOT NULL;
CREATE INDEX outbox_due ON outbox (due) WHERE due IS NOT NULL;
CREATE INDEX outbox_of_run ON outbox (run_id) WHERE event = 'long';
CREATE VIEW v_tasks AS
  -- The tasks that are not removed, instants as ISO 8601 text in UTC, durations in seconds.
  SELECT id, name, enabled, kind, schedule, tz, command, shell, python, args, code, code_file,
         strftime('%Y-%m-%dT%H:%M:%fZ', next / 1000.0, 'unixepoch') AS next,
         strftime('%Y-%m-%dT%H:%M:%fZ', last_run / 1000.0, 'unixepoch') AS last_run,
         last_state,
         strftime('%Y-%m-%dT%H:%M:%fZ', last_success / 1000.0, 'unixepoch') AS last_success,
         timeout / 1000.0 AS timeout, overlap, catch_up, error
    FROM tasks WHERE removed IS NULL;
CREATE TRIGGER outputs_added AFTER INSERT ON outputs BEGIN
  UPDATE facts SET value = value + length(NEW.data) WHERE name = 'output_bytes';
END;
CREATE TRIGGER outputs_removed AFTER DELETE ON outputs BEGIN
  UPDATE facts SET value = value - length(OLD.data) WHERE name = 'output_bytes';
END;
CREATE INDEX runs_not_succeeded ON runs (state) WHERE state NOT IN ('succeeded', 'pending', 'running');
CREATE INDEX runs_not_succeeded_of_task ON runs (task_id, state) WHERE state NOT IN ('succeeded', 'pending', 'running');
CREATE INDEX runs_by_hand ON runs (task_id, slot) WHERE trigger = 'manual';
CREATE INDEX runs_of_several ON runs (task_id, slot) WHERE first_slot < slot;
CREATE INDEX tasks_failing ON tasks (name) WHERE removed IS NULL AND last_state IN ('failed', 'timed_out', 'lost');
CREATE INDEX tasks_of_error ON tasks (name) WHERE removed IS NULL AND error IS NOT NULL;
CREATE INDEX tasks_of_zone ON tasks (tz) WHERE removed IS NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('tasks',7);
INSERT INTO "sqlite_sequence" VALUES('runs',7);
COMMIT;PRAGMA user_version = 5;
