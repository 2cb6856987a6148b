"""The verb about what a task sees: env."""

import argparse
from typing import Any

from taskrunner.cli.common import Declare, Verbs, declare, door, out, say, with_json
from taskrunner.home import config
from taskrunner.render import documents, surroundings

ENV = """\
  taskrunner env backup
  taskrunner env backup --diff
  env -i sh -c "set -a; $(taskrunner env backup --quiet --show-secrets); sh"
"""


def _declare_env(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    does = "show the environment variables of a task"
    parser = declare(verbs, common, "env", does, _env, ENV)
    parser.add_argument("task", metavar="NAME", help="name or id of a task")
    parser.add_argument(
        "--diff",
        action="store_true",
        help="show the differences: - is only in this shell, + is only in the task",
    )
    parser.add_argument(
        "--show-secrets", action="store_true", help="also show values whose names look secret"
    )
    parser.add_argument("--quiet", action="store_true", help="print only the variables")
    with_json(parser)


def _env(args: Any) -> int:
    with door(args) as runner:
        found = runner.environment(args.task)
    caller = config.calling_environment()
    if args.json:
        given = caller if args.diff else None
        made = surroundings.environment_document(found, given, secrets=args.show_secrets)
        out(documents.document(**made))
        return 0
    if args.diff:
        text = surroundings.differences(found.variables, caller, secrets=args.show_secrets)
    else:
        text = surroundings.variables(found.variables, secrets=args.show_secrets)
    if text:
        out(text)
    if not args.quiet:
        say(surroundings.environment_sentence(found))
        missing = surroundings.missing_places(found.variables, caller) if args.diff else []
        if missing:
            say(f"not on the PATH of the task: {', '.join(missing)}")
    return 0


VERBS: dict[str, Declare] = {"env": _declare_env}
