"""Commands to outcomes: many child processes in one loop, each in a session of its own.

The only user of `subprocess`, of posix_spawn(3) and of kill(2). A failing command is a value; only our own faults
raise. It must not know what a task, a slot or a store is: its caller gives each child a key and an open file for the
output.

    spawn        a command becomes a process
    quick        the same beside us, in threads that wait for the disk and for the kernel
    beside       such a thread
    ends         descriptors of those that live, and which have ended
    children     the loop that watches them: their ends, their time, their silence
    processes    who lives, and what they are told
    signals      what we are told ourselves
    programs     programs of the system that are asked something
"""

from taskrunner.runner.children import FOREVER, Asked, Child, Children, in_words, room
from taskrunner.runner.processes import (
    age,
    group_lives,
    has_terminal,
    is_first,
    is_same,
    kill,
    marked,
    pid_namespace,
    process_named,
    session_that_has_open,
    started_ticks,
    terminate,
)
from taskrunner.runner.programs import Said, detach, tool
from taskrunner.runner.signals import ended_by_term, stop_signals, time_limit

__all__ = [
    "FOREVER",
    "Asked",
    "Child",
    "Children",
    "Said",
    "age",
    "detach",
    "ended_by_term",
    "group_lives",
    "has_terminal",
    "in_words",
    "is_first",
    "is_same",
    "kill",
    "marked",
    "pid_namespace",
    "process_named",
    "room",
    "session_that_has_open",
    "started_ticks",
    "stop_signals",
    "terminate",
    "time_limit",
    "tool",
]
