"""Addresses for programs that watch: health, metrics, whether anything has changed, output as it grows."""

from flask import Blueprint, Response, request

from taskrunner import clock
from taskrunner.errors import TaskRunnerError
from taskrunner.home import heartbeat, paths
from taskrunner.model.answers import Finding
from taskrunner.model.values import Severity
from taskrunner.render import documents, tables
from taskrunner.web import asked, current, guard

machine = Blueprint("machine", __name__)
PLACES = ("/api/", "/status", "/metrics", "/changes")
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; charset=utf-8"
NO_STANDING = (
    "last_tick",
    "clock",
    "held",
    "running",
    "pending",
    "failing",
    "next",
    "problems",
)


def asks() -> bool:
    """Return whether a program asks, who wants an error as a document."""
    return request.path.startswith(PLACES) or request.path.endswith("/output")


@machine.get("/status")
def status() -> Response:
    """Answer 200 when all is well or with a warning, 503 on an error; with `strict` also on a warning."""
    asked.only("strict")
    found = current.runner().check()
    bad = (Severity.ERROR, Severity.WARNING) if asked.flag("strict") else (Severity.ERROR,)
    code = 503 if found.severity in bad else 200
    if request.accept_mimetypes.best_match(["application/json", "text/plain"]) == "text/plain":
        line = tables.check_line(found) if guard.may("see") else found.severity
        return Response(f"{line}\n", code, content_type=TEXT)
    text = documents.document(**_standing(found))
    return Response(f"{text}\n", code, mimetype="application/json")


def _standing(found: Finding) -> dict[str, object]:
    """Return the parts of the document of /status; without a login, whether all is well and no more."""
    if not guard.may("see"):
        beat = heartbeat.read(paths.path(current.home(), paths.HEARTBEAT))
        last = None if beat is None else documents.instant(clock.from_ms(beat.at))
        return {"severity": found.severity, "last_tick": last}
    try:
        parts = documents.status_parts(current.runner().status())
    except TaskRunnerError:  # `what` tells
        parts = dict.fromkeys(NO_STANDING)
    return {"severity": found.severity, "what": found.what, **parts}


@machine.get("/metrics")
def metrics() -> Response:
    """Answer what `taskrunner metrics` prints."""
    asked.only()
    return Response(current.runner().metrics(), content_type=OPENMETRICS)


@machine.get("/changes")
def changes() -> Response:
    """Answer with a tag that is another one after anything was written; 304 when it is the one that is known."""
    asked.only()
    tag = current.runner().tag()
    answer = Response(f"{documents.document(tag=tag)}\n", mimetype="application/json")
    answer.set_etag(tag)
    answer.make_conditional(request)
    return answer


@machine.get("/runs/<key>/output")
def output(key: str) -> Response:
    """Answer with a part of the output of a run, from the byte `from` on; the headers tell where the next begins."""
    asked.only("from")
    start = asked.whole("from", 0, asked.LARGEST) or 0
    run = asked.run(
        key
    )  # its state before its output: then no output of a run that has ended is missed
    part = current.runner().written(run, start=start)
    begin = start if start <= part.size else 0  # the command has emptied it
    headers = {"X-From": str(begin), "X-Next": str(part.end), "X-Size": str(part.size)}
    return Response(part.data, content_type=TEXT, headers=headers | {"X-State": str(run.state)})
