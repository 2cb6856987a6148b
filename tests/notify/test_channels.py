"""The channels, each against the real thing on the loopback: an HTTP server, an SMTP server, programs."""

import json
import os
import re
import smtplib
import ssl
import time
from email import message_from_bytes, policy

import pytest

from taskrunner import Every, InputError, Manual, StateError, TaskRunner, TaskRunnerError
from taskrunner.home import channels, notify_rules
from taskrunner.processes.alive import started_ticks
from taskrunner.render import notices
from taskrunner.render.page import Page
from taskrunner.report.doctor import check_tasks
from taskrunner.report.doctor.snapshot import take
from tests import servers

pytestmark = pytest.mark.one_python


@pytest.fixture
def teller(home, clock):
    """Writes a channel `c` into the configuration and returns a runner whose task x fails and tells it."""
    made = []

    def make(text, shell="echo hello; echo wörld; exit 3", notify="@c", **options):
        (home / "taskrunner.toml").write_text(f"[notify.c]\n{text}\n")
        runner = TaskRunner(home, clock=clock)
        made.append(runner)
        if shell is not None:
            runner.add("x", None, Manual(), shell=shell, notify=notify, replace=True, **options)
            runner.run("x")
        return runner

    yield make
    for runner in made:
        runner.close()


def only(deliveries):
    (one,) = deliveries
    return one


# ---- commands


def test_a_command_gets_the_last_lines_on_its_input_and_all_else_in_variables(teller, tmp_path):
    runner = teller(
        f'kind = "command"\nshell = "cat > {tmp_path}/in; env > {tmp_path}/env"',
        shell="seq 30; exit 3",
    )
    assert only(runner.deliver()).error is None
    assert (tmp_path / "in").read_text() == "".join(f"{n}\n" for n in range(11, 31))
    env = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    run = runner.history()[0]
    expected = {
        "TASKRUNNER_TASK": "x",
        "TASKRUNNER_RUN": "2",
        "TASKRUNNER_EVENT": "failure",
        "TASKRUNNER_STATE": "failed",
        "TASKRUNNER_REASON": "exit code 3",
        "TASKRUNNER_EXIT_CODE": "3",
        "TASKRUNNER_SIGNAL": "",
        "TASKRUNNER_ATTEMPT": "1",
        "TASKRUNNER_TRIGGER": "manual",
        "TASKRUNNER_COALESCED": "1",
        "TASKRUNNER_LAST_SUCCESS": "",
        "TASKRUNNER_CHANNEL": "c",
        "TASKRUNNER_SUMMARY": "x failed: exit code 3",
        "TASKRUNNER_DURATION": str(run.duration),
        "TASKRUNNER_HOME": runner.home,
    }
    assert {name: env.get(name) for name in expected} == expected
    assert set(env) - {name for name in env if name.startswith("TASKRUNNER_")} <= {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "PWD", "SHLVL", "_", "OLDPWD"),
    }


def test_a_command_that_fails_says_why_and_is_tried_again_later_and_later(teller, clock, tmp_path):
    runner = teller('kind = "command"\ncommand = ["sh", "-c", "echo no mailer >&2; exit 5"]')
    assert only(runner.deliver()).error == "exit code 5: no mailer"
    waits = []
    for _ in range(9):
        (message,) = runner.outbox()
        assert (message.state, message.error) == ("waiting", "exit code 5: no mailer")
        waits.append((message.due - clock()).total_seconds())
        assert runner.deliver() == []
        clock.forward(seconds=waits[-1])
        assert len(runner.deliver()) == 1
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    clock.forward(hours=24)
    runner.deliver()
    assert [(m.state, m.attempts) for m in runner.outbox()] == [("given up", 11)]
    assert runner.deliver() == []


def test_a_command_that_hangs_is_ended_with_all_that_it_started(teller, tmp_path):
    pids = tmp_path / "pids"
    runner = teller(
        f'kind = "command"\nshell = "sleep 300 & echo $! > {pids}; wait"\ntime_limit = "2s"'
    )
    start = time.monotonic()
    assert only(runner.deliver()).error == "it did not end within 2 s"
    assert time.monotonic() - start < 60
    assert started_ticks(int(pids.read_text())) is None


