"""The pages for people."""

from flask import Blueprint, render_template

from taskrunner.web import current

pages = Blueprint("pages", __name__)


@pages.get("/")
def now() -> str:
    """Show how things stand now."""
    return render_template("now.html", status=current.runner().status())
