"""What stays in memory: supervisors with many children, and daemons that wait for the next minute."""

import contextlib
import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

from taskrunner.home import paths as rooms
from tests.benchmarks import commands, homes, machine, places, processes, rivals, timing
from tests.benchmarks.bench import Bench
from tests.benchmarks.mix import MINUTES, MIX, due_at

SETTLED = 2.0  # seconds after which a process has done what it does first
OPEN_FILES = 2  # of a supervisor, for each child
OWN_FILES = 200  # about as many as it needs besides
OWN_PROCESSES = 1_000  # about as many as a machine has anyway
CHILD_MEMORY = 1_000_000  # bytes; more than a `sleep` takes

BOX = """
mount -t tmpfs -o mode=1730 tmpfs /var/spool/cron/crontabs
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /etc/cron.d
[ ! -e /etc/crontab ] || mount --bind /dev/null /etc/crontab
install -m 600 "$0" /var/spool/cron/crontabs/root
exec "$1" -f
"""


# ---- supervisors


@contextlib.contextmanager
def supervising(bench: Bench, children: int) -> Iterator[Popen[bytes]]:
    """Have a tick that supervises so many children, which do nothing; they end with the block."""
    template = bench.home(
        f"sleeping-{children}",
        lambda place: homes.to_be_due(place, ["/bin/sleep", "3600"], children),
    )
    folder = homes.due(template, bench.fresh("supervisor"), alike=True)
    (folder / rooms.CONFIG).write_text(f"max_parallel = {children}\n", encoding="utf-8")
    with (
        _many_files(),
        processes.started(bench.program, "tick", home=folder) as supervisor,
    ):
        processes.until(lambda: homes.running(folder) == children, f"{children} running children")
        time.sleep(SETTLED)
        yield supervisor
    shutil.rmtree(folder)


