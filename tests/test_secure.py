"""Nobody gets in: what is refused, what is private from the start, what a task is not given."""

import ast
import os
import pwd
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from taskrunner import Every, Manual, State, TaskRunner
from taskrunner.errors import HomeRefused, StateError
from taskrunner.home import paths as home_room, trust
from taskrunner.model.values import Command
from taskrunner.processes import env_file, rights
from taskrunner.supervise.systemd import begin, record_end, transient
from tests.samples import ROOT, call, program, start

pytestmark = pytest.mark.one_python

ROOTS = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOTS, reason="other users need root to be made")
SECRET = "hunter2-and-more"
GAMES = 5  # the user of that name, on every Debian


@pytest.fixture
def runner(home):
    with TaskRunner(home) as made:
        yield made


@pytest.fixture
def shared(tmp_path):
    """A folder that other users can reach."""
    for place in (tmp_path, *tmp_path.parents):
        if place != Path("/tmp") and os.stat(place).st_uid == os.geteuid() and place != Path("/"):
            place.chmod(0o755)
    return tmp_path


# ---- what is refused


@pytest.mark.parametrize("name", ["taskrunner.db", "taskrunner.toml", "."])
@pytest.mark.parametrize("mode", [0o660, 0o606, 0o777])
def test_a_home_a_store_or_settings_that_others_can_write_are_refused_by_every_way_in(
    home, name, mode
):
    with TaskRunner(home) as runner:
        runner.add("a", ["true"], Manual())
    (home / "taskrunner.toml").touch(mode=0o600)
    (home / name).chmod(mode)
    for words in (["list"], ["tick"], ["add", "b", "--manual", "--", "true"], ["status"]):
        out, err, code = call(home, *words)
        assert (out, code) == ("", 1) and f"mode {mode:04o}" in err, words


@needs_root
@pytest.mark.parametrize("name", ["taskrunner.db", "taskrunner.toml", "."])
def test_what_belongs_to_somebody_else_is_refused(home, name):
    with TaskRunner(home) as runner:
        runner.add("a", ["true"], Manual())
    (home / "taskrunner.toml").touch(mode=0o600)
    os.chown(home / name, GAMES, GAMES)
    out, err, code = call(home, "tick")
    assert (out, code) == ("", 1) and f"belongs to user id {GAMES}" in err


def test_a_store_that_is_a_link_to_somebody_elses_is_judged_by_what_it_leads_to(home, tmp_path):
    other = tmp_path / "other.db"
    other.touch(mode=0o666)
    other.chmod(0o666)
    (home / "taskrunner.db").symlink_to(other)
    with pytest.raises(HomeRefused, match="mode 0666"):
        home_room.check(str(home))


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_an_environment_file_that_others_can_write_is_not_read(runner, tmp_path, mode):
    place = tmp_path / "env"
    place.write_text(f"A={SECRET}\n")
    place.chmod(mode)
    runner.add("a", ["env"], Manual(), env_file=str(place))
    assert any("is not read" in advice for advice in runner.advice(runner.task("a")))
    run = runner.run("a")
    assert run.state is State.FAILED and f"mode {mode:04o}" in run.reason
    assert SECRET.encode() not in runner.output(run)


@needs_root
def test_an_environment_file_of_somebody_else_is_not_read(tmp_path):
    place = tmp_path / "env"
    place.write_text("A=1\n")
    os.chown(place, GAMES, GAMES)
    with pytest.raises(StateError, match=f"belongs to user id {GAMES}"):
        env_file.read_env_file(str(place))
    assert env_file.read_env_file(str(place), GAMES) == {"A": "1"}, "a task's own user may have it"


@needs_root
@pytest.mark.parametrize("way", ["file", "folder", "far"])
def test_a_link_of_a_tasks_user_does_not_let_root_read_its_own_files_for_it(shared, way):
    """`--user games --env-file /home/games/env`, which games made a link to a file of root's secrets."""
    (shared / "root").mkdir(mode=0o700)
    (shared / "root" / "env").write_text(f"TOKEN={SECRET}\n")
    theirs = shared / "games"
    theirs.mkdir()
    place = theirs / "env"
    if way == "folder":
        (theirs / "folder").symlink_to(shared / "root")
        place = theirs / "folder" / "env"
    else:
        place.symlink_to(shared / "root" / "env")
    os.chown(theirs, GAMES, GAMES)
    if way == "far":
        (shared / "link").symlink_to(place)
        place = shared / "link"
    with pytest.raises(StateError, match="others can change"):
        env_file.read_env_file(str(place), GAMES)
    assert env_file.read_env_file(str(place)) == {"TOKEN": SECRET}, "a task of our own may"
    assert env_file.read_env_file(str(shared / "root" / "env"), GAMES) == {"TOKEN": SECRET}


