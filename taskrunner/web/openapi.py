"""Description of the addresses for programs, in the words of OpenAPI 3.1: paths, parameters, documents, errors.

A test holds it against the routes and their answers. It must not know Flask.
"""

import json
from collections.abc import Mapping
from typing import Any

import taskrunner
from taskrunner.model.values import CatchUp, Kind, Overlap, Severity, State, Trigger
from taskrunner.render.documents import VERSION

Schema = dict[str, Any]

INSTANT: Schema = {"type": "string", "format": "date-time"}
PLAIN: Mapping[str, Schema] = {
    "text": {"type": "string"},
    "whole": {"type": "integer"},
    "number": {"type": "number"},
    "flag": {"type": "boolean"},
    "instant": INSTANT,
    "object": {"type": "object"},
    "any": {},
    "texts": {"type": "array", "items": {"type": "string"}},
    "wholes": {"type": "array", "items": {"type": "integer"}},
    "state": {"type": "string", "enum": [*State]},
    "kind": {"type": "string", "enum": [*Kind]},
    "trigger": {"type": "string", "enum": [*Trigger]},
    "overlap": {"type": "string", "enum": [*Overlap]},
    "catch_up": {"type": "string", "enum": [*CatchUp]},
    "severity": {"type": "string", "enum": [*Severity]},
    "action": {"type": "string", "enum": ["add", "change", "remove", "keep"]},
    "collision": {"type": "string", "enum": ["together", "running", "itself", "group", "capacity"]},
    "Run": {"$ref": "#/components/schemas/Run"},
    "Task": {"$ref": "#/components/schemas/Task"},
    "Slot": {"$ref": "#/components/schemas/Slot"},
    "Figures": {"$ref": "#/components/schemas/Figures"},
}
# The keys of each kind, `?` after those that may be null. A kind in brackets is a list of it.
RUN = {
    "whole": "id attempt coalesced",
    "text": "task reason?",
    "instant": "slot first_slot started? finished?",
    "state": "state",
    "trigger": "trigger",
    "flag": "coalesced_at_least",
    "number": "duration? late? cpu_seconds?",
    "whole?": "exit_code signal output_size peak_memory",
}
TASK = {
    "whole": "id retries priority",
    "text": "name schedule on_lost",
    "flag": "enabled from_finish",
    "kind": "kind",
    "overlap": "overlap",
    "catch_up": "catch_up",
    "state?": "last_state",
    "texts?": "command",
    "wholes": "retry_codes ok_codes noop_codes",
    "texts": "pass_env",
    "instant": "created",
    "instant?": "next last_run last_success anchor",
    "object": "env limit notify",
    "number": "kill_after retry_delay retry_backoff",
    "number?": "timeout deadline jitter max_silence late_after long_after",
    "whole?": "catch_up_limit max_instances max_output nice",
    "text?": "tz shell cwd env_file stdin umask user queue group expect reject on_failure python code code_file interpreter "
    "django description source error",
    "any": "args",
}
SLOT = {"text?": "task note", "instant": "slot", "text": "local"}
FIGURES = {
    "text": "task",
    "whole": "runs succeeded failed timed_out cancelled lost skipped missed streak",
    "number": "success_rate? duration_median? duration_p95? late_median?",
    "instant?": "last_success",
}
STANDING = {
    "instant?": "last_tick",
    "text?": "clock held",
    "[Run]": "running pending",
    "[text]": "failing problems",
    "[Slot]": "next",
}
EXPLAINED = {"instant?": "slot first_slot", "state?": "state", "text": "reason", "whole?": "run"}
GAP = {"instant": "from", "instant?": "until", "text": "cause"}
CHANGE = {"instant": "at", "text": "what", "text?": "by"}
COLLISION = {"text": "task what", "instant": "slot", "collision": "kind", "texts": "tasks"}


def _kind(name: str) -> Schema:
    """Return the schema of a kind of value."""
    if name.endswith("?"):
        return {"anyOf": [_kind(name[:-1]), {"type": "null"}]}
    if name.startswith("["):
        return {"type": "array", "items": _kind(name[1:-1])}
    return dict(PLAIN[name])