def test_a_command_of_the_task_itself_gets_the_same(teller, tmp_path):
    runner = teller("kind = 'command'\nshell = 'true'", shell=None)
    told = f'cat > {tmp_path}/in; echo "$TASKRUNNER_TASK $TASKRUNNER_EXIT_CODE" > {tmp_path}/env'
    runner.add("x", None, Manual(), shell="echo a; exit 4", on_failure=told)
    runner.run("x")
    assert only(runner.deliver()).error is None
    assert ((tmp_path / "in").read_text(), (tmp_path / "env").read_text()) == ("a\n", "x 4\n")


# ---- mail


def mailed(raw):
    return message_from_bytes(bytes(raw), policy=policy.default)


def test_a_mail_goes_by_a_real_server(teller):
    with servers.smtp() as server:
        runner = teller(
            f'kind = "mail"\nto = ["ops@example.org", "b@example.org"]\nfrom = "cron@example.org"\n'
            f'smtp = "127.0.0.1:{server.port}"',
            description="the nightly one",
        )
        assert only(runner.deliver()).error is None
    (envelope,) = server.got
    assert envelope.mail_from == "cron@example.org"
    assert envelope.rcpt_tos == ["ops@example.org", "b@example.org"]
    mail = mailed(envelope.content)
    assert mail["Subject"] == f"[taskrunner {os.uname().nodename}] x failed: exit code 3"
    assert (mail["To"], mail["From"]) == ("ops@example.org, b@example.org", "cron@example.org")
    assert mail["Auto-Submitted"] == "auto-generated" and mail["Message-ID"] and mail["Date"]
    text = mail.get_content().replace("\r\n", "\n")
    for line in ("x failed: exit code 3", "x (the nightly one)", "hello\nwörld\n", "log 2"):
        assert line in text
    assert re.search(r"state +failed: exit code 3\n", text)


def test_a_mail_goes_encrypted_and_after_a_login(teller, tmp_path):
    secret = tmp_path / "password"
    secret.write_text("open sesame\n")
    secret.chmod(0o600)
    with servers.smtp(starttls=True, login=True) as server:
        channel = (
            f'kind = "mail"\nto = "o@example.org"\nsmtp = "127.0.0.1:{server.port}"\ntls = "starttls"\n'
            f'ca_file = "{servers.CERTIFICATE}"\nuser = "me"\npassword_file = "{secret}"'
        )
        runner = teller(channel)
        assert only(runner.deliver()).error is None
        assert server.logins == [("me", "open sesame")]
        assert server.encrypted == [True]
        secret.write_text("wrong")
        done = runner.test_channel("c")
        assert done.error is not None and done.error.startswith("the server said 535")
        assert "wrong" not in done.error
        secret.chmod(0o644)
        assert runner.test_channel("c").error == (
            f"the file '{secret}' can be read by others: run chmod 600 on it"
        )


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
def test_a_mail_goes_by_tls_from_the_first_byte(teller, monkeypatch):
    monkeypatch.setenv("MAIL_PASSWORD", "open sesame")
    with servers.smtp(tls=True, login=True) as server:
        runner = teller(
            f'kind = "mail"\nto = "o@example.org"\nsmtp = "localhost:{server.port}"\ntls = "tls"\n'
            f'ca_file = "{servers.CERTIFICATE}"\nuser = "me"\npassword_env = "MAIL_PASSWORD"'
        )
        assert only(runner.deliver()).error is None
        assert server.logins == [("me", "open sesame")]
        monkeypatch.delenv("MAIL_PASSWORD")
        error = runner.test_channel("c").error
    assert error is not None and error.startswith("the variable MAIL_PASSWORD is not set")


def test_a_server_whose_certificate_nobody_vouches_for_gets_no_password(teller, tmp_path):
    secret = tmp_path / "password"
    secret.touch(0o600)
    secret.write_text("open sesame")
    with servers.smtp(starttls=True, login=True) as server:
        runner = teller(
            f'kind = "mail"\nto = "o@example.org"\nsmtp = "127.0.0.1:{server.port}"\ntls = "starttls"\n'
            f'user = "me"\npassword_file = "{secret}"'
        )
        error = only(runner.deliver()).error
    assert error is not None and "certificate" in error
    assert server.logins == []


