"""The verbs for existing tasks: show, list, next, enable, disable, remove, env.

`next` and `env` have imports of their own, so that `list` starts quickly.
"""

import argparse
from datetime import datetime
from typing import Any

from taskrunner.api.moments import ahead
from taskrunner.api.task_runner import TaskRunner
from taskrunner.cli.common import (
    Declare,
    Verbs,
    declare,
    number,
    open_runner,
    out,
    page,
    say,
    say_when,
    with_json,
    with_tasks,
)
from taskrunner.errors import InputError
from taskrunner.model.values import Run
from taskrunner.render import documents, spelling, tables

MOST = 10_000  # slots at a time: a cron expression needs about a second for them
ENV = """\
  taskrunner env backup
  taskrunner env backup --diff
  env -i sh -c "set -a; $(taskrunner env backup --quiet --show-secrets); sh"
"""


def _declare_show(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = "  taskrunner show backup\n  taskrunner show 42\n"
    parser = declare(verbs, common, "show", _show, examples)
    parser.add_argument("task", metavar="NAME", help="name or id of a task, or id of a run")
    with_json(parser)


def _show(args: Any) -> int:
    with open_runner(args) as runner:
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
        _list,
        "  taskrunner list\n  taskrunner list --kind at\n  taskrunner list --all\n  taskrunner list --json\n",
    )
    parser.add_argument(
        "--all", action="store_true", help="also the one-offs that are done, as --json has them"
    )
    parser.add_argument(
        "--kind",
        metavar="KIND",
        action="several",
        help="list only these kinds: cron, every, on, at, after, boot, manual; may be repeated, or given as a,b",
    )
    with_json(parser)


def _list(args: Any) -> int:
    with open_runner(args) as runner:
        tasks = runner.tasks(kind=args.kind)
        if args.json:
            out(documents.document(tasks=[documents.task_document(task) for task in tasks]))
            return 0
        shown = [task for task in tasks if args.all or not task.done]
        pending = runner.history(state="pending", limit=None)
        ready = {run.task_id: run.ready for run in reversed(pending) if run.ready is not None}
        if shown:
            out(tables.tasks_table(page(args), shown, ready))
        elif tasks:
            say(f"all {len(tasks)} tasks are done: `taskrunner list --all` shows them")
        else:
            what = "tasks yet" if args.kind is None else f"tasks of kind {' or '.join(args.kind)}"
            say(f"there are no {what}: taskrunner add NAME --every 1d -- COMMAND")
    return 0


