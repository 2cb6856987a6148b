"""Advice for an unknown verb: our verb for a word of other programs, or a similar one.

It only prints advice: no verb is run for a similar word, and no verb that deletes something is suggested by similarity.
"""

from taskrunner import errors
from taskrunner.cli.common import ALIASES

# Words of other schedulers, of systemctl and of containers, with our verbs for them.
ANSWERS = {
    "start": "`taskrunner run NAME` starts a task now, `taskrunner enable NAME` starts scheduling it again",
    "stop": "`taskrunner cancel NAME` stops a run, `taskrunner disable NAME` stops scheduling a task",
    "kill": "`taskrunner cancel NAME` stops a run",
    "edit": "`taskrunner set NAME` changes a task",
    "logs": "`taskrunner log NAME` prints the output of a run",
    "jobs": "`taskrunner list` shows the tasks, `taskrunner status` the running ones",
    "why": "`taskrunner explain NAME` says why a task ran or did not",
    "check": "`taskrunner status --check` is for monitoring, `taskrunner doctor` finds problems",
}
SAME = {
    "start": ("restart", "trigger", "launch", "fire", "exec", "execute", "retry", "rerun"),
    "stop": ("terminate", "abort"),
    "edit": ("update", "change", "modify", "alter", "rename"),
    "jobs": ("tasks", "ps", "top"),
}
MORE = {
    "`taskrunner add NAME` adds a task": ("create", "new", "schedule", "register"),
    "`taskrunner show NAME` shows a task": ("info", "describe", "inspect", "get", "cat"),
    "`taskrunner history` shows runs, `taskrunner log NAME` their output": ("runs", "output"),
    "`taskrunner next` shows the coming runs": ("upcoming", "agenda", "when"),
    "`taskrunner remove NAME` removes a task, `taskrunner prune` deletes old history": (
        *("del", "drop", "unschedule", "purge", "clear", "clean"),
    ),
    "`taskrunner doctor` finds problems, `taskrunner apply --dry-run FILE` checks a task file": (
        *("validate", "verify", "diagnose", "lint"),
    ),
    "`taskrunner --version` prints it": ("version",),
}
# Verbs that cannot be undone, or stop something: they are never suggested.
DESTRUCTIVE = {"remove", "rm", "delete", "cancel", "prune", "restore", "uninstall", "disable"}


def advice(word: str, verbs: tuple[str, ...]) -> str:
    """Return the advice for an unknown verb."""
    meant = word.lower()
    known = ANSWERS | {each: ANSWERS[one] for one, others in SAME.items() for each in others}
    known |= {each: told for told, words in MORE.items() for each in words}
    if meant in known:
        return known[meant]
    harmless = [each for each in (*verbs, *ALIASES) if each not in DESTRUCTIVE]
    return errors.advice(word, harmless, f"use one of {', '.join(verbs)}")
