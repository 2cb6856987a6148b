"""The verbs about tasks: add, set, show, list, next, enable, disable, remove."""

import argparse
from datetime import datetime
from typing import Any

from taskrunner import command, config, render
from taskrunner.api import TaskRunner
from taskrunner.cli.common import (
    Declare,
    Verbs,
    declare,
    door,
    number,
    out,
    page,
    say,
    with_json,
)
from taskrunner.errors import InputError, shown
from taskrunner.model import Kind
from taskrunner.options import PYTHON, READERS
from taskrunner.render import agenda
from taskrunner.schedule import After, At, Boot, Cron, Every, Manual, Schedule

SCHEDULES = ("every", "cron", "at", "after", "boot", "manual")
MOST_NEXT = 10_000  # slots at a time: a cron expression needs about a second for them

ADD = """\
  taskrunner add report --every 1d -- /opt/report.sh --full
  taskrunner add backup --cron '0 2 * * *' --tz Europe/Berlin --on-failure @ops -- /opt/backup.sh
  taskrunner add upgrade --at '2030-12-01 22:00' --shell 'ansible-playbook site.yml | tee -a log'
  taskrunner add clean --after backup -- /opt/clean.sh
  taskrunner add digest --every 1d --cwd /srv/app --python app.tasks:digest --args '{"days": 1}'
"""


def _schedule_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("when (exactly one)")
    group.add_argument(
        "--every", metavar="LENGTH", help="an interval: 30m, 7h30m, 1d, 2w, 1mo, 1y6mo"
    )
    group.add_argument("--cron", metavar="EXPR", help="a cron expression: '30 2 * * *', '@daily'")
    group.add_argument(
        "--at", metavar="WHEN", help="once: '2030-12-01 22:00', with or without offset, or +30m"
    )
    group.add_argument(
        "--after", metavar="NAME[:HOW]", help="when a run of NAME succeeded, failed or any"
    )
    group.add_argument("--boot", action="store_true", help="once after each boot")
    group.add_argument("--manual", action="store_true", help="only by hand, with `taskrunner run`")
    more = parser.add_argument_group("more about when")
    more.add_argument("--tz", metavar="ZONE", help="IANA time zone (default: the host's)")
    more.add_argument(
        "--anchor", metavar="WHEN", help="with --every: slot 0 of the grid (default: now)"
    )
    more.add_argument(
        "--from-finish", action="store_true", help="with --every: count from the end of each run"
    )
    more.add_argument("--now", action="store_true", help="make a run due at once")