def _object(kinds: Mapping[str, str], **more: Schema) -> Schema:
    """Return the schema of an object with these keys, all of them and no others."""
    found: dict[str, Schema] = {}
    for kind, names in kinds.items():
        for name in names.split():
            found[name.rstrip("?")] = _kind(f"{kind}?" if name.endswith("?") else kind)
    found |= more
    return {
        "type": "object",
        "properties": found,
        "required": [*found],
        "additionalProperties": False,
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _document(kinds: Mapping[str, str], **more: Schema) -> Schema:
    return _object(kinds, version={"const": VERSION}, **more)


EXPLANATION = {
    "slots": _list(_object(EXPLAINED)),
    "gaps": _list(_object(GAP)),
    "changes": _list(_object(CHANGE)),
}
SCHEMAS: Mapping[str, Schema] = {
    "Run": _object(RUN),
    "Task": _object(TASK),
    "Slot": _object(SLOT),
    "Figures": _object(FIGURES),
    "Runs": _document({"[Run]": "runs"}),
    "Tasks": _document({"[Task]": "tasks"}),
    "Next": _document({"[Slot]": "next"}),
    "Agenda": _document({"[Slot]": "next"}, collisions=_list(_object(COLLISION))),
    "Status": _document(STANDING),
    "Stats": _document(
        {"instant?": "since until", "[Figures]": "tasks", "whole?": "newest"},
        total=_object({kind: names for kind, names in FIGURES.items() if names != "task"}),
    ),
    "Explanation": {
        "anyOf": [
            _document({"text": "task"}, **EXPLANATION),
            _document({}, tasks=_list(_object({"text": "task"}, **EXPLANATION))),
        ]
    },
    "Checkup": _document(
        {"object": "paths"},
        findings=_list(_object({"severity": "severity", "text": "what", "text?": "cure"})),
    ),
    "Plan": _document(
        {"flag": "dry_run"},
        tasks=_list(_object({"text": "task", "action": "action", "texts": "consequences"})),
    ),
    "Health": {
        "anyOf": [
            _document({"severity": "severity", "instant?": "last_tick"}),  # without a login
            _document(
                {
                    "severity": "severity",
                    "text": "what",
                    **{f"{kind.rstrip('?')}?": names for kind, names in STANDING.items()},
                }
            ),
        ]
    },
    "Changes": _document({"text": "tag"}),
    "Error": _document({"text": "error", "whole": "status"}),
}


# ---- addresses

# The parameters of addresses: their kinds, and what they say.
PARAMETERS: Mapping[str, tuple[Schema, str]] = {
    "name": (PLAIN["text"], "name or id of a task"),
    "key": ({"type": "string", "pattern": "^[0-9]+$"}, "id of a run"),
    "strict": (PLAIN["flag"], "answer 503 on a warning, too"),
    "kind": (PLAIN["text"], "kinds of schedule, a,b"),
    "like": (PLAIN["text"], "a text in the name"),
    "enabled": (PLAIN["flag"], "only tasks that are, or are not"),
    "failing": (PLAIN["flag"], "only tasks whose last run went wrong, or did not"),
    "after": (PLAIN["text"], "only names after this one: the last of the page before"),
    "limit": ({"type": "integer", "minimum": 1, "maximum": 1000}, "how many at most"),
    "task": (PLAIN["text"], "names or ids of tasks, a,b"),
    "state": (PLAIN["text"], "states of runs, a,b; bad stands for failed,timed_out,lost"),
    "since": (PLAIN["text"], "from this time on: a length of time ago (7d) or an instant"),
    "until": (PLAIN["text"], "up to this time"),
    "before": (
        {"type": "integer", "minimum": 1},
        "only runs with a smaller id: the last of the page before",
    ),
    "from": (PLAIN["text"], "start at this instant, which may be past"),
    "at": (PLAIN["text"], "explain only the slot at this instant"),
    "dry_run": (PLAIN["flag"], "only tell the changes"),
    "force": (PLAIN["flag"], "also while it runs: that run is cancelled"),
}
START: Schema = {"type": "integer", "minimum": 0}
BODIES: Mapping[str, Schema] = {
    "run": {"slot": PLAIN["text"], "force": PLAIN["flag"], "reason": PLAIN["text"]},
    "cancel": {"reason": PLAIN["text"]},
    "hold": {"for": PLAIN["text"], "reason": PLAIN["text"]},
}
# Method and path; what it does; its parameters beside those of the path; code and document of its answer.
OPERATIONS = """
GET    /status                  | whether all is well: 200, or 503            | strict                          | 200 Health
GET    /metrics                 | metrics for a monitoring system             |                                 | 200 application/openmetrics-text
GET    /changes                 | a tag that changes with the database        |                                 | 200 Changes
GET    /runs/{key}/output       | output of a run from a byte on              | from                            | 200 text/plain
GET    /api/openapi.json        | this description                            |                                 | 200 any
GET    /api/status              | status --json                               |                                 | 200 Status
GET    /api/tasks               | list --json                                 | kind like enabled failing after limit | 200 Tasks
GET    /api/tasks/{name}        | show NAME --json                            |                                 | 200 Tasks
PUT    /api/tasks/{name}        | make a task what a definition says          | dry_run                         | 200 Plan
DELETE /api/tasks/{name}        | remove a task                               | force                           | 200 Plan
POST   /api/tasks/{name}/run    | start a run                                 |                                 | 202 Runs
POST   /api/tasks/{name}/enable | start scheduling a task again               |                                 | 200 Tasks
POST   /api/tasks/{name}/disable | stop scheduling a task                     |                                 | 200 Tasks
GET    /api/runs                | history --json                              | task state since until before limit | 200 Runs
GET    /api/runs/{key}          | show RUN --json                             |                                 | 200 Runs
POST   /api/runs/{key}/cancel   | stop a run                                  |                                 | 202 Runs
GET    /api/next                | next --json                                 | task from until limit           | 200 Next
GET    /api/agenda              | next --until WHEN --json                    | task until                      | 200 Agenda
GET    /api/stats               | stats --json                                | task since until                | 200 Stats
GET    /api/explain             | explain NAME --json                         | task at since until             | 200 Explanation
GET    /api/doctor              | doctor --json                               |                                 | 200 Checkup
POST   /api/hold                | pause all scheduled runs                    |                                 | 200 Status
POST   /api/resume              | resume scheduled runs                       |                                 | 200 Status
"""
ROLES = {"GET": "see", "POST": "operate", "PUT": "define", "DELETE": "define"}


def _operation(method: str, path: str, does: str, names: str, answer: str) -> Schema:
    code, document = answer.split()
    inner = [name for name in ("name", "key") if f"{{{name}}}" in path]
    found: Schema = {
        "summary": does,
        "description": f"Needs the role {ROLES[method]}.",
        "parameters": [
            *(_parameter(name, "path", path) for name in inner),
            *(_parameter(name, "query", path) for name in names.split()),
        ],
        "responses": {code: _answer(document), "default": _answer("Error")},
    }
    if path == "/status":
        found["responses"]["503"] = _answer(document)
        found["description"] += " Without a login it tells the severity and the last tick."
    if path == "/changes":
        found["responses"]["304"] = {"description": "the tag is the one of If-None-Match"}
    if method in ("POST", "PUT"):
        content = {"application/json": {"schema": _body(method, path)}}
        found["requestBody"] = {"content": content, "required": method == "PUT"}
    return found


def _parameter(name: str, place: str, path: str) -> Schema:
    schema, does = PARAMETERS[name]
    if name == "from" and path.endswith("/output"):
        schema, does = START, "the first byte: the header X-Next of the part before"
    required = place == "path" or (name == "task" and path == "/api/explain")
    return {"name": name, "in": place, "required": required, "description": does, "schema": schema}


def _answer(document: str) -> Schema:
    if "/" in document:
        return {"description": "the text", "content": {document: {"schema": PLAIN["text"]}}}
    known = document in SCHEMAS
    schema = {"$ref": f"#/components/schemas/{document}"} if known else PLAIN[document]
    return {"description": "the document", "content": {"application/json": {"schema": schema}}}


def _body(method: str, path: str) -> Schema:
    if method == "PUT":
        return {
            "type": "object",
            "description": "the keys of a task in a task file, such as every and command",
        }
    properties = BODIES.get(path.rpartition("/")[2], {})
    return {"type": "object", "properties": properties, "additionalProperties": False}


def description() -> Schema:
    """Return the whole description."""
    paths: Schema = {}
    for line in OPERATIONS.strip().splitlines():
        place, does, names, answer = (part.strip() for part in line.split("|"))
        method, path = place.split()
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, does, names, answer)
    return {
        "openapi": "3.1.0",
        "info": {"title": "taskrunner", "version": taskrunner.__version__},
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def text() -> str:
    """Return it as JSON."""
    return json.dumps(description(), indent=2)
