"""The queries of the pages of the admin: few, as many for a long history as for a short one, each along an index."""

import re
from contextlib import ExitStack

import pytest

pytest.importorskip("django")

from tests.benchmarks import homes
from tests.benchmarks.django_admin import PAGES, RUNS, places

pytestmark = [pytest.mark.xdist_group("django"), pytest.mark.one_python]
SIZES = {"small": (60, 600), "large": (120, 4000)}  # tasks and runs
MOST = 5  # queries of one page over the alias
# From the newest run on, or the oldest, up to the bound: the table itself is in this order.
NEWEST = re.compile(r'FROM "runs" ORDER BY "runs"."id" (?:ASC|DESC) LIMIT 10000$')
# Rows that are few whatever the history: those of a page by their ids, and the live ones.
FEW = re.compile(r'"id" IN \(%s|INDEXED BY runs_(?:waiting|running) ')


@pytest.fixture(params=SIZES)
def asked(request, site):
    """Return what tells the queries of a page over the alias, each with its plan."""
    tasks, runs = SIZES[request.param]
    homes.with_history(site.home, runs, tasks=tasks)
    client = site.client(site.superuser())

    def ask(page):
        from django.db import connections

        found = []

        def seen(execute, sql, params, many, context):
            found.append((sql, params))
            return execute(sql, params, many, context)

        with ExitStack() as stack:
            stack.enter_context(connections["taskrunner"].execute_wrapper(seen))
            answer = client.get(page.format(**places(tasks, runs)))
        assert answer.status_code == 200
        with connections["taskrunner"].cursor() as cursor:
            return [(sql, plan(cursor, sql, params)) for sql, params in found]

    return ask


def plan(cursor, sql, params):
    cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
    return [row[3] for row in cursor.fetchall()]


@pytest.mark.slow
def test_each_page_asks_little_and_along_an_index(asked):
    for page in PAGES:
        queries = asked(page)
        assert len(queries) <= MOST, (page, [sql for sql, _ in queries])
        for sql, steps in queries:
            for step in steps:
                whole = step.startswith("SCAN ") and " USING " not in step
                if whole and "(subquery" not in step:
                    assert step == "SCAN runs" and NEWEST.search(sql), (page, sql, steps)
                if "TEMP B-TREE" in step:
                    assert FEW.search(sql), (page, sql, steps)


def test_a_store_with_no_success_for_long_is_not_read_to_its_beginning(site, monkeypatch):
    from taskrunner.django import run_filters

    monkeypatch.setattr(run_filters, "LOOKED_AT", 100)
    homes.with_history(site.home, 600, tasks=60)
    client = site.client(site.superuser())
    for query, most in (("?state=succeeded", 98), ("?state=succeeded&task=1", 5)):
        text = client.get(RUNS + query).content.decode()
        found = int(re.search(r"(\d+) runs", text)[1])
        assert most - 5 <= found <= most, query
