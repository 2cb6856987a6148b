"""Queues to other machines, as taskrunner.toml describes them."""

import re

import pytest

from taskrunner import Cron, Manual, TaskRunner
from taskrunner.errors import InputError, StateError
from taskrunner.home import queues
from taskrunner.model.values import Severity
from taskrunner.report.doctor import check_queues, snapshot
from tests.samples import call

HEAVY = '[queues.heavy]\nengine = "rq"\nurl = "redis://:geheim@redis:6379/0"\n'


@pytest.fixture
def configured(runner, home):
    """A function that writes the settings of a home."""

    def write(text):
        home.mkdir(mode=0o700, exist_ok=True)
        (home / "taskrunner.toml").write_text(text)
        runner.close()

    return write


def test_a_queue_has_an_engine_an_address_and_defaults(runner, configured):
    configured(HEAVY)
    heavy = runner._here().config.queues["heavy"]
    assert (heavy.engine, heavy.queue, heavy.limit) == ("rq", "default", 500)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[queues.heavy]\nurl = "redis://h"', "has no engine: it must be one of rq"),
        ('[queues.heavy]\nengine = "rw"\nurl = "redis://h"', "must be one of rq"),
        ('[queues.heavy]\nengine = "rq"', "give one of url, url_env"),
        ('[queues.heavy]\nengine = "rq"\nurl = "redis://h"\nlimits = 3', "did you mean limit?"),
        ('[queues.heavy]\nengine = "rq"\nurl = "redis://h"\nlimit = 0', "limit must be a whole"),
        (
            '[queues.heavy]\nengine = "rq"\nurl = "http://:geheim@h"',
            "url must be an address such as",
        ),
        *(
            (f'[queues.heavy]\nengine = "rq"\nurl = "{url}"', said)
            for url, said in (
                ("redis+sentinel://:geheim@h/master", "one Redis: Sentinel is not supported"),
                ("redis://h:26379,:geheim@i:26379/0", "one Redis: Sentinel is not supported"),
                ("redis://h/geheim", "ends with the number of a database"),
                ("redis://:a/geheim@h/0", "write / in a password as %2F"),
                ("rediss://h/0?ssl_ca_cert=/geheim", "did you mean ssl_ca_certs?"),
                ("rediss://h/0?geheim=3", "known are db, username, password"),
            )
        ),
        ('[queues.heavy]\nengine = "rq"\nurl_env = "A-B"', "the name of an environment variable"),
        ('[queues."a b"]\nengine = "rq"\nurl = "redis://h"', "use letters, digits and . _ -"),
    ],
)
def test_a_mistake_is_one_sentence_without_the_address(runner, configured, text, said):
    configured(text)
    (found,) = runner.queues()
    assert said in found.error and "geheim" not in found.error
    assert runner.status().problems == [
        f"a queue with a mistake in its settings takes no runs: {found.error}"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("queues = 3", "must be tables such as [queues.heavy]"),
        ('queus = "x"', "did you mean queues?"),
    ],
)
def test_queues_that_are_none_at_all_are_refused(runner, configured, text, said):
    configured(text)
    with pytest.raises(InputError) as refused:
        runner.add("report", ["true"], Manual())
    assert said in str(refused.value)


def test_a_mistake_in_a_queue_affects_its_runs_only(runner, home, configured):
    configured(HEAVY)
    for name, queue in (("far", "heavy"), ("near", None)):
        runner.add(name, ["true"], Manual(), queue=queue, now=True)
    configured(HEAVY.replace("redis:/", "http:/"))
    runner.tick()
    assert runner.history("near")[0].state == "succeeded"
    (run,) = runner.history("far")
    assert run.state == "pending"
    wrong = f"the queue heavy in {home / 'taskrunner.toml'}: url must be an address such as"
    assert run.reason.startswith(wrong)
    with pytest.raises(InputError, match=re.escape(wrong)):
        runner.add("other", ["true"], Manual(), queue="heavy")
    (found,) = check_queues.findings(snapshot.take(str(home), runner.now()))
    assert found.severity is Severity.ERROR and wrong in found.what
    assert "geheim" not in f"{run} {found} {runner.status()}"
    configured("")
    assert (
        "1 run of the queue heavy, which is not in taskrunner.toml" in runner.status().problems[-1]
    )


