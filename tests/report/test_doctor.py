"""What `doctor` finds, each with its cure, and what `status --check` makes of it in one line."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from taskrunner import Cron, Every, Manual, clock, host, schema
from taskrunner.api.task_runner import TaskRunner
from taskrunner.cli import main
from taskrunner.cli.common import Arguments
from taskrunner.clocks import cron_text, entry, install_cron, install_systemd, systemd_text
from taskrunner.home import heartbeat, lock, program
from taskrunner.model.values import Severity
from taskrunner.processes import alive as processes
from taskrunner.report.doctor import check_host, check_store
from taskrunner.report.doctor.monitoring import alive
from taskrunner.schedule import of_task
from taskrunner.store.health import health
from tests.samples import start, wait_for

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
TRUE = ["/bin/true"]


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine whose cron and systemd are files below a folder: nothing real is asked."""
    root = tmp_path / "machine"
    for name in ("cron.d", "units", "tools", "linger"):
        (root / name).mkdir(parents=True)
    monkeypatch.setattr(install_cron, "CRON_FOLDER", str(root / "cron.d"))
    monkeypatch.setattr(install_cron, "CRONTAB", str(root / "crontab"))
    monkeypatch.setattr(install_systemd, "UNIT_FOLDERS", (str(root / "units"),))
    monkeypatch.setattr(install_systemd, "LINGER", str(root / "linger"))
    monkeypatch.setenv("PATH", str(root / "tools"))
    monkeypatch.setattr("taskrunner.processes.programs.TOOLS", ())
    seen = SimpleNamespace(root=root, cron=True, tab=root / "tab")
    monkeypatch.setattr(install_cron, "alive", SimpleNamespace(process_named=lambda *_: seen.cron))
    tool(root, "crontab", f'[ ! -e {seen.tab} ] || while read -r x; do echo "$x"; done <{seen.tab}')
    return seen


def tool(root, name: str, does: str) -> None:
    file = root / "tools" / name
    file.write_text(f"#!/bin/sh\n{does}\n")
    file.chmod(0o755)


def by_cron(machine, home, words=None, when=cron_text.EVERY_MINUTE) -> None:
    line = cron_text.entry((*(words or program.own()), "--home", str(home), "tick"))
    with machine.tab.open("a") as file:
        file.write(line.replace(cron_text.EVERY_MINUTE, when) + "\n")


def ticked(home, ago: float = 30.0, caller: str = "cron") -> None:
    at = clock.to_ms(NOW - timedelta(seconds=ago))
    heartbeat.write(str(home / "heartbeat"), heartbeat.Beat(at, 60_000, "", caller))


PROGRAMS = {
    *(
        "systemctl",
        "loginctl",
        "timedatectl",
        "crontab",
        "cron",
        "crond",
        "fuser",
        "sqlite3",
        "pipx",
        "uv",
    ),
    *("chmod", "chown", "kill", "mv", "rm", "mkdir"),
}


def examined(home):
    with TaskRunner(home, clock=lambda: NOW) as made:
        checkup = made.doctor()
    for each in checkup.findings:
        works_as_printed(each.cure or "")
    return checkup


def works_as_printed(cure):
    """Each command of a cure is one: our own parser takes it, a program of others is known, nothing is left open."""
    for command in re.findall("`([^`]*)`", cure):
        first, *words = shlex.split(command)
        assert not [word for word in words if re.fullmatch("[A-Z]{2,}", word)], command
        if first == "taskrunner":
            main._read(words, Arguments())
        else:
            assert os.path.basename(first) in PROGRAMS, command


def found(home, severity=None) -> str:
    """All that was found of a severity, with the cures, as one text."""
    chosen = [each for each in examined(home).findings if severity in (None, each.severity)]
    return "\n".join(f"{each.what} => {each.cure}" for each in chosen)


@pytest.fixture
def well(machine, home):
    """A home of which nothing is to be said."""
    with TaskRunner(home, clock=lambda: NOW) as made:
        made.add("report", TRUE, Every("1d"), cwd="/", user=None)
    by_cron(machine, home)
    ticked(home)
    return home


# ---- all is well


def test_a_home_that_is_well_has_no_warning(well, monkeypatch):
    monkeypatch.setattr(program, "changeable_by", lambda _: None)
    assert found(well, "warning") == ""
    assert found(well, "error") == ""
    assert examined(well).severity is Severity.OK


