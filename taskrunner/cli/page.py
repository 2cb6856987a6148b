"""The verb `page`: serve the page, write it as one file, or change its users.

Its libraries are an extra, so they are imported when they are asked for.
"""

import argparse
import getpass
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

from taskrunner.api.task_runner import find_home
from taskrunner.cli.common import Declare, Verbs, declare, out, say
from taskrunner.clocks import listen
from taskrunner.errors import InputError, StateError, shown
from taskrunner.home import extras
from taskrunner.schedule import durations

if TYPE_CHECKING:
    import socket

    from taskrunner.web.users import Role

EXAMPLES = """\
  taskrunner page
  taskrunner page --operate --listen 127.0.0.1:9000
  taskrunner page --user ann --may operate
  taskrunner page --operate --listen 0.0.0.0:8470 --host tasks.example.org
  taskrunner page --write /var/www/html/tasks.html
"""
EXTRA = ("flask", "waitress")
MAY = ("see", "operate", "define")


def _declare_page(verbs: Verbs, common: argparse.ArgumentParser) -> None:
    parser = declare(verbs, common, "page", _page, EXAMPLES)
    parser.add_argument(
        "--listen",
        metavar="PLACE",
        action="append",
        help="HOST:PORT or unix:PATH to listen on; may be repeated (default: 127.0.0.1:8470, or the sockets that "
        "systemd hands over)",
    )
    parser.add_argument(
        "--operate",
        action="store_true",
        help="let the page also run, cancel, enable, disable, hold and resume",
    )
    parser.add_argument(
        "--define",
        action="store_true",
        help="let the page also add, change and remove tasks: whoever may do that runs any command as this user",
    )
    parser.add_argument(
        "--host",
        metavar="NAME",
        action="append",
        default=[],
        help="a further name the page answers to, as in its address; may be repeated",
    )
    parser.add_argument(
        "--proxied",
        action="store_true",
        help="believe the X-Forwarded-For, -Proto, -Host and -Prefix of the one proxy in front",
    )
    parser.add_argument(
        "--users",
        metavar="FILE",
        help="the file of users and tokens (default: page.users in the home, when it is there)",
    )
    parser.add_argument(
        "--idle", metavar="LENGTH", help="end after this time without a request (default: never)"
    )
    parser.add_argument(
        "--write",
        metavar="FILE",
        help="write the front page as one file that needs no server, atomically, and end",
    )
    _declare_users(parser)


def _declare_users(parser: argparse.ArgumentParser) -> None:
    who = parser.add_argument_group("users and tokens")
    who.add_argument(
        "--user",
        metavar="NAME",
        help="add a person, or change the password; it is asked for, or read from stdin",
    )
    who.add_argument(
        "--token",
        metavar="NAME",
        help="add a program, or change its token; the new token is printed once",
    )
    who.add_argument("--remove", metavar="NAME", help="remove a person or a program")
    who.add_argument(
        "--may",
        choices=MAY,
        help="with --user or --token: see (default), operate or define; the page itself must allow it, too",
    )


def _page(args: Any) -> int:
    if args.may is not None and args.user is None and args.token is None:
        raise InputError(f"--may {args.may} goes only with --user or --token")
    modes = [
        flag for flag in ("user", "token", "remove", "write") if getattr(args, flag) is not None
    ]
    if len(modes) > 1:
        raise InputError(f"--{modes[0]} and --{modes[1]} go only one at a time")
    if modes:
        _check_alone(args, modes[0])
    does = {"user": _add_user, "token": _add_token, "remove": _remove, "write": _write}
    return does[modes[0]](args) if modes else _serve(args)


def _check_alone(args: Any, mode: str) -> None:
    """Refuse the options of serving beside one that serves nothing."""
    flags = ("listen", "operate", "define", "host", "proxied", "idle")
    for flag in flags:
        if getattr(args, flag):
            raise InputError(f"--{flag} goes only without --{mode}, which serves no page")


def _check_extra() -> None:
    """Raise StateError where the libraries of the page are not installed."""
    if any(importlib.util.find_spec(name) is None for name in EXTRA):
        raise StateError(
            f"the page needs Flask and waitress: install them with `{extras.adding('page')}`"
        )


# ---- users and tokens


def _role(args: Any) -> "Role":
    from taskrunner.web import users

    return users.ROLES[args.may or "see"]


def _add_user(args: Any) -> int:
    from taskrunner.web import users

    user = users.with_password(args.user, _role(args), _password(args.user))
    place = users.keep(find_home(args.home), args.users, user)
    say(f"{args.user} may log in, and {user.role.word}: written to {place}")
    return 0


def _password(name: str) -> str:
    """Return a password, typed twice on a terminal, else the first line of stdin."""
    if sys.stdin is None or not sys.stdin.isatty():
        return "" if sys.stdin is None else sys.stdin.readline().rstrip("\n")
    first = getpass.getpass(f"password of {name}: ")
    if getpass.getpass("the same again: ") != first:
        raise InputError("the two passwords differ: nothing was changed")
    return first


def _add_token(args: Any) -> int:
    from taskrunner.web import users

    user, token = users.with_token(args.token, _role(args))
    place = users.keep(find_home(args.home), args.users, user)
    out(token)
    say(
        f"this is the only time the token of {args.token} is shown; its hash was written to {place}"
    )
    return 0


def _remove(args: Any) -> int:
    from taskrunner.web import users

    place = users.drop(find_home(args.home), args.users, args.remove)
    say(f"{args.remove} was removed from {place}")
    return 0


# ---- the page


def _write(args: Any) -> int:
    _check_extra()
    from taskrunner.web import one_file

    one_file.write(find_home(args.home), args.write)
    return 0


def _serve(args: Any) -> int:
    _check_extra()
    from taskrunner.web import app, serve, users

    home = find_home(args.home)
    idle = None if args.idle is None else durations.parse(args.idle)
    places = [listen.place(text) for text in args.listen or ()]
    named = [each.host for each in places if each.host]
    made = app.create_app(
        home,
        operate=args.operate,
        define=args.define,
        hosts=(*args.host, *named),
        users=args.users,
        proxied=args.proxied,
    )
    sockets = serve.given_sockets()
    if not sockets and not places:
        places = [listen.place(listen.DEFAULT)]
    sockets += serve.listening(places)
    if users.find(home, args.users) is None:
        _check_reach(args, sockets)
    try:
        serve.serve(made, sockets, idle=idle, ready=lambda: _greet(sockets))
    finally:
        serve.forget(places)
    return 0


def _greet(sockets: "list[socket.socket]") -> None:
    from taskrunner.web import serve

    for each in dict.fromkeys(map(serve.address, sockets)):
        say(f"the page is at {each}")


def _check_reach(args: Any, sockets: "list[socket.socket]") -> None:
    """Refuse a page that others than this host reach without a login; warn of one that other users reach."""
    from taskrunner.web import serve

    does = (
        "change tasks and run any command"
        if args.define
        else "run and cancel tasks"
        if args.operate
        else "read all"
    )
    for each in sockets:
        place = serve.address(each)
        if not serve.is_private(each):
            raise InputError(
                f"everybody who reaches {shown(place)} could {does}: make a user with `taskrunner page --user NAME` first"
            )
        if (args.operate or args.define) and each.family in serve.TCP_FAMILIES:
            say(
                f"every user of this host can {does} at {place}: `taskrunner page --user NAME` makes a login, "
                "and --listen unix:PATH is for its owner alone"
            )


VERBS: dict[str, Declare] = {"page": _declare_page}