def _declare_enable(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(
        verbs,
        common,
        "enable",
        _enable,
        "  taskrunner enable backup\n",
    )
    _names(parser)


def _declare_disable(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(
        verbs,
        common,
        "disable",
        _disable,
        "  taskrunner disable backup\n",
    )
    _names(parser)


def _names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tasks", metavar="NAME", nargs="+", help="name or id of a task")
    parser.add_argument("--quiet", action="store_true", help="print nothing on success")


def _all_of(runner: TaskRunner, given: list[str]) -> list[str]:
    """Return the names of tasks, each once; raises UnknownTask before any task is changed."""
    return list(dict.fromkeys(runner.task(each).name for each in given))


def _enable(args: Any) -> int:
    with open_runner(args) as runner:
        for name in _all_of(runner, args.tasks):
            task = runner.enable(name)
            if not args.quiet:
                say_when(args, task.name)
    return 0


def _disable(args: Any) -> int:
    with open_runner(args) as runner:
        for name in _all_of(runner, args.tasks):
            task = runner.disable(name)
            if not args.quiet:
                say(f"{task.name} is disabled: {spelling.comes_due(task, runner.now())}")
    return 0


def _declare_remove(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(
        verbs,
        common,
        "remove",
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
    with open_runner(args) as runner:
        for name in _all_of(runner, args.tasks):
            orphans = runner.remove(name, force=args.force)
            if not args.quiet:
                say(f"{name} was removed: `taskrunner history {name}` still shows its runs")
            if orphans:
                say(f"{', '.join(orphans)} ran after {name} and will not run any more")
    return 0


def _declare_next(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = (
        "  taskrunner next\n  taskrunner next backup -n 3\n  taskrunner next --until 7d\n"
        "  taskrunner next --cron '30 2 * * *' --tz Europe/Berlin --from 2031-03-29\n"
    )
    parser = declare(verbs, common, "next", _next, examples)
    with_tasks(parser)
    parser.add_argument(
        "-n",
        "--limit",
        metavar="N",
        type=number(MOST),
        help="number of slots to show (default: 5; without a name the next slot of each task)",
    )
    parser.add_argument(
        "--until",
        metavar="WHEN",
        help="show all slots up to this time; for several tasks as an agenda that marks collisions with !",
    )
    parser.add_argument(
        "--from",
        metavar="WHEN",
        dest="since",
        help="start at this time, which may be past: yesterday, '2030-12-01 18:00' (default: now)",
    )
    by_hand = parser.add_argument_group("a schedule instead of tasks")
    by_hand.add_argument("--cron", metavar="EXPR", help="a cron expression: '30 2 * * *'")
    by_hand.add_argument("--every", metavar="LENGTH", help="an interval: 30m, 1d, 1mo")
    by_hand.add_argument(
        "--on", metavar="DAY", help="a day of the month: 'first monday', 'last day'"
    )
    by_hand.add_argument("--at", metavar="WHEN", help="once: '2030-12-01 22:00', or +30m")
    parser.add_argument(
        "--tz", metavar="ZONE", help="time zone of that schedule (default: the host's)"
    )
    parser.add_argument(
        "--at-time", metavar="TIME", help="with --on: the time of day, such as 09:00"
    )
    parser.add_argument(
        "--anchor", metavar="WHEN", help="with --every: count intervals from this time"
    )
    with_json(parser)
    parser.set_defaults(now=False, after=None, boot=False, manual=False, from_finish=False)


def _next(args: Any) -> int:
    from taskrunner.cli.define import schedule
    from taskrunner.schedule import describe
    from taskrunner.schedule.kinds import Cron

    with open_runner(args) as runner:
        given = schedule(runner, args)
        if given is not None and args.tasks:
            raise InputError(
                f"next takes the task {args.tasks[0]!r} or a schedule (--cron, --every, --on or --at), not both"
            )
        if given is None and args.tz is not None:
            raise InputError("--tz goes only with a schedule: --cron, --every, --on or --at")
        start = None if args.since is None else runner.moment(args.since, args.tz)
        until = None if args.until is None else runner.moment(ahead(args.until), args.tz)
        many = given is None and len(args.tasks) != 1
        if until is not None and many and args.limit is None and start is None:
            return _agenda(args, until)
        if given is not None:
            if isinstance(given, Cron) and (either := describe.either(given.meaning)):
                say(either)
            items = runner.upcoming(given, tz=args.tz, since=start, count=args.limit, until=until)
        else:
            asked = args.tasks or args.json or args.limit is not None or start or until
            each = not asked  # one line for each task
            items = runner.next(
                args.tasks or None, since=start, count=args.limit, until=until, each=each
            )
        if args.json:
            out(documents.document(next=[documents.upcoming_document(item) for item in items]))
        elif items:
            out(tables.upcoming_table(page(args), items))
        else:
            say(_nothing(args))
    return 0


def _nothing(args: Any) -> str:
    return f"no runs are scheduled{' for ' * bool(args.tasks)}{', '.join(args.tasks)}"


def _agenda(args: Any, until: datetime) -> int:
    from taskrunner.render import agenda

    sheet, names = page(args), args.tasks or None
    entries = args.runner.agenda(until, tz=sheet.tz, name=names)
    if args.json:
        out(agenda.agenda_document(args.runner.next(names, until=until), entries))
    elif entries:
        out(agenda.agenda_page(sheet, entries))
        say(agenda.agenda_sentence(entries))
    else:
        say(_nothing(args))
    return 0


def _declare_env(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(verbs, common, "env", _env, ENV)
    parser.add_argument("task", metavar="NAME", help="name or id of a task")
    parser.add_argument(
        "--diff",
        action="store_true",
        help="show the differences: - is only in this shell, + is only in the task",
    )
    parser.add_argument(
        "--show-secrets",
        action="store_true",
        help="also show values that are passed, or whose names look secret",
    )
    parser.add_argument("--quiet", action="store_true", help="print only the variables")
    with_json(parser)


def _env(args: Any) -> int:
    from taskrunner.home import config
    from taskrunner.render import surroundings

    with open_runner(args) as runner:
        found = runner.environment(args.task)
    caller = config.calling_environment()
    if args.json:
        given = caller if args.diff else None
        made = surroundings.environment_document(found, given, secrets=args.show_secrets)
        out(documents.document(**made))
        return 0
    if args.diff:
        text = surroundings.differences(found, caller, secrets=args.show_secrets)
    else:
        text = surroundings.variables(found, secrets=args.show_secrets)
    if text:
        out(text)
    if not args.quiet:
        say(surroundings.environment_sentence(found))
        if found.queue is not None:
            say(
                f"its runs go to the queue {found.queue}: account, HOME, programs and the values of --pass-env are "
                "those of its workers"
            )
        elif found.missing:
            say(f"to be passed, and not set here: {', '.join(found.missing)}")
        missing = surroundings.missing_places(found.variables, caller) if args.diff else []
        if missing:
            say(f"not on the PATH of the task: {', '.join(missing)}")
    return 0


VERBS: dict[str, Declare] = {
    "show": _declare_show,
    "list": _declare_list,
    "next": _declare_next,
    "enable": _declare_enable,
    "disable": _declare_disable,
    "remove": _declare_remove,
    "env": _declare_env,
}
