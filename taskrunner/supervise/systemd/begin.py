"""The first thing a unit of systemd executes: it becomes the command of a run, just as a child of ours would.

    python -I -S begin.py FILE

A program and no part of the others, so it imports nothing of ours and little else: it has to be quick. It reads the
command from a private file and empties that, since it may hold secrets. What keeps the command from starting is
written there instead. So the unit itself needs no environment and no user: whatever systemd runs after the command
sees nothing that the task could have set (LD_PRELOAD, say), and the task sees nothing that systemd adds.
"""

import _signal  # type: ignore[import-not-found]  # the module around it takes longer than all the rest of this program
import marshal
import os
import resource
import sys

LARGEST = 64_000_000  # bytes
UNDO = (13, 25)  # SIGPIPE and SIGXFSZ, which Python ignores; their numbers on Linux
NOT_STARTED = 126


def begin(place: str) -> int:
    """Become the command; return an exit code when that is not possible, and say why in the file."""
    fd = os.open(place, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    given = marshal.loads(os.read(fd, LARGEST))  # noqa: S302  a private file, written by ourselves
    os.ftruncate(fd, 0)
    try:
        _prepare(given)
        _execute(given["argv"], given["env"])
    except (OSError, ValueError) as exc:
        number, where = getattr(exc, "errno", None), getattr(exc, "filename", None)
        left = {name: given[name] for name in ("argv", "cwd", "user")}
        left |= {"path": given["env"].get("PATH", ""), "error": (number, where)}
        os.pwrite(fd, marshal.dumps(left), 0)
    return NOT_STARTED


def _execute(argv: tuple[str, ...], env: dict[str, str]) -> None:
    """Execute a program that is looked for as execvp(3) does; raises OSError.

    Not os.execvpe(), which imports something: the user need not be able to read where Python lies.
    """
    folders = [""] if "/" in argv[0] else env.get("PATH", os.defpath).split(":")
    error = refused = None
    for folder in folders:
        try:
            os.execve(os.path.join(folder, argv[0]), argv, env)  # noqa: S606  to become it is what this is for
        except (FileNotFoundError, NotADirectoryError) as exc:
            error = exc
        except OSError as exc:
            refused = refused or exc
    raise refused or error or ValueError


def _prepare(given: dict) -> None:  # type: ignore[type-arg]
    """Set all that the command is to have from its start."""
    os.umask(given["umask"])
    _read_from(given["stdin"])
    _heed_signals()
    if given["become"]:
        _become(*given["become"])
    os.chdir(given["cwd"])  # as the user: a link of his leads to nothing that only root may see
    for number, soft, hard in given["limits"]:
        resource.setrlimit(number, (soft, hard))


def _read_from(text: bytes | None) -> None:
    if text is None:
        return  # systemd has made it /dev/null
    fd = os.memfd_create("stdin", 0)
    view = memoryview(text)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    os.dup2(fd, 0)
    os.close(fd)


def _heed_signals() -> None:
    for number in UNDO:
        _signal.signal(number, _signal.SIG_DFL)


def _become(uid: int, gid: int, groups: tuple[int, ...]) -> None:
    """Become a user for good; nothing is executed before that, as decision 8 has it."""
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3 or not _dropped(uid, groups):
        raise ValueError


def _dropped(uid: int, groups: tuple[int, ...]) -> bool:
    if {*os.getgroups()} != {*groups}:
        return False
    with open("/proc/self/status", "rb") as file:
        told = [line.split()[1] for line in file if line.startswith((b"CapPrm", b"CapAmb"))]
    return uid == 0 or not any(int(number, 16) for number in told)


def decoded(word: str) -> str:
    """Return a word as it was before it was written for systemd: of each byte after a `:` the two digits stand for it."""
    first, *more = word.split(":")
    parts = (bytes.fromhex(each[:2]) + each[2:].encode() for each in more)
    return os.fsdecode(first.encode() + b"".join(parts))


if __name__ == "__main__":
    sys.exit(begin(decoded(sys.argv[1])))
