"""The verbs that define a task: add, set; and the flags of a schedule, which `next` takes too."""

import argparse
from datetime import datetime, timedelta
from typing import Any

from taskrunner.api.task_runner import TaskRunner
from taskrunner.cli.common import (
    Declare,
    Verbs,
    declare,
    flush,
    open_runner,
    out,
    say,
    say_when,
    with_json,
)
from taskrunner.errors import InputError, shown
from taskrunner.home import config
from taskrunner.model.values import Kind
from taskrunner.processes import env_file
from taskrunner.render import documents, spelling
from taskrunner.schedule.kinds import (
    After,
    At,
    Boot,
    Cron,
    Every,
    Manual,
    On,
    Schedule,
    moment_note,
    near,
)
from taskrunner.tasks import taskfile
from taskrunner.tasks.options import COMMAND, OPTIONS, PYTHON, SECTIONS

ADD = """\
  # every day from now on
  taskrunner add report --every 1d -- /opt/report.sh --full
  # every night in Berlin; a failure is mailed
  taskrunner add backup --cron '0 2 * * *' --tz Europe/Berlin \\
      --on-failure ops@example.org -- /opt/backup.sh
  # on weekdays
  taskrunner add digest --cron '30 8 * * mon-fri' -- /opt/digest.sh
  # on the last day of the month
  taskrunner add invoices --on 'last day' --at-time 18:00 -- /opt/invoices.sh
  # on the first Monday of the month
  taskrunner add review --on 'first monday' --at-time 09:00 -- /opt/review.sh
  # once, and after another task
  taskrunner add upgrade --at '2030-12-01 22:00' -- /opt/upgrade.sh
  taskrunner add clean --after backup -- /opt/clean.sh
  # a function of Python instead of a command
  taskrunner add tidy --every 1d --cwd /srv/app --python app.tasks:clean \\
      --args '{"days": 7}'
"""
# What `-h` shows of the options of a task, which people need most.
USUAL = (
    *("every", "cron", "on", "at_time", "at", "after", "tz"),
    *("shell", "timeout", "cwd", "env", "overlap", "catch_up", "retries", "on_failure"),
)


def with_schedule(parser: argparse.ArgumentParser, title: str) -> None:
    """Add the flags of schedules to a verb."""
    group = parser.add_argument_group(title)
    group.add_argument(
        "--every", metavar="LENGTH", help="an interval: 30m, 7h30m, 1d, 2w, 1mo, 1y6mo"
    )
    group.add_argument("--cron", metavar="EXPR", help="a cron expression: '30 2 * * *', '@daily'")
    group.add_argument(
        "--on",
        metavar="DAY",
        help="a day of the month: 'first monday', 'last day', 'last workday of march,june'",
    )
    group.add_argument(
        "--at", metavar="WHEN", help="once: '2030-12-01 22:00', with or without offset, or +30m"
    )
    group.add_argument(
        "--after",
        metavar="NAME[:HOW]",
        help="after a run of NAME that succeeded (default), failed or any",
    )
    group.add_argument("--boot", action="store_true", help="once after each boot")
    group.add_argument(
        "--manual", action="store_true", help="only when started with `taskrunner run`"
    )
    more = parser.add_argument_group("schedule details")
    more.add_argument("--tz", metavar="ZONE", help="IANA time zone (default: the host's)")
    more.add_argument(
        "--at-time",
        metavar="TIME",
        help="with --on: the time of day, such as 09:00 (default: 00:00)",
    )
    more.add_argument(
        "--anchor",
        metavar="WHEN",
        help="with --every: count intervals from this time (default: this minute)",
    )
    more.add_argument(
        "--from-finish",
        action="store_true",
        help="with --every: count the interval from the end of each run",
    )
    more.add_argument("--now", action="store_true", help="also run the task at the next tick")


