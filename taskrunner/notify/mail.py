"""Mail: compose a message as a mail, and send it by a server.

Runs in a process of its own, which gets only its input.
"""

import os
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Any

from taskrunner.errors import StateError
from taskrunner.home import channels
from taskrunner.notify import secret

PORTS = {"tls": 465, "starttls": 587, "none": 25}


def send(more: Mapping[str, Any], content: Mapping[str, Any], patience: float) -> None:
    """Send a message as a mail; raises StateError."""
    sender, to = more["from"][0], more["to"]
    _by_server(more, sender, to, composed(content, sender, to), patience)


def letter(more: Mapping[str, Any], content: Mapping[str, Any], _: float) -> str:
    """Return a message as the text of a mail."""
    return composed(content, more["from"][0], more["to"]).as_bytes().decode("ascii", "replace")


def composed(content: Mapping[str, Any], sender: str, to: Sequence[str]) -> EmailMessage:
    """Return a message as a mail."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = sender, ", ".join(to), content["subject"]
    mail["Date"] = format_datetime(datetime.fromisoformat(content["at"]))
    mail["Message-ID"] = make_msgid(domain=channels.bare(sender).rpartition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies
    mail.set_content(content["text"])
    return mail


def _by_server(
    more: Mapping[str, Any], sender: str, to: Sequence[str], mail: EmailMessage, patience: float
) -> None:
    password = secret.read(more, "password")
    try:
        with _connected(more, patience) as server:
            if password is not None:
                server.login(more["user"], password)
            refused = server.send_message(mail, channels.bare(sender), list(map(channels.bare, to)))
    except (OSError, smtplib.SMTPException) as exc:
        raise StateError(secret.without(_why(exc), password)) from exc
    if refused:
        raise StateError(f"the server accepted it for none of {', '.join(refused)}")


def _connected(more: Mapping[str, Any], patience: float) -> smtplib.SMTP:
    """Return a connection, encrypted by the settings of the channel."""
    name, tls = more["smtp"], security(more)
    server, _, port = name.rpartition(":") if name[-1] != "]" and ":" in name else (name, "", "")
    place, number = server.strip("[]"), int(port or PORTS[tls])
    context = ssl.create_default_context(cafile=more.get("ca_file"))
    given: dict[str, Any] = {"timeout": patience, "local_hostname": os.uname().nodename}
    if tls == "tls":
        return smtplib.SMTP_SSL(place, number, context=context, **given)
    found = smtplib.SMTP(place, number, **given)
    try:
        if tls == "starttls":
            found.starttls(context=context)
    except BaseException:
        found.close()
        raise
    return found


def security(more: Mapping[str, Any]) -> str:
    """Return the encryption of the connection: the channel's setting, else none on this host, else the usual one."""
    name = more["smtp"]
    if "tls" in more:
        return str(more["tls"])
    if name.endswith(":465"):
        return "tls"
    return "none" if channels.local(name) else "starttls"


def _why(exc: Exception) -> str:
    """Return the error of a server as text."""
    if isinstance(exc, smtplib.SMTPRecipientsRefused):
        answers = {each: _answer(code, text) for each, (code, text) in exc.recipients.items()}
        return f"refused: {'; '.join(f'{each}: {said}' for each, said in answers.items())}"
    if isinstance(exc, smtplib.SMTPResponseException):
        return f"the server said {_answer(exc.smtp_code, exc.smtp_error)}"
    if isinstance(exc, TimeoutError):
        return "the server did not answer in time"
    if isinstance(exc, OSError) and exc.strerror:
        return exc.strerror
    return f"{exc}" or type(exc).__name__


def _answer(code: int, text: bytes | str) -> str:
    words = text.decode(errors="replace") if isinstance(text, bytes) else text
    return f"{code} {' '.join(words.split())}"
