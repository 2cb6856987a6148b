"""The verbs that set up and check the clock: install, uninstall, doctor."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

from taskrunner import errors
from taskrunner.cli.clock import CHECK_CODES
from taskrunner.cli.common import Declare, Verbs, columns, declare, open_runner, out, say, with_json
from taskrunner.errors import InputError
from taskrunner.render import documents, page, tables

if TYPE_CHECKING:
    from taskrunner.clocks.entry import Fitted


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "clock",
        metavar="WHAT",
        choices=("cron", "systemd", "page"),
        help="cron or systemd; or page, for a page that systemd starts when somebody asks for it",
    )
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument(
        "--system",
        action="store_true",
        help="for the whole machine: /etc/cron.d, /etc/systemd/system (default for root with systemd)",
    )
    whose.add_argument(
        "--user",
        action="store_true",
        help="for the current user (default, except for root with systemd)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print the changes as a diff; writes nothing"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing on success")


def _declare_install(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = (
        "  taskrunner install cron --dry-run\n  taskrunner install cron\n"
        "  sudo taskrunner install systemd --daemon\n  taskrunner install page --dry-run\n"
    )
    parser = declare(verbs, common, "install", _install, examples)
    _options(parser)
    parser.add_argument(
        "--daemon", action="store_true", help="with systemd: run the daemon instead of a timer"
    )
    of_page = parser.add_argument_group("with page")
    of_page.add_argument(
        "--listen",
        metavar="PLACE",
        action="append",
        default=[],
        help="ADDRESS:PORT or unix:PATH to listen on; may be repeated (default: 127.0.0.1:8470)",
    )
    of_page.add_argument(
        "--host",
        metavar="NAME",
        action="append",
        default=[],
        help="a further name the page answers to; may be repeated",
    )
    of_page.add_argument(
        "--operate",
        action="store_true",
        help="let the page also run, cancel, enable, disable, hold and resume",
    )
    of_page.add_argument(
        "--define",
        action="store_true",
        help="let the page also add, change and remove tasks: whoever may do that runs any command as this user",
    )


def _declare_uninstall(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = "  taskrunner uninstall cron\n  taskrunner uninstall systemd --dry-run\n"
    _options(declare(verbs, common, "uninstall", _uninstall, examples))


def _install(args: Any) -> int:
    if args.daemon and args.clock != "systemd":
        raise InputError("--daemon goes only with systemd: cron calls a tick each minute")
    for flag in ("listen", "host", "operate", "define"):
        if getattr(args, flag) and args.clock != "page":
            raise InputError(f"--{flag} goes only with page: {args.clock} calls ticks")
    with open_runner(args) as runner:
        if args.clock == "cron":
            fitted = runner.install_cron(system=args.system, dry_run=args.dry_run)
        elif args.clock == "page":
            fitted = runner.install_page(
                user=_user(args),
                listen=args.listen,
                hosts=args.host,
                operate=args.operate,
                define=args.define,
                dry_run=args.dry_run,
            )
        else:
            fitted = runner.install_systemd(
                user=_user(args), daemon=args.daemon, dry_run=args.dry_run
            )
    return _tell(args, fitted)


def _uninstall(args: Any) -> int:
    with open_runner(args) as runner:
        if args.clock == "cron":
            fitted = runner.uninstall_cron(system=args.system, dry_run=args.dry_run)
        elif args.clock == "page":
            fitted = runner.uninstall_page(user=_user(args), dry_run=args.dry_run)
        else:
            fitted = runner.uninstall_systemd(user=_user(args), dry_run=args.dry_run)
    return _tell(args, fitted)


def _user(args: Any) -> bool | None:
    """Return whether the user's systemd is meant, None when not given."""
    return args.user if args.user or args.system else None


def _tell(args: Any, fitted: "Fitted") -> int:
    if args.dry_run and fitted.diff:
        for line in fitted.diff.splitlines():
            out("\t".join(map(page.visible, line.split("\t"))))
    elif args.dry_run and not args.quiet:
        say("no changes are needed")
    for sentence in fitted.warnings:
        say(sentence)
    for sentence in () if args.quiet or args.dry_run else fitted.told:
        say(sentence)
    return errors.EXIT_DONE


def _declare_doctor(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    examples = "  taskrunner doctor\n  taskrunner doctor --json\n"
    with_json(declare(verbs, common, "doctor", _doctor, examples))


def _doctor(args: Any) -> int:
    with open_runner(args) as runner:
        found = runner.doctor()
    out(
        documents.checkup_document(found)
        if args.json
        else tables.checkup_page(found, columns(sys.stdout))
    )
    return CHECK_CODES[found.severity]


VERBS: dict[str, Declare] = {
    "install": _declare_install,
    "uninstall": _declare_uninstall,
    "doctor": _declare_doctor,
}