def test_what_leads_to_a_file_is_looked_at_link_by_link(tmp_path):
    ours = {0, os.geteuid()}
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").touch()
    (tmp_path / "link").symlink_to("deep/../deep")
    assert trust.foreign_on_the_way(str(tmp_path / "link" / "file"), ours) is None
    (tmp_path / "deep").chmod(0o777)
    assert trust.foreign_on_the_way(str(tmp_path / "link" / "file"), ours) == str(tmp_path / "deep")
    (tmp_path / "round").symlink_to("round")
    assert (
        trust.foreign_on_the_way(str(tmp_path / "round" / "file"), ours) is None
    )  # opening it fails


# ---- links where we write


@pytest.mark.parametrize("name", ["output", "spool", "backups", "supervisors"])
def test_a_link_in_the_place_of_a_slot_or_an_outcome_is_not_written_through(runner, home, name):
    """Only its owner can put one there; what it leads to stays as it was all the same."""
    victim = home.parent / "victim"
    victim.write_text("mine")
    runner.add("a", shell="head -c 100000 /dev/zero", schedule=Every("1h"), now=True)
    for each in ("1.log", "1.x.json.new", "ballast", "supervisor"):
        (home / name / each).symlink_to(victim)
    call(home, "tick")
    call(home, "backup")
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("name", ["report.toml", "link.toml", "folder", "/dev/null"])
def test_secrets_are_written_to_a_plain_file_of_ours_only(runner, home, tmp_path, name):
    runner.add("a", ["true"], Manual(), env={"TOKEN": SECRET})
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.toml").symlink_to("/dev/null")
    _, err, code = call(home, "export", "--with-secrets", tmp_path / name)
    if name == "report.toml":
        assert code == 0 and (tmp_path / name).stat().st_mode & 0o777 == 0o600
    else:
        assert code == 1 and "give a file of your own" in err
    assert Path("/dev/null").is_char_device()


# ---- private from the start


def everything(home, shared):
    """Command lines that between them make every kind of file there is."""
    loud = ["--every=1h", "--now", "--cwd=/", "--shell", "head -c 100000 /dev/zero; echo x"]
    yield ["add", "a", *loud]
    yield ["add", "b", "--every=1h", "--now", "--cwd=/", "--", "echo", "small"]
    yield ["tick"]
    yield ["run", "a"]
    yield ["backup"]
    yield ["backup", f"{shared}/copy.db"]
    yield ["export", "--with-secrets", f"{shared}/tasks.toml"]
    yield ["hold"]
    yield ["prune"]
    yield ["restore", f"{shared}/copy.db"]


def test_with_no_umask_at_all_nothing_is_open_to_others(home, tmp_path):
    deep = tmp_path / "not" / "there" / "yet"
    place = tmp_path / "out"
    place.mkdir(mode=0o700)
    before = os.umask(0)
    try:
        for words in everything(deep, place):
            _, err, code = call(deep, *words)
            assert code == 0, (words, err)
    finally:
        os.umask(before)
    made = [*(tmp_path / "not").rglob("*"), tmp_path / "not", *place.iterdir()]
    assert {each.name for each in made} >= {"taskrunner.db", "heartbeat", "tick.lock", "output"}
    for each in made:
        mode = each.stat().st_mode & 0o777
        assert mode == (0o700 if each.is_dir() else 0o600), f"{each}: {mode:o}"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_files_are_made_with_their_mode_and_not_changed_later(home, tmp_path):
    """What the system was asked for, call by call, with no umask."""
    place = tmp_path / "out"
    place.mkdir(mode=0o700)
    calls = "trace=open,openat,creat,mkdir,mkdirat,chmod,fchmod,fchmodat,chown,fchown,fchownat"
    before = os.umask(0)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        for number, words in enumerate(everything(home, place)):
            log = tmp_path / f"strace.{number}"
            traced = ["strace", "-f", "-o", str(log), "-e", calls, *program(home, *words)]
            done = subprocess.run(traced, env=env, capture_output=True, text=True)
            assert done.returncode == 0, (words, done.stderr)
    finally:
        os.umask(before)
    seen = "\n".join(log.read_text() for log in tmp_path.glob("strace.*"))
    ours = [line for line in seen.split("\n") if str(home) in line or str(place) in line]
    created = [line for line in ours if "O_CREAT" in line or "mkdir" in line]
    assert len(created) > 10
    known = set()
    for line in created:
        place_of = re.search(r'"([^"]+)"', line)[1]
        # SQLite opens what we have made for it as if it had to make it.
        if "= -1" not in line and place_of not in known:
            # A call during which another process had its turn is told in two lines.
            assert re.search(r", 0?(600|700)(\)| <unfinished)", line), line
            known.add(place_of)
    changed = [line for line in ours if re.search(r" f?chmod(at)?\(| f?chown(at)?\(", line)]
    assert changed == []


