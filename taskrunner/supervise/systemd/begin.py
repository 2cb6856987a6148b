"""The program that a unit of systemd starts: it becomes the command of a run, as a child of ours would.

    python -I -S begin.py FILE

A separate program that imports nothing of ours and little else, as it must be quick. It reads the
command from a private file and empties that, since it may hold secrets. If variables were missing, or the command cannot
start, that is written there. So the unit itself needs no environment and no user: programs that systemd runs after the command
see no variables of the task (LD_PRELOAD, say), and the task sees no variables of systemd.
"""

import _signal  # type: ignore[import-not-found]  # importing `signal` takes longer than all the rest of this program
import marshal
import os
import resource
import sys

LARGEST = 64_000_000  # bytes
UNDO = (13, 25)  # SIGPIPE and SIGXFSZ, which Python ignores; their numbers on Linux
NOT_STARTED = 126


def begin(place: str) -> int:
    """Become the command; if that fails, return an exit code and write the reason to the file."""
    fd = os.open(place, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    given = marshal.loads(os.read(fd, LARGEST))  # noqa: S302  a private file, written by ourselves
    os.ftruncate(fd, 0)
    missing = given.get("missing", ())  # an older program did not write it
    if missing:
        os.pwrite(fd, marshal.dumps({"missing": missing}), 0)
    try:
        _prepare(given)
        _execute(given["argv"], given["env"])
    except (OSError, ValueError) as exc:
        number, where = getattr(exc, "errno", None), getattr(exc, "filename", None)
        left = {name: given[name] for name in ("argv", "cwd", "user")} | {"missing": missing}
        left |= {"path": given["env"].get("PATH", ""), "error": (number, where)}
        os.pwrite(fd, marshal.dumps(left), 0)
    return NOT_STARTED


def _execute(argv: tuple[str, ...], env: dict[str, str]) -> None:
    """Execute a program, found as execvp(3) does; raises OSError.

    Not os.execvpe(), which imports a module: the user may be unable to read Python's files.
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
    """Set umask, input, signals, user, directory and limits of the command."""
    os.umask(given["umask"])
    _read_from(given["stdin"])
    _heed_signals()
    if given["become"]:
        _become(*given["become"])
    os.chdir(given["cwd"])  # as the user: a link must not lead to folders that only root may see
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
    """Become a user for good; nothing is executed before that (decision record 8)."""
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
    """Decode a word that was encoded for systemd: `:` and two hexadecimal digits stand for a byte."""
    first, *more = word.split(":")
    parts = (bytes.fromhex(each[:2]) + each[2:].encode() for each in more)
    return os.fsdecode(first.encode() + b"".join(parts))


if __name__ == "__main__":
    sys.exit(begin(decoded(sys.argv[1])))
