"""The verbs for history and database: prune, backup, restore."""

import argparse
from typing import Any

from taskrunner import errors
from taskrunner.cli.common import (
    Declare,
    Verbs,
    declare,
    number,
    open_runner,
    out,
    out_text,
    say,
    with_json,
)
from taskrunner.cli.progress import Progress
from taskrunner.decide.policy import words
from taskrunner.render import documents, spelling, statistics


def _declare_prune(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = "  taskrunner prune --dry-run\n  taskrunner prune\n"
    parser = declare(verbs, common, "prune", _prune, examples)
    parser.add_argument(
        "--dry-run", action="store_true", help="show how much would be deleted; deletes nothing"
    )
    with_json(parser)


def _prune(args: Any) -> int:
    with open_runner(args) as runner, Progress() as progress:
        pruned = runner.prune(dry_run=args.dry_run, progress=progress)
    out(documents.pruned_document(pruned) if args.json else statistics.pruned_sentence(pruned))
    if pruned.refused is None:
        return errors.EXIT_DONE
    say(pruned.refused)
    return errors.EXIT_FAILED


def _declare_backup(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = "  taskrunner backup\n  taskrunner backup --keep 7\n  taskrunner backup /mnt/usb/taskrunner.db\n"
    parser = declare(
        verbs,
        common,
        "backup",
        _backup,
        examples,
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        help="a new file (default: in backups/ in the home, named after the time)",
    )
    parser.add_argument(
        "--keep",
        metavar="N",
        type=number(10_000),
        help="then delete all but the newest N backups in backups/ that are named after their time",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing on success")


def _backup(args: Any) -> int:
    with open_runner(args) as runner, Progress() as progress:
        made = runner.backup(args.file, keep=args.keep, progress=progress)
    if not args.quiet:
        out_text(f"{made.place}: {_told(made)}")
    return errors.EXIT_DONE


def _told(copy: Any) -> str:
    return f"{spelling.size(copy.size)}, tasks {copy.tasks}, runs {copy.runs}"


def _declare_restore(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = (
        "  taskrunner restore /var/lib/taskrunner/backups/20261120T020000Z.db\n"
        "  taskrunner restore --skip-missed \\\n      /var/lib/taskrunner/backups/20261120T020000Z.db\n"
    )
    parser = declare(
        verbs,
        common,
        "restore",
        _restore,
        examples,
    )
    parser.add_argument("file", metavar="FILE", help="a backup, as `taskrunner backup` writes it")
    parser.add_argument(
        "--skip-missed",
        action="store_true",
        help="count everything due since the backup as done, instead of leaving it to --catch-up",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing on success")


def _restore(args: Any) -> int:
    with open_runner(args) as runner, Progress() as progress:
        done = runner.restore(args.file, skip_missed=args.skip_missed, progress=progress)
    if not args.quiet:
        kept = "" if done.kept is None else f"; the previous database is kept as {done.kept}"
        then = "the next tick handles the slots since that backup"
        if args.skip_missed:
            then = f"the slots since then ({done.skipped}) count as done"
        say(f"restored {_told(done.backup)}{kept}; {then}")
    for each in done.repeats:
        say(_repeated(each))
    return errors.EXIT_DONE


def _repeated(each: Any) -> str:
    """Return the run that the next tick repeats, and how to prevent it."""
    ran = "may have run since the backup"
    if each.run is not None:
        ran = f"ran since the backup (run {each.run})"
    return (
        f"{each.task}: its slot of {words(each.slot)} {ran}, and the next tick runs it again: "
        f"`taskrunner cancel {each.task}` prevents that"
    )


VERBS: dict[str, Declare] = {
    "backup": _declare_backup,
    "restore": _declare_restore,
    "prune": _declare_prune,
}