def test_what_a_mail_server_says_is_kept(teller):
    with servers.smtp() as server:
        server.refuse = "554 no such place"
        runner = teller(f'kind = "mail"\nto = "o@x"\nsmtp = "127.0.0.1:{server.port}"')
        assert only(runner.deliver()).error == "the server said 554 no such place"


def test_a_mail_server_that_is_not_there_is_said(teller):
    with servers.smtp() as server:
        pass
    runner = teller(f'kind = "mail"\nto = "o@x"\nsmtp = "127.0.0.1:{server.port}"')
    assert only(runner.deliver()).error == "Connection refused"


@pytest.fixture
def sendmail(tmp_path):
    """A program as sendmail(8): keeps its words and its input."""
    place = tmp_path / "sendmail"
    place.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\ncat > {tmp_path}/mail\n')
    place.chmod(0o755)
    return place


def test_a_mail_goes_by_the_sendmail_of_this_host(teller, sendmail, tmp_path):
    runner = teller(f'kind = "mail"\nto = "ops"\nfrom = "me@x"\nsendmail = "{sendmail}"')
    assert only(runner.deliver()).error is None
    assert (tmp_path / "words").read_text() == "-i -f me@x -- ops\n"
    mail = mailed((tmp_path / "mail").read_bytes())
    assert "wörld" in mail.get_content()
    assert mail["To"] == "ops"


def test_a_sendmail_that_hangs_is_ended(teller, sendmail):
    sendmail.write_text("#!/bin/sh\nsleep 300 & wait\n")
    runner = teller(f'kind = "mail"\nto = "ops"\nsendmail = "{sendmail}"\ntime_limit = "1s"')
    start = time.monotonic()
    assert only(runner.deliver()).error == "it did not end within 1 s"
    assert time.monotonic() - start < 60


def test_a_sender_and_a_recipient_may_have_a_name(teller, sendmail, tmp_path):
    runner = teller(
        'kind = "mail"\nto = ["\\"Doe, Jane\\" <jane@x>", "ops@x"]\nfrom = "Nightly jobs <me@x>"\n'
        f'sendmail = "{sendmail}"'
    )
    assert only(runner.deliver()).error is None
    assert (tmp_path / "words").read_text() == "-i -f me@x -- jane@x ops@x\n"
    mail = mailed((tmp_path / "mail").read_bytes())
    assert mail["From"] == "Nightly jobs <me@x>"
    assert mail["To"] == '"Doe, Jane" <jane@x>, ops@x'
    assert mail["Message-ID"].endswith("@x>")


def test_a_sender_with_a_name_goes_by_a_server_as_well(teller):
    with servers.smtp() as server:
        runner = teller(
            'kind = "mail"\nto = "Ops <ops@example.org>"\nfrom = "Wörk <me@example.org>"\n'
            f'smtp = "127.0.0.1:{server.port}"'
        )
        assert only(runner.deliver()).error is None


ADDRESSES = [
    ("me@example.org", ["me@example.org"]),
    (" mailto:me@example.org ", ["me@example.org"]),
    ("me@example.org,you@example.org", ["me@example.org", "you@example.org"]),
    ("me+cron@mail.example.org; you@localhost", ["me+cron@mail.example.org", "you@localhost"]),
    ("Me <me@example.org>", ["me@example.org"]),
    ('"Doe, Jane" <jane@example.org>, me@x', ["jane@example.org", "me@x"]),
]


@pytest.mark.parametrize("how", ["on_failure", "notify", "event"])
@pytest.mark.parametrize(("whom", "to"), ADDRESSES)
def test_an_address_is_a_mail_to_it_by_the_mailer_of_this_host(
    teller, sendmail, tmp_path, monkeypatch, whom, to, how
):
    monkeypatch.setattr(channels, "SENDMAIL", (str(sendmail),))
    given = {
        "on_failure": {"on_failure": whom, "notify": None},
        "notify": {"notify": whom},
        "event": {"notify": f"failure={whom}"},
    }[how]
    given = {name: value for name, value in given.items() if value is not None}
    runner = teller("kind = 'command'\nshell = 'exit 9'", **{"notify": {}, **given})
    assert only(runner.deliver()).error is None
    assert (tmp_path / "words").read_text().split()[4:] == to
    assert "x failed: exit code 3" in mailed((tmp_path / "mail").read_bytes())["Subject"]
    assert runner.advice(runner.task("x")) == []
    shown = notices.messages_table(Page("UTC", runner.now()), runner.outbox())
    assert all(each in shown for each in to) and "its command" not in shown


