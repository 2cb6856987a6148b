"""The verbs about tasks that are there: show, list, enable, disable, remove."""

import argparse
from typing import Any

from taskrunner.api.task_runner import TaskRunner
from taskrunner.cli.common import Declare, Verbs, declare, door, out, page, say, say_when, with_json
from taskrunner.model.values import Run
from taskrunner.render import documents, tables


def _declare_show(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = "  taskrunner show backup\n  taskrunner show 42\n"
    parser = declare(verbs, common, "show", "show the details of a task or a run", _show, examples)
    parser.add_argument("task", metavar="NAME", help="name or id of a task, or id of a run")
    with_json(parser)


def _show(args: Any) -> int:
    with door(args) as runner:
        task = runner.either(args.task)
        if isinstance(task, Run):
            _show_run(args, task)
        elif args.json:
            out(documents.document(tasks=[documents.task_document(task)]))
        else:
            from taskrunner.tasks import options

            runs = runner.history(task.id, limit=5)
            traces = runner.traces(runs)
            told = options.told(task)
            out(tables.task_page(page(args), task, runner.describe(task), told, runs, traces))
    return 0


def _show_run(args: Any, run: Run) -> None:
    if args.json:
        out(documents.document(runs=[documents.run_document(run)]))
    else:
        out(tables.run_page(page(args), run, args.runner.traces([run])))


def _declare_list(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(
        verbs,
        common,
        "list",
        "list the tasks",
        _list,
        "  taskrunner list\n  taskrunner list --kind at\n  taskrunner list --json\n",
    )
    parser.add_argument(
        "--kind",
        metavar="KIND",
        action="several",
        help="list only these kinds: cron, every, at, after, boot, manual; may be repeated, or given as a,b",
    )
    with_json(parser)


def _list(args: Any) -> int:
    with door(args) as runner:
        tasks = runner.tasks(kind=args.kind)
        if args.json:
            out(documents.document(tasks=[documents.task_document(task) for task in tasks]))
        elif tasks:
            out(tables.tasks_table(page(args), tasks))
        else:
            what = "tasks yet" if args.kind is None else f"tasks of kind {' or '.join(args.kind)}"
            say(f"there are no {what}: taskrunner add NAME --every 1d -- COMMAND")
    return 0


def _declare_enable(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(
        verbs,
        common,
        "enable",
        "start scheduling a task again",
        _enable,
        "  taskrunner enable backup\n",
    )
    _names(parser)


def _declare_disable(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(
        verbs,
        common,
        "disable",
        "stop scheduling a task",
        _disable,
        "  taskrunner disable backup\n",
    )
    _names(parser)


def _names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tasks", metavar="NAME", nargs="+", help="name or id of a task")
    parser.add_argument("--quiet", action="store_true", help="print nothing on success")


def _all_of(runner: TaskRunner, given: list[str]) -> list[str]:
    """Return the names of tasks, each once; raises UnknownTask before anything is done to the others."""
    return list(dict.fromkeys(runner.task(each).name for each in given))


def _enable(args: Any) -> int:
    with door(args) as runner:
        for name in _all_of(runner, args.tasks):
            task = runner.enable(name)
            if not args.quiet:
                say_when(args, task.name)
    return 0


def _disable(args: Any) -> int:
    with door(args) as runner:
        for name in _all_of(runner, args.tasks):
            task = runner.disable(name)
            if not args.quiet:
                say(
                    f"{task.name} is disabled: `taskrunner enable {task.name}` starts scheduling it again"
                )
    return 0


def _declare_remove(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(
        verbs,
        common,
        "remove",
        "remove a task; its history is kept",
        _remove,
        "  taskrunner remove backup\n",
    )
    _names(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="remove the task even while it runs, and cancel that run",
    )


def _remove(args: Any) -> int:
    with door(args) as runner:
        for name in _all_of(runner, args.tasks):
            orphans = runner.remove(name, force=args.force)
            if not args.quiet:
                say(f"{name} was removed: `taskrunner history {name}` still shows its runs")
            if orphans:
                say(f"{', '.join(orphans)} ran after {name} and will not run any more")
    return 0


VERBS: dict[str, Declare] = {
    "show": _declare_show,
    "list": _declare_list,
    "enable": _declare_enable,
    "disable": _declare_disable,
    "remove": _declare_remove,
}