# ---- who a task runs as


@needs_root
def test_a_user_has_its_groups_and_no_privilege_when_its_program_starts(runner):
    told = (
        r"grep -E '^(Uid|Gid|Groups|Cap(Inh|Prm|Eff|Amb)):' /proc/self/status; ls -l /proc/self/fd"
    )
    runner.add("a", shell=told, schedule=Manual(), user="games", cwd="/")
    lines = runner.output(runner.run("a")).decode().splitlines()
    said = dict(line.split(":", 1) for line in lines if ":\t" in line)
    entry = pwd.getpwnam("games")
    assert {*said["Uid"].split()} == {str(entry.pw_uid)}
    assert {*said["Gid"].split()} == {str(entry.pw_gid)}
    groups = {str(gid) for gid in os.getgrouplist("games", entry.pw_gid)}
    assert {*said["Groups"].split()} == groups
    for each in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(said[each], 16) == 0, each


@pytest.fixture
def astray(shared):
    """A link of games that leads into a folder that only root may enter, with a file in it that all may read."""
    (shared / "root").mkdir(mode=0o700)
    (shared / "root" / "secret").write_text(SECRET)
    (shared / "root" / "env").write_text(f"TOKEN={SECRET}\n")
    (shared / "root" / "tool").write_text("#!/bin/sh\ncat secret\n")
    (shared / "root" / "tool").chmod(0o755)
    theirs = shared / "games"
    theirs.mkdir()
    (theirs / "link").symlink_to(shared / "root")
    os.chown(theirs, GAMES, GAMES)
    return theirs / "link"


@needs_root
@pytest.mark.parametrize(
    "way",
    [
        {"command": ["cat", "secret"], "cwd": "{0}"},
        {"shell": "cat secret", "cwd": "{0}"},
        {"command": ["./tool"], "cwd": "{0}"},
        {"command": ["cat", "secret"], "cwd": "{0}", "nice": 5, "limit": {"files": 50}},
        {"command": ["cat"], "cwd": "{0}", "stdin": "x"},
        {"command": ["{0}/tool"], "cwd": "/"},
        {"command": ["tool"], "cwd": "/", "env": {"PATH": "{0}:/usr/bin:/bin"}},
        {"command": ["true"], "cwd": "/", "env_file": "{0}/env"},
    ],
    ids=" ".join,
)
def test_what_only_root_may_enter_is_entered_for_no_task_of_another_user(runner, astray, way):
    def placed(value):
        if isinstance(value, str):
            return value.format(astray)
        return [*map(placed, value)] if isinstance(value, list) else value

    options = {name: placed(value) for name, value in way.items()}
    if "env" in options:
        options["env"] = {name: placed(value) for name, value in options["env"].items()}
    command_, shell = options.pop("command", None), options.pop("shell", None)
    runner.add("a", command_, Manual(), shell=shell, user="games", **options)
    run = runner.run("a")
    assert run.state is State.FAILED
    assert "could not start" in run.reason
    assert SECRET.encode() not in runner.output(run)
    if options["cwd"] != "/":
        assert f"the directory '{astray}': Permission denied" in run.reason


@needs_root
def test_root_s_own_folders_may_be_those_of_its_own_tasks(runner, astray):
    runner.add("a", ["cat", "secret"], Manual(), cwd=str(astray))
    assert runner.output(runner.run("a")) == SECRET.encode()


@needs_root
def test_a_user_may_enter_what_a_group_of_his_may(runner, shared):
    entry = next(
        entry for entry in pwd.getpwall() if len(os.getgrouplist(entry.pw_name, entry.pw_gid)) > 1
    )
    group = (set(os.getgrouplist(entry.pw_name, entry.pw_gid)) - {entry.pw_gid}).pop()
    (shared / "team").mkdir(mode=0o750)
    os.chown(shared / "team", 0, group)
    runner.add("a", ["pwd"], Manual(), user=entry.pw_name, cwd=str(shared / "team"))
    run = runner.run("a")
    assert runner.output(run).decode().strip() == str(shared / "team"), run.reason