def schedule(runner: TaskRunner, args: Any) -> Schedule | None:
    """Return the schedule of the flags, None without one."""
    _check_when(args)
    if args.every is not None:
        anchor = None if args.anchor is None else _anchor(runner, args)
        return Every(args.every, anchor=anchor, from_finish=args.from_finish)
    if args.cron is not None:
        return Cron(args.cron)
    if args.on is not None:
        return On(args.on, args.at_time)
    if args.at is not None:
        if args.at[:1] in "+-n":
            return At(_whole(runner.moment(args.at), args))
        where = args.tz or runner.default_zone()
        return At(near(args.at, tz=where, now=runner.now()) or args.at)
    if args.after is not None:
        parent, _, how = args.after.partition(":")
        return After(parent, how or "succeeded")
    if args.boot:
        return Boot()
    return Manual() if args.manual else None


def _anchor(runner: TaskRunner, args: Any) -> datetime:
    """Return slot 0 of an interval; print a note when it comes twice or not at all on the clocks of its zone."""
    found = runner.moment(args.anchor, args.tz)
    if told := moment_note(args.anchor, tz=args.tz or runner.default_zone()):
        say(f"--anchor {told}, and later slots count from it")
    return found


def _check_when(args: Any) -> None:
    """Raise InputError for schedule flags that do not go together."""
    given = {flag: getattr(args, flag) for flag in taskfile.WHEN}
    told = [typed(flag, value) for flag, value in given.items() if value not in (None, False)]
    if len(told) > 1:
        raise InputError(f"{' and '.join(told)} are {len(told)} schedules: give one of them")
    for detail, flag in taskfile.DETAILS.items():
        value = getattr(args, detail)
        if getattr(args, flag) is None and value not in (None, False):
            raise InputError(f"{typed(detail, value)} goes only with --{flag}")


def typed(option: str, value: object) -> str:
    """Return an option as it was typed."""
    flag = "--" + option.replace("_", "-")
    return flag if value is True else f"{flag} {shown(value)}"


def _whole(moment: datetime, args: Any) -> datetime:
    """Return an instant counted from now as whole seconds.

    It is rounded up, as an earlier second would often be past already; with --now down.
    """
    up = args.at[0] in "+n" and not args.now and moment.microsecond > 0
    return moment.replace(microsecond=0) + timedelta(seconds=up)


def _with_options(parser: argparse.ArgumentParser) -> None:
    for title, section in SECTIONS.items():
        group = parser.add_argument_group(title)
        if title == COMMAND:
            group.add_argument(
                "--shell",
                metavar="TEXT",
                help="a command line for /bin/sh -c, instead of a command after --",
            )
        for option in section:
            action = "append" if option.again else "store"
            group.add_argument(option.flag, metavar=option.value, action=action, help=option.help)


def _options(args: Any) -> dict[str, Any]:
    """Return the options that were given."""
    given = {name: getattr(args, name) for name in OPTIONS if getattr(args, name) is not None}
    if "env" in given:
        # One empty text among others is ignored; alone it is an error, as for any option.
        found: dict[str, str] = {}
        for name, value in (_variable(text) for text in given["env"] if text):
            if found.setdefault(name, value) != value:
                raise InputError(f"--env gives {name} twice, with different values: give it once")
        given["env"] = found or ""
    if "pass_env" in given:
        given["pass_env"] = [_name_to_pass(text) for text in given["pass_env"] if text] or ""
    if "notify" in given:
        given["notify"] = [text for text in given["notify"] if text] or ""
    return given


def _variable(text: str) -> tuple[str, str]:
    """Return name and value of an --env; the error for a wrong one hides a value that may be secret."""
    name = text.partition("=")[0]
    alike = name.upper().replace("-", "_")
    if spelling.masked({alike: text})[alike] != text:
        env_file.assignment(text if config.variable(name, "") else f"{name}={spelling.MASK}")
    return env_file.assignment(text)


def _name_to_pass(text: str) -> str:
    """Return the text of a --pass-env; the error for one with a value, which may be secret, hides it."""
    name, sign, _ = text.partition("=")
    if sign:
        sentence = f"--pass-env {name}={spelling.MASK} has a value: give the name alone, or --env"
        raise InputError(sentence)
    return text