@contextlib.contextmanager
def _many_files() -> Iterator[None]:
    """Let what is started have as many open files as it may at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def most_children() -> int:
    """Return how many children this machine lets us have at once."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limits = [10_000 if files == resource.RLIM_INFINITY else (files - OWN_FILES) // OPEN_FILES]
    users = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    if users != resource.RLIM_INFINITY:
        limits.append(users - OWN_PROCESSES)
    pids = Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii")
    return max(1, min(*limits, int(pids) - OWN_PROCESSES, machine.available() // CHILD_MEMORY))


def memory(bench: Bench) -> None:
    """Measure what each further child costs its supervisor, from the first on."""
    children = min(bench.sizes.children, most_children())
    found: dict[str, list[float]] = {"one": [], "many": [], "child": []}
    for _ in range(bench.fewest):
        with supervising(bench, 1) as supervisor:
            one = processes.own_memory(supervisor.pid)
        with supervising(bench, children) as supervisor:
            many = processes.own_memory(supervisor.pid)
        found["one"].append(one)
        found["many"].append(many)
        found["child"].append((many - one) / (children - 1))
    bench.results.sides["memory"] = found


def quiet(bench: Bench) -> None:
    """Measure which share of a processor a supervisor takes while its children do nothing."""
    shares, seconds = [], bench.sizes.quiet_seconds
    for _ in range(bench.fewest):
        with supervising(bench, bench.sizes.quiet_children) as supervisor:
            before = processes.seconds_on_cpu(supervisor.pid)
            time.sleep(seconds)
            shares.append((processes.seconds_on_cpu(supervisor.pid) - before) / seconds * 100)
    bench.results.sides["quiet"] = {"share": shares}


# ---- a day


def day(bench: Bench) -> None:
    """Measure what a day of ticks costs, and what those hold who stay all day."""
    bench.results.sides["day"] = _ticks(bench)
    residents = bench.results.sides["residents"] = {}
    with contextlib.ExitStack() as stack:
        pids = dict(_resident(bench, stack))
        time.sleep(SETTLED * 2)
        before = {name: processes.all_threads_on_cpu(pid) for name, pid in pids.items()}
        time.sleep(bench.sizes.resident_seconds)
        for name, pid in pids.items():
            share = processes.all_threads_on_cpu(pid) - before[name]
            residents[f"{name}: memory"] = [float(processes.resident(pid))]
            residents[f"{name}: cpu"] = [share / bench.sizes.resident_seconds]
    try:
        if bench.results.quick:
            raise places.NotHere("cron was left out, as it takes minutes")
        cron_alone(bench)
    except places.NotHere as exc:
        bench.results.skipped["cron"] = str(exc)


def _ticks(bench: Bench) -> dict[str, list[float]]:
    """Return the processor time of ticks by how many tasks are due, that of the commands with it."""
    sides = {}
    for many in sorted({due_at(minute) for minute in range(MINUTES)}):
        template = bench.home(
            f"day-{many}", lambda place, many=many: homes.to_be_due(place, ["/bin/true"], many)
        )
        sides[str(many)] = _cpu_of_due(bench, template)
    idle = commands.idle_home(bench, 10)
    sides["0"] = lambda: timing.run(bench.program, "tick", home=idle).cpu
    return timing.contest(sides, bench.few)


def _cpu_of_due(bench: Bench, template: Path) -> timing.Step:
    def step() -> float:
        folder = homes.due(template, bench.fresh("day"), alike=False)
        return timing.run(bench.program, "tick", home=folder).cpu

    return step


def _resident(bench: Bench, stack: contextlib.ExitStack) -> Iterator[tuple[str, int]]:
    """Start those who stay in memory, as far as they are to be had."""
    idle = commands.idle_home(bench, 10)
    ours = stack.enter_context(processes.started(bench.program, "daemon", home=idle))
    yield "taskrunner daemon", ours.pid
    if not bench.with_rivals:
        return
    try:
        python, store = rivals.apscheduler(bench)
        words = (python, places.PROGRAMS / "apscheduler_resident.py", store)
        yield "APScheduler", stack.enter_context(processes.started(*words)).pid
        words = rivals.beat_words(bench)
        beat = processes.started(*words, folder=places.PROGRAMS, end=signal.SIGKILL)
        yield "celery beat", stack.enter_context(beat).pid
    except places.NotHere as exc:
        bench.results.skipped["residents"] = str(exc)


def cron_alone(bench: Bench) -> None:
    """Measure a cron of our own, in namespaces that the machine's does not see; raises NotHere.

    In one minute all of the mix is due, in the minute after it nothing is.
    """
    cron, unshare = places.program("cron"), places.program("unshare")
    if os.geteuid() != 0:
        raise places.NotHere("only root can start a cron that the machine's own does not see")
    first = time.localtime(time.time() + 60 + 10).tm_min
    lines = f"{first} * * * * /bin/true\n" * sum(MIX.values())
    tab = bench.place / "crontab"
    tab.write_text(lines, encoding="utf-8")
    box = [unshare, "--mount", "--pid", "--fork", "--kill-child", "sh", "-e", "-c", BOX, tab, cron]
    with processes.started(*box, end=signal.SIGKILL) as outer:  # TERM it ignores
        pid = _child(outer)
        busy = _cpu_over_minute(pid, first)
        idle = _cpu_over_minute(pid, (first + 1) % 60)
        memory = float(processes.resident(pid))
    bench.results.sides["cron"] = {"busy": [busy], "idle": [idle], "memory": [memory]}


def _child(outer: Popen[bytes]) -> int:
    """Return the process that another has started; raises NotHere when it could not."""
    place = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    processes.until(lambda: outer.poll() is not None or _words(place) != [], "a cron of our own")
    if outer.poll() is not None:
        said = outer.stderr.read().decode() if outer.stderr else ""
        raise places.NotHere(f"a cron of our own could not be started: {said.strip()}")
    return int(_words(place)[0])


def _words(place: Path) -> list[str]:
    return place.read_text(encoding="ascii").split()


def _cpu_over_minute(pid: int, minute: int) -> float:
    """Return what a process and its children took from shortly before a minute begins until some time after."""
    processes.until(lambda: time.localtime(time.time() + 2).tm_min == minute, "the next minute")
    before = processes.seconds_on_cpu(pid) + processes.children_on_cpu(pid)
    time.sleep(12)
    return processes.seconds_on_cpu(pid) + processes.children_on_cpu(pid) - before
