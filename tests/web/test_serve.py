"""Serving the page: sockets of every kind, the end when nobody asks, what is refused at the start."""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import signal
import socket
import stat
import subprocess
import sys

import pytest

from taskrunner.clocks import listen
from taskrunner.errors import InputError
from taskrunner.home import extras
from taskrunner.web import serve, users
from taskrunner.web.users import Role
from tests.samples import ROOT, program
from tests.web.serving import (
    PATIENCE,
    UnixConnection,
    answer,
    environment,
    handed_over,
    served,
    started,
)

pytestmark = pytest.mark.one_python


def page(home, *words, **options):
    """Call the verb to its end, which comes at once."""
    done = subprocess.run(
        program(home, "page", *words),
        capture_output=True,
        text=True,
        timeout=100,
        env=environment(),
        **options,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def listener(family=socket.AF_INET, place=("127.0.0.1", 0)) -> socket.socket:
    one = socket.socket(family)
    one.bind(place)
    one.listen()
    return one


# ---- places


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:8470", listen.Place("127.0.0.1", 8470)),
        ("[::1]:80", listen.Place("[::1]", 80)),
        ("tasks.example.org:443", listen.Place("tasks.example.org", 443)),
        ("unix:/run/page", listen.Place(path="/run/page")),
    ],
)
def test_a_place_is_read(text, place):
    assert listen.place(text) == place


@pytest.mark.parametrize(
    "text", ["", "8470", "localhost", "localhost:x", "localhost:99999", "unix:", "::1:80", "a b:1"]
)
def test_no_place_is_refused_in_a_sentence(text):
    with pytest.raises(InputError, match="write HOST:PORT"):
        listen.place(text)


# ---- real sockets


def test_the_page_answers_where_it_says_and_ends_at_term(home):
    with served(home) as page:
        assert page.place.startswith("http://127.0.0.1:")
        code, headers, body = page.ask()
        assert (code, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "<h1" in body
        assert page.ask(Host="evil.example")[0] == 400
        assert page.end() == 0
    assert page.said.count("\n") == 1


def test_an_interrupt_ends_it_too(home):
    with served(home) as page:
        assert page.end(signal.SIGINT) == 0


def test_it_makes_no_database(home):
    with served(home) as page:
        assert page.ask()[0] == 200
    assert not (home / "taskrunner.db").exists()


def test_a_page_that_nobody_asks_ends_by_itself(home):
    with served(home, "--idle", "1s") as page:
        assert page.ended() == 0


def test_a_unix_socket_is_for_its_owner_alone_and_goes_with_the_page(home, tmp_path):
    path = str(tmp_path / "page")
    with served(home, "--listen", f"unix:{path}", umask=0o022) as page:
        assert page.place == f"unix:{path}"
        assert not stat.S_IMODE(os.stat(path).st_mode) & 0o022
        assert answer(UnixConnection(path), "/")[0] == 200
        assert answer(UnixConnection(path), "/", headers={"Host": "evil.example"})[0] == 400
    assert not os.path.exists(path)


def test_a_unix_socket_that_was_left_behind_is_replaced(home, tmp_path):
    path = str(tmp_path / "page")
    listener(socket.AF_UNIX, path).close()
    with served(home, "--listen", f"unix:{path}"):
        assert answer(UnixConnection(path), "/")[0] == 200


def test_a_unix_socket_that_answers_and_a_file_are_left_alone(home, tmp_path):
    path = str(tmp_path / "page")
    with listener(socket.AF_UNIX, path):
        code, _, said = page(home, "--listen", f"unix:{path}")
        assert (code, said.count("\n")) == (1, 1)
        assert "in use" in said
    file = tmp_path / "file"
    file.write_text("mine")
    assert page(home, "--listen", f"unix:{file}")[0] == 1
    assert file.read_text() == "mine"


def test_several_places_are_served_at_once(home, tmp_path):
    path = str(tmp_path / "page")
    with served(home, "--listen", "127.0.0.1:0", "--listen", f"unix:{path}") as page:
        assert page.ask()[0] == 200
        assert answer(UnixConnection(path), "/")[0] == 200


def test_a_socket_of_systemd_is_served_and_ends_idle(home):
    with listener() as one, contextlib.ExitStack() as stack:
        # As with systemd, whose socket is there before the page.
        early = stack.enter_context(socket.create_connection(one.getsockname(), timeout=PATIENCE))
        early.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        page = stack.enter_context(handed_over(home, [one], "--idle", "1s"))
        assert page.port == one.getsockname()[1]
        assert early.recv(100).startswith(b"HTTP/1.0 200 ")
        early.close()
        assert page.ended() == 0
        # The socket is still there: whoever asks now waits for the next process.
        with socket.create_connection(("127.0.0.1", page.port), timeout=10):
            pass


def test_several_sockets_of_systemd_are_served(home, tmp_path):
    path = str(tmp_path / "page")
    with listener() as one, listener(socket.AF_UNIX, path) as other:
        with handed_over(home, [one, other]) as page:
            assert page.ask()[0] == 200
            assert answer(UnixConnection(path), "/")[0] == 200
        assert os.path.exists(path), "it belongs to whoever handed it over"


def test_a_task_does_not_inherit_the_sockets(monkeypatch):
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", "1")  # meant for another process
    monkeypatch.setenv("LISTEN_FDNAMES", "page")
    assert serve.given_sockets() == []
    assert not [name for name in os.environ if name.startswith("LISTEN_")]


def test_a_descriptor_that_is_not_a_socket_is_named(home, tmp_path):
    with open(tmp_path / "file", "w") as file, handed_over(home, [file]) as page:
        assert page.ended() == 1
    assert "no socket" in page.said and page.said.count("\n") == 1


# ---- requests that are too much


def test_a_large_body_is_refused_and_the_page_lives_on(home):
    with served(home, "--operate") as page:
        code, _, said = page.ask("/login", "POST", b"x" * 300_000)
        assert code == 413
        assert "Traceback" not in said
        assert page.ask(X_Long="x" * 100_000)[0] == 431
        assert page.ask()[0] == 200


def test_a_client_that_says_nothing_keeps_nobody_waiting(home):
    with served(home) as page:
        silent = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(20)]
        for one in silent[:10]:
            one.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
        assert page.ask()[0] == 200
        for one in silent:
            one.close()


