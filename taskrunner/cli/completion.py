"""The verb that prints shell completions: completion."""

import argparse
import os
from typing import Any

from taskrunner.cli.common import Declare, Verbs, declare, out
from taskrunner.errors import InputError, shown
from taskrunner.store.open_home import task_names

FILES = {"bash": "taskrunner", "zsh": "_taskrunner", "fish": "taskrunner.fish"}
FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "completions")
EXAMPLES = """\
  source <(taskrunner completion bash)               in ~/.bashrc
  eval "$(taskrunner completion zsh)"                in ~/.zshrc, after compinit
  taskrunner completion fish > ~/.config/fish/completions/taskrunner.fish
"""


def _declare_completion(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(verbs, common, "completion", _completion, EXAMPLES)
    parser.add_argument("shell", metavar="SHELL", nargs="?", help="bash, zsh or fish")
    parser.add_argument(
        "--tasks", action="store_true", help="print the names of all tasks, for completion scripts"
    )


def _completion(args: Any) -> int:
    if args.tasks and args.shell is None:
        if found := task_names(args.home):
            out("\n".join(found))
        return 0
    if args.shell is None or args.tasks:
        raise InputError(f"completion takes one shell: {', '.join(FILES)}")
    if args.shell not in FILES:
        raise InputError(
            f"{shown(args.shell)} is not a supported shell: use one of {', '.join(FILES)}"
        )
    with open(os.path.join(FOLDER, FILES[args.shell]), encoding="utf-8") as file:
        out(file.read().rstrip("\n"))
    return 0


VERBS: dict[str, Declare] = {"completion": _declare_completion}