def _option_flags(parser: argparse.ArgumentParser) -> None:
    policies = parser.add_argument_group("what becomes of late and overlapping slots")
    policies.add_argument(
        "--catch-up", metavar="WHAT", help="last (default), all or none of the slots that passed"
    )
    policies.add_argument(
        "--catch-up-limit", metavar="N", help="with --catch-up all: at most N (default: 100)"
    )
    policies.add_argument(
        "--deadline", metavar="LENGTH", help="a slot that could start only later is missed"
    )
    policies.add_argument(
        "--overlap", metavar="WHAT", help="skip (default), queue, replace or allow"
    )
    policies.add_argument(
        "--max-instances", metavar="N", help="with --overlap allow: at most N side by side"
    )
    policies.add_argument(
        "--jitter",
        metavar="LENGTH",
        help="delay each start by a share of this, the same for a slot",
    )
    policies.add_argument(
        "--group", metavar="NAME[:N]", help="at most N (default: 1) tasks of a group run at a time"
    )
    policies.add_argument(
        "--priority", metavar="N", help="higher starts first when capacity is short (default: 0)"
    )
    again = parser.add_argument_group("when it fails, and what that means")
    again.add_argument(
        "--retries", metavar="N", help="further attempts of the same slot (default: 0)"
    )
    again.add_argument(
        "--retry-delay", metavar="LENGTH", help="before the first of them (default: 1m)"
    )
    again.add_argument(
        "--retry-backoff", metavar="X", help="multiply the delay by this each time (default: 1)"
    )
    again.add_argument(
        "--retry-codes",
        metavar="CODES",
        help="only for these exit codes: 75 or 1,3-5 (default: all)",
    )
    again.add_argument(
        "--on-lost", metavar="WHAT", help="fail (default) or retry a run whose process was lost"
    )
    again.add_argument(
        "--ok-codes", metavar="CODES", help="exit codes that are a success (default: 0)"
    )
    again.add_argument(
        "--noop-codes", metavar="CODES", help="exit codes that mean there was nothing to do"
    )
    again.add_argument(
        "--expect", metavar="REGEX", help="without this in its output a run has failed"
    )
    again.add_argument("--reject", metavar="REGEX", help="with this in its output a run has failed")
    limits = parser.add_argument_group("how it runs")
    limits.add_argument(
        "--shell", metavar="TEXT", help="a text for /bin/sh -c, instead of a command after --"
    )
    python = parser.add_argument_group("Python instead of a command")
    python.add_argument(
        "--python", metavar="MODULE:NAME", help="a function, such as app.tasks:clean"
    )
    python.add_argument(
        "--args", metavar="JSON", help="its arguments, a list or an object: '{\"days\": 7}'"
    )
    python.add_argument(
        "--code", metavar="TEXT", help="a text of Python, with names such as date and slot ready"
    )
    python.add_argument(
        "--code-file", metavar="FILE", help="a file with such a text, read at each run"
    )
    python.add_argument(
        "--interpreter",
        metavar="PYTHON",
        help="a program, or the folder of a virtual environment (default: taskrunner's own)",
    )
    python.add_argument("--django", metavar="SETTINGS", help="set Django up first: crm.settings")
    limits.add_argument(
        "--timeout", metavar="LENGTH", help="stop it after this (default: 1h), or none"
    )
    limits.add_argument(
        "--kill-after", metavar="LENGTH", help="KILL this long after TERM (default: 10s)"
    )
    limits.add_argument(
        "--max-silence", metavar="LENGTH", help="stop it when it has written nothing for so long"
    )
    limits.add_argument(
        "--max-output", metavar="SIZE", help="keep the head and tail of more (default: 10MB)"
    )
    limits.add_argument(
        "--limit",
        metavar="LIMITS",
        help="limits of the kernel: memory=512MB,cpu=10m,files=1024,processes=64",
    )
    limits.add_argument("--cwd", metavar="DIR", help="directory (default: the user's home)")
    limits.add_argument(
        "--env", metavar="NAME=VALUE", action="append", help="a variable; may be given again"
    )
    limits.add_argument(
        "--env-file", metavar="FILE", help="a file of NAME=VALUE lines, read at each run"
    )
    limits.add_argument("--stdin", metavar="TEXT", help="what it reads (default: nothing)")
    limits.add_argument("--umask", metavar="OCTAL", help="file mode mask (default: 022)")
    limits.add_argument("--user", metavar="NAME", help="run as this user; only for root")
    limits.add_argument("--nice", metavar="N", help="niceness, -20 to 19")
    told = parser.add_argument_group("whom to tell (taskrunner notify shows the channels)")
    told.add_argument(
        "--on-failure",
        metavar="WHOM",
        help="when all attempts of a slot failed: @CHANNEL, or a command for the shell",
    )
    told.add_argument(
        "--notify",
        metavar="RULE",
        action="append",
        help="@CHANNEL for the usual events, or EVENT,...=WHOM; may be given again",
    )
    told.add_argument(
        "--late-after", metavar="LENGTH", help="tell when a run starts so long after its slot"
    )
    told.add_argument(
        "--long-after",
        metavar="X",
        help="tell when a run takes X times as long as usual",
    )
    about = parser.add_argument_group("for people")
    about.add_argument("--description", metavar="TEXT", help="what the task is for")


def _schedule(runner: TaskRunner, args: Any) -> Schedule | None:
    """Return the schedule that the flags ask for, None when there is none."""
    _check_when(args)
    if args.every is not None:
        anchor = None if args.anchor is None else runner.moment(args.anchor, args.tz)
        return Every(args.every, anchor=anchor, from_finish=args.from_finish)
    if args.cron is not None:
        return Cron(args.cron)
    if args.at is not None:
        return At(_whole_second(runner.moment(args.at)) if args.at[:1] in "+-n" else args.at)
    if args.after is not None:
        parent, _, how = args.after.partition(":")
        return After(parent, how or "succeeded")
    if args.boot:
        return Boot()
    return Manual() if args.manual else None