SLOW_ANSWER = """
import socket, sys, time
from taskrunner.web import serve

def answers(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first "
    time.sleep(serve.SILENCE + 2 * serve.SWEEP)
    yield b"last"

one = socket.socket()
one.bind(("127.0.0.1", 0))
one.listen()
serve.serve(answers, [one], ready=lambda: print("the page is at", serve.address(one), file=sys.stderr, flush=True))
"""


@pytest.mark.slow
def test_connections_on_which_nothing_happens_are_closed_and_answers_go_on(home):
    """More than may be open at once: without that others would wait for two minutes."""
    with started([sys.executable, "-c", SLOW_ANSWER]) as page, contextlib.ExitStack() as open_ones:
        slow = http.client.HTTPConnection("127.0.0.1", page.port, timeout=120)
        open_ones.callback(slow.close)
        slow.request("GET", "/")
        for at in range(520):
            one = open_ones.enter_context(socket.create_connection(("127.0.0.1", page.port), 60))
            if at % 2:
                one.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        assert slow.getresponse().read() == b"first last"
        other = http.client.HTTPConnection("127.0.0.1", page.port, timeout=90)
        open_ones.callback(other.close)
        other.request("GET", "/")
        assert other.getresponse().status == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent",
    [
        b"\0\0\0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    ],
)
def test_nonsense_is_answered_and_the_page_lives_on(home, sent):
    with served(home) as page:
        with socket.create_connection(("127.0.0.1", page.port), timeout=60) as one:
            one.sendall(sent)
            one.shutdown(socket.SHUT_WR)
            assert b"Traceback" not in one.recv(100_000)
        assert page.ask()[0] == 200
    assert "Traceback" not in page.said


# ---- who is let near


@pytest.mark.parametrize("place", ["0.0.0.0:0", "[::]:0"])
@pytest.mark.parametrize(
    ("flags", "does"),
    [
        ((), "read all"),
        (("--operate",), "run and cancel tasks"),
        (("--define",), "run any command"),
    ],
)
def test_a_page_for_others_needs_users(home, place, flags, does):
    code, _, said = page(home, "--listen", place, *flags)
    assert (code, said.count("\n")) == (2, 1)
    assert f"could {does}" in said or does in said
    assert "taskrunner page --user NAME" in said


def test_a_page_for_others_is_served_with_users(home):
    users.keep(str(home), None, users.with_password("ann", Role.SEE, "correct horse"))
    with served(home, "--listen", "0.0.0.0:0") as page:
        assert page.ask("/", Accept="text/html")[0] == 303
        assert page.ask("/", Accept="text/html", Host="192.0.2.1")[0] == 303
        assert page.ask("/", Accept="text/html", Host="evil.example")[0] == 400


def test_a_socket_of_systemd_for_others_needs_users_too(home):
    with listener(place=("0.0.0.0", 0)) as one, handed_over(home, [one]) as page:
        assert page.ended() == 2
    assert "make a user" in page.said


def test_a_page_that_does_something_says_who_else_may(home):
    with served(home, "--define") as page:
        pass
    assert "every user of this host can change tasks and run any command" in page.said


