"""Addresses for other programs: health, metrics, the documents of the command line, changes, output."""

from flask import Blueprint, Response, request

from taskrunner.render import documents
from taskrunner.web import current

machine = Blueprint("machine", __name__)
PLACES = ("/api", "/status", "/metrics", "/changes")


def asked() -> bool:
    """Return whether a program asks, who wants an error as a document."""
    return request.path.startswith(PLACES) or request.path.endswith("/output")


@machine.get("/api/status")
def api_status() -> Response:
    """Answer what `taskrunner status --json` prints."""
    return _json(documents.status_document(current.runner().status()))


def _json(text: str, code: int = 200) -> Response:
    return Response(f"{text}\n", code, mimetype="application/json")
