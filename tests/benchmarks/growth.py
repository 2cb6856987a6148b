"""How costs grow: with the number of tasks, of due tasks, of runs in the history, of running children."""

from pathlib import Path

from tests.benchmarks import commands, homes, processes, residents, timing
from tests.benchmarks.bench import Bench
from tests.benchmarks.timing import Step


def _keep(bench: Bench, curve: str, series: str, found: dict[str, list[float]]) -> None:
    bench.results.curves.setdefault(curve, {})[series] = found


def tasks(bench: Bench) -> None:
    """Measure an idle tick by the number of tasks."""
    folders = {size: commands.idle_home(bench, size) for size in bench.sizes.tasks}
    sides = {str(size): commands.tick(bench, folder) for size, folder in folders.items()}
    for step in sides.values():
        step()
    with homes.untouched(*folders.values()):
        _keep(bench, "tasks", "idle tick", timing.contest(sides, bench.few))


def due(bench: Bench) -> None:
    """Measure a tick by the number of tasks that are due."""
    sides: dict[str, Step] = {}
    for size in bench.sizes.due:
        template = bench.home(
            f"due-{size}", lambda place, size=size: homes.to_be_due(place, ["/bin/true"], size)
        )
        sides[str(size)] = commands.due_tick(bench, template, size)
    _keep(bench, "due", "tick", timing.contest(sides, bench.fewest + 1))
    bench.clear()


def runs(bench: Bench) -> None:
    """Measure ticks and what people ask by the number of runs in the history."""
    folders = {str(size): commands.history_home(bench, size) for size in bench.sizes.runs}
    for series, step in {
        "idle tick": commands.tick,
        "tick, one task due": _one_due,
        "history -n 20": commands.history_command,
        "list": _list,
    }.items():
        sides = {size: step(bench, folder) for size, folder in folders.items()}
        _keep(bench, "runs", series, timing.contest(sides, bench.few))
    calls = commands.history_calls(bench, list(folders.values()))
    _keep(bench, "runs", "history, the call alone", dict(zip(folders, calls, strict=True)))


def _one_due(bench: Bench, folder: Path) -> Step:
    def step() -> float:
        homes.let_one_come_due(folder)
        return commands.tick(bench, folder)()

    return step


def _list(bench: Bench, folder: Path) -> Step:
    return lambda: timing.run(bench.program, "list", home=folder).wall


def running(bench: Bench) -> None:
    """Measure a supervisor by the number of its running children, as many as this machine allows."""
    most = residents.most_children()
    sizes = sorted({min(size, most) for size in bench.sizes.running})
    if most < bench.sizes.running[-1]:
        bench.results.skipped["running"] = (
            f"More than {most:,} at once are beyond the limits of this machine"
        )
    memory: dict[str, list[float]] = {str(size): [] for size in sizes}
    cpu: dict[str, list[float]] = {str(size): [] for size in sizes}
    for size in sizes * bench.fewest:
        with residents.supervising(bench, size) as supervisor:
            memory[str(size)].append(processes.own_memory(supervisor.pid))
            cpu[str(size)].append(processes.seconds_on_cpu(supervisor.pid))
    _keep(bench, "running", "memory of the supervisor", memory)
    _keep(bench, "running", "processor time until all run", cpu)
