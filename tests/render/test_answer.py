"""The documents of the command line, from the library: the same to the letter."""

import pytest

import taskrunner
from taskrunner import Every, InputError, TaskRunner, ZoneError
from tests.samples import call


@pytest.fixture
def runner(home):
    with TaskRunner(home) as made:
        made.add("x", ["sh", "-c", "exit 3"], Every("1d"), env={"API_TOKEN": "secret"}, now=True)
        made.tick()
        yield made


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("list", lambda runner: {"tasks": runner.tasks()}),
        ("history", lambda runner: {"runs": runner.history()}),
        ("history --state lost", lambda runner: {"runs": []}),
        ("next", lambda runner: {"next": runner.next()}),
    ],
)
def test_a_list_under_its_key_is_the_document_of_its_verb(runner, home, words, answer):
    assert taskrunner.document(**answer(runner)) + "\n" == call(home, *words.split(), "--json")[0]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("status", lambda runner: runner.status()),
        ("stats", lambda runner: runner.stats()),
        ("explain x", lambda runner: runner.explain("x")),
        ("prune --dry-run", lambda runner: runner.prune(dry_run=True)),
    ],
)
def test_an_answer_is_the_document_of_its_verb(runner, home, words, answer):
    assert taskrunner.document(answer(runner)) + "\n" == call(home, *words.split(), "--json")[0]


def test_what_has_no_document_is_refused(runner):
    with pytest.raises(InputError, match="'int' has no document"):
        taskrunner.document(7)
    with pytest.raises(InputError, match="give one of the two"):
        taskrunner.document(runner.status(), runs=[])


def test_a_sentence_is_reported_in_a_zone():
    said = "the task was added only later: at 2026-07-01 10:00:00 UTC by ann"
    assert taskrunner.in_zone(said, "Europe/Berlin") == said.replace(
        "10:00:00 UTC", "12:00:00 CEST"
    )
    assert taskrunner.in_zone(said, "UTC") == said
    with pytest.raises(ZoneError):
        taskrunner.in_zone(said, "Moon/Base")
