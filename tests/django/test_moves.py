"""A project whose old scheduler really runs is moved as its page says: then that is gone, and taskrunner runs the tasks."""

from __future__ import annotations

from datetime import time, timedelta

import pytest

from tests.django.conftest import Project
from tests.samples import ROOT, wait_for
from tests.test_docs import DOCS, END, MOVES, check_examples, perform, set_clock

# A page has some thirty commands, each a new process.
pytestmark = [pytest.mark.slow, pytest.mark.one_python, pytest.mark.timeout(1000)]

# For each page: the packages of the old scheduler, steps before some of its headings, tasks that come due.
CASES = {
    "move-django-apscheduler": (
        ["django_apscheduler"],
        {
            "List the old jobs": "apscheduler_runs",
            "Stop the old scheduler, then apply": "apscheduler_is_down",
            END: "apscheduler_is_gone",
        },
        {"clear-sessions", "remind"},
    ),
    "move-django-crontab": (
        ["django_crontab"],
        {"List the old jobs": "cron_runs", "Try it": "cron_has_nothing"},
        {"clear-sessions", "remind"},
    ),
    "move-celery-beat": (
        ["celery", "django_celery_beat"],
        {
            "Take the rows out": "beat_runs",
            "Stop beat, then apply": "beat_is_down",
            "Translation table": "worker_runs",
        },
        {"clean", "queue_report"},  # the report is past its deadline by then
    ),
}


@pytest.mark.parametrize("page", CASES)
def test_a_project_is_moved_as_the_page_says(page, tmp_path):
    packages, old, tasks = CASES[page]
    pytest.importorskip("django")
    for name in packages:
        pytest.importorskip(
            name, reason=f"{name} is not installed: it does not support this Python or Django"
        )
    before = {
        heading: f'"$PYTHON" -m tests.django.old_side {step}' for heading, step in old.items()
    }
    start = time(17, 30)
    check_examples(perform(DOCS / "how-to" / f"{page}.md", tmp_path, start, before))

    project = Project(tmp_path / "reader" / "site")
    settings = (project.folder / "crm" / "settings.py").read_text()
    assert not any(f'"{name}"' in settings for name in packages)
    set_clock(tmp_path / "clock", start, later=timedelta(days=7))
    project.env = {"PYTHONPATH": f"{tmp_path / 'clock'}:{ROOT}"}
    project.does("taskrunner", "tick")

    def ran():
        runs = project.run("history", "--state", "succeeded")["runs"]
        ended = [each["task"] for each in runs if each["trigger"] != "manual"]
        return sorted(tasks) == sorted(each for each in ended if each in tasks)

    wait_for(ran)


def test_each_page_whose_examples_run_here_is_left_out_elsewhere():
    assert {page.stem for page in MOVES} == set(CASES)