@needs_root
def test_rights_are_those_of_one_thread_for_one_block(astray):
    place, looked, go, done = str(astray.resolve()), [], threading.Event(), threading.Event()

    def look():
        go.wait(10)
        looked.append(os.listdir(place))
        done.set()

    other = threading.Thread(target=look)
    other.start()
    with rights.of(GAMES):
        go.set()
        done.wait(10)
        with pytest.raises(PermissionError):
            os.listdir(place)
    other.join()
    assert looked == [os.listdir(place)]


@needs_root
def test_a_unit_s_directory_is_entered_as_the_task_s_user(astray, tmp_path):
    given = Command(("cat", "secret"), {"PATH": "/usr/bin:/bin"}, str(astray), user="games")
    (tmp_path / "given").write_bytes(transient.plain(given))
    words = [sys.executable, "-I", "-S", begin.__file__, str(tmp_path / "given")]
    done = subprocess.run(words, capture_output=True)
    assert (done.stdout, done.returncode) == (b"", begin.NOT_STARTED)
    why = record_end.begun((tmp_path / "given").read_bytes())
    assert why.error == f"could not start: the directory '{astray}': Permission denied"


@needs_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_a_program_does_not_start_when_privileges_do_not_go_away(home, tmp_path):
    """With this bit set the kernel lets capabilities stay when the user changes (capabilities(7))."""
    call(home, "add", "a", "--manual", "--user=games", "--cwd=/", "--", "touch", "/tmp/never")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    stubborn = ["setpriv", "--securebits=+no_setuid_fixup", "--", *program(home, "run", "a")]
    done = subprocess.run(stubborn, env=env, capture_output=True, text=True)
    if "setpriv" in done.stderr:
        pytest.skip("the machine does not let us set this bit")
    assert done.returncode == 125 and "it would keep privileges of ours" in done.stderr


@needs_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_who_may_change_the_user_without_being_root_starts_nothing_as_another():
    """The kernel takes capabilities only from who leaves the user 0 (capabilities(7))."""
    able = "+setuid,+setgid,+dac_override"
    ambient = [
        "setpriv",
        "--reuid=games",
        "--clear-groups",
        f"--inh-caps={able}",
        f"--ambient-caps={able}",
    ]
    asked = "import os; from taskrunner.processes import spawn; print(spawn.as_user('man')); spawn.dropping('man')"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [*ambient, "--", sys.executable, "-c", asked]
    done = subprocess.run(argv, env=env, capture_output=True, text=True)
    if "setpriv" in done.stderr:
        pytest.skip("the machine does not let us give capabilities")
    assert "'user': 6" in done.stdout and "PrivilegesStay" in done.stderr


# ---- what a task is given


