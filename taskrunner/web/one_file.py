"""The front page as one file that needs no server: for a web server of plain files, a mail, an archive."""

import os

from flask import g

from taskrunner.clocks import entry
from taskrunner.errors import InputError, shown
from taskrunner.web import app


def text(home: str) -> str:
    """Return the front page with its style in it, without forms and script."""
    made = app.create_app(home)
    with made.test_request_context("/"):
        g.one_file = True
        made.preprocess_request()
        return made.make_response(made.dispatch_request()).get_data(as_text=True)


def write(home: str, place: str) -> None:
    """Write it to a file in one step, readable by everybody; raises InputError without its folder, or StateError."""
    folder = os.path.dirname(os.path.abspath(place))
    if not os.path.isdir(folder):
        raise InputError(
            f"{shown(place)} cannot be written: {shown(folder)} is not a folder; create it first"
        )
    entry.write(os.path.abspath(place), text(home))
