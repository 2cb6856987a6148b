"""What single commands cost, each beside what does the same without taskrunner, or the least that it takes."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from taskrunner import Manual, TaskRunner
from taskrunner.home import paths as rooms
from tests.benchmarks import homes, places, rivals, timing
from tests.benchmarks.bench import Bench
from tests.benchmarks.timing import Step

WIDTH = 4  # commands at a time
KILOBYTE = (
    "".join(
        f"{number:03} a line of output, as a program would write it.\n" for number in range(1, 20)
    )[:999]
    + "\n"
)


# ---- the idle tick


def tick(bench: Bench, folder: Path) -> Step:
    """Return a step: one tick in a home."""
    return lambda: timing.run(bench.program, "tick", home=folder).wall


def idle_home(bench: Bench, tasks: int) -> Path:
    """Return a home in which nothing is due, lately ticked."""
    folder = bench.home(f"idle-{tasks}", lambda place: homes.idle(place, tasks))
    tick(bench, folder)()
    return folder


def idle(bench: Bench) -> None:
    """Measure an idle tick with few tasks and with many beside a Python that does nothing."""
    few, many = idle_home(bench, 10), idle_home(bench, bench.sizes.many_tasks)
    sides = {
        "tick": tick(bench, few),
        "tick of many": tick(bench, many),
        "sqlite3": lambda: timing.run(bench.python, "-c", "import sqlite3").wall,
        "pass": lambda: timing.run(bench.python, "-c", "pass").wall,
    }
    with homes.untouched(few, many):
        bench.results.sides["idle"] = timing.contest(sides, bench.rounds)


def others(bench: Bench) -> None:
    """Measure an idle tick beside one pass of what people use instead."""
    folder = idle_home(bench, 10)
    sides = {"tick": tick(bench, folder)}
    known: dict[str, Callable[[Bench], Step]] = {
        "django": rivals.manage_py,
        "apscheduler": rivals.apscheduler_pass,
        "celery": rivals.beat_start,
    }
    for name, make in known.items():
        _add(bench, sides, name, make)
    tick(bench, folder)()  # installing them takes longer than the pause between two ticks may
    with homes.untouched(folder):
        bench.results.sides["others"] = timing.contest(sides, bench.few)


def _add(bench: Bench, sides: dict[str, Step], name: str, make: Callable[[Bench], Step]) -> None:
    """Add a side, or keep why it is not there."""
    try:
        if name in places.PACKAGES and not bench.with_rivals:
            raise places.NotHere(f"{name} was left out by --no-rivals")
        sides[name] = make(bench)
    except places.NotHere as exc:
        bench.results.skipped[name] = str(exc)


# ---- many due at once


def burst(bench: Bench) -> None:
    """Measure a tick with thousands of tasks due beside those who run as many commands and record nothing."""
    count = bench.sizes.burst
    names = _file(bench, "names", "x\n" * count)
    ours = bench.home(f"burst-{count}", lambda place: homes.to_be_due(place, ["/bin/true"], count))
    sides = {
        "tick": due_tick(bench, ours, count),
        "tick alike": due_tick(bench, ours, count, alike=True),
    }
    _add(bench, sides, "xargs", lambda _: _settled(_xargs(names, "/bin/true")))
    _add(bench, sides, "spawn", lambda _: _settled(_spawned(bench, count)))
    sides["bare"] = _settled(_bare(bench, count))
    bench.results.sides["burst"] = timing.contest(sides, bench.few)
    bench.clear()


def output(bench: Bench) -> None:
    """Measure the same with a kilobyte of output of each, which is kept on both sides."""
    count = bench.sizes.burst
    text = _file(bench, "kilobyte", KILOBYTE)
    numbers = _file(bench, "numbers", "".join(f"{number}\n" for number in range(count)))
    command = ["/bin/cat", str(text)]
    ours = bench.home(f"output-{count}", lambda place: homes.to_be_due(place, command, count))
    sides = {"tick": due_tick(bench, ours, count, outputs=count)}

    def redirected(_: Bench) -> Step:
        def step() -> float:
            folder = bench.fresh("out")
            folder.mkdir()
            line = f'exec /bin/cat {text} >"{folder}/$0"'
            return _settled(_xargs(numbers, "/bin/sh", "-c", line))()

        return step

    _add(bench, sides, "xargs", redirected)
    bench.results.sides["output"] = timing.contest(sides, bench.few)
    bench.clear()


def due_tick(
    bench: Bench, template: Path, count: int, *, alike: bool = False, outputs: int = 0
) -> Step:
    """Return a step: a tick in a copy of a home, all of whose tasks are due; all of it has to be in the history."""

    def step() -> float:
        folder = homes.due(template, bench.fresh("due"), alike=alike)
        took = _settled(tick(bench, folder))()
        if (homes.ended_well(folder), homes.outputs(folder)) != (count, outputs):
            raise RuntimeError(f"not all {count} runs are in the history of {folder}")
        return took

    return step


def _settled(step: Step) -> Step:
    """Return a step before which what was written earlier has reached the disk."""

    def settled() -> float:
        os.sync()
        return step()

    return settled


def _xargs(stdin: Path, *command: str) -> Step:
    words = [places.program("xargs"), f"-P{WIDTH}", "-n1", *command]
    return lambda: timing.run(*words, stdin=stdin).wall


def _spawned(bench: Bench, count: int) -> Step:
    words = [places.compiled(bench.place), str(count), str(WIDTH), "/bin/true"]
    return lambda: timing.run(*words).wall


def _bare(bench: Bench, count: int) -> Step:
    words = [str(count), str(WIDTH), "/bin/true"]

    def step() -> float:
        folder = bench.fresh("bare")
        folder.mkdir()
        return timing.run(
            bench.python, places.PROGRAMS / "bare_ledger.py", folder / "store", *words
        ).wall

    return step


def _file(bench: Bench, name: str, text: str) -> Path:
    place = bench.place / name
    place.write_text(text, encoding="utf-8")
    return place


# ---- a long history


def history_home(bench: Bench, runs: int) -> Path:
    """Return an idle home with so many runs in its history."""
    return bench.home(f"history-{runs}", lambda place: homes.with_history(place, runs))


def history(bench: Bench) -> None:
    """Measure the last runs of one task in a short and in a long history: the call alone, and the command."""
    sizes = bench.sizes
    short, long = history_home(bench, sizes.short_history), history_home(bench, sizes.long_history)
    bench.results.sides["history"] = dict(
        zip(("short", "long"), history_calls(bench, [short, long]), strict=True)
    )
    sides = {"short": history_command(bench, short), "long": history_command(bench, long)}
    bench.results.sides["history command"] = timing.contest(sides, bench.rounds)


def history_calls(bench: Bench, folders: list[Path]) -> list[list[float]]:
    """Return what each call of the library took, in each of some homes, in turn."""
    program = places.PROGRAMS / "history_calls.py"
    text = timing.printed(bench.python, program, str(bench.sizes.calls), homes.ASKED, *folders)
    found: list[list[float]] = json.loads(text)
    return found


def history_command(bench: Bench, folder: Path) -> Step:
    """Return a step: the command that shows the last runs of a task."""
    words = (bench.program, "history", homes.ASKED, "-n", "20")
    return lambda: timing.run(*words, home=folder).wall


# ---- many tasks at once


def expressions(count: int) -> list[str]:
    """Return cron expressions as people write them, each another as far as there are that many."""
    forms = (
        "{m} {h} * * *",
        "{m} {h} * * {w}",
        "*/{s} {h} * * *",
        "{m} {h} {d} * *",
        "{m} */{e} * * 1-5",
    )
    return [
        forms[number % 5].format(
            m=number * 7 % 60,
            h=number * 5 % 24,
            w=number % 7,
            s=(5, 10, 15, 20, 30)[number // 5 % 5],
            d=number % 28 + 1,
            e=(2, 3, 4, 6, 8, 12)[number // 5 % 6],
        )
        for number in range(count)
    ]


def task_file(count: int) -> str:
    """Return a task file with so many tasks."""
    return "".join(
        f'[tasks.task-{number}]\ncron = "{text}"\ntz = "UTC"\ncommand = ["/bin/true", "{number}"]\n'
        for number, text in enumerate(expressions(count), 1)
    )


def empty_home(bench: Bench) -> Path:
    """Return a home that a tick has been in, and that has no tasks."""

    def make(folder: Path) -> Path:
        with TaskRunner(folder) as runner:
            runner.add("gone", ["/bin/true"], Manual())
            runner.tick()
            runner.remove("gone")
        with homes.opened(folder) as store:
            store.execute("DELETE FROM events")
            store.execute("DELETE FROM tasks")
            store.execute("DELETE FROM sqlite_sequence")
        return folder

    return bench.home("empty", make)


def apply(bench: Bench) -> None:
    """Measure `apply` of a large file beside the bare transaction that writes the same rows."""
    empty, file = empty_home(bench), _file(bench, "tasks.toml", task_file(bench.sizes.files))
    filled = filled_home(bench, bench.sizes.files)

    def ours() -> float:
        folder = Path(shutil.copytree(empty, bench.fresh("apply")))
        words = (bench.program, "apply", file, "--quiet")
        return _settled(lambda: timing.run(*words, home=folder).wall)()

    def rows() -> float:
        folder = Path(shutil.copytree(empty, bench.fresh("rows")))
        stores = (filled / rooms.STORE, folder / rooms.STORE)
        return _settled(
            lambda: float(timing.printed(bench.python, places.PROGRAMS / "insert_rows.py", *stores))
        )()

    sides = {"apply": ours, "rows": rows}
    bench.results.sides["apply"] = timing.contest(sides, bench.few)
    bench.clear()


def filled_home(bench: Bench, count: int) -> Path:
    """Return a home with so many tasks out of a file."""

    def make(folder: Path) -> Path:
        shutil.copytree(empty_home(bench), folder)
        file = _file(bench, f"tasks-{count}.toml", task_file(count))
        timing.run(bench.program, "apply", file, "--quiet", home=folder)
        return folder

    return bench.home(f"filled-{count}", make)


def next_slots(bench: Bench) -> None:
    """Measure `next` over many tasks beside the bare calls of croniter that give the same slots."""
    count = bench.sizes.next
    folder = filled_home(bench, count)
    words = (bench.program, "next", "-n", str(count))
    answer = bench.place / "next.json"
    timing.run(*words, "--json", home=folder, stdout=answer)
    told = Counter(each["task"] for each in json.loads(answer.read_text(encoding="utf-8"))["next"])
    # Of each task one slot more than is told: that it comes later has to be known.
    wanted = [
        (text, told[f"task-{number}"] + 1) for number, text in enumerate(expressions(count), 1)
    ]
    calls = _file(bench, "calls.json", json.dumps(wanted))
    bare = (bench.python, places.PROGRAMS / "croniter_calls.py", calls)
    sides = {
        "next": lambda: timing.run(*words, home=folder).wall,
        "croniter": lambda: float(timing.printed(*bare)),
    }
    bench.results.sides["next"] = timing.contest(sides, bench.few)
