"""The documents of the command line, from the library: the same to the letter."""

import pytest

import taskrunner
from taskrunner import Every, InputError, TaskRunner, ZoneError
from tests.samples import call


@pytest.fixture
def door(home):
    with TaskRunner(home) as made:
        made.add("x", ["sh", "-c", "exit 3"], Every("1d"), env={"API_TOKEN": "secret"}, now=True)
        made.tick()
        yield made


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("list", lambda door: {"tasks": door.tasks()}),
        ("history", lambda door: {"runs": door.history()}),
        ("history --state lost", lambda door: {"runs": []}),
        ("next", lambda door: {"next": door.next()}),
    ],
)
def test_a_list_under_its_key_is_the_document_of_its_verb(door, home, words, answer):
    assert taskrunner.document(**answer(door)) + "\n" == call(home, *words.split(), "--json")[0]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("status", lambda door: door.status()),
        ("stats", lambda door: door.stats()),
        ("explain x", lambda door: door.explain("x")),
        ("prune --dry-run", lambda door: door.prune(dry_run=True)),
    ],
)
def test_an_answer_is_the_document_of_its_verb(door, home, words, answer):
    assert taskrunner.document(answer(door)) + "\n" == call(home, *words.split(), "--json")[0]


def test_what_has_no_document_is_refused(door):
    with pytest.raises(InputError, match="'int' has no document"):
        taskrunner.document(7)
    with pytest.raises(InputError, match="give one of the two"):
        taskrunner.document(door.status(), runs=[])


def test_a_sentence_is_told_in_a_zone():
    said = "the task was added only later: at 2026-07-01 10:00:00 UTC by ann"
    assert taskrunner.in_zone(said, "Europe/Berlin") == said.replace(
        "10:00:00 UTC", "12:00:00 CEST"
    )
    assert taskrunner.in_zone(said, "UTC") == said
    with pytest.raises(ZoneError):
        taskrunner.in_zone(said, "Moon/Base")