@pytest.mark.slow
def test_the_status_shows_everything_beside_a_mistake_in_a_queue(home, configured):
    configured(HEAVY)
    with TaskRunner(home) as runner:
        runner.add("far", ["true"], Manual(), queue="heavy", now=True)
        runner.add("near", ["true"], Cron("0 3 * * *"))
    configured(HEAVY.replace("redis:/", "http:/"))
    assert call(home, "tick") == ("", "", 0)
    out, err, code = call(home, "status")
    assert (err, code) == ("", 0)
    assert re.search(r"^ +near +\S", out, re.M)
    assert re.search(r"^ +\d+ +far .* pending .*the queue heavy in ", out, re.M)
    assert re.search(r"^problem .* takes no runs: .*; 1 run affected$", out, re.M)
    out, err, code = call(home, "status", "--check")
    assert (err, code) == ("", 1) and out.startswith("WARNING - a queue with a mistake")


@pytest.mark.parametrize(
    ("url", "shown", "lacks"),
    [
        ("redis://:geheim@redis:6379/0", "redis://:***@redis:6379/0", ["encryption"]),
        ("redis://me:geheim@redis/0", "redis://me:***@redis/0", ["encryption"]),
        ("redis://redis:6379", "redis://redis:6379", ["encryption", "password"]),
        ("rediss://:geheim@redis:6379", "rediss://:***@redis:6379", []),
        ("rediss://redis:6379", "rediss://redis:6379", ["password"]),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0", []),
        ("redis://localhost", "redis://localhost", []),
        ("redis://[::1]:6379", "redis://[::1]:6379", []),
        ("unix:///run/redis.sock", "unix:///run/redis.sock", []),
        ("unix://:geheim@/run/redis.sock", "unix://:***@/run/redis.sock", []),
        ("unix:///s?db=0&password=geheim", "unix:///s?db=0&password=***", []),
        ("redis://r/0?password=geheim", "redis://r/0?password=***", ["encryption"]),
        ("rediss://r?password=ge%40heim&db=1", "rediss://r?password=***&db=1", []),
        ("rediss://r?ssl_password=geheim", "rediss://r?ssl_password=***", ["password"]),
        ("redis://r?p%61ssword=ge@heim", "redis://r?p%61ssword=***", ["encryption"]),
        (
            "rediss://:x@r?ssl_cert_reqs=none",
            "rediss://:***@r?ssl_cert_reqs=none",
            ["check of its certificate"],
        ),
        ("redis://r?password=", "redis://r?password=***", ["encryption", "password"]),
        ("redis://:a/b?c@redis/0", "redis://:***@redis/0", ["encryption", "password"]),
        ("redis://redis?password=x@localhost", "redis://redis?password=***", ["encryption"]),
    ],
)
def test_a_password_is_masked_and_its_lack_is_seen(url, shown, lacks):
    assert (queues.masked(url), queues.exposed(url)) == (shown, lacks)


def test_a_task_may_name_only_a_queue_that_is_there(runner, configured):
    configured(HEAVY)
    with pytest.raises(StateError, match=r"did you mean heavy\?"):
        runner.add("report", ["true"], Manual(), queue="heav")
    assert runner.add("report", ["true"], Manual(), queue="heavy").queue == "heavy"
    with pytest.raises(StateError, match="known are heavy"):
        runner.set("report", queue="other")
    assert runner.set("report", queue=None).queue is None


def test_only_what_can_travel_goes_to_another_machine(runner, configured):
    configured(HEAVY)
    with pytest.raises(InputError, match="--user 'nobody' does not go with --queue"):
        runner.add("report", ["true"], Manual(), queue="heavy", user="nobody")
    with pytest.raises(InputError, match="--stdin has 1000002 bytes"):
        runner.add("report", ["true"], Manual(), queue="heavy", stdin="ü" * 500_001)
    runner.add("report", ["true"], Manual(), queue="heavy", stdin="x" * 1_000_000)
    with pytest.raises(InputError, match="--user"):
        runner.set("report", user="nobody")


def test_an_engine_that_is_not_installed_is_told(runner, configured, monkeypatch):
    configured(HEAVY)
    monkeypatch.setattr(queues, "find_spec", lambda _: None)
    with pytest.raises(StateError, match=r"needs RQ: install it with `.*\[rq\]"):
        runner.add("report", ["true"], Manual(), queue="heavy")
