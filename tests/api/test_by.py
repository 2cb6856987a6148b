"""The author of a change: a person whom a program acts for, told in the ledger, in reasons and by `explain`."""

import pytest

from taskrunner import Every, InputError, Manual, State, TaskRunner
from tests.samples import wait_for


def authors(runner, name="x"):
    return [(each.what.split(":")[0], each.by) for each in runner.explain(name).changes]


def test_each_change_has_the_author_that_is_given(runner, clock, home):
    runner.add("x", ["true"], Every("1h"), by="ann")
    clock.forward(minutes=1)
    runner.set("x", timeout="5m", by="bob")
    runner.disable("x", by="cid")
    runner.enable("x", by="dan")
    hold = runner.hold(by="eve")
    runner.resume(by="fay")
    runner.add("x", ["false"], Every("1h"), replace=True, by="gil")
    file = home.parent / "tasks.toml"
    file.write_text('[tasks.x]\nevery = "2h"\ncommand = ["true"]\n')
    runner.apply(file, by="hal")
    runner.remove("x", by="ida")
    assert hold.by == "eve"
    assert authors(runner) == [
        ("added", "ann"),
        ("changed", "bob"),
        ("disabled", "cid"),
        ("enabled", "dan"),
        ("held", "eve"),
        ("resumed", "fay"),
        ("changed", "gil"),
        ("changed", "hal"),
        ("removed", "ida"),
    ]


def test_the_author_of_lines_of_a_crontab_is_reported(runner):
    runner.import_crontab(text="0 5 * * * /bin/true\n", by="ann")
    (task,) = runner.tasks()
    assert authors(runner, task.name) == [("added", "ann")]


def test_a_run_by_hand_reports_by_whom_and_why(runner):
    runner.add("x", ["true"], Manual())
    plain, asked = runner.run("x"), runner.run("x", by="ann", reason="the disk was full")
    silent = runner.run("x", by="bob", detach=False)
    told = [runner.explain(f"run:{run.id}").slots[0].reason for run in (plain, asked, silent)]
    assert told == [
        "started by hand; exit code 0",
        "started by hand by ann: the disk was full; exit code 0",
        "started by hand by bob; exit code 0",
    ]
    assert [what for what, _ in authors(runner)] == ["added"]  # a run is no change of its task


def test_who_cancelled_a_run_stands_in_its_reason(runner):
    runner.add("x", ["true"], Manual())
    reasons = []
    for given in ({"by": "ann"}, {"by": "ann", "reason": "too slow"}, {"reason": "so it is"}):
        pending(runner)
        (run,) = runner.cancel("x", **given)
        reasons.append(run.reason)
    assert reasons == [
        "cancelled by ann before it started",
        "cancelled by ann: too slow before it started",
        "so it is before it started",
    ]


def pending(runner):
    from taskrunner.tick import by_hand

    here = runner._here()
    with here.store.transaction():
        by_hand.request(here, runner.task("x"), by_hand.Asked(), here.now())


def test_a_cancel_that_does_not_wait_still_ends_a_run_that_ignores_term(home):
    with TaskRunner(home) as runner:
        runner.add(
            "x", shell="trap '' TERM; echo up; sleep 600", schedule=Manual(), kill_after="1s"
        )
        run = runner.run("x", detach=True)
        wait_for(lambda: runner.written(run).size)
        (told,) = runner.cancel(run.id, by="ann", wait=False)
        assert told.state is State.RUNNING
        ended = wait_for(lambda: runner.history(state="cancelled"))
        assert ended[0].reason.startswith("cancelled by ann")


@pytest.mark.parametrize("by", ["", "two\nlines", "x" * 101, 7])
def test_a_name_is_one_short_line(runner, by):
    with pytest.raises(
        InputError, match="is not a valid name of an author: write one line of 1 to 100"
    ):
        runner.hold(by=by)