def _check_when(args: Any) -> None:
    """Raise InputError for flags about when that do not go together."""
    given = {flag: getattr(args, flag) for flag in SCHEDULES}
    told = [_typed(flag, value) for flag, value in given.items() if value not in (None, False)]
    if len(told) > 1:
        raise InputError(f"{' and '.join(told)} are {len(told)} schedules: give one of them")
    if args.every is None and args.anchor is not None:
        raise InputError(f"--anchor {args.anchor!r} goes only with --every")
    if args.every is None and args.from_finish:
        raise InputError("--from-finish goes only with --every")


def _typed(option: str, value: object) -> str:
    """Return an option as it was typed."""
    flag = "--" + option.replace("_", "-")
    return flag if value is True else f"{flag} {shown(value)}"


def _whole_second(moment: datetime) -> datetime:
    """Return an instant counted from now, cut to the second: nobody means the milliseconds."""
    return moment.replace(microsecond=0)


def _options(args: Any) -> dict[str, Any]:
    """Return the options that were given."""
    given = {name: getattr(args, name) for name in READERS if getattr(args, name) is not None}
    if "env" in given:
        # One empty text among others says nothing; alone it is empty like that of any option.
        found = dict(_variable(text) for text in given["env"] if text)
        given["env"] = found or ""
    if "notify" in given:
        given["notify"] = [text for text in given["notify"] if text] or ""
    return given


def _variable(text: str) -> tuple[str, str]:
    """Return name and value of an --env; a wrong one is told without the value when that may be secret."""
    name = text.partition("=")[0]
    alike = name.upper().replace("-", "_")
    if render.masked({alike: text})[alike] != text:
        command.assignment(text if config.variable(name, "") else f"{name}={render.MASK}")
    return command.assignment(text)


def _new_options(args: Any) -> dict[str, Any]:
    """Return the options of a new task; raises InputError for an empty one, which would mean nothing."""
    given = _options(args)
    for name, value in given.items():
        if value == "" and name not in ("stdin", *PYTHON):
            raise InputError(f"{_typed(name, value)} is empty: leave it out for its default")
    return given


def _changed_options(runner: TaskRunner, args: Any) -> dict[str, Any]:
    """Return the options to change; an empty text takes one back to its default."""
    usual = runner.defaults()
    return {name: usual[name] if value == "" else value for name, value in _options(args).items()}