def test_ok_findings_have_the_versions_and_the_paths(well):
    said = found(well, "ok")
    assert "SQLite " in said
    assert "the last tick came 30s ago, by cron" in said
    assert examined(well).paths["store"] == str(well / "taskrunner.db")


def test_the_exit_code_is_the_worst_that_was_found(well, monkeypatch, capsys):
    monkeypatch.setattr(program, "changeable_by", lambda _: None)
    monkeypatch.setattr(clock, "now", lambda: NOW)
    assert main.main(["--home", str(well), "doctor"]) == 0
    well.chmod(0o755)
    assert main.main(["--home", str(well), "doctor"]) == 1
    (well / "heartbeat").unlink()
    assert main.main(["--home", str(well), "doctor"]) == 2
    assert capsys.readouterr().out.splitlines()[-1].startswith("zone_data")


def test_the_document_has_findings_with_cures_and_paths(well, capsys):
    (well / "heartbeat").unlink()
    assert main.main(["--home", str(well), "doctor", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["version"] == 1
    assert set(document) == {"version", "findings", "paths"}
    first = document["findings"][0]
    assert set(first) == {"severity", "what", "cure"}
    assert first["severity"] == "error"
    assert document["paths"]["home"] == str(well)


def test_every_finding_that_is_not_well_has_a_cure(home, machine):
    for each in examined(home / "nowhere").findings:
        assert (each.severity is Severity.OK) == (each.cure is None)


def test_doctor_writes_nothing(home, machine):
    examined(home)
    assert list(home.iterdir()) == []


def test_doctor_and_the_check_leave_no_file_beside_a_store(well):
    before = {file.name: file.read_bytes() for file in well.iterdir() if file.is_file()}
    alive(str(well), NOW)
    health(str(well), thorough=True)
    assert {file.name: file.read_bytes() for file in well.iterdir() if file.is_file()} == before


# ---- the clock


def test_no_entry_and_no_tick_is_an_error(home, machine):
    assert "nothing calls a tick of" in found(home, "error")


def test_a_home_whose_clock_is_an_application_is_not_sent_to_cron_first(well, machine):
    machine.tab.write_text("")
    (well / "heartbeat").unlink()
    (well / "application.lock").touch()
    cures = [each.cure for each in examined(well).findings if each.severity == "error"]
    assert cures and all(each.startswith("start the application") for each in cures), cures


def test_no_entry_is_not_an_error_while_ticks_come(home, machine):
    ticked(home, caller="daemon")
    assert "nothing calls" not in found(home)


def test_no_entry_is_reported_when_only_a_person_has_called_a_tick(home, machine):
    """It would be an error a few minutes later, when nobody looks any more."""
    ticked(home, caller="hand")
    assert "no crontab and no unit calls a tick" in found(home, "warning")
    ticked(home, caller="supervisord")
    assert "no crontab" not in found(home)


def test_a_tick_by_hand_beside_a_daemon_is_nothing_to_tell(home, machine):
    """`taskrunner run` calls a tick after its run."""
    ticked(home, caller="hand")
    with lock.held(str(home / "daemon.lock")):
        assert "no crontab" not in found(home)


def test_a_tick_by_hand_beside_an_entry_is_nothing_to_tell(well):
    ticked(well, caller="hand")
    assert "no crontab" not in found(well)


def test_an_entry_of_another_home_is_reported(well, machine, tmp_path):
    said = found(tmp_path / "b")
    assert f"calls taskrunner for another home, {well}" in said


def test_an_old_tick_is_an_error(well):
    ticked(well, ago=600)
    assert "no tick has come for 10m" in found(well, "error")


def test_a_tick_that_is_to_come_is_reported(well):
    ticked(well, ago=-3600)
    assert "which is in the future" in found(well, "warning")


def test_two_lines_of_one_home_are_reported(well, machine):
    by_cron(machine, well)
    assert "cron calls a tick of this home from 2 places: line 1 of crontab" in found(well)


def test_a_line_in_the_system_s_folder_counts_and_one_with_a_dot_does_not(well, machine):
    words = (*program.own(), "--home", str(well), "tick")
    (machine.root / "cron.d" / "left.dpkg-old").write_text(cron_text.entry(words, "root") + "\n")
    assert "from 2 places" not in found(well)
    (machine.root / "cron.d" / "mine").write_text(cron_text.entry(words, "root") + "\n")
    assert "from 2 places" in found(well)


def test_no_cron_daemon_is_an_error_and_an_unknown_one_is_not(well, machine):
    machine.cron = False
    assert "the cron daemon is not running" in found(well, "error")
    machine.cron = None
    assert "cron daemon" not in found(well)


def test_a_program_that_is_gone_is_an_error(home, machine):
    by_cron(machine, home, ["/gone/taskrunner"])
    assert "calls /gone/taskrunner, which is missing or not executable" in found(home, "error")


def test_another_program_is_reported(home, machine):
    other = machine.root / "taskrunner"
    other.write_text("")
    other.chmod(0o755)
    by_cron(machine, home, [str(other)])
    assert f"calls another program, {other}" in found(home, "warning")


def test_another_environment_is_another_program_though_its_interpreter_is_the_same(home, machine):
    for name in ("a", "b"):
        (machine.root / name).mkdir()
        (machine.root / name / "python3").symlink_to(sys.executable)
    by_cron(machine, home, [str(machine.root / "a" / "python3"), "-P", "-m", "taskrunner"])
    assert "calls another program" in found(home, "warning")
    machine.tab.unlink()
    by_cron(machine, home, [sys.executable, "-P", "-m", "taskrunner"])
    assert "calls another program" not in found(home)


def test_a_program_without_its_path_is_reported(home, machine):
    by_cron(machine, home, ["taskrunner"])
    assert "calls taskrunner without its path" in found(home, "warning")


def test_a_clock_that_calls_less_often_is_reported_unless_the_period_is_set(well, machine):
    machine.tab.unlink()
    by_cron(machine, well, when="*/5 * * * *")
    assert "calls a tick at */5 * * * * only" in found(well, "warning")
    (well / "taskrunner.toml").write_text('tick_period = "5m"\n')
    assert "only" not in found(well, "warning")


def units(machine, home, *, daemon=False) -> None:
    texts = systemd_text.units(program.own(), str(home), user=False, daemon=daemon)
    for name, text in texts.items():
        (machine.root / "units" / name).write_text(text)


def test_a_timer_that_is_not_active_is_an_error(well, machine):
    units(machine, well)
    tool(machine.root, "systemctl", "echo inactive; exit 3")
    assert "taskrunner.timer is not active" in found(well, "error")


def test_a_timer_of_which_nobody_knows_is_not_an_error(well, machine):
    units(machine, well)
    assert "is not active" not in found(well)


def test_two_clocks_at_once_are_harmless_and_told(well, machine):
    units(machine, well)
    tool(machine.root, "systemctl", "echo active")
    assert "cron and systemd both call ticks of this home; harmless" in found(well, "warning")


def test_a_daemon_that_no_unit_keeps_is_reported_beside_another_clock(well):
    ticked(well, caller="daemon")
    told = "a daemon ticks in this home, and cron also calls ticks; harmless, but one is enough"
    assert told in found(well, "warning")


def test_a_daemon_is_reported_also_when_the_last_tick_was_of_the_other_clock(well):
    with start(well, "daemon", "--interval", "1h") as process:
        try:
            supervisors = well / "supervisors"
            wait_for(lambda: supervisors.exists() and any(supervisors.iterdir()))
            wait_for(lambda: heartbeat.read(str(well / "heartbeat")).at > clock.to_ms(NOW))
            ticked(well, caller="cron")
            assert "a daemon ticks in this home, and cron also calls ticks" in found(
                well, "warning"
            )
        finally:
            process.terminate()
            process.communicate(timeout=100)
    assert "a daemon ticks" not in found(well)


def daemons(home, count):
    """So many daemons in one home, which have begun."""
    started = [start(home, "daemon", "--interval", "1h").__enter__() for _ in range(count)]
    pids = {str(each.pid) for each in started}
    place = home / "supervisors"
    wait_for(
        lambda: place.exists() and pids <= {each.name.split("-")[0] for each in place.iterdir()}
    )
    return started


def end(processes):
    for each in processes:
        each.terminate()
    for each in processes:
        each.communicate(timeout=100)


def test_several_daemons_are_reported_with_the_command_that_ends_all_but_one(well, machine):
    machine.tab.unlink()
    started = daemons(well, 3)
    try:
        ticked(well, ago=3600, caller="cron")
        said = found(well)
        told = re.search(r"3 daemons tick in this home .* => `kill ([0-9 ]+)`", said)
        assert "nothing calls a tick" not in said
        ended = {int(pid) for pid in told[1].split()}
        assert len(ended) == 2
        assert ended < {each.pid for each in started}
        subprocess.run(["/bin/sh", "-c", f"kill {told[1]}"], check=True)
        for each in started:
            if each.pid in ended:
                each.communicate(timeout=100)
        assert "daemons tick" not in found(well)
    finally:
        end(started)


def test_one_daemon_beside_cron_is_reported_with_the_command_that_ends_it(well):
    started = daemons(well, 1)
    try:
        assert f"`kill {started[0].pid}`, or `taskrunner --home {well} uninstall cron`" in found(
            well, "warning"
        )
    finally:
        end(started)


def test_a_cron_that_is_a_zombie_does_not_run():
    if processes.process_named("zombiecron") is None:
        pytest.skip("/proc hides the processes of others from this user (hidepid)")
    code = "import ctypes; ctypes.CDLL(None).prctl(15, b'zombiecron', 0, 0, 0)"
    child = subprocess.Popen([sys.executable, "-c", f"{code}; input()"], stdin=subprocess.PIPE)
    try:
        wait_for(lambda: processes.process_named("zombiecron"))
        child.stdin.close()
        wait_for(lambda: processes._stat(child.pid)[0] == "Z")
        assert processes.process_named("zombiecron") is False
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("caller", ["cron", "systemd", "daemon"])
def test_a_clock_that_was_just_taken_away_is_reported_while_its_last_tick_is_fresh(
    well, machine, caller
):
    ticked(well, caller=caller)
    assert "any more" not in found(well)
    machine.tab.unlink()
    (said,) = [each for each in found(well, "warning").split("\n") if "any more" in each]
    assert said.startswith(
        "the last tick was done by a daemon" if caller == "daemon" else f"{caller} called"
    )
    assert f"`taskrunner --home {well} install cron`" in said


def test_an_entry_whose_program_is_gone_is_not_called_well(home, machine):
    by_cron(machine, home, ["/gone/taskrunner"])
    ticked(home)
    assert "calls /gone/taskrunner, which is missing or not executable" in found(home, "error")
    assert "cron calls it" not in found(home)


def test_an_entry_of_a_program_made_for_one_call_is_reported(home, machine):
    file = machine.root / ".cache/uv/archive-v0/a1/bin/taskrunner"
    file.parent.mkdir(parents=True)
    file.write_text("")
    file.chmod(0o755)
    by_cron(machine, home, [str(file)])
    assert "made for one call and will remove => install it with `pipx install" in found(home)


def test_a_line_of_ours_and_one_of_somebody_are_taken_away_in_their_own_ways(home, machine):
    by_cron(machine, home)
    words = (*program.own(), "--home", str(home), "tick")
    text = cron_text.with_block(machine.tab.read_text(), str(home), cron_text.entry(words))
    machine.tab.write_text(text)
    said = found(home)
    assert f"keep one: `taskrunner --home {home} uninstall cron` for line 3 of crontab of" in said
    by_cron(machine, home)
    assert "remove line 5 of crontab of" in found(home)


def test_all_entries_are_listed_with_how_to_remove_them(well):
    said = found(well, "ok")
    assert "to remove taskrunner with its tasks and history: remove line 1 of crontab" in said
    assert f"then `rm -r {well}`" in said


def test_the_commands_name_a_home_that_is_not_found_by_itself(tmp_path, machine):
    place = tmp_path / "another home"
    with TaskRunner(place, clock=lambda: NOW) as made:
        made.add("x", TRUE, Every("1d"), cwd="/nowhere")
    said = found(place)
    assert f"`taskrunner --home '{place}' install cron`" in said
    assert f"`taskrunner --home '{place}' disable x`" in said
    assert "`taskrunner install" not in said


def test_a_note_about_two_lines_is_given_once(well, machine):
    by_cron(machine, well)
    machine.cron = False
    assert found(well).count("the cron daemon is not running") == 1


def test_a_unit_without_its_timer_calls_nothing(home, machine):
    units(machine, home)
    (machine.root / "units" / "taskrunner.timer").unlink()
    assert "nothing calls a tick" in found(home, "error")


def test_user_units_without_lingering_are_reported(well, machine):
    folder = machine.root / "home" / "systemd" / "user"
    os.environ["XDG_CONFIG_HOME"] = str(machine.root / "home")
    try:
        folder.mkdir(parents=True)
        texts = systemd_text.units(program.own(), str(well), user=True, daemon=False)
        for name, text in texts.items():
            (folder / name).write_text(text)
        assert "lingering is off" in found(well, "warning")
        (machine.root / "linger" / entry.account()[0]).write_text("")
        assert "lingering" not in found(well)
    finally:
        del os.environ["XDG_CONFIG_HOME"]


# ---- the home and its disk


def test_a_refused_home_is_a_finding(well):
    well.chmod(0o770)
    assert "can be written by others" in found(well, "error")


def test_a_home_that_others_can_look_into_is_reported(well):
    well.chmod(0o755)
    assert f"chmod 700 {well}" in found(well, "warning")


def test_a_file_of_another_user_in_the_home_is_an_error(well, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(well / "heartbeat", 4321, 4321)
    assert "heartbeat belongs to user id 4321" in found(well, "error")


@pytest.mark.parametrize("name", ["output", "backups", "supervisors", "spool"])
@pytest.mark.parametrize("what", ["file", "link"])
def test_a_folder_of_the_home_that_is_none_is_reported_and_the_cure_works(well, name, what):
    place = well / name
    if place.exists():
        shutil.rmtree(place)
    place.write_text("") if what == "file" else place.symlink_to("nowhere")
    (said,) = [
        each for each in found(well, "error").split("\n") if f"{place} is not a folder" in each
    ]
    (command,) = re.findall("`([^`]*)`", said)
    subprocess.run(["/bin/sh", "-c", command], check=True, env={"PATH": "/usr/bin:/bin"})
    assert "is not a folder" not in found(well)


@pytest.mark.parametrize("name", ["heartbeat", "tick.lock"])
def test_a_file_of_the_home_that_is_a_folder_is_reported(well, name):
    (well / name).unlink(missing_ok=True)
    (well / name).mkdir()
    assert f"{well / name} is not a file => `mv " in found(well, "error")


@pytest.mark.parametrize("make", [lambda log: log.mkdir(), lambda log: log.symlink_to("x")])
def test_a_log_that_cannot_be_written_is_reported(well, make):
    log = well / "taskrunner.log"
    log.unlink(missing_ok=True)
    make(log)
    assert f"the log {log} is not a writable regular file" in found(well, "warning")
    (well / "taskrunner.toml").write_text('log_to = "none"\n')
    assert "the log" not in found(well)


@pytest.mark.parametrize("to", ["journal", "syslog"])
def test_a_log_target_that_nobody_listens_at_is_reported(well, tmp_path, monkeypatch, to):
    (well / "taskrunner.toml").write_text(f'log_to = "{to}"\n')
    place = tmp_path / "socket"
    monkeypatch.setattr(f"taskrunner.home.syslog.{to.upper()}", str(place))
    assert f'log_to = "{to}", but {place} is not there' in found(well, "warning")
    place.touch()
    assert "log_to" not in found(well)


def test_a_metrics_file_that_cannot_be_written_is_reported(well, tmp_path):
    place = tmp_path / "new folder" / "t.prom"
    (well / "taskrunner.toml").write_text(f'metrics_textfile = "{place}"\n')
    said = found(well, "warning")
    assert f"the metrics cannot be written to {place}: {place.parent} is not a folder" in said
    subprocess.run(
        ["/bin/sh", "-c", re.findall("`(mkdir [^`]*)`", said)[0]],
        check=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert "the metrics" not in found(well)
    place.mkdir()
    assert "it is a folder" in found(well, "warning")
    if os.geteuid() != 0:
        place.rmdir()
        place.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
        assert "cannot be written" in found(well, "warning")


def test_what_cannot_start_and_what_cannot_be_told_are_two_kinds_of_finding(well):
    with TaskRunner(well, clock=lambda: NOW) as made:
        made.set("report", notify="@ops", on_failure="mial a@b", cwd="/nowhere")
    said = found(well, "warning").split("\n")
    start = [each for each in said if each.startswith("report cannot start")]
    told = [each for each in said if each.startswith("report starts, but ")]
    assert len(start) == 1
    assert "/nowhere" in start[0]
    assert len(told) == 2
    assert "no channel 'ops'" in told[0] + told[1]
    assert "'mial' is not found" in told[0] + told[1]


def test_a_channel_whose_program_is_not_there_is_reported(well):
    (well / "taskrunner.toml").write_text(
        '[notify.a]\nkind = "command"\nshell = "mial x"\n'
        '[notify.b]\nkind = "mail"\nto = "x"\nsendmail = "/gone"\n'
        '[notify.c]\nkind = "mail"\n'
    )
    said = found(well, "warning")
    assert "the channel a cannot send: " in said
    assert "the channel b cannot send: the program '/gone' is not there" in said
    assert "no message is sent: the channel 'c' in " in said
    assert found(well, "error") == ""


def test_a_network_file_system_is_an_error_until_it_is_allowed(well, monkeypatch):
    monkeypatch.setattr("taskrunner.home.paths.network_file_system", lambda _: "nfs4")
    assert "is on nfs4" in found(well, "error")
    (well / "taskrunner.toml").write_text("allow_network_home = true\n")
    assert "is on nfs4" in found(well, "warning")


def test_runs_that_systemd_is_to_carry_and_cannot_are_a_warning(well, tmp_path, monkeypatch):
    monkeypatch.setattr("taskrunner.home.paths.runtime", lambda: str(tmp_path))
    assert "systemd answers" not in found(well)
    (well / "taskrunner.toml").write_text('carrier = "systemd"\n')
    told = found(well, "warning")
    assert (
        "systemd does not answer here: the tick runs the tasks itself => remove carrier from"
        in told
    )
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd/private").touch()
    assert found(well, "warning") == ""
    assert "systemd answers and runs the tasks" in found(well, "ok")


@pytest.mark.parametrize(
    ("free", "files", "severity"), [(1, 1, "error"), (100_000, 1, "warning"), (10**9, 0, "error")]
)
def test_little_room_on_the_disk_is_reported(well, monkeypatch, free, files, severity):
    room = SimpleNamespace(f_bavail=free, f_frsize=1000, f_files=10, f_flag=0, f_favail=files)
    monkeypatch.setattr(check_host.os, "statvfs", lambda _: room)
    assert "the disk of" in found(well, severity)


def test_a_bad_configuration_is_an_error(well):
    (well / "taskrunner.toml").write_text("max_parallel = 0\n")
    assert "max_parallel" in found(well, "error")


def test_ends_of_runs_that_wait_and_those_put_aside_are_reported(well):
    (well / "spool").mkdir(exist_ok=True)
    assert "spool" not in found(well)
    (well / "spool" / "1.me.json").write_text("x")
    assert f"ends of runs in {well}/spool are not yet written to the database: 1" in found(well)
    (well / "spool" / "1.me.json.refused").write_text("x")
    assert "1.me.json.refused could not be parsed" in found(well, "warning")


# ---- the store


def test_no_store_is_a_warning_and_none_is_made(home, machine):
    assert "there is no database" in found(home, "warning")


def test_a_locked_store_is_a_finding(well, monkeypatch):
    monkeypatch.setattr("taskrunner.store.health.PATIENCE", 0.05)
    with_lock = sqlite3.connect(well / "taskrunner.db", isolation_level=None)
    with_lock.execute("PRAGMA locking_mode = exclusive")
    with_lock.execute("BEGIN EXCLUSIVE")
    try:
        assert "the database is locked" in found(well, "error")
    finally:
        with_lock.close()


def test_a_store_that_is_none_is_a_finding(well):
    (well / "taskrunner.db").write_bytes(b"this is no store" * 100)
    assert "the database cannot be read: file is not a database" in found(well, "error")


def test_a_damaged_store_is_a_finding(well):
    store = well / "taskrunner.db"
    with TaskRunner(well, clock=lambda: NOW) as made:
        for number in range(300):
            made.add(f"t{number}", TRUE, Manual())
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    text = bytearray(store.read_bytes())
    text[2 * 4096 + 1 : 2 * 4096 + 3] = b"\xff\xf0"  # where a page has its first free block
    store.write_bytes(text)
    # SQLite 3.40 says "Page 3", and later ones "Tree 3 page 3".
    said = r"the database is damaged: \*\*\* in database main \*\*\* (Page|Tree 3 page) 3: "
    assert re.search(said, found(well, "error"))


def test_an_empty_store_is_a_finding(well):
    (well / "taskrunner.db").write_bytes(b"")
    assert "the database is empty" in found(well, "error")


def version(home, number: int) -> None:
    connection = sqlite3.connect(home / "taskrunner.db")
    connection.execute(f"PRAGMA user_version = {number}")
    connection.close()


def test_a_newer_store_is_a_finding(well):
    version(well, len(schema.STEPS) + 1)
    assert "newer than the" in found(well, "error")


def test_an_older_store_is_not_a_fault_and_stays_as_it_is(well):
    version(well, len(schema.STEPS) - 1)
    assert "the next verb brings it to" in found(well, "ok")
    assert not list((well / "backups").iterdir())


def test_a_large_log_is_reported(well, monkeypatch):
    monkeypatch.setattr(check_store, "LARGE_LOG", -1)
    assert "the write-ahead log of the database has grown" in found(well, "warning")


def test_a_hold_is_reported(well):
    with TaskRunner(well, clock=lambda: NOW) as made:
        made.hold(reason="the move")
    assert "(the move)" in found(well, "warning")


# ---- tasks and zones


def add(home, name="broken", **given) -> None:
    with TaskRunner(home, clock=lambda: NOW) as made:
        made.add(name, given.pop("command", TRUE), Every("1d"), **given)


def test_a_missing_requirement_of_a_task_is_reported(well, tmp_path):
    add(well, command=["/gone/backup"])
    add(well, "elsewhere", cwd=str(tmp_path / "gone"))
    add(well, "unset", env_file=str(tmp_path / "gone.env"))
    said = found(well, "warning")
    assert "broken cannot start: the program '/gone/backup' is not found" in said
    assert "elsewhere cannot start: the directory" in said
    assert "unset cannot start: the environment file" in said


def test_a_disabled_task_may_lack_what_it_likes(well):
    add(well, command=["/gone/backup"])
    with TaskRunner(well, clock=lambda: NOW) as made:
        made.disable("broken")
    assert "/gone/backup" not in found(well)


def test_a_zone_that_is_gone_is_an_error(well):
    connection = sqlite3.connect(well / "taskrunner.db")
    connection.execute("UPDATE tasks SET tz = 'Mars/Olympus'")
    connection.commit()
    connection.close()
    assert "report cannot be evaluated" in found(well, "error")


def test_a_host_zone_that_is_unknown_is_reported(well, monkeypatch):
    monkeypatch.setattr(clock, "local_zone", lambda: "Mars/Olympus")
    monkeypatch.setenv("TZ", "")
    assert "the zone of this host is not known" in found(well, "warning")


def test_a_relative_folder_on_path_is_reported(well):
    (well / "taskrunner.toml").write_text('path = "bin:/usr/bin"\n')
    assert "PATH of tasks has 'bin'" in found(well, "warning")


def test_a_path_without_a_folder_is_an_error(well):
    (well / "taskrunner.toml").write_text('path = "/gone"\n')
    assert "PATH of tasks has no folder" in found(well, "error")


# ---- zone data that change


@pytest.fixture
def zones(tmp_path, monkeypatch):
    """A folder of zone data of our own; `to` makes Test/Town another place."""
    folder = tmp_path / "zones"
    (folder / "Test").mkdir(parents=True)

    def to(name: str) -> None:
        shutil.copy(f"/usr/share/zoneinfo/{name}", folder / "Test" / "Town")
        (folder / "tzdata.zi").write_text(name)

    of_task.forget()
    to("Europe/Berlin")
    monkeypatch.setattr("zoneinfo.TZPATH", (str(folder),))
    monkeypatch.setattr("zoneinfo._tzpath.TZPATH", (str(folder),))
    monkeypatch.setattr(host, "ZONEINFO", str(folder))
    yield SimpleNamespace(to=to, folder=folder)
    of_task.forget()


@pytest.fixture
def town(zones, home, clock):
    """A home with a task at 14:00 in Test/Town, which a tick has seen."""
    with TaskRunner(home, clock=clock) as made:
        made.add("tea", TRUE, Cron("0 14 * * *"), tz="Test/Town")
        made.tick()
        yield made


def test_new_zone_data_move_slots_and_the_ledger_names_them(town, zones):
    zones.to("Europe/London")
    before = town.task("tea").next
    town.tick()
    assert town.task("tea").next - before == timedelta(hours=1)
    (change,) = [each for each in town.explain("tea").changes if each.what.startswith("moved")]
    move = "next slot 2026-11-20T13:00:00Z -> 2026-11-20T14:00:00Z, by new zone data"
    assert change.what == f"moved: {move}"
    assert "tea: next slot" in found_by(town)


def test_new_zone_data_that_move_nothing_are_not_reported(town, zones):
    zones.to("Europe/Vienna")
    town.tick()
    assert [each for each in town.explain("tea").changes if "moved" in each.what] == []


def test_doctor_says_what_the_next_tick_will_move(town, zones):
    zones.to("Europe/London")
    assert "have changed since the last tick, and move tea next slot" in found_by(town)


def test_a_zone_that_new_data_no_longer_have_stops_no_tick(town, zones, clock):
    town.add("other", TRUE, Every("1h"), tz="UTC")
    (zones.folder / "Test" / "Town").unlink()
    (zones.folder / "tzdata.zi").write_text("gone, all of it")
    clock.forward(hours=3)
    town.tick()
    assert town.history("other")[0].state == "succeeded"
    assert "tea cannot be evaluated" in found_by(town)


def found_by(made) -> str:
    return "\n".join(each.what for each in made.doctor().findings)


# ---- one line for a monitoring plugin


def line(home) -> tuple[str, str]:
    told = alive(str(home), NOW)
    return told.severity.value, told.what


def test_the_check_is_ok_when_ticks_come_and_no_task_fails(well):
    assert line(well) == ("ok", "last tick 30s ago by cron; 0 running, 0 pending, none failing")


def test_the_check_is_critical_without_a_tick_and_with_an_old_one(well):
    ticked(well, ago=600)
    assert line(well) == ("error", "no tick for 10m 00s (since 2026-11-20T11:50:00Z)")
    (well / "heartbeat").unlink()
    assert line(well) == ("error", "no tick has come yet")


def test_the_check_warns_of_tasks_that_fail_by_name(well):
    connection = sqlite3.connect(well / "taskrunner.db")
    connection.execute("UPDATE tasks SET last_state = 'failed'")
    connection.commit()
    connection.close()
    assert line(well) == ("warning", "1 task fails: report")


def test_the_check_warns_of_a_hold(well):
    with TaskRunner(well, clock=lambda: NOW) as made:
        made.hold()
    assert line(well)[0] == "warning"


def test_the_check_warns_where_there_is_no_store(home, machine):
    assert line(home) == ("warning", f"there is no database in {home} yet")


def test_the_check_is_critical_when_the_home_is_refused(well):
    well.chmod(0o777)
    assert line(well)[0] == "error"


def test_the_check_is_critical_when_the_store_is_broken_newer_or_locked(well, monkeypatch):
    version(well, len(schema.STEPS) + 1)
    assert line(well)[0] == "error"
    version(well, len(schema.STEPS))
    monkeypatch.setattr("taskrunner.store.health.PATIENCE", 0.05)
    with_lock = sqlite3.connect(well / "taskrunner.db", isolation_level=None)
    with_lock.execute("PRAGMA locking_mode = exclusive")
    with_lock.execute("BEGIN EXCLUSIVE")
    assert line(well) == ("error", "the database is locked")
    with_lock.close()
    (well / "taskrunner.db").write_bytes(b"x" * 5000)
    assert "cannot be read" in line(well)[1]


def test_the_check_is_one_line_with_a_word_and_an_exit_code(well, capsys):
    assert main.main(["--home", str(well), "status", "--check"]) == 2  # the beat is of another year
    said = capsys.readouterr().out
    assert said.startswith("CRITICAL - ")
    assert said.count("\n") == 1


def test_the_check_has_no_document(home, capsys):
    assert main.main(["--home", str(home), "status", "--check", "--json"]) == 2
    assert "--json goes only without --check" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tz = 'Mars/Olympus'", "Mars/Olympus"),
        ("[defaults]\ntmeout = '1h'", "'tmeout' is not an option"),
        ("[defaults]\ntimeout = 'x'", "--timeout 'x'"),
    ],
)
def test_a_setting_that_only_a_new_task_would_meet_is_an_error(runner, home, text, said):
    runner.add("x", ["true"], Manual())
    (home / "taskrunner.toml").write_text(text + "\n")
    found = [each for each in runner.doctor().findings if said in each.what]
    assert [each.severity for each in found] == ["error"]