def test_a_port_in_use_is_named(home):
    with listener() as one:
        code, _, said = page(home, "--listen", f"127.0.0.1:{one.getsockname()[1]}")
    assert (code, said.count("\n")) == (1, 1)
    assert "cannot be listened on" in said


@pytest.mark.parametrize(
    "words",
    [
        ("--listen", "nowhere"),
        ("--host", "a/b"),
        ("--idle", "5"),
        ("--may", "see"),
        ("--user", "ann", "--operate"),
        ("--user", "ann", "--token", "deploy"),
        ("--user", "a b"),
        ("--token", "../x"),
    ],
)
def test_a_bad_option_is_one_sentence(home, words):
    code, out, said = page(home, *words, input="correct horse\n")
    assert (code, out, said.count("\n")) == (2, "", 1)


# ---- users and tokens


def test_a_user_is_added_from_stdin_and_removed(home):
    code, out, said = page(home, "--user", "ann", "--may", "operate", input="correct horse\n")
    assert (code, out) == (0, "")
    assert "ann may log in, and operate" in said
    (user,) = users.load(str(home / "page.users"))
    assert (user.kind, user.name, user.role) == ("user", "ann", Role.OPERATE)
    assert users.of_password([user], "ann", "correct horse") == user
    assert page(home, "--remove", "ann")[0] == 0
    assert users.load(str(home / "page.users")) == []
    assert page(home, "--remove", "ann")[0] == 1


def test_a_short_password_is_refused(home):
    code, _, said = page(home, "--user", "ann", input="short\n")
    assert code == 2
    assert "give 8 to 1024" in said
    assert not (home / "page.users").exists()


def test_a_token_is_printed_once_and_lets_in(home):
    code, out, said = page(home, "--token", "deploy")
    assert code == 0
    assert "only time" in said
    token = out.strip()
    assert token not in (home / "page.users").read_text()
    with served(home) as there:
        assert there.ask("/api/status")[0] == 401
        assert there.ask("/api/status", Authorization=f"Bearer {token}")[0] == 200


@pytest.mark.slow
def test_a_file_of_users_elsewhere_is_used(home, tmp_path):
    place = str(tmp_path / "users")
    assert page(home, "--users", place, "--user", "ann", input="correct horse\n")[0] == 0
    with served(home, "--users", place) as there:
        assert there.ask()[0] == 401
    code, _, said = page(home, "--users", str(tmp_path / "none"))
    assert (code, said.count("\n")) == (1, 1)


# ---- without the extra


def test_without_its_libraries_the_page_says_how_to_install_them_into_a_checkout(home):
    code = (
        "import sys; sys.modules['flask'] = None\nfrom taskrunner.cli.main import main\n"
        f"sys.exit(main(['--home', {str(home)!r}, 'page']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 1
    assert done.stderr == (
        "taskrunner: the page needs Flask and waitress: install them with "
        f"`{shlex.join([sys.executable, '-m', 'pip', 'install', '-e', f'{ROOT}[page]'])}`\n"
    )


@pytest.mark.parametrize(
    ("noted", "source"),
    [
        (None, ""),
        ('{"url": "file:///no/such/checkout", "dir_info": {}}', ""),
        ('{"url": "file:///usr", "dir_info": {}}', " @ file:///usr"),
        ('{"url": "https://x.org/a", "vcs_info": {"vcs": "git"}}', " @ git+https://x.org/a"),
        ("{", ""),
    ],
    ids=["index", "checkout_gone", "checkout", "repository", "damaged"],
)
def test_an_installed_program_gets_its_libraries_from_where_it_came_from(
    monkeypatch, tmp_path, noted, source
):
    monkeypatch.setattr(extras, "FOLDER", str(tmp_path))
    about = tmp_path / "taskrunner_tick-0.1.0.dist-info"
    about.mkdir()
    if noted is not None:
        (about / "direct_url.json").write_text(noted)
    what = shlex.quote(f"taskrunner-tick[page]{source}")
    assert extras.adding("page") == f"{sys.executable} -m pip install {what}"
    monkeypatch.setattr(extras.sys, "prefix", str(tmp_path))
    (tmp_path / "uv-receipt.toml").touch()
    assert extras.adding("page") == f"uv tool install {what}"
    (tmp_path / "pipx_metadata.json").touch()
    assert extras.adding("page") == f"pipx install --force {what}"


def test_a_password_is_hashed_as_slowly_as_owasp_advises():
    """Its "Password Storage Cheat Sheet" lists this among the least settings of scrypt."""
    from taskrunner.web.users import SCRYPT

    assert (SCRYPT["n"], SCRYPT["r"], SCRYPT["p"]) == (2**14, 8, 5)
