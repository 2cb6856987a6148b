"""The addresses for programs: the command line's documents to the letter, as described, and health."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import jsonschema
import openapi_spec_validator
import pytest

from taskrunner import Every, Manual, TaskRunner
from taskrunner.web import openapi, users
from taskrunner.web.users import Role
from tests.samples import call


@pytest.fixture
def no_clock(tmp_path, monkeypatch):
    """A host without crontabs and without systemd, for `doctor`."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("crontab", "systemctl", "loginctl"):
        (folder / name).write_text("#!/bin/sh\nexit 1\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.fixture
def at_work(home, no_clock):
    """A home with tasks that succeed and fail."""
    with TaskRunner(home) as runner:
        runner.add("good", ["echo", "done"], Every("1h"), env={"API_TOKEN": "s3cret"})
        runner.add("bad", None, Manual(), shell="echo out; exit 3")
        runner.add("other", ["true"], Every("1h"), timeout="90s", overlap="queue")
        for name in ("good", "bad"):
            runner.run(name)
        runner.tick()
    return home


@pytest.fixture
def program(ask, at_work):
    """A program with a token that may define, at a page that lets it."""
    user, token = users.with_token("deploy", Role.DEFINE)
    users.keep(str(at_work), None, user)
    client = ask(define=True)
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return client


def error(answer: Any) -> str:
    """The one sentence of a refusal, which is a document as described."""
    found = answer.get_json()
    jsonschema.validate(found, schema("Error"))
    assert found["status"] == answer.status_code
    assert "\n" not in found["error"] and "Traceback" not in found["error"]
    return str(found["error"])


# ---- to the letter

AGO = re.compile(r"[0-9.]+m?s ago")  # doctor tells the age of the last tick

SAME = [
    ("/api/tasks", ("list", "--json")),
    ("/api/tasks?kind=every", ("list", "--kind", "every", "--json")),
    ("/api/tasks/good", ("show", "good", "--json")),
    ("/api/tasks/1", ("show", "1", "--json")),
    ("/api/runs", ("history", "--json")),
    ("/api/runs?task=bad&state=failed,lost&since=1d&limit=1", ("history", "bad", "--state", "failed,lost", "--since", "1d", "-n", "1", "--json")),
    ("/api/runs/4", ("show", "4", "--json")),
    ("/api/next", ("next", "--json")),
    ("/api/next?task=good&limit=3", ("next", "good", "-n", "3", "--json")),
    ("/api/next?from=2031-01-01T00:00Z&limit=2", ("next", "--from", "2031-01-01T00:00Z", "-n", "2", "--json")),
    ("/api/agenda?until=5h", ("next", "--until", "5h", "--json")),
    ("/api/stats", ("stats", "--json")),
    ("/api/stats?task=good", ("stats", "good", "--json")),
    ("/api/explain?task=bad", ("explain", "bad", "--json")),
    ("/api/explain?task=good,bad", ("explain", "good,bad", "--json")),
    ("/api/explain?task=4", ("explain", "4", "--json")),
    ("/api/status", ("status", "--json")),
    ("/api/doctor", ("doctor", "--json")),
]  # fmt: skip


@pytest.mark.parametrize(("path", "words"), SAME, ids=[path for path, _ in SAME])
def test_a_document_is_that_of_the_command_line_to_the_letter(program, at_work, path, words):
    answer = program.get(path)
    assert answer.status_code == 200
    assert answer.mimetype == "application/json"
    out, _, _ = call(at_work, *words)
    assert AGO.sub("", answer.get_data(as_text=True)) == AGO.sub("", out)


def test_the_metrics_are_those_of_the_command_line(program, at_work):
    answer = program.get("/metrics")
    assert answer.content_type.startswith("application/openmetrics-text; version=1.0.0")
    ours, theirs = answer.get_data(as_text=True), call(at_work, "metrics")[0]
    age = re.compile(r"^.*(seconds|timestamp).* [0-9.e+]+$", re.M)  # some grow meanwhile
    assert age.sub("", ours) == age.sub("", theirs)


# ---- as described


def schema(name: str) -> dict[str, Any]:
    """A schema of the description, that can be applied alone."""
    components = openapi.description()["components"]
    return {"$ref": f"#/components/schemas/{name}", "components": components}


def answers() -> list[tuple[str, str, str]]:
    """Method, path and document of each operation that is described."""
    lines = [re.split(r" *\| *", line) for line in openapi.OPERATIONS.strip().splitlines()]
    return [(*place.split(), answer) for place, _, _, answer in lines]


REQUESTS = {
    "PUT /api/tasks/{name}": {"json": {"every": "2h", "command": ["true"]}},
    "POST /api/tasks/{name}/run": {"json": {"reason": "a test"}},
    "POST /api/runs/{key}/cancel": {},
    "GET /api/explain": {"query_string": "task=good"},
}


def test_the_description_is_valid():
    openapi_spec_validator.validate(openapi.description())


@pytest.mark.parametrize(
    ("method", "path", "answer"), answers(), ids=[" ".join(each[:2]) for each in answers()]
)
def test_each_address_answers_as_it_is_described(program, at_work, method, path, answer):
    code, document = answer.split()
    if "cancel" in path:
        with TaskRunner(at_work) as runner:
            runner.add("later", ["true"], Manual())
            path = path.replace("{key}", str(runner.run("later", detach=True).id))
    place = path.format(name="good", key=4)
    options = REQUESTS.get(f"{method} {path}", {})
    found = program.open(place, method=method, **options)
    assert found.status_code == int(code), found.get_data(as_text=True)
    if "/" in document:
        assert found.mimetype == document
    elif document in openapi.SCHEMAS:
        check = jsonschema.Draft202012Validator(schema(document))
        check.validate(found.get_json())


def test_the_routes_are_those_that_are_described(program):
    rules = program.application.url_map.iter_rules()
    ours = [rule for rule in rules if rule.endpoint.startswith(("machine.", "api."))]
    routes = {
        (method, re.sub(r"<(\w+)>", r"{\1}", rule.rule))
        for rule in ours
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert routes == {(method, path) for method, path, _ in answers()}


def test_each_parameter_is_taken_and_no_other(program):
    for path, does in openapi.description()["paths"].items():
        if "get" not in does:
            continue
        place = path.format(name="good", key=4)
        for each in does["get"]["parameters"]:
            if each["in"] == "query":
                said = program.get(place, query_string={each["name"]: "\x00"}).get_data(
                    as_text=True
                )
                assert "is not a parameter" not in said, f"{path}: {each['name']}"
        assert "is not a parameter of" in error(program.get(place, query_string={"statt": "x"}))


def test_a_document_with_another_key_would_be_seen(program):
    found = program.get("/api/tasks/good").get_json()
    found["tasks"][0]["extra"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, schema("Tasks"))


# ---- acting


def test_what_a_program_does_has_its_name(program, at_work):
    assert program.post("/api/tasks/good/disable").get_json()["tasks"][0]["enabled"] is False
    assert program.post("/api/tasks/good/enable").get_json()["tasks"][0]["enabled"] is True
    changes = program.get("/api/explain?task=good&since=1h").get_json()["changes"]
    assert [change["by"] for change in changes[-2:]] == ["deploy", "deploy"]
    held = program.post("/api/hold", json={"for": "2h", "reason": "the disk moves"}).get_json()[
        "held"
    ]
    assert "by deploy" in held and "the disk moves" in held
    assert program.post("/api/resume").get_json()["held"] is None


def test_a_run_is_started_and_told_of_at_once(program, at_work):
    answer = program.post(
        "/api/tasks/bad/run", json={"slot": "2026-01-01T00:00Z", "reason": "again"}
    )
    (run,) = answer.get_json()["runs"]
    assert (answer.status_code, run["slot"], run["state"]) == (
        202,
        "2026-01-01T00:00:00Z",
        "pending",
    )


def test_a_task_is_defined_changed_and_removed(program):
    put = lambda **body: program.put("/api/tasks/new", json=body)  # noqa: E731
    plan = put(every="1h", command=["true"], env={"A": 'say "hi"\n\\'}).get_json()
    assert plan["tasks"][0]["action"] == "add"
    task = program.get("/api/tasks/new").get_json()["tasks"][0]
    assert task["env"] == {"A": 'say "hi"\n\\'}
    assert put(every="1h", command=["true"]).get_json()["tasks"][0]["action"] == "change"
    assert put(every="1h", command=["true"]).get_json()["tasks"][0]["action"] == "keep"
    program.put("/api/tasks/after", json={"after": "new", "command": ["true"]})
    plan = program.delete("/api/tasks/new").get_json()
    assert plan["tasks"] == [
        {
            "task": "new",
            "action": "remove",
            "consequences": ["after ran after it and will not run any more"],
        }
    ]
    assert program.get("/api/tasks/new").status_code == 404


def test_a_dry_run_of_a_definition_writes_nothing(program):
    answer = program.put("/api/tasks/new?dry_run=1", json={"every": "1h", "command": ["true"]})
    assert answer.get_json()["dry_run"] is True
    assert program.get("/api/tasks/new").status_code == 404


def test_all_faults_of_a_definition_are_told_in_one_line(program):
    said = error(
        program.put("/api/tasks/new", json={"every": "5", "comand": ["true"], "retries": None})
    )
    assert "'5' needs a unit" in said and "comand" in said
    assert "stdin" not in said


@pytest.mark.parametrize(
    "body",
    [
        {"every": ["1h"], "command": ["true"]},
        {"every": "1h", "command": "true"},
        {"every": "1h", "command": ["\ud800"]},
        {"every": "1h", "command": ["a\0b"]},
        {"every": "1h", "command": ["true"], "env": {"A": None}},
        {"every": "1h", "command": ["true"], "env": {"A": {"B": [1]}}},
        {"every": "1h", "command": ["true"], "retries": 1e400},
        {"": 1, "x\ny": 2, "]": 3},
        {},
    ],
)
def test_an_odd_definition_is_refused_in_a_sentence(program, body):
    answer = program.put("/api/tasks/new", json=body)
    assert answer.status_code == 400
    assert error(answer)


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"x"', b"\xff", b"[" * 100_000, b"null"])
def test_a_body_that_is_no_object_is_refused_in_a_sentence(program, body):
    for path in ("/api/tasks/good/run", "/api/hold"):
        answer = program.post(path, data=body)
        assert answer.status_code == 400
        assert "not a JSON object" in error(answer)


ODD = [
    ("GET", "/api/runs?state=nope", 400, "'nope' is not a state"),
    ("GET", "/api/runs?before=x", 400, "before='x'"),
    ("GET", "/api/runs?before=99999999999999999999", 400, "before="),
    ("GET", "/api/runs?before=0", 400, "before="),
    ("GET", "/api/runs?limit=1001", 400, "limit="),
    ("GET", "/api/runs?limit=٣", 400, "limit="),
    ("GET", "/api/runs?since=7", 400, "7"),
    ("GET", "/api/runs?state=failed&state=lost", 400, "given 2 times"),
    ("GET", "/api/runs/99999999999999999999", 404, "there is no run"),
    ("GET", "/api/runs/-1", 404, "there is no run"),
    ("GET", "/api/runs/777", 404, "777"),
    ("GET", "/runs/99999999999999999999/output", 404, "there is no run"),
    ("GET", "/runs/4/output?from=-1", 400, "from='-1'"),
    ("GET", "/runs/4/output?from=x", 400, "from='x'"),
    ("GET", "/api/tasks/none", 404, "there is no task 'none'"),
    ("GET", "/api/tasks/..%2f..%2fetc", 404, "no such page"),
    ("GET", '/api/tasks/&<"\x1b[31m', 404, "there is no task"),
    ("GET", "/api/tasks?enabled=perhaps", 400, "enabled='perhaps'"),
    ("GET", "/api/explain", 400, "task=NAME"),
    ("GET", "/api/explain?task=good&at=noon-ish", 400, "noon-ish"),
    ("GET", "/api/agenda?until=x", 400, "'x'"),
    ("GET", "/status?strict=maybe", 400, "strict='maybe'"),
    ("GET", "/api/nothing", 404, "no such page"),
    ("POST", "/api/runs", 405, "POST is not possible"),
    ("POST", "/api/tasks/none/run", 404, "there is no task"),
    ("POST", "/api/runs/4/cancel", 409, "nothing to cancel"),
    ("DELETE", "/api/tasks/none", 404, "there is no task"),
]


@pytest.mark.parametrize(
    ("method", "path", "code", "said"), ODD, ids=[f"{m} {p!a}" for m, p, _, _ in ODD]
)
def test_an_odd_request_gets_the_right_code_and_a_sentence(program, method, path, code, said):
    answer = program.open(path, method=method)
    assert said in error(answer)
    assert answer.status_code == code
    assert program.get("/api/status").status_code == 200


def test_who_may_only_see_acts_on_nothing(ask, at_work):
    user, token = users.with_token("grafana", Role.SEE)
    users.keep(str(at_work), None, user)
    client = ask(define=True)
    for method, path, _ in answers():
        answer = client.open(
            path.format(name="good", key=4),
            method=method,
            headers={"Authorization": f"Bearer {token}"},
        )
        refused = answer.status_code == 403
        assert refused == (method != "GET"), f"{method} {path}"
        if refused:
            assert "grafana may not" in error(answer)


def test_a_page_that_only_shows_acts_on_nothing(ask, at_work):
    user, token = users.with_token("deploy", Role.DEFINE)
    users.keep(str(at_work), None, user)
    headers = {"Authorization": f"Bearer {token}"}
    assert "start it with --operate" in error(ask().post("/api/hold", headers=headers))
    assert "start it with --define" in error(
        ask(operate=True).delete("/api/tasks/good", headers=headers)
    )


# ---- health


def test_the_status_is_a_document_with_the_severity(program):
    answer = program.get("/status")
    found = answer.get_json()
    assert (answer.status_code, found["severity"], found["failing"]) == (200, "warning", ["bad"])
    assert "1 task fails" in found["what"]
    assert program.get("/status?strict=1").status_code == 503
    assert program.head("/status").status_code == 200
    assert program.head("/status?strict=1").status_code == 503


def test_the_status_is_a_line_for_who_wants_text(program, at_work):
    answer = program.get("/status", headers={"Accept": "text/plain"})
    assert answer.get_data(as_text=True) == call(at_work, "status", "--check")[0]
    assert answer.mimetype == "text/plain"
    assert program.get("/status", headers={"Accept": "*/*"}).mimetype == "application/json"


def test_no_tick_for_too_long_is_503(ask, home):
    with TaskRunner(home) as runner:
        runner.add("good", ["true"], Every("1h"))
    answer = ask().get("/status")
    assert (answer.status_code, answer.get_json()["what"]) == (503, "no tick has come yet")


def test_without_a_login_the_status_tells_the_severity_alone(ask, program):
    answer = ask().get("/status")
    assert answer.status_code == 200
    assert {*answer.get_json()} == {"version", "severity", "last_tick"}
    text = ask().get("/status", headers={"Accept": "text/plain"}).get_data(as_text=True)
    assert text == "warning\n"
    for path in ("/metrics", "/changes", "/api/status", "/runs/4/output", "/api/openapi.json"):
        assert ask().get(path).status_code == 401, path


# ---- changes and output


def test_the_tag_changes_with_the_database_and_is_not_sent_twice(program, at_work):
    def look(tag: str = "") -> Any:
        return program.get("/changes", headers={"If-None-Match": tag} if tag else {})

    os.utime(at_work / "taskrunner.db", (1, 1))  # no change of the last moments
    if (at_work / "taskrunner.db-wal").exists():
        os.utime(at_work / "taskrunner.db-wal", (1, 1))
    first = look()
    tag = first.headers["ETag"]
    again = look(tag)
    assert (again.status_code, again.data) == (304, b"")
    with TaskRunner(at_work) as runner:
        runner.disable("good")
    assert look(tag).status_code == 200
    assert look(tag).headers["ETag"] != tag


def test_output_is_given_from_a_byte_on(program, at_work):
    with TaskRunner(at_work) as runner:
        runner.add("much", None, Manual(), shell="seq 100000")
        run = runner.run("much")
    place, whole, many = 0, b"", 0
    while True:
        part = program.get(f"/runs/{run.id}/output?from={place}")
        assert part.mimetype == "text/plain"
        assert part.headers["X-State"] == "succeeded"
        if not part.data:
            break
        whole, place, many = whole + part.data, int(part.headers["X-Next"]), many + 1
    assert whole == "".join(f"{number}\n" for number in range(1, 100001)).encode()
    assert many > 1, "no part is as large as it likes"
    assert int(part.headers["X-Size"]) == len(whole)


def test_output_is_text_whatever_a_task_wrote(program, at_work):
    with TaskRunner(at_work) as runner:
        runner.add(
            "markup", None, Manual(), shell=r"printf '<script>alert(1)</script>\033[31m\000\377'"
        )
        run = runner.run("markup")
    part = program.get(f"/runs/{run.id}/output")
    assert part.data == b"<script>alert(1)</script>\x1b[31m\0\xff"
    assert part.headers["X-Content-Type-Options"] == "nosniff"
    assert part.mimetype == "text/plain"


def test_secrets_are_hidden(program):
    for path in ("/api/tasks/good", "/api/explain?task=good&since=1h", "/api/tasks"):
        assert "s3cret" not in program.get(path).get_data(as_text=True)
    assert program.get("/api/tasks/good").get_json()["tasks"][0]["env"] == {"API_TOKEN": "***"}


def test_the_documents_are_json_whatever_is_in_them(program, at_work):
    with TaskRunner(at_work) as runner:
        runner.add("odd", None, Manual(), shell="exit 1", description='</script>&<"\x7f\u2028')
    text = program.get("/api/tasks/odd").get_data(as_text=True)
    assert json.loads(text)["tasks"][0]["description"].startswith("</script>")
