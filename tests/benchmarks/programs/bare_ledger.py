"""The least that Python takes to run a command many times and to keep it: bare_ledger.py STORE COUNT WIDTH PROGRAM.

Each run is written before it starts, on the disk before it does, and its end afterwards; a thread starts processes
while Python goes on. Nothing is decided, looked up, limited, watched or kept of an output.
"""

import ctypes
import os
import select
import sqlite3
import sys
import threading
import time
from queue import SimpleQueue

store, count, width = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
program = os.fsencode(sys.argv[4])

LIBC = ctypes.CDLL(None)
SETSID = ctypes.c_short(0x80)  # POSIX_SPAWN_SETSID of spawn.h
attributes = ctypes.create_string_buffer(1024)
LIBC.posix_spawnattr_init(attributes)
LIBC.posix_spawnattr_setflags(attributes, SETSID)

asked: SimpleQueue[int] = SimpleQueue()
running: dict[int, tuple[int, int]] = {}  # by pidfd: the run and its process
ends = select.epoll()


def strings(*texts: bytes) -> "ctypes.Array[ctypes.c_char_p]":
    """Return texts as an array for C."""
    return (ctypes.c_char_p * (len(texts) + 1))(*texts)


def start() -> None:
    """Start what is asked for, one after another."""
    argv, process = strings(program), ctypes.c_int()
    while True:
        run = asked.get()
        environment = strings(b"PATH=/usr/bin:/bin", b"TASKRUNNER_RUN=%d" % run)
        failed = LIBC.posix_spawn(
            ctypes.byref(process), program, None, attributes, argv, environment
        )
        if failed:
            os._exit(1)
        pidfd = os.pidfd_open(process.value)
        running[pidfd] = run, process.value
        ends.register(pidfd, select.EPOLLIN)


db = sqlite3.connect(store, isolation_level=None)
db.execute("PRAGMA journal_mode = wal")
db.execute("PRAGMA synchronous = normal")  # the log is written through before a start, below
db.execute("CREATE TABLE runs (id INTEGER PRIMARY KEY, state, started, finished, status, cpu)")
db.execute("BEGIN IMMEDIATE")
db.executemany("INSERT INTO runs (state) VALUES (?)", [("pending",)] * count)
db.execute("COMMIT")
log = os.open(f"{store}-wal", os.O_RDONLY)
threading.Thread(target=start, daemon=True).start()

ENDED = "UPDATE runs SET state = 'ended', finished = ?, status = ?, cpu = ? WHERE id = ?"
RUNNING = "UPDATE runs SET state = 'running', started = ? WHERE id = ?"
over: list[tuple[int, int, float, int]] = []
begun = left = 0
while begun < count or left or over:
    new = range(begun + 1, min(begun + width - left, count) + 1)
    now = time.time_ns() // 1_000_000
    db.execute("BEGIN IMMEDIATE")
    db.executemany(ENDED, over)
    db.executemany(RUNNING, [(now, run) for run in new])
    db.execute("COMMIT")
    if new:
        os.fdatasync(log)
    for run in new:
        asked.put(run)
    begun, left, over = begun + len(new), left + len(new), []
    for pidfd, _ in ends.poll() if left else []:
        run, pid = running.pop(pidfd)
        _, status, usage = os.wait4(pid, 0)
        # A process that is just being made has a copy, which would keep it there.
        ends.unregister(pidfd)
        os.close(pidfd)
        over.append((time.time_ns() // 1_000_000, status, usage.ru_utime + usage.ru_stime, run))
        left -= 1
os.fdatasync(log)
(kept,) = db.execute("SELECT count(*) FROM runs WHERE state = 'ended' AND status = 0").fetchone()
os._exit(0 if kept == count else 1)