def _declare_add(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(verbs, common, "add", "add a task", _add, ADD)
    parser.usage = (
        "taskrunner add NAME SCHEDULE [options] "
        "(-- COMMAND [ARG ...] | --shell TEXT | --python MODULE:NAME | --code TEXT)"
    )
    parser.add_argument("name", metavar="NAME", help="letters, digits and . _ - @ +")
    parser.add_argument(
        "--replace", action="store_true", help="redefine the task if there is one of this name"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing when all is well")
    with_json(parser)
    _schedule_flags(parser)
    _option_flags(parser)
    parser.set_defaults(takes_command=True)


def _add(args: Any) -> int:
    with door(args) as runner:
        schedule = _schedule(runner, args)
        if schedule is None:
            raise InputError(
                f"the task {args.name!r} has no schedule: give one of --every --cron --at --after --boot --manual"
            )
        task = runner.add(
            args.name,
            args.after_dashes,
            schedule,
            shell=args.shell,
            tz=args.tz,
            now=args.now,
            replace=args.replace,
            **_new_options(args),
        )
        if args.json:
            out(render.document(tasks=[render.task_document(task)]))
        elif not args.quiet:
            out(str(task.id))
            _say_when(args, task.name)
        for advice in runner.advice(task):
            say(advice)
    return 0


def _say_when(args: Any, name: str) -> None:
    runner = args.runner
    task = runner.task(name)
    described = runner.describe(task)
    if not task.enabled:
        say(f"{task.name}: {described}; it is disabled: `taskrunner enable {task.name}`")
    elif task.requested is not None:
        say(
            f"{task.name}: due at once, then {described}"
            if task.kind is not Kind.AT
            else f"{task.name}: due at once"
        )
    elif task.next is not None:
        sheet = page(args)
        say(
            f"{task.name}: {described}; next {sheet.time(task.next)} {sheet.tz} ({sheet.distance(task.next)})"
        )
    else:
        say(f"{task.name}: {described}")


def _declare_set(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = "  taskrunner set backup --cron '30 2 * * *'\n  taskrunner set backup --timeout none --name nightly\n"
    parser = declare(verbs, common, "set", "change a task", _set, examples)
    parser.usage = "taskrunner set NAME [options] [-- COMMAND [ARG ...]]"
    parser.add_argument("task", metavar="NAME", help="name or id")
    parser.add_argument("--name", metavar="NEW", help="its new name")
    parser.add_argument("--quiet", action="store_true", help="print nothing when all is well")
    with_json(parser)
    _schedule_flags(parser)
    _option_flags(parser)
    parser.set_defaults(takes_command=True)


def _set(args: Any) -> int:
    with door(args) as runner:
        task = runner.set(
            args.task,
            rename=args.name,
            command=args.after_dashes,
            shell=args.shell,
            schedule=_schedule(runner, args),
            tz=args.tz,
            now=args.now,
            **_changed_options(runner, args),
        )
        if args.json:
            out(render.document(tasks=[render.task_document(task)]))
        elif not args.quiet:
            _say_when(args, task.name)
        for advice in runner.advice(task):
            say(advice)
    return 0


def _declare_show(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(
        verbs, common, "show", "show all about a task", _show, "  taskrunner show backup\n"
    )
    parser.add_argument("task", metavar="NAME", help="name or id")
    with_json(parser)


def _show(args: Any) -> int:
    with door(args) as runner:
        task = runner.task(args.task)
        if args.json:
            out(render.document(tasks=[render.task_document(task)]))
        else:
            runs = runner.history(str(task.id), limit=5)
            out(render.task_page(page(args), task, runner.describe(task), runs))
    return 0


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
        "--kind", metavar="KIND", help="only these: cron, every, at, after, boot or manual"
    )
    with_json(parser)


def _list(args: Any) -> int:
    with door(args) as runner:
        tasks = runner.tasks(kind=args.kind)
        if args.json:
            out(render.document(tasks=[render.task_document(task) for task in tasks]))
        elif tasks:
            out(render.tasks_table(page(args), tasks))
        else:
            what = "tasks yet" if args.kind is None else f"tasks of kind {args.kind}"
            say(f"there are no {what}: taskrunner add NAME --every 1d -- COMMAND")
    return 0


def _declare_next(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = (
        "  taskrunner next\n  taskrunner next backup -n 3\n  taskrunner next --until 7d\n"
        "  taskrunner next --cron '30 2 * * *' --tz Europe/Berlin --from 2026-03-28T00:00Z -n 5 --json\n"
    )
    parser = declare(verbs, common, "next", "show the slots to come", _next, examples)
    parser.add_argument(
        "task", metavar="NAME", nargs="?", help="name or id (default: all tasks together)"
    )
    parser.add_argument(
        "-n", "--limit", metavar="N", type=number(MOST_NEXT), help="how many (default: 5)"
    )
    parser.add_argument(
        "--until",
        metavar="WHEN",
        help="up to this instant; of all tasks that is an agenda, with what collides marked by !",
    )
    parser.add_argument(
        "--from", metavar="WHEN", dest="since", help="of a schedule by hand: from this instant on"
    )
    by_hand = parser.add_argument_group("a schedule by hand")
    by_hand.add_argument("--cron", metavar="EXPR", help="a cron expression: '30 2 * * *'")
    by_hand.add_argument("--every", metavar="LENGTH", help="an interval: 30m, 1d, 1mo")
    by_hand.add_argument("--at", metavar="WHEN", help="once: '2030-12-01 22:00', or +30m")
    parser.add_argument("--tz", metavar="ZONE", help="its time zone (default: the host's)")
    parser.add_argument("--anchor", metavar="WHEN", help="with --every: slot 0")
    with_json(parser)
    parser.set_defaults(after=None, boot=False, manual=False, from_finish=False)


def _next(args: Any) -> int:
    with door(args) as runner:
        given = _schedule(runner, args)
        if given is not None and args.task is not None:
            raise InputError(f"next takes the task {args.task!r} or a schedule by hand, not both")
        if given is None and (args.since is not None or args.tz is not None):
            raise InputError(
                "--from and --tz go only with a schedule by hand: --cron, --every or --at"
            )
        until = None if args.until is None else runner.moment(_ahead(args.until), args.tz)
        if until is not None and given is None and args.task is None and args.limit is None:
            return _agenda(args, until)
        if given is not None:
            start = None if args.since is None else runner.moment(args.since, args.tz)
            items = runner.upcoming(given, tz=args.tz, since=start, count=args.limit, until=until)
        else:
            items = runner.next(args.task, count=args.limit, until=until)
        if args.json:
            out(render.document(next=[render.upcoming_document(item) for item in items]))
        elif items:
            out(render.upcoming_table(page(args), items))
        else:
            say(
                "nothing is to come" if args.task is None else f"nothing is to come for {args.task}"
            )
    return 0


def _agenda(args: Any, until: datetime) -> int:
    sheet = page(args)
    entries = args.runner.agenda(until, tz=sheet.tz)
    if args.json:
        out(agenda.agenda_document(args.runner.next(until=until), entries))
    elif entries:
        out(agenda.agenda_page(sheet, entries))
        say(agenda.agenda_sentence(entries))
    else:
        say("nothing is to come")
    return 0


def _ahead(text: str) -> str:
    """Return an instant to come; a bare length of time is counted from now."""
    return f"+{text}" if text[:1].isdigit() and "-" not in text else text


def _declare_enable(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(
        verbs,
        common,
        "enable",
        "let a task come due again",
        _enable,
        "  taskrunner enable backup\n",
    )
    _names(parser)


def _declare_disable(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(
        verbs,
        common,
        "disable",
        "let a task come due no more",
        _disable,
        "  taskrunner disable backup\n",
    )
    _names(parser)


def _names(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tasks", metavar="NAME", nargs="+", help="name or id")
    parser.add_argument("--quiet", action="store_true", help="print nothing when all is well")


def _all_of(runner: TaskRunner, given: list[str]) -> list[str]:
    """Return the names of tasks, each once; raises UnknownTask before anything is done to the others."""
    return list(dict.fromkeys(runner.task(each).name for each in given))


def _enable(args: Any) -> int:
    with door(args) as runner:
        for name in _all_of(runner, args.tasks):
            task = runner.enable(name)
            if not args.quiet:
                _say_when(args, task.name)
    return 0


def _disable(args: Any) -> int:
    with door(args) as runner:
        for name in _all_of(runner, args.tasks):
            task = runner.disable(name)
            if not args.quiet:
                say(f"{task.name} is disabled: `taskrunner enable {task.name}` brings it back")
    return 0


def _declare_remove(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(
        verbs,
        common,
        "remove",
        "remove a task; its history stays",
        _remove,
        "  taskrunner remove backup\n",
    )
    _names(parser)
    parser.add_argument(
        "--force", action="store_true", help="also while a run of it is live, which is cancelled"
    )


def _remove(args: Any) -> int:
    with door(args) as runner:
        for name in _all_of(runner, args.tasks):
            orphans = runner.remove(name, force=args.force)
            if not args.quiet:
                say(f"{name} is removed: `taskrunner history {name}` still shows its runs")
            if orphans:
                say(f"{', '.join(orphans)} came after {name} and will not come due any more")
    return 0


VERBS: dict[str, Declare] = {
    "add": _declare_add,
    "set": _declare_set,
    "show": _declare_show,
    "list": _declare_list,
    "next": _declare_next,
    "enable": _declare_enable,
    "disable": _declare_disable,
    "remove": _declare_remove,
}
