"""The texts of our systemd units: write them, and read the command back from one.

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
# Starts taskrunner.service at second 0 of every minute.

[Unit]
Description=taskrunner: a tick every minute
Documentation=man:systemd.timer(5)

[Timer]
# In UTC, so that no clock change of the local zone adds or drops a minute.
OnCalendar=*-*-* *:*:00 UTC
# The default may be a whole minute late.
AccuracySec=1s
# No Persistent=: taskrunner itself catches up runs that came due while the machine was off.

[Install]
WantedBy=timers.target
"""

TICK_TEXT = """\
# One tick of taskrunner, started every minute by taskrunner.timer.
#
# The tick hands each run to systemd, which carries it in a unit of its own, taskrunner-run-<id>.service,
# and ends: however long a run takes, the next minute has its tick. Settings for all runs go into a
# drop-in for their common name, taskrunner-run-.service.d/limits.conf beside this file.

[Unit]
Description=taskrunner: run everything that is due
Documentation=man:systemd.timer(5)
# A tick may follow another at once, for a delayed run. With a start limit the timer would stop for good.
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart={command}
# systemd carries the runs. If it refuses one, the tick carries it; the settings below are for that case.
Environment=TASKRUNNER_CARRIER=systemd

# Ticks end by themselves; each task has its own timeout.
TimeoutStartSec=infinity
# At a stop only the tick gets TERM. It stops the runs that it carries, and records that.
KillMode=process
# Longer than the longest --kill-after of a task (10s by default).
TimeoutStopSec=60s
# One task that runs out of memory must not stop the others.
OOMPolicy=continue
{sandbox}"""

DAEMON_TEXT = """\
# taskrunner in a loop: the same tick, every minute, in one process that carries the runs itself. Use it
# instead of taskrunner.timer when intervals are shorter than a minute, or runs are many and short.

[Unit]
Description=taskrunner: cron with a memory
Documentation=man:systemd.service(5)

[Service]
# It notifies systemd after its first tick; units ordered after it wait until then.
Type=notify
# --verbose, so that the journal has the problems of ticks.
ExecStart={command}
# Reloads taskrunner.toml; runs go on, and an invalid file changes nothing.
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=10s
# Its loop gives a sign of life twice in this time; a hanging daemon is killed and restarted.
# Longer than two waits for a busy database (30s each).
WatchdogSec=180s

# At a stop only the daemon gets TERM: it claims nothing more, lets runs end within the grace period,
# then stops them and records that. After TimeoutStopSec all remaining processes are killed.
KillMode=mixed
# Longer than the grace period and the longest --kill-after of a task (10s by default) together.
TimeoutStopSec=60s
# One task that runs out of memory must not stop the others.
OOMPolicy=continue
{sandbox}
[Install]
WantedBy={target}
"""

# A task may do the same as a line in root's crontab: install packages, write anywhere, change the user. So
# only rights are dropped that no usual command needs.
SANDBOX = """
# Tasks may be any command that a crontab may run, so only rights that none of them needs are dropped
# here. For stricter settings, and the tasks that they break, see docs/how-to/systemd.md.
UMask=0077
CapabilityBoundingSet=~CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_SYS_PACCT CAP_BLOCK_SUSPEND CAP_WAKE_ALARM
"""


def units(words: Sequence[str], home: str | None, *, user: bool, daemon: bool) -> dict[str, str]:
    """Return the texts of the units that call a program, by unit name; `user` is for systemd --user."""
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
    """Return a word quoted for a command line in systemd.service(5)."""
    plain = word.replace("%", "%%").replace("$", "$$")
    if PLAIN.fullmatch(plain):
        return plain
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def call(text: str, verbs: Sequence[str] = program.VERBS) -> Call | None:
    """Return the call in a unit, None when it does not call taskrunner with one of some verbs."""
    found = EXEC.findall(text)
    try:
        words = shlex.split(found[-1]) if found else []
    except ValueError:  # a quote is not closed
        return None
    called = program.read([word.replace("%%", "%").replace("$$", "$") for word in words], verbs)
    said = HOME.findall(text)
    if called is None or called.home is not None or not said:
        return called
    return Call(called.program, said[-1], called.verb)


def user_of(text: str) -> str | None:
    """Return the user of a unit, None when it names none."""
    found = USER.findall(text)
    return found[-1] if found else None