def test_a_task_has_three_descriptors_and_nothing_of_ours(home, tmp_path):
    """Whatever our caller left open and set: the store, the home and other tasks are not told of."""
    look = "env; echo; for fd in /proc/$$/fd/*; do readlink $fd; done; cat /proc/$$/cmdline | tr '\\0' ' '"
    with TaskRunner(home) as runner:
        runner.add("a", shell=look, schedule=Manual(), now=True, cwd="/")
    leak = os.open(tmp_path / "leaked", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(leak, True)
    env = {
        "TASKRUNNER_HOME": str(home),
        "API_TOKEN": SECRET,
        "LD_PRELOAD": "",
        "PYTHONPATH": str(ROOT),
    }
    with start(home, "tick", pass_fds=(leak,), env=env) as process:
        process.communicate()
    os.close(leak)
    with TaskRunner(home) as runner:
        run = runner.history("a")[0]
        said = runner.output(run).decode()
    assert f"TASKRUNNER_RUN={run.id}\n" in said
    assert "taskrunner.db" not in said and SECRET not in said and "leaked" not in said
    assert "TASKRUNNER_HOME" not in said and "PYTHONPATH" not in said
    links = [line for line in said.split("\n\n")[1].splitlines() if line.startswith("/")]
    assert "/dev/null" in links
    outputs = [line for line in links if line.startswith(str(home))]
    assert {os.path.dirname(line) for line in outputs} == {str(home / "output")}


# ---- secrets


@pytest.mark.slow
def test_a_secret_is_in_no_argv_and_on_no_page(home, tmp_path):
    """In the store, the file and the environment of the task, and nowhere that anybody looks."""
    secret = f"{SECRET}-{os.urandom(4).hex()}"  # tests beside this one type theirs
    (tmp_path / "env").write_text(f"FILE_TOKEN={secret}\nno sign but {secret}\n")
    (tmp_path / "env").chmod(0o600)
    with TaskRunner(home) as runner:
        runner.add("a", shell="sleep 1", schedule=Every("1h"), env={"API_TOKEN": secret}, now=True)
        runner.add("b", ["true"], Every("1h"), env_file=str(tmp_path / "env"), now=True)
        runner.add("c", ["true"], Manual(), env={"API_TOKEN": "old"})
        runner.set("c", env={"API_TOKEN": secret})
    with start(home, "tick") as process:
        argvs = set()
        while process.poll() is None:
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    argvs.add(place.read_bytes())
                except OSError:
                    continue
        out, err = process.communicate()
    assert not any(secret.encode() in argv for argv in argvs)
    assert secret not in out + err
    (tmp_path / "tasks.toml").write_text(
        f"[tasks.c]\nmanual = true\ncommand = ['true']\nenv = {{API_TOKEN = '{secret}x'}}\n"
        f"[tasks.d]\nmanual = true\ncommand = ['true']\nenv = {{API_TOKEN = '{secret}'}}\n"
    )
    (tmp_path / "bad.toml").write_text(
        f"[tasks.e]\nmanual = true\nenv = {{'API TOKEN' = '{secret}'}}\n"
    )
    pages = [
        *(["list"], ["list", "--json"], ["history", "-v"], ["history", "--json"], ["status", "-v"]),
        *(["show", "a"], ["show", "a", "--json"], ["show", "b"], ["show", "c"], ["log", "b", "-v"]),
        *(
            ["explain", "c"],
            ["explain", "c", "--json"],
            ["explain", "b"],
            ["doctor"],
            ["doctor", "--json"],
        ),
        *(["export"], ["export", "--json"], ["export", "--crontab"], ["tick", "--dry-run", "-v"]),
        *(["apply", f"{tmp_path}/tasks.toml", "--dry-run"], ["apply", f"{tmp_path}/bad.toml"]),
        *(
            ["apply", f"{tmp_path}/tasks.toml", "--dry-run", "--json"],
            ["env", "a"],
            ["env", "a", "--json"],
        ),
        *(["run", "b"], ["set", "c", "--env", f"API-TOKEN={secret}"], ["notify"], ["stats"]),
    ]
    for words in pages:
        out, err, code = call(home, *words)
        assert code in (0, 1, 2, 125), words
        assert secret not in out + err, words
    for place in home.rglob("*"):
        if place.is_file() and not place.name.startswith("taskrunner.db"):
            assert secret.encode() not in place.read_bytes(), place


def test_only_the_row_of_the_task_has_its_secrets(home):
    """No event, reason or message repeats them."""
    with TaskRunner(home) as runner:
        runner.add("a", ["true"], Manual(), env={"API_TOKEN": SECRET})
        runner.set("a", env={"API_TOKEN": SECRET + "x"})
        runner.run("a")
    with closing(sqlite3.connect(home / "taskrunner.db")) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        holding = {
            name
            for (name,) in tables
            for row in connection.execute(f"SELECT * FROM {name}")
            if SECRET in repr(row)
        }
    assert holding == {"tasks"}


def test_a_report_of_a_bug_has_the_way_there_and_no_values(home, tmp_path):
    code = (
        "import sys; from taskrunner.cli import main; from taskrunner.api.task_runner import TaskRunner\n"
        "def broken(self, *a, **k): raise RuntimeError('it broke')\n"
        "TaskRunner.add = broken\n"
        f"sys.exit(main.main(['--home', {str(home)!r}, 'add', 'a', '--manual', '--env', 'TOKEN={SECRET}', '--', 'x']))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 3 and SECRET not in done.stderr
    report = Path(re.search(r"/tmp/taskrunner-report-\S+\.txt", done.stderr)[0])
    try:
        assert report.stat().st_mode & 0o777 == 0o600
        assert "it broke" in report.read_text() and SECRET not in report.read_text()
    finally:
        report.unlink()


# ---- the static checks


def exceptions():
    """Every place where a security rule of ruff is told to look away, with what is said about it."""
    for place in sorted([*(ROOT / "taskrunner").rglob("*.py"), *(ROOT / "docs").glob("*.py")]):
        for number, line in enumerate(place.read_text().splitlines(), start=1):
            if found := re.search(r"# noqa: S\d{3}(.*)", line):
                yield f"{place.relative_to(ROOT)}:{number}", found[1]


def test_every_exception_from_the_security_rules_says_why():
    assert [place for place, why in exceptions() if len(why.split()) < 2] == []


@pytest.mark.slow
def test_nothing_is_unpickled_and_no_document_is_yaml_or_xml():
    for place in (ROOT / "taskrunner").rglob("*.py"):
        for node in ast.walk(ast.parse(place.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {
                "pickle",
                "shelve",
                "yaml",
                "xml",
            }, place