def test_an_address_is_mailed_as_the_configured_mailer_does(
    teller, sendmail, tmp_path, monkeypatch
):
    monkeypatch.setattr(channels, "SENDMAIL", ())
    text = f'kind = "mail"\nto = "ops@x"\nfrom = "me@x"\nsendmail = "{sendmail}"'
    runner = teller(text, notify="@c,boss@x")
    assert [each.error for each in runner.deliver()] == [None, None]
    assert (tmp_path / "words").read_text() == "-i -f me@x -- boss@x\n"


@pytest.mark.parametrize(
    "given", [{"on_failure": "me@x.org"}, {"notify": "late=me@x.org"}], ids=str
)
def test_an_address_is_refused_with_a_recipe_where_nothing_sends_a_mail(
    teller, monkeypatch, given, tmp_path
):
    monkeypatch.setattr(channels, "SENDMAIL", ())
    runner = teller("kind = 'command'\nshell = 'true'", shell=None)
    with pytest.raises(StateError, match=r"this host cannot send mail to me@x\.org: .*smtp = "):
        runner.add("y", ["true"], Manual(), **given)
    runner.add("z", ["true"], Manual())
    with pytest.raises(StateError, match="this host cannot send mail"):
        runner.set("z", **given)
    assert [(task.name, task.on_failure, task.notify) for task in runner.tasks()] == [
        ("z", None, {})
    ]
    lines = "".join(f'{name} = "{value}"\n' for name, value in given.items())
    file = tmp_path / "tasks.toml"
    file.write_text(f'[tasks.w]\nmanual = true\nshell = "true"\n{lines}')
    with pytest.raises(TaskRunnerError, match="this host cannot send mail"):
        runner.apply(file)


@pytest.mark.parametrize("whom", ["me@x you@y", "me@x.org, date", "me@x,"])
def test_badly_written_addresses_are_not_a_command(teller, whom):
    runner = teller("kind = 'command'\nshell = 'true'", shell=None)
    with pytest.raises(InputError, match="mail addresses with commas between them"):
        runner.add("y", ["true"], Manual(), on_failure=whom)


@pytest.mark.parametrize("whom", ["/opt/tell a@b", "mail -s x a@b", "echo x > a@b", "A=1 tell a@b"])
def test_a_command_that_has_an_address_in_it_stays_a_command(whom):
    assert notify_rules.recipients(whom) == ((), ())
    assert notify_rules.checked(whom) == whom


@pytest.mark.parametrize(
    ("whom", "said"),
    [
        ("mial -s x a@b", "the program 'mial' is not found on the PATH of tasks"),
        ("/nowhere/tell; true", "the program '/nowhere/tell' is not found"),
        ("A=1 mial", "the program 'mial' is not found"),
    ],
)
def test_the_program_of_a_notification_command_is_looked_for(teller, whom, said):
    runner = teller("kind = 'command'\nshell = 'true'", shell=None)
    for given in ({"on_failure": whom}, {"notify": f"late={whom}"}):
        task = runner.add("y", ["true"], Manual(), replace=True, cwd="/", **given)
        (advice,) = runner.advice(task)
        assert said in advice
        assert advice.startswith("no notification is sent by the command")


def test_what_could_not_be_delivered_is_in_the_status_until_it_can(teller, clock, tmp_path):
    runner = teller(f'kind = "command"\nshell = "test -e {tmp_path}/up"')
    assert runner.status().problems == runner.status().problems[:1]  # no tick has come yet
    runner.deliver()
    (said,) = [each for each in runner.status().problems if "delivered" in each]
    assert said == (
        "1 notification could not be delivered (channel c): exit code 1; see `taskrunner notify`"
    )
    (tmp_path / "up").touch()
    clock.forward(seconds=30)
    runner.deliver()
    assert not [each for each in runner.status().problems if "delivered" in each]


