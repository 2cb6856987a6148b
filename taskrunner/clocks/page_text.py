"""The texts of the systemd units of the page: a socket that is always there, and a program that ends when idle.

`contrib/systemd` holds the same texts, by test. Pure: values in, texts out.
"""

from collections.abc import Sequence

from taskrunner.clocks import systemd_text
from taskrunner.clocks.listen import Place
from taskrunner.home import program

SOCKET = "taskrunner-page.socket"
SERVE = "taskrunner-page.service"
IDLE = "10m"

SOCKET_TEXT = """\
# Where the page of taskrunner listens; the first request starts taskrunner-page.service.

[Unit]
Description=taskrunner: the page, when somebody asks for it
Documentation=man:systemd.socket(5)

[Socket]
{listen}
# A socket that is a file is for its owner alone. A drop-in with SocketGroup= and SocketMode=0660 lets a web server in.
SocketMode=0600

[Install]
WantedBy=sockets.target
"""

SERVE_TEXT = """\
# The page of taskrunner, started by taskrunner-page.socket. It ends by itself when nobody has asked for a
# while, so nothing stays resident.

[Unit]
Description=taskrunner: the page
Documentation=man:systemd.service(5)
Requires=taskrunner-page.socket

[Service]
Type=exec
ExecStart={command}
# Runs started on the page are carried by systemd, in units of their own, as those of taskrunner.timer are.
Environment=TASKRUNNER_CARRIER=systemd
# Where systemd refuses one, a tick that the page has started carries it; it outlives the page.
KillMode=process
OOMPolicy=continue
{sandbox}"""


def units(
    words: Sequence[str],
    home: str | None,
    places: Sequence[Place],
    flags: Sequence[str],
    *,
    user: bool,
) -> dict[str, str]:
    """Return the texts of the units that serve the page, by their names; `flags` are those of `taskrunner page`."""
    listen = "\n".join(f"ListenStream={_stream(each)}" for each in places)
    command = systemd_text.line(program.words(words, home, "page", "--idle", IDLE, *flags))
    sandbox = "" if user else systemd_text.SANDBOX
    return {
        SOCKET: _head(SOCKET, user) + SOCKET_TEXT.format(listen=listen),
        SERVE: _head(SERVE, user) + SERVE_TEXT.format(command=command, sandbox=sandbox),
    }


def _head(name: str, user: bool) -> str:
    head = systemd_text.HEAD.replace("install systemd", "install page")
    return head.format(user=" --user" if user else "", name=name)


def _stream(place: Place) -> str:
    """Return a place as systemd.socket(5) has it."""
    return place.path.replace("%", "%%") or f"{place.host}:{place.port}"
