"""The verbs that say what a task is: add, set."""

import argparse
from typing import Any

from taskrunner.api.task_runner import TaskRunner
from taskrunner.cli.common import Declare, Verbs, declare, door, out, say, say_when, with_json
from taskrunner.cli.when import schedule, typed, with_schedule
from taskrunner.errors import InputError
from taskrunner.home import config
from taskrunner.render import documents, spelling
from taskrunner.supervise import command
from taskrunner.tasks.options import COMMAND, OPTIONS, PYTHON, SECTIONS

ADD = """\
  taskrunner add report --every 1d -- /opt/report.sh --full
  taskrunner add backup --cron '0 2 * * *' --tz Europe/Berlin --on-failure @ops -- /opt/backup.sh
  taskrunner add upgrade --at '2030-12-01 22:00' --shell 'ansible-playbook site.yml | tee -a log'
  taskrunner add clean --after backup -- /opt/clean.sh
  taskrunner add digest --every 1d --cwd /srv/app --python app.tasks:digest --args '{"days": 1}'
"""


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
        # One empty text among others says nothing; alone it is empty like that of any option.
        found: dict[str, str] = {}
        for name, value in (_variable(text) for text in given["env"] if text):
            if found.setdefault(name, value) != value:
                raise InputError(f"--env gives {name} twice, with different values: give it once")
        given["env"] = found or ""
    if "notify" in given:
        given["notify"] = [text for text in given["notify"] if text] or ""
    return given


def _variable(text: str) -> tuple[str, str]:
    """Return name and value of an --env; a wrong one is told without the value when that may be secret."""
    name = text.partition("=")[0]
    alike = name.upper().replace("-", "_")
    if spelling.masked({alike: text})[alike] != text:
        command.assignment(text if config.variable(name, "") else f"{name}={spelling.MASK}")
    return command.assignment(text)


def _new_options(args: Any) -> dict[str, Any]:
    """Return the options of a new task; raises InputError for an empty one, which would mean nothing."""
    given = _options(args)
    for name, value in given.items():
        if value == "" and name not in ("stdin", *PYTHON):
            raise InputError(f"{typed(name, value)} is empty: leave it out for its default")
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
    parser.add_argument("name", metavar="NAME", help="1 to 100 letters, digits and . _ - @ +")
    parser.add_argument(
        "--replace", action="store_true", help="replace an existing task of this name"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing on success")
    with_json(parser)
    with_schedule(parser)
    _with_options(parser)
    parser.set_defaults(takes_command=True)


def _add(args: Any) -> int:
    with door(args) as runner:
        given = schedule(runner, args)
        if given is None:
            raise InputError(
                f"the task {args.name!r} has no schedule: give one of --every --cron --at --after --boot --manual"
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
            say_when(args, task.name)
        for advice in runner.advice(task):
            say(advice)
    return 0


def _declare_set(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = "  taskrunner set backup --cron '30 2 * * *'\n  taskrunner set backup --timeout none --name nightly\n"
    parser = declare(verbs, common, "set", "change a task", _set, examples)
    parser.usage = "taskrunner set NAME [options] [-- COMMAND [ARG ...]]"
    parser.add_argument("task", metavar="NAME", help="name or id of a task")
    parser.add_argument("--name", metavar="NEW", help="rename the task")
    parser.add_argument("--quiet", action="store_true", help="print nothing on success")
    with_json(parser)
    with_schedule(parser)
    _with_options(parser)
    parser.set_defaults(takes_command=True)


def _set(args: Any) -> int:
    with door(args) as runner:
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