def test_what_was_given_up_is_in_the_status_for_some_days_or_until_the_next_is_taken(
    teller, clock, tmp_path
):
    runner = teller(f'kind = "command"\nshell = "test -e {tmp_path}/up"\nrepeat = "always"')
    for hours in (0, 25):
        clock.forward(hours=hours)
        runner.deliver()
    assert [each.state for each in runner.outbox()] == ["given up"]
    assert "channel c" in runner.status().problems[-1]
    (tmp_path / "up").touch()
    runner.run("x")
    runner.deliver()
    assert not [each for each in runner.status().problems if "delivered" in each]
    (tmp_path / "up").unlink()
    clock.forward(hours=1)
    runner.run("x")
    runner.deliver()
    assert "channel c" in runner.status().problems[-1]
    clock.forward(days=8)
    assert not [each for each in runner.status().problems if "delivered" in each]


MISTAKES = [
    'kind = "fax"',
    'kind = "mail"',
    'kind = "mail"\nto = "a b"',
    'kind = "command"\nshel = "x"',
    'kind = "webhook"\nurl = 3',
]


@pytest.mark.parametrize("text", [*(f"[notify.c]\n{each}" for each in MISTAKES), "notify = 3"])
def test_a_mistake_in_a_channel_keeps_nobody_from_running_or_adding_tasks(home, clock, text):
    (home / "taskrunner.toml").write_text(text + "\n")
    with TaskRunner(home, clock=clock) as runner:
        task = runner.add("x", ["false"], Every("1d"), now=True, notify="@c", cwd="/")
        assert any("no message is sent" in each for each in runner.advice(task))
        assert runner.tick().runs[0].reason == "exit code 1"
        assert runner.run("x").exit_code == 1
        runner.set("x", retries=1)
        assert any("taskrunner.toml" in each for each in runner.status().problems)
        assert runner.deliver()[0].error is not None
        with pytest.raises(InputError, match=r"taskrunner\.toml"):
            runner.channels()
    findings = [each for each in check_tasks.messages(take(str(home), clock())) if each.cure]
    assert all(each.severity == "warning" for each in findings)
    assert any("taskrunner.toml" in each.what for each in findings)


def test_a_mistake_in_one_channel_leaves_the_others_as_they_are(home, clock, tmp_path):
    (home / "taskrunner.toml").write_text(
        '[notify.bad]\nkind = "fax"\n'
        f'[notify.c]\nkind = "command"\nshell = "echo >> {tmp_path}/told"\non = ["failure"]\n'
    )
    with TaskRunner(home, clock=clock) as runner:
        runner.add("x", ["false"], Every("1d"), now=True)
        runner.tick()
        assert only(runner.deliver()).error is None
        with pytest.raises(StateError, match="kind 'fax' must be one of"):
            runner.test_channel("bad")
    assert (tmp_path / "told").read_text() == "\n"


def test_a_name_with_line_breaks_makes_no_further_header(teller, sendmail, tmp_path):
    runner = teller(
        f'kind = "mail"\nto = "ops"\nsendmail = "{sendmail}"',
        shell="echo fine",
        expect="a\nBcc: everybody",
    )
    assert only(runner.deliver()).error is None
    assert mailed((tmp_path / "mail").read_bytes())["Bcc"] is None


# ---- webhooks


def test_a_webhook_gets_a_document(teller):
    with servers.web() as server:
        runner = teller(f'kind = "webhook"\nurl = "{server.url}/hook/secret"')
        assert only(runner.deliver()).error is None
    (request,) = server.got
    assert (request.method, request.path) == ("POST", "/hook/secret")
    assert request.headers["Content-Type"] == "application/json"
    told = json.loads(request.body)
    assert (told["version"], told["event"], told["task"]) == (1, "failure", "x")
    assert told["run"]["exit_code"] == 3 and told["run"]["state"] == "failed"
    assert told["output"] == "hello\nwörld\n"
    assert told["summary"] == "x failed: exit code 3"


