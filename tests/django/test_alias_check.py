"""The system check of the alias: missing, able to write, of another home, without its router."""

from types import SimpleNamespace

import pytest

pytest.importorskip("django")

from taskrunner.django import alias_check
from taskrunner.django.router import NAME, database

pytestmark = pytest.mark.xdist_group("django")


@pytest.fixture
def faults(site, monkeypatch):
    """Return what tells the faults of an alias, each with its level."""

    def found(alias, routers=(NAME,), home=None):
        given = {} if alias is None else {"taskrunner": alias}
        made = SimpleNamespace(DATABASES=given, DATABASE_ROUTERS=list(routers))
        monkeypatch.setattr(alias_check, "settings", made)
        messages = list(alias_check.check_alias(str(home or site.home)))
        assert all(each.id == "taskrunner.E002" and each.hint for each in messages)
        return [(type(each).__name__, each.msg) for each in messages]

    return found


def test_the_alias_of_the_home_has_no_fault(faults, site, tmp_path):
    assert faults(database(site.home)) == []
    odd = tmp_path / "what? 100% #1"
    assert faults(database(odd), home=odd) == []
    link = tmp_path / "link"
    link.symlink_to(site.home)
    assert faults(database(link)) == []


def test_a_missing_alias_is_a_warning_for_the_admin_and_an_error_beside_its_router(
    faults, monkeypatch
):
    monkeypatch.setattr("sys.argv", ["manage.py", "migrate"])
    assert faults(None, routers=()) == []
    monkeypatch.setattr("sys.argv", ["manage.py", "check"])
    ((kind, text),) = faults(None, routers=())
    assert kind == "Warning"
    assert text == "DATABASES has no alias 'taskrunner', so the admin shows no tasks and runs"
    ((kind, _),) = faults(None)
    assert kind == "Error"


def test_an_alias_that_could_write_or_reads_something_else_is_an_error(faults, site, tmp_path):
    good = database(site.home)
    plain = str(site.home / "taskrunner.db")
    for alias, told in (
        ({**good, "NAME": good["NAME"].replace("mode=ro", "mode=rw")}, "which may write"),
        ({**good, "NAME": good["NAME"].partition("?")[0]}, "which may write"),
        ({**good, "NAME": plain}, "is not the database of taskrunner, opened read-only"),
        ({**good, "ENGINE": "django.db.backends.postgresql"}, "is not the database of taskrunner"),
        (database(tmp_path / "elsewhere"), "but the home is"),
    ):
        ((kind, text),) = faults(alias)
        assert kind == "Error" and told in text, text


def test_an_alias_without_the_router_is_an_error(faults, site):
    ((kind, text),) = faults(database(site.home), routers=())
    assert kind == "Error" and "DATABASE_ROUTERS has no" in text


def test_the_check_is_one_of_the_project(site, monkeypatch):
    from django.conf import settings
    from django.core.checks import run_checks

    assert "taskrunner.E002" not in [each.id for each in run_checks()]
    monkeypatch.setattr(settings, "DATABASE_ROUTERS", [])
    assert "taskrunner.E002" in [each.id for each in run_checks()]
