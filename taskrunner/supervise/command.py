"""Resolve a task and a run into a command: argv, environment, directory, limits.

Ticks and manual runs use the same function, so that a task always sees the same environment. It must not
know the store.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime

from taskrunner import clock
from taskrunner.home import config, program
from taskrunner.model.values import Command, Run, Task
from taskrunner.processes import account, env_file

UMASK = 0o022
SHELL = "/bin/sh"
LAUNCHER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "launcher.py")


def resolve(task: Task, run: Run, settings: config.Config, started: datetime) -> Command:
    """Return the command for a run of a task; raises StateError when it cannot be resolved on this host."""
    _, folder = account.account(task.user)
    env = environment(task, run, settings, started)
    return Command(
        argv=argv(task),
        env=env,
        cwd=task.cwd or folder,
        stdin=task.stdin,
        umask=UMASK if task.umask is None else task.umask,
        user=task.user,
        nice=task.nice,
        limit=task.limit,
        timeout=None if task.timeout is None else task.timeout.total_seconds(),
        max_silence=None if task.max_silence is None else task.max_silence.total_seconds(),
        kill_after=task.kill_after.total_seconds(),
        missing=tuple(name for name in to_pass(task, settings) if name not in env),
    )


def argv(task: Task) -> tuple[str, ...]:
    """Return the argv of a task: its own, or one that starts a shell or the launcher."""
    if task.shell is not None:
        return (SHELL, "-c", task.shell)
    return task.command or tuple(_launched(task))


def _launched(task: Task) -> Iterator[str]:
    """Yield the argv that runs a function or a text of Python (see `launcher`)."""
    yield from (_python(task), LAUNCHER)
    if task.django is not None:
        yield from ("--django", task.django)
    if task.python is not None:
        yield from ("--python", task.python)
        if task.args is not None:
            yield from ("--args", json.dumps(task.args, ensure_ascii=False))
        return
    if task.interpreter is not None:
        ours = (place for place in sys.path if os.path.isdir(os.path.join(place, "dateutil")))
        for place in list(ours)[:1]:
            yield from ("--dateutil", place)
    yield from ("--code-file", task.code_file) if task.code is None else ("--code", task.code)  # type: ignore[misc]


def _python(task: Task) -> str:
    """Return the interpreter of a task as a program."""
    given = task.interpreter or program.interpreter()
    return os.path.join(given, "bin", "python") if os.path.isdir(given) else given


def activation(task: Task, path: str) -> dict[str, str]:
    """Return the variables that `activate` of a virtual environment sets; `path` is PATH without it."""
    given = task.interpreter
    if given is None or not os.path.isdir(given):
        return {}
    return {"VIRTUAL_ENV": given, "PATH": f"{os.path.join(given, 'bin')}:{path}"}


def environment(task: Task, run: Run, settings: config.Config, started: datetime) -> dict[str, str]:
    """Return the environment of the child: the base, the config's, our caller's, the file's, the task's own, ours.

    Later ones win.
    """
    found = base(task, settings, config.passed(to_pass(task, settings)))
    if task.env_file is not None:
        found |= env_file.read_env_file(task.env_file, account.owner(task.user))
    return found | own(task, run) | {"TASKRUNNER_STARTED": clock.iso(started)}


def base(task: Task, settings: config.Config, passed: Mapping[str, str]) -> dict[str, str]:
    """Return the variables before those of the task: the base, the config's, our caller's, its virtual environment's."""
    user, folder = account.account(task.user)
    found = {**config.base_environment(settings, user, folder), **passed}
    return found | activation(task, found["PATH"])


def own(task: Task, run: Run) -> dict[str, str]:
    """Return the variables of the task, and ours about the run that are known before its start."""
    return (
        dict(task.env)
        | {
            "TASKRUNNER_TASK": task.name,
            "TASKRUNNER_RUN": str(run.id),
            "TASKRUNNER_SLOT": clock.iso(run.slot),
            "TASKRUNNER_ATTEMPT": str(run.attempt),
            "TASKRUNNER_TRIGGER": run.trigger,
            "TASKRUNNER_COALESCED": str(run.coalesced),
            "TASKRUNNER_LAST_SUCCESS": clock.iso(task.last_success) if task.last_success else "",
        }
        | ({} if task.django is None else {"DJANGO_SETTINGS_MODULE": task.django})
    )


def to_pass(task: Task, settings: config.Config) -> tuple[str, ...]:
    """Return the names of the variables that a run takes from whoever starts it, by the task and by the config."""
    return tuple(dict.fromkeys((*settings.pass_env, *task.pass_env)))


def places(name: str, path: str, folder: str) -> list[str]:
    """Return the files for a program name by a PATH and from a folder; the first is executed."""
    where = [""] if "/" in name else path.split(":")
    files = [os.path.join(folder, place, name) for place in where]
    return [file for file in files if os.path.isfile(file)]
