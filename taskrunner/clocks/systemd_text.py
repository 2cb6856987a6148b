"""The texts of our systemd units: written, and read back for the command that one calls.

`contrib/systemd` holds the same texts, by test. Pure: values in, texts out. It must not know where units are kept.
"""

import re
import shlex
from collections.abc import Sequence

from taskrunner.home import program
from taskrunner.home.program import Call

TIMER = "taskrunner.timer"
TICK = "taskrunner.service"
DAEMON = "taskrunner-daemon.service"
PLAIN = re.compile(r"[A-Za-z0-9_./:=@,+-]+")
EXEC = re.compile(r"^ExecStart=[-@:+!]*(.*)$", re.MULTILINE)
USER = re.compile(r"^User=(\S+)$", re.MULTILINE)
HOME = re.compile(r"^Environment=[\"']?TASKRUNNER_HOME=([^\"'\n]*)", re.MULTILINE)

HEAD = """\
# Written by `taskrunner install systemd`, which writes it anew: put changes of your own into a
# drop-in (`systemctl{user} edit {name}`).
#
"""

TIMER_TEXT = """\
# Calls taskrunner.service at second 0 of every minute.

[Unit]
Description=taskrunner: the clock, every minute
Documentation=man:systemd.timer(5)

[Timer]
# In UTC, so that no clock change of the local zone adds or drops a minute.
OnCalendar=*-*-* *:*:00 UTC
# The default is a whole minute late.
AccuracySec=1s
# No Persistent=: taskrunner remembers by itself what came due while the machine was off.

[Install]
WantedBy=timers.target
"""

TICK_TEXT = """\
# One tick of taskrunner, started every minute by taskrunner.timer.
#
# The tick hands each run to systemd, which carries it in a unit of its own, taskrunner-run-<id>.service,
# and ends: however long a run takes, the next minute has its tick. What is to hold for all runs goes
# into a drop-in for their common name, taskrunner-run-.service.d/limits.conf beside this file.

[Unit]
Description=taskrunner: one visit of the clock
Documentation=man:systemd.timer(5)
# A tick may follow another at once, for a run whose time has come. With a limit the timer would stop for good.
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={command}
# Runs are carried by systemd. Where that refuses one, the tick carries it, and what follows is for that.
Environment=TASKRUNNER_CARRIER=systemd

# Ticks end by themselves; each task has its own timeout.
TimeoutStartSec=infinity
# At a stop the tick alone gets TERM. It stops what it carries, and records that.
KillMode=process
# Longer than the longest --kill-after of a task (10s when none is given).
TimeoutStopSec=60s
# One task that runs out of memory is no reason to stop the others.
OOMPolicy=continue
{sandbox}"""

DAEMON_TEXT = """\
# taskrunner in a loop: the same tick, every minute, in one process that carries the runs itself. Use it
# instead of taskrunner.timer when intervals are shorter than a minute, or runs are many and short.

[Unit]
Description=taskrunner: cron with a memory
Documentation=man:systemd.service(5)

[Service]
# It says itself when its first visit is done; until then what is ordered after it waits.
Type=notify
# --verbose, so that the journal has what went wrong in a tick.
ExecStart={command}
# Reads taskrunner.toml anew; what runs is not disturbed, and a bad file changes nothing.
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=10s
# Its loop gives a sign of life twice in that time: one that hangs is killed and started anew.
# Longer than two waits for a store that others keep busy (30s each) take.
WatchdogSec=180s

# At a stop the daemon alone gets TERM: it claims nothing more, lets tasks end for the grace, then
# stops them and records that. What is left after TimeoutStopSec is killed, children too.
KillMode=mixed
# Longer than the grace and the longest --kill-after of a task (10s when none is given) together.
TimeoutStopSec=60s
# One task that runs out of memory is no reason to stop the others.
OOMPolicy=continue
{sandbox}
[Install]
WantedBy={target}
"""

# A task may do what a line in root's crontab may: install packages, write anywhere, become another user. So
# only that is closed which no command that ends by itself has a use for.
SANDBOX = """
# Tasks may be anything that a line of a crontab may be, so no more is closed here than none of them
# needs. What else can be closed, and what that breaks, stands in docs/how-to/systemd.md.
UMask=0077
CapabilityBoundingSet=~CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_SYS_PACCT CAP_BLOCK_SUSPEND CAP_WAKE_ALARM
"""


def units(words: Sequence[str], home: str | None, *, user: bool, daemon: bool) -> dict[str, str]:
    """Return the texts of the units that call a program, by their names; `user` is for systemd --user."""
    sandbox = "" if user else SANDBOX
    if daemon:
        loop = ("daemon", "--interval", "60s", "--grace", "30s")
        command = line(program.words((*words, "--verbose"), home, *loop))
        target = "default.target" if user else "multi-user.target"
        return {DAEMON: _whole(DAEMON, DAEMON_TEXT, user, command, sandbox, target)}
    command = line(program.words(words, home, "tick"))
    return {
        TICK: _whole(TICK, TICK_TEXT, user, command, sandbox),
        TIMER: _whole(TIMER, TIMER_TEXT, user),
    }


def _whole(
    name: str, text: str, user: bool, command: str = "", sandbox: str = "", target: str = ""
) -> str:
    head = HEAD.format(user=" --user" if user else "", name=name)
    return head + text.format(command=command, sandbox=sandbox, target=target)


def line(words: Sequence[str]) -> str:
    """Return words as a command line of systemd.service(5)."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """Return a word as systemd.service(5) has it in a command line."""
    plain = word.replace("%", "%%").replace("$", "$$")
    if PLAIN.fullmatch(plain):
        return plain
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def call(text: str) -> Call | None:
    """Return what a unit calls, None when that is not taskrunner."""
    found = EXEC.findall(text)
    try:
        words = shlex.split(found[-1]) if found else []
    except ValueError:  # a quote is not closed
        return None
    called = program.read([word.replace("%%", "%").replace("$$", "$") for word in words])
    said = HOME.findall(text)
    if called is None or called.home is not None or not said:
        return called
    return Call(called.program, said[-1], called.verb)


def user_of(text: str) -> str | None:
    """Return the user that a unit runs as, when it says so."""
    found = USER.findall(text)
    return found[-1] if found else None
