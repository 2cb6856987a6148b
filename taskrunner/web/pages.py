"""Addresses of the pages for people: each reads the request, asks for values, and fills a template."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from flask import (
    Blueprint,
    Response,
    current_app,
    flash,
    g,
    redirect,
    render_template,
    request,
    url_for,
)
from markupsafe import Markup, escape

from taskrunner import __version__
from taskrunner.errors import InputError, TaskRunnerError, UnknownTask
from taskrunner.model.values import FAILING, LIVE, State
from taskrunner.render import page as text_page, spelling
from taskrunner.web import codes, current, form, shown, spelled
from taskrunner.web.current import runner
from taskrunner.web.guard import needs_role, who

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as Answer

pages = Blueprint("pages", __name__)
HOST = os.uname().nodename
CODED = re.compile(r"`([^`]+)`")
TEMPLATE_VALUES = {
    "version": __version__,
    "FAILING": FAILING,
    "LIVE": LIVE,
    "State": State,
    "about": spelling.about,
    "command_line": spelling.command_line,
    "human": spelled.human,
    "share": spelled.share,
    "standing": spelling.standing,
    "streak": spelled.streak,
    "words": spelled.state,
    "visible": text_page.visible,
    "visible_lines": text_page.on_screen,
    "output_text": spelled.output,
    "serious": spelled.serious,
}


@pages.app_context_processor
def _for_templates() -> dict[str, Any]:
    """Return the values that every template may use."""
    return {
        **TEMPLATE_VALUES,
        "at": g.get("at"),
        "came_from": _came_from,
        "host": HOST,
        "here": request.full_path.rstrip("?"),
        "program": current_app.config["PROGRAM"],
        "held": lambda: runner().held(),
        "no_database": lambda: shown.no_database(runner()),
        "style": _style,
        "to": _to,
    }


def _to(endpoint: str, **values: Any) -> Markup:
    """Return the attribute that makes an element a link to a page; nothing in a page that is one file."""
    if g.get("one_file"):
        return Markup()
    return Markup('href="{}"').format(url_for(f"pages.{endpoint}", **values))


def _came_from() -> str | None:
    """Return the page of ours whose form was sent, None for another origin, or where the browser tells none."""
    place = request.referrer or ""
    ours = request.method == "POST" and place.startswith(request.url_root)
    return place if ours else None


def _style() -> Markup:
    """Return the style sheet as text."""
    with current_app.open_resource("static/page.css", "r") as file:
        return Markup(file.read())  # noqa: S704  a file of ours


@pages.app_template_filter()
def coded(text: str) -> Markup:
    """Return a sentence with its `commands` set as such; all else in it is escaped."""
    told = str(escape(current.advised(text)))
    return Markup(CODED.sub(r"<code>\1</code>", told))  # noqa: S704  it is escaped first


@pages.before_request
def _spell() -> None:
    g.at = spelled.Spelled(runner().default_zone(), runner().now())


# ---- looking


@pages.get("/")
def now() -> str:
    """Show the present."""
    return render_template("now.html", now=shown.now(runner()))


@pages.get("/runs")
def runs() -> str | tuple[str, int]:
    """List runs, newest first; the filter is the address."""
    wanted = shown.Wanted(**{name: _asked(name) for name in shown.Wanted._fields})
    try:
        return render_template("runs.html", wanted=wanted, found=shown.runs(runner(), wanted))
    except (InputError, UnknownTask) as exc:
        nothing = shown.Listed([], None, {})
        page = render_template("runs.html", wanted=wanted, found=nothing, fault=str(exc))
        return page, codes.code(exc)


@pages.get("/runs/<int(max=9223372036854775807):key>")
def run(key: int) -> str | Response:
    """Show one run, or with `raw` its output alone."""
    if "raw" in request.args:
        found = runner().run_of(f"run:{key}")
        runner().written(found, most=1)  # raises for one that was pruned, before the answer begins
        name = f"{found.task}-{found.id}.txt"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(runner().log(found), mimetype="text/plain", headers=headers)
    return render_template("run.html", found=shown.run(runner(), key))


@pages.get("/tasks")
def tasks() -> str | tuple[str, int]:
    """List tasks by name."""
    asked = {name: _asked(name) for name in ("q", "state", "after")}
    try:
        found = shown.tasks(runner(), asked["q"], asked["state"], asked["after"])
        return render_template("tasks.html", asked=asked, found=found)
    except InputError as exc:
        nothing = shown.TaskList([], None)
        return render_template("tasks.html", asked=asked, found=nothing, fault=str(exc)), 400


@pages.get("/tasks/<name>")
def task(name: str) -> str:
    """Show one task."""
    return render_template(
        "task.html",
        found=shown.task(runner(), name),
        followers=lambda: shown.followers(runner(), name),
    )


@pages.get("/agenda")
def agenda() -> str | tuple[str, int]:
    """Show the coming slots and the last 30 days."""
    until = _asked("until")
    try:
        return render_template("agenda.html", until=until, found=shown.agenda(runner(), until))
    except InputError as exc:
        nothing = shown.Coming([], False, [], False)
        return render_template("agenda.html", until=until, found=nothing, fault=str(exc)), 400


@pages.get("/health")
def health() -> str:
    """Show obstacles to the running of tasks, each with its cure, and the queues to other machines."""
    return render_template("health.html", found=runner().doctor(), queues=runner().queues())


# ---- doing


@pages.post("/tasks/<name>/run")
@needs_role("operate")
def start(name: str) -> Answer:
    """Start a run, and lead to it."""
    made = runner().run(name, detach=True, by=who())
    return redirect(url_for("pages.run", key=made.id), 303)


@pages.post("/runs/<int(max=9223372036854775807):key>/again")
@needs_role("operate")
def again(key: int) -> Answer:
    """Run the slot of a run again, and lead to the new run."""
    old = runner().run_of(f"run:{key}")
    made = runner().run(old.task, slot=old.slot, detach=True, by=who())
    return redirect(url_for("pages.run", key=made.id), 303)


@pages.post("/runs/<int(max=9223372036854775807):key>/cancel")
@needs_role("operate")
def cancel(key: int) -> Answer:
    """End a run."""
    runner().cancel(f"run:{key}", by=who(), wait=False)
    return _back(f"run {key} is being cancelled")


@pages.post("/tasks/<name>/enable")
@needs_role("operate")
def enable(name: str) -> Answer:
    """Let a task come due again."""
    runner().enable(name, by=who())
    return _back(f"{name} is enabled: slots count from now on")


@pages.post("/tasks/<name>/disable")
@needs_role("operate")
def disable(name: str) -> Answer:
    """Let a task come due no more."""
    runner().disable(name, by=who())
    return _back(f"{name} is disabled: it comes due no more")


@pages.post("/hold")
@needs_role("operate")
def hold() -> Answer:
    """Pause all scheduled runs."""
    length, why = request.form.get("length", ""), request.form.get("reason", "").strip()
    runner().hold(length or None, reason=why or None, by=who())
    return _back("scheduled runs are paused; runs by hand still work")


@pages.post("/resume")
@needs_role("operate")
def resume() -> Answer:
    """End the pause."""
    runner().resume(by=who())
    return _back("resumed; runs missed during the pause follow each task's catch-up rule")


@pages.post("/tasks/<name>/remove")
@needs_role("define")
def remove(name: str) -> Answer:
    """Remove a task; its history stays."""
    left = runner().remove(name, by=who())
    never = f"; {', '.join(left)} came after it and will not run any more" if left else ""
    flash(f"{name} is removed; its history stays{never}")
    return redirect(url_for("pages.tasks"), 303)


# ---- defining


@pages.route("/tasks/new", methods=["GET", "POST"])
@needs_role("define")
def new() -> str | tuple[str, int] | Answer:
    """Add a task, after a check of all that is typed."""
    return _define(None)


@pages.route("/tasks/<name>/edit", methods=["GET", "POST"])
@needs_role("define")
def edit(name: str) -> str | tuple[str, int] | Answer:
    """Change a task, after a check of all that is typed."""
    return _define(name)


def _define(name: str | None) -> str | tuple[str, int] | Answer:
    old = None if name is None else form.of_task(runner(), name)
    if request.method == "GET":
        typed = old.fields if old else form.EMPTY | request.args.to_dict()
        return render_template("form.html", form=form, old=old, typed=typed, checked=None)
    typed = form.EMPTY | request.form.to_dict()
    checked = form.check(runner(), old, typed)
    if checked.faults or typed.get("do") != "save":
        page = render_template("form.html", form=form, old=old, typed=typed, checked=checked)
        return page, 400 if checked.faults else 200
    try:
        made = form.save(runner(), old, checked, typed["name"].strip(), who())
    except TaskRunnerError as exc:
        checked.faults[""] = [str(exc)]
        return render_template(
            "form.html", form=form, old=old, typed=typed, checked=checked
        ), codes.code(exc)
    flash(f"{made} is {'added' if old is None else 'changed'}")
    return redirect(url_for("pages.task", name=made), 303)


# ---- helpers


def _asked(name: str) -> str:
    return request.args.get(name, "").strip()


def _back(told: str) -> Answer:
    """Lead back to the page with the form, with a sentence about the result."""
    flash(told)
    place = request.form.get("back", "")
    inside = place.startswith("/") and not place.startswith(("//", "/\\"))
    return redirect(request.script_root + place if inside else url_for("pages.now"), 303)