def test_a_template_says_what_a_webhook_gets(teller):
    template = """template = '{"text": "$summary\\n$output", "n": ${exit_code}}'"""
    with servers.web() as server:
        runner = teller(
            f'kind = "webhook"\nurl = "{server.url}/"\n{template}\nheaders = {{X-Token = "t1"}}',
            shell="echo 'say \"hi\"'; exit 3",
        )
        assert only(runner.deliver()).error is None
    (request,) = server.got
    assert json.loads(request.body) == {"text": 'x failed: exit code 3\nsay "hi"\n', "n": 3}
    assert request.headers["X-Token"] == "t1"


def test_a_template_may_make_plain_text(teller):
    with servers.web() as server:
        runner = teller(
            f'kind = "webhook"\nurl = "{server.url}/topic"\ntemplate = "$summary: costs 3 $$"\n'
            'headers = {Content-Type = "text/plain"}'
        )
        assert only(runner.deliver()).error is None
    assert server.got[0].body == b"x failed: exit code 3: costs 3 $"


@pytest.mark.parametrize(
    ("template", "error"),
    [
        ('{"a": $nothing}', "its template has $nothing, which no message has"),
        ("{$summary}", "its template does not produce valid JSON: "),
        ('{"a": "$"}', "its template does not produce valid JSON: Invalid placeholder in string"),
    ],
)
def test_a_template_that_makes_nothing_of_use_is_said(teller, template, error):
    runner = teller(f"kind = 'webhook'\nurl = 'http://127.0.0.1:9/'\ntemplate = '{template}'")
    assert (only(runner.deliver()).error or "").startswith(error)


def test_a_server_in_trouble_gets_the_message_later(teller, clock):
    with servers.web() as server:
        server.answers = [500, 200]
        runner = teller(f'kind = "webhook"\nurl = "{server.url}/hook"')
        assert only(runner.deliver()).error == "HTTP 500 Internal Server Error"
        clock.forward(seconds=30)
        assert only(runner.deliver()).error is None
        assert runner.deliver() == []
    assert [json.loads(request.body)["event"] for request in server.got] == ["failure"] * 2
    assert [(each.state, each.attempts) for each in runner.outbox()] == [("sent", 2)]


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["hang", "drip"])
def test_a_server_that_never_ends_is_left(teller, answer):
    with servers.web() as server:
        server.answers = [answer]
        runner = teller(f'kind = "webhook"\nurl = "{server.url}/hook"\ntime_limit = "1s"')
        start = time.monotonic()
        error = only(runner.deliver()).error
        assert time.monotonic() - start < 60
    assert error in (
        "there was no answer in time",
        "the message was not accepted: it did not end within 3 s",
    )


def test_a_redirect_is_followed_when_it_keeps_the_message(teller):
    with servers.web() as server, servers.web() as other:
        server.answers = [(307, f"{other.url}/new")]
        runner = teller(
            f'kind = "webhook"\nurl = "{server.url}/old"\nheaders = {{Authorization = "Bearer t"}}'
        )
        assert only(runner.deliver()).error is None
    (request,) = other.got
    assert (request.method, request.path) == ("POST", "/new")
    assert json.loads(request.body)["event"] == "failure"
    assert "Authorization" not in request.headers  # that was for another server


def test_a_redirect_that_would_lose_the_message_is_said(teller):
    with servers.web() as server:
        server.answers = [(302, f"{server.url}/new/secret")]
        runner = teller(f'kind = "webhook"\nurl = "{server.url}/old"')
        assert only(runner.deliver()).error == (
            f"HTTP 302 it has moved to {server.url}/***: write its new address"
        )
    assert len(server.got) == 1


def test_a_redirect_from_https_to_http_is_not_followed(teller):
    with servers.web(tls=True) as server, servers.web() as other:
        server.answers = [(307, f"{other.url}/")]
        runner = teller(
            f'kind = "webhook"\nurl = "{server.url}/"\nca_file = "{servers.CERTIFICATE}"'
        )
        assert "it has moved" in (only(runner.deliver()).error or "")
    assert (len(server.got), other.got) == (1, [])


