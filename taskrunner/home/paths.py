"""The folder of one taskrunner: finding it, naming the files in it, checking that it is private.

An idle tick imports it, so it imports the errors only to raise one; besides `config` it is the only reader of the
environment. It must not know the contents of the files.
"""

import os
import stat

TYPE_CHECKING = False  # as typing has it, without its import
if TYPE_CHECKING:
    from taskrunner.errors import HomeRefused

STORE = "taskrunner.db"
LOCK = "tick.lock"
DAEMON_LOCK = "daemon.lock"
APPLICATION_LOCK = "application.lock"
HEARTBEAT = "heartbeat"
IDLE_ANSWER = "idle"
CONFIG = "taskrunner.toml"
OUTPUT = "output"
BACKUPS = "backups"
SUPERVISORS = "supervisors"
SPOOL = "spool"
DISK_RESERVE = "ballast"
SENDER = "notify.lock"
QUEUES = "queues.lock"
LOG = "taskrunner.log"
PAGE_USERS = "page.users"
PAGE_KEY = "page.key"
HAND = "hand"  # the caller of a tick that was not called by a clock

SYSTEM_HOME = "/var/lib/taskrunner"
NETWORK_FILE_SYSTEMS = frozenset(
    (
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ceph",
        "glusterfs",
        "fuse.sshfs",
        "lustre",
        "beegfs",
    )
)


def find(given: str | None = None) -> str:
    """Return the absolute path of the home: `given`, else $TASKRUNNER_HOME, else the user's default.

    An empty `given` is an InputError: a variable that a script forgot to set must not mean the real home. So is one
    that can be no path.
    """
    if given is not None and not _can_be_path(given):
        from taskrunner.errors import InputError, shown

        what = "can be no path" if given else "is empty"
        raise InputError(f"the home {shown(given)} {what}: give a folder, or leave --home out")
    chosen = given or os.environ.get("TASKRUNNER_HOME")
    if chosen:
        return os.path.abspath(os.path.expanduser(chosen))
    if os.geteuid() == 0:
        return SYSTEM_HOME
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):  # the XDG base directory specification: relative paths are ignored
        state = os.path.expanduser("~/.local/state")
    return os.path.join(state, "taskrunner")


def _can_be_path(text: str) -> bool:
    try:
        return text != "" and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def of_user(name: str, folder: str) -> str:
    """Return the home of a user when a clock's entry names none, as it does not have our environment."""
    return SYSTEM_HOME if name == "root" else os.path.join(folder, ".local/state/taskrunner")


def user_units() -> str:
    """Return the folder of the user's own systemd units (systemd.unit(5))."""
    settings = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(settings):
        settings = os.path.expanduser("~/.config")
    return os.path.join(settings, "systemd/user")


def runtime() -> str:
    """Return the runtime folder of our systemd: the system's or the user's."""
    if os.geteuid() == 0:
        return "/run"
    return os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"


def path(home: str, *parts: str) -> str:
    """Return the path of something in the home."""
    return os.path.join(home, *parts)


def check(home: str) -> None:
    """Raise HomeRefused unless the home and its store belong to us and nobody else can write them.

    Whoever can write the store can run commands as its owner. A path that does not exist passes.
    """
    for place in (home, path(home, STORE), path(home, CONFIG)):
        try:
            found = os.stat(place)
        except FileNotFoundError:
            continue
        except OSError as exc:
            raise _refused(place, f"cannot be used: {exc.strerror}") from exc
        if place == home and not stat.S_ISDIR(found.st_mode):
            raise _refused(home, "is not a folder: give a folder of your own", "the home ")
        if place != home and stat.S_ISFIFO(found.st_mode):  # who opens it would wait
            raise _refused(place, "is a pipe, not a file: remove it")
        _check_one(place, found)


def _check_one(place: str, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        mine = f"not to you ({os.geteuid()}): use a home of your own (--home)"
        raise _refused(place, f"belongs to user id {found.st_uid}, {mine}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mode = stat.S_IMODE(found.st_mode)
        raise _refused(place, f"can be written by others (mode {mode:04o}): run chmod go-w {place}")


def _refused(place: str, why: str, what: str = "") -> "HomeRefused":
    """Return the error that says what is wrong with a path."""
    from taskrunner.errors import HomeRefused, shown

    return HomeRefused(f"{what}{shown(place)} {why}")


def create(home: str) -> None:
    """Make the home and its folders, private from the start; raises HomeRefused when that fails."""
    try:
        _make_folders(home)
        for name in (OUTPUT, BACKUPS, SUPERVISORS, SPOOL):
            os.makedirs(path(home, name), mode=0o700, exist_ok=True)
    except OSError as exc:
        raise _refused(home, f"cannot be made: {exc.strerror}", "the home ") from exc


def _make_folders(place: str) -> None:
    """Make a folder and those above it: the mode of os.makedirs is that of the last one only."""
    above = os.path.dirname(place)
    if above != place and not os.path.exists(above):
        _make_folders(above)
    try:
        os.mkdir(place, 0o700)
    except FileExistsError:
        if not os.path.isdir(place):
            raise


def without_waiting(place: str, flags: int) -> int:
    """Open a file for `open`, a pipe in its place without waiting for somebody at its other end; raises OSError."""
    fd = os.open(place, flags | os.O_NONBLOCK)
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(0, "it is a pipe, not a file")
    return fd


def network_file_system(home: str) -> str | None:
    """Return the type of the network file system that holds the home, or None (proc_pid_mountinfo(5))."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return None
    place = os.path.realpath(home) + "/"
    best, kind = "", ""
    for fields in mounts:
        point = fields[4].replace("\\040", " ").rstrip("/") + "/"
        if place.startswith(point) and len(point) >= len(best):
            best, kind = point, fields[fields.index("-") + 1]
    return kind if kind in NETWORK_FILE_SYSTEMS else None


def caller() -> str:
    """Return which clock called this process: cron, systemd, or hand.

    A clock may say so itself in $TASKRUNNER_CLOCK; systemd sets $INVOCATION_ID (systemd.exec(5)); cron is
    known by the name of the process that started us or our shell.
    """
    said = os.environ.get("TASKRUNNER_CLOCK")
    if said:
        return word(said)
    if "INVOCATION_ID" in os.environ:
        return "systemd"
    return "cron" if _started_by_cron() else HAND


def word(said: str) -> str:
    """Return the name that a clock gives itself as one short word, for the heartbeat."""
    return "".join(sign for sign in said if sign.isalnum())[:16] or HAND


def _started_by_cron() -> bool:
    pid = os.getppid()
    for _ in range(2):  # our parent, or the parent of the shell in between
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            return False
        name = text[text.index("(") + 1 : text.rindex(")")].lower()
        if name in ("cron", "crond"):
            return True
        pid = int(text[text.rindex(")") + 2 :].split()[1])
    return False