def _new_options(args: Any) -> dict[str, Any]:
    """Return the options of a new task; raises InputError for an empty one."""
    given = _options(args)
    for name, value in given.items():
        if value == "" and name not in ("stdin", *PYTHON):
            raise InputError(f"{typed(name, value)} is empty: leave it out for its default")
    return given


def _changed_options(runner: TaskRunner, args: Any) -> dict[str, Any]:
    """Return the options to change; an empty text resets one to its default."""
    usual = runner.defaults()
    return {name: usual[name] if value == "" else value for name, value in _options(args).items()}


def _declare_add(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(verbs, common, "add", _add, ADD, USUAL)
    parser.usage = """\
taskrunner add NAME SCHEDULE [options]
    (-- COMMAND [ARG ...] | --shell TEXT | --python MODULE:NAME | --code TEXT)"""
    parser.add_argument("name", metavar="NAME", help="1 to 100 letters, digits and . _ - @ +")
    parser.add_argument(
        "--replace", action="store_true", help="replace an existing task of this name"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing on success")
    with_json(parser)
    with_schedule(parser, "schedule (exactly one)")
    _with_options(parser)
    parser.set_defaults(takes_command=True)


def _add(args: Any) -> int:
    with open_runner(args) as runner:
        given = schedule(runner, args)
        if given is None:
            raise InputError(
                f"the task {args.name!r} has no schedule: give one of --every --cron --on --at --after --boot --manual"
            )
        task = runner.add(
            args.name,
            args.after_dashes,
            given,
            shell=args.shell,
            tz=args.tz,
            now=args.now,
            replace=args.replace,
            **_new_options(args),
        )
        if args.json:
            out(documents.document(tasks=[documents.task_document(task)]))
        elif not args.quiet:
            out(str(task.id))
            flush()  # the sentences below go to stderr, perhaps into the same file
            say_when(args, task.name)
        for advice in runner.advice(task):
            say(advice)
    return 0


def _declare_set(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = "  taskrunner set backup --cron '30 2 * * *'\n  taskrunner set backup --timeout none --name nightly\n"
    parser = declare(verbs, common, "set", _set, examples, USUAL)
    parser.usage = "taskrunner set NAME [options] [-- COMMAND [ARG ...]]"
    parser.add_argument("task", metavar="NAME", help="name or id of a task")
    parser.add_argument("--name", metavar="NEW", help="rename the task")
    parser.add_argument("--quiet", action="store_true", help="print nothing on success")
    with_json(parser)
    with_schedule(parser, "new schedule (at most one)")
    _with_options(parser)
    parser.set_defaults(takes_command=True)


def _keep_day_or_time(runner: TaskRunner, args: Any) -> None:
    """Let a task with a day of the month keep that, or its time of day, when only the other is given."""
    if any(getattr(args, flag) for flag in taskfile.WHEN if flag != "on"):
        return
    task = runner.task(args.task) if (args.on is None) != (args.at_time is None) else None
    if task is None or task.kind is not Kind.ON:
        return
    day, _, at_time = task.schedule.partition(" at ")
    if args.on is None:
        args.on = day
    elif " at " not in args.on.lower():
        args.at_time = at_time


def _set(args: Any) -> int:
    with open_runner(args) as runner:
        _keep_day_or_time(runner, args)
        task = runner.set(
            args.task,
            rename=args.name,
            command=args.after_dashes,
            shell=args.shell,
            schedule=schedule(runner, args),
            tz=args.tz,
            now=args.now,
            **_changed_options(runner, args),
        )
        if args.json:
            out(documents.document(tasks=[documents.task_document(task)]))
        elif not args.quiet:
            say_when(args, task.name)
        for advice in runner.advice(task):
            say(advice)
    return 0


VERBS: dict[str, Declare] = {"add": _declare_add, "set": _declare_set}