def test_a_circle_of_redirects_ends(teller):
    with servers.web() as server:
        server.answers = [(307, f"{server.url}/again")]
        runner = teller(f'kind = "webhook"\nurl = "{server.url}/again"')
        assert "HTTP 307" in (only(runner.deliver()).error or "")
    assert len(server.got) < 15


def test_https_is_checked(teller):
    with servers.web(tls=True) as server:
        runner = teller(f'kind = "webhook"\nurl = "{server.url}/"')
        assert "certificate" in (only(runner.deliver()).error or "").lower()
        runner = teller(
            f'kind = "webhook"\nurl = "{server.url}/"\nca_file = "{servers.CERTIFICATE}"',
            shell=None,
        )
        assert runner.test_channel("c").error is None


def test_an_address_may_stand_in_a_file_or_a_variable(teller, tmp_path, monkeypatch):
    place = tmp_path / "url"
    place.touch(0o600)
    with servers.web() as server:
        place.write_text(f"{server.url}/secret\n")
        monkeypatch.setenv("HOOK", f"{server.url}/other")
        runner = teller(f'kind = "webhook"\nurl_file = "{place}"')
        assert only(runner.deliver()).error is None
        runner = teller('kind = "webhook"\nurl_env = "HOOK"', shell=None)
        assert runner.test_channel("c").error is None
    assert [request.path for request in server.got] == ["/secret", "/other"]


def test_no_secret_is_in_an_error(teller):
    with servers.web() as server:
        server.answers = [404]
    runner = teller(
        f'kind = "webhook"\nurl = "{server.url}/t0p/secret?key=k3y"\nheaders = {{A = "h1dden"}}'
    )
    error = only(runner.deliver()).error or ""
    told = error + str(runner.channels()) + str(runner.outbox())
    assert not [each for each in ("t0p", "k3y", "h1dden") if each in told]


# ---- pings


@pytest.mark.slow
def test_a_ping_reports_start_success_failure_and_exit_code_with_one_rid(teller, clock):
    with servers.web() as server:
        runner = teller(f'kind = "ping"\nurl = "{server.url}/uuid"')
        runner.deliver()
        clock.forward(minutes=1)
        runner.set("x", shell="echo well")
        runner.run("x")
        runner.deliver()
        clock.forward(minutes=1)
        runner.set("x", shell="kill -9 $$")
        runner.run("x")
        runner.deliver()
    found = [re.fullmatch(r"/uuid(/\w+)?\?rid=([0-9a-f-]{36})", each.path) for each in server.got]
    assert [each[1] for each in found] == ["/start", "/3", "/start", None, "/start", "/fail"]
    rids = [each[2] for each in found]
    assert rids[0] == rids[1] and rids[2] == rids[3] and len(set(rids)) == 3
    assert [each.body for each in server.got[:4]] == [
        b"",
        "hello\nwörld\n".encode(),
        b"",
        b"well\n",
    ]


def test_a_ping_may_have_the_name_of_the_task_and_a_query_in_its_address(teller):
    with servers.web() as server:
        runner = teller(f'kind = "ping"\nurl = "{server.url}/key/{{task}}?create=1"', shell="true")
        runner.deliver()
    paths = [re.sub(r"rid=.*", "rid", each.path) for each in server.got]
    assert paths == ["/key/x/start?create=1&rid", "/key/x?create=1&rid"]


def test_a_ping_that_is_not_known_there_is_an_error_although_the_answer_is_200(teller):
    with servers.web() as server:
        server.answers = [(200, "OK (not found)")]
        runner = teller(f'kind = "ping"\nurl = "{server.url}/uuid"', shell="true")
        assert runner.deliver()[0].error == "the server said OK (not found)"


@pytest.mark.slow
def test_a_start_that_could_not_be_told_in_time_is_given_up_early(teller, clock):
    runner = teller('kind = "ping"\nurl = "http://127.0.0.1:9/"', shell="true")
    for _ in range(12):
        runner.deliver()
        clock.forward(minutes=2)
    states = {each.event: each.state for each in runner.outbox()}
    assert states == {"start": "given up", "success": "waiting"}


