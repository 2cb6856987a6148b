"""A queue of RQ as the carrier of runs: its names for them, what travels to another machine, its answers in our terms.

The queue itself is in `engines`. It must not know how a supervisor works.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import taskrunner
from taskrunner.engines import rq_keys, rq_queue
from taskrunner.engines.rq_contents import Contents
from taskrunner.engines.rq_queue import Stopped
from taskrunner.home import config, program, queues
from taskrunner.model.carried import NoAnswer, Refused, Standing
from taskrunner.model.record import record
from taskrunner.model.values import Run, Task
from taskrunner.store.events import STORE_ID
from taskrunner.store.open_home import OpenHome
from taskrunner.store.store import Store
from taskrunner.supervise import command
from taskrunner.supervise.outcomes import Watched

PREFIX = "taskrunner-{}-"


@record
class RqCarrier:
    """The carrier that hands runs to one queue of RQ; its connection is made when it is first used."""

    here: OpenHome
    settings: queues.Queue
    queue: rq_queue.Queue

    @classmethod
    def of(cls, here: OpenHome, settings: queues.Queue) -> "RqCarrier":
        """Return the carrier of a queue with an address."""
        assert settings.url is not None
        return cls(here, settings, rq_queue.Queue(settings.url, settings.queue))

    @classmethod
    def probe(cls, settings: queues.Queue) -> tuple[str | None, int]:
        """Return why a queue does not answer now, None when it does, and how many workers it has; nothing is written."""
        assert settings.url is not None
        with closing(rq_queue.Queue(settings.url, settings.queue)) as queue:
            found = queue.survey(None)
            return (_silent(settings, queue), 0) if found is None else (None, len(found.workers))

    @property
    def title(self) -> str:
        """Its name in messages."""
        return f"the queue {self.settings.name}"

    @property
    def lost(self) -> str:
        """The reason of a run that it does not know any more."""
        return f"lost in {self.title}"

    @property
    def trouble(self) -> str:
        """The reason for which it did not answer or take a run last."""
        return _silent(self.settings, self.queue)

    def close(self) -> None:
        """Close the connection."""
        self.queue.close()

    def server_id(self) -> str | None:
        """Return the identity of its server, a new one after each start and FLUSHALL; None when it does not answer."""
        return self.queue.ask_server_id()

    def name(self, run_id: int) -> str:
        """Return the name for a run: `taskrunner-<store>-<run>`; in a transaction of the caller."""
        return f"{prefix(self.here.store)}{run_id}"

    def start(self, watched: Watched, now: datetime) -> Refused | None:  # noqa: ARG002  it starts later, elsewhere
        """Hand a run over, also again; return a refusal, or None. Raises NoAnswer when it may have the run."""
        payload = travelling(watched.task, watched.run, self.here.config)
        kill_after = watched.task.kill_after.total_seconds()
        said = self.queue.enqueue(watched.name, payload, payload["timeout"], kill_after)
        if said is None:
            raise NoAnswer(self.trouble)
        return said if isinstance(said, Refused) else None

    def look(self, names: Sequence[str]) -> Mapping[str, Standing] | None:
        """Return how the runs of these names stand; None when it does not answer."""
        return self.queue.look(names)

    def stop(self, name: str, kill_after: timedelta) -> bool:
        """Have a run stopped, or taken out before it starts; False when it is not known, or there is no answer."""
        return self.queue.stop(name, kill_after) in (Stopped.OUT, Stopped.TOLD)

    def forget(self, names: Sequence[str]) -> None:
        """Drop its records of runs whose ends are recorded; without an answer they expire."""
        self.queue.forget(names)

    def survey(self) -> Contents | None:
        """Return the contents of the queue, ours and others'; None when it does not answer."""
        return self.queue.survey(known_prefix(self.here.store))

    def drop_others(self) -> int | None:
        """Take out everything that waits and is not ours; return how many, None when it does not answer."""
        return self.queue.drop_others(known_prefix(self.here.store))


def _silent(settings: queues.Queue, queue: rq_queue.Queue) -> str:
    return f"the queue {settings.name} does not answer: {(queue.trouble or '').rstrip('.')}"


def prefix(store: Store) -> str:
    """Return the beginning of the names of all runs of a store; in a transaction of the caller."""
    store_id = store.facts.get(STORE_ID)
    if store_id is None:
        store_id = os.urandom(4).hex()
        store.facts.set(STORE_ID, store_id)
    return PREFIX.format(store_id)


def known_prefix(store: Store) -> str | None:
    """Return the beginning of the names of all runs of a store; None when none was ever handed over."""
    store_id = None if store.missing else store.facts.get(STORE_ID)
    return None if store_id is None else PREFIX.format(store_id)


def travelling(task: Task, run: Run, settings: config.Config) -> dict[str, Any]:
    """Return all that another machine needs to perform a run, as JSON has it (see `engines.rq.perform`)."""
    base = command.base(task, settings, {})
    launched = task.shell is None and not task.command
    return {
        "format": rq_keys.FORMAT,
        "version": taskrunner.__version__,
        "argv": [*command.argv(task)],
        "base": {name: base[name] for name in base if name not in ("HOME", "USER", "LOGNAME")},
        "pass_env": [*command.to_pass(task, settings)],  # values do not enter Redis
        "env_file": task.env_file,
        "env": command.own(task, run),
        "cwd": task.cwd,
        "stdin": task.stdin,
        "umask": command.UMASK if task.umask is None else task.umask,
        "nice": task.nice,
        "limit": dict(task.limit),
        "timeout": None if task.timeout is None else task.timeout.total_seconds(),
        "max_silence": None if task.max_silence is None else task.max_silence.total_seconds(),
        "kill_after": task.kill_after.total_seconds(),
        "max_output": task.max_output,
        "python": program.interpreter() if launched and task.interpreter is None else None,
        "launcher": command.LAUNCHER if launched else None,
    }
