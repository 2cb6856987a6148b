"""The verbs about tasks in files: apply, export, import."""

import argparse
import os
import sys
from typing import Any

from taskrunner import errors
from taskrunner.cli.common import (
    Declare,
    Verbs,
    declare,
    open_runner,
    out,
    out_text,
    page,
    say,
    with_json,
)
from taskrunner.cli.progress import Progress
from taskrunner.errors import StateError, shown
from taskrunner.model.answers import Plan
from taskrunner.render import documents, plans, spelling
from taskrunner.tasks import exchange
from taskrunner.tasks.exchange import STDIN


def _declare_apply(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = (
        "  taskrunner apply tasks.toml --dry-run\n  taskrunner apply tasks.toml --prune\n"
        "  taskrunner apply /etc/taskrunner.d --profile production\n  ... | taskrunner apply -\n"
    )
    parser = declare(
        verbs,
        common,
        "apply",
        _apply,
        examples,
    )
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="a task file, a folder of *.toml, or - for stdin"
    )
    parser.add_argument("--profile", metavar="NAME", help="also apply this profile of the files")
    parser.add_argument(
        "--prune",
        action="store_true",
        help="remove tasks that came from these files and are no longer in them",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the changes; writes nothing")
    parser.add_argument("--quiet", action="store_true", help="print nothing on success")
    with_json(parser)


def _apply(args: Any) -> int:
    text = exchange.text_of(_stdin(), "the text on stdin") if STDIN in args.files else None
    with open_runner(args) as runner:
        with Progress() as progress:
            plan = runner.apply(
                *args.files,
                text=text,
                profile=args.profile,
                prune=args.prune,
                dry_run=args.dry_run,
                progress=progress,
            )
        if args.json:
            out(documents.plan_document(plan))
        elif not args.quiet:
            _tell(args, plan)
            _advise(runner, plan)
    return errors.EXIT_DONE


def _stdin() -> bytes:
    """Return the bytes on stdin; raises StateError."""
    if sys.stdin is None:
        raise StateError("there is no stdin to read from: it is closed")
    return sys.stdin.buffer.read(exchange.MOST + 1)


def _tell(args: Any, plan: Plan) -> None:
    """Print a plan; unchanged tasks only with --verbose."""
    shown_ones = [
        each for each in plan.tasks if args.verbose or plan.dry_run or each.action != "keep"
    ]
    if shown_ones:
        out(plans.plan_table(page(args), shown_ones))
    say(plans.plan_sentence(plan))


def _advise(runner: Any, plan: Plan) -> None:
    """Print advice about new and changed tasks."""
    fresh = {each.task for each in plan.tasks if each.action in ("add", "change")}
    for task in runner.tasks() if fresh and not plan.dry_run else ():
        for advice in runner.advice(task) if task.name in fresh else ():
            say(f"{task.name}: {advice}")


def _declare_export(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = (
        "  taskrunner export > tasks.toml\n  taskrunner export backup --json\n"
        "  taskrunner export --with-secrets tasks.toml\n  taskrunner export --crontab\n"
    )
    parser = declare(verbs, common, "export", _export, examples)
    parser.add_argument(
        "tasks", metavar="NAME", nargs="*", help="names or ids of tasks (default: all tasks)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document")
    form.add_argument(
        "--crontab",
        action="store_true",
        help="print crontab lines; a comment names each option that cron does not have",
    )
    form.add_argument(
        "--with-secrets",
        metavar="FILE",
        help="write to FILE, readable only by you, with the values that look secret",
    )


def _export(args: Any) -> int:
    with open_runner(args) as runner:
        if args.json:
            tasks = map(runner.task, args.tasks) if args.tasks else runner.tasks()
            out(documents.document(tasks=[documents.task_document(task) for task in tasks]))
        elif args.crontab:
            out_text(runner.export_crontab(*args.tasks).rstrip("\n"))
        elif args.with_secrets is not None:
            _write_private(args.with_secrets, runner.export(*args.tasks, secrets=True).text)
        else:
            exported = runner.export(*args.tasks)
            out(exported.text.rstrip("\n")) if exported.text else say("there are no tasks yet")
            _tell_hidden(exported.hiding)
    return errors.EXIT_DONE


def _tell_hidden(hiding: tuple[str, ...]) -> None:
    if hiding:
        say(
            f"values that look secret are {spelling.MASK} in {', '.join(hiding)}: apply refuses that; "
            "--with-secrets FILE writes them"
        )


def _write_private(place: str, text: str) -> None:
    """Write a file that only its owner can ever read; refuses a link or another user's file."""
    fresh = f"{place}.new"
    if os.path.lexists(place) and (os.path.islink(place) or not os.path.isfile(place)):
        raise StateError(f"{shown(place)} is a link, a folder or a device: give a file of your own")
    try:
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with open(fd, "w", encoding="utf-8") as file:
                file.write(text)
            os.rename(fresh, place)
        except BaseException:
            os.unlink(fresh)
            raise
    except OSError as exc:
        raise StateError(f"the file {shown(place)} cannot be written: {exc.strerror}") from exc


def _declare_import(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = (
        "  taskrunner import crontab --dry-run\n  taskrunner import crontab --comment-out\n"
        "  taskrunner import crontab /etc/cron.d/backup --system\n  crontab -l | taskrunner import crontab -\n"
    )
    parser = declare(verbs, common, "import", _import, examples)
    parser.add_argument("what", metavar="crontab", choices=["crontab"], help="the word crontab")
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="a crontab, or - for stdin (default: your own)"
    )
    parser.add_argument(
        "--system",
        action="store_true",
        help="lines have a user field, as in /etc/crontab, which is then the default FILE",
    )
    parser.add_argument(
        "--comment-out",
        action="store_true",
        help="comment out the imported lines of your own crontab, and keep a backup of it",
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="remove tasks that came from this crontab and whose line is gone",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="show the result for each line; writes nothing"
    )
    with_json(parser)


def _import(args: Any) -> int:
    text = exchange.tab_text(_stdin()) if args.file == STDIN else None
    with open_runner(args) as runner:
        with Progress() as progress:
            found = runner.import_crontab(
                args.file,
                text=text,
                system=args.system,
                dry_run=args.dry_run,
                comment_out=args.comment_out,
                prune=args.prune,
                progress=progress,
            )
        if args.json:
            out(documents.import_document(found))
        elif found.lines:
            out(plans.import_table(page(args), found.lines))
        if not args.json:
            say(plans.import_sentence(found))
        for sentence in found.told:
            say(sentence)
    return errors.EXIT_FAILED if found.nothing else errors.EXIT_DONE


VERBS: dict[str, Declare] = {
    "apply": _declare_apply,
    "export": _declare_export,
    "import": _declare_import,
}