def test_a_test_of_a_ping_changes_nothing_there(teller):
    with servers.web() as server:
        runner = teller(f'kind = "ping"\nurl = "{server.url}/uuid"', shell=None)
        assert runner.test_channel("c").error is None
    assert server.got[0].path == "/uuid/log"


# ---- many at once, and channels that take nothing


def fail_many(runner, count):
    for number in range(count):
        runner.add(f"t{number}", ["sh", "-c", "exit 4"], Manual(), notify="@c")
        runner.run(f"t{number}")


@pytest.mark.slow
def test_many_failures_at_once_are_one_message(teller):
    with servers.web() as server:
        runner = teller(f'kind = "webhook"\nurl = "{server.url}/"\ndigest = 3', shell=None)
        fail_many(runner, 3)
        assert [each.messages for each in runner.deliver()] == [1, 1, 1]
        runner = teller(f'kind = "webhook"\nurl = "{server.url}/"\ndigest = 3', shell=None)
        for number in range(3):
            runner.remove(f"t{number}")
        fail_many(runner, 40)
        (done,) = runner.deliver()
    assert (done.event, done.messages, done.error) == ("digest", 40, None)
    told = json.loads(server.got[-1].body)
    assert (told["event"], told["summary"]) == ("digest", "40 messages: 40 failure")
    assert told["output"].splitlines()[39] == "t39 failed: exit code 4"
    assert {each.state for each in runner.outbox(100)} == {"sent"}


def test_a_channel_that_takes_nothing_is_asked_once_and_keeps_no_other_waiting(
    teller, home, tmp_path
):
    runner = teller(
        f'kind = "command"\nshell = "echo >> {tmp_path}/asked; exit 1"\ndigest = 100\n'
        f'[notify.d]\nkind = "command"\nshell = "echo >> {tmp_path}/other"\n',
        shell=None,
    )
    for number in range(4):
        runner.add(f"t{number}", ["false"], Manual(), notify="@c,@d")
        runner.run(f"t{number}")
    done = runner.deliver()
    assert [each.channel for each in done if each.error] == ["c"]
    assert len((tmp_path / "asked").read_text()) == 1
    assert len((tmp_path / "other").read_text()) == 4
    assert [each.waiting for each in runner.channels()] == [4, 0]


def test_a_channel_that_is_gone_is_said_and_its_messages_wait(teller, home):
    runner = teller("kind = 'command'\nshell = 'true'")
    runner.close()
    (home / "taskrunner.toml").write_text("")
    done = only(runner.deliver())
    assert done.error == "there is no channel 'c' in taskrunner.toml: it has none"
    with pytest.raises(
        StateError, match=r"there is no channel 'c' in taskrunner\.toml: it has none"
    ):
        runner.test_channel("c")


def test_the_certificate_of_these_tests_is_one():
    context = ssl.create_default_context(cafile=servers.CERTIFICATE)
    with (
        servers.smtp(tls=True) as server,
        smtplib.SMTP_SSL("localhost", server.port, context=context) as line,
    ):
        assert line.noop()[0] == 250


@pytest.fixture
def no_clock(tmp_path, monkeypatch):
    """A machine without cron and systemd: what doctor would ask of the real ones is nobody's."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("taskrunner.processes.programs.TOOLS", ())


def test_doctor_reports_a_channel_that_does_not_take_messages(teller, clock, no_clock):
    runner = teller('kind = "command"\nshell = "echo no mailer; exit 1"', on_failure="exit 2")
    runner.deliver()
    found = {each.what: each.cure for each in check_tasks.messages(take(runner.home, clock()))}
    assert found["the channel c did not accept 1 message: exit code 1: no mailer"] == (
        "`taskrunner notify` shows them, `taskrunner notify --test c` tries it"
    )
    assert "commands of tasks (--on-failure) did not accept 1 message: exit code 2" in found


def test_doctor_reports_where_messages_go_when_all_is_well(teller, clock, no_clock):
    runner = teller('kind = "command"\nshell = "true"')
    runner.deliver()
    (found,) = check_tasks.messages(take(runner.home, clock()))
    assert (found.severity, found.what) == ("ok", "messages go to c")
