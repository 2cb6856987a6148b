"""The program that sends one message to a server: its input is the message, its output the result.

It is a process of its own because resolving a name, or a server that answers byte by byte, can block so that
only ending the process helps.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from taskrunner.errors import TaskRunnerError
from taskrunner.notify import mail, webhook
from taskrunner.notify.by_network import WELL

WAYS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any], float], str | None]] = {
    "letter": mail.letter,
    "mail": mail.send,
    "webhook": webhook.send,
    "ping": webhook.ping,
}


def main() -> None:
    """Send the message; print the result."""
    given = json.load(sys.stdin)
    try:
        answer = WAYS[given["kind"]](given["more"], given["content"], given["patience"])
        os.write(1, f"{WELL}{answer or ''}".encode())
    except TaskRunnerError as exc:
        os.write(1, str(exc).encode(errors="replace"))
    except Exception as exc:  # noqa: BLE001  one line only, as no address may be shown
        os.write(1, f"a bug of taskrunner: {type(exc).__name__}".encode())


if __name__ == "__main__":
    main()
