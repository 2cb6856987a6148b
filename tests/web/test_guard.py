"""Who may do what on the page: forged hosts, forms and origins, login, roles, tokens."""

from __future__ import annotations

import os

import pytest

from taskrunner.web import users
from taskrunner.web.users import Role
from tests.web.conftest import form_token

PASSWORD = "correct horse battery"
HTML = {"Accept": "text/html"}


pytestmark = [pytest.mark.one_python, pytest.mark.usefixtures("quick_passwords")]


@pytest.fixture
def ann(home):
    """A home with a person who may operate."""
    users.keep(str(home), None, users.with_password("ann", Role.OPERATE, PASSWORD))
    return home


def log_in(client, name="ann", password=PASSWORD, **more):
    data = {"token": form_token(client), "name": name, "password": password, **more}
    return client.post("/login", data=data)


def sentence(answer) -> str:
    """What a refusal says: one line, and no traceback."""
    text = answer.get_data(as_text=True)
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "", "127.0.0.1:80:80", "192.0.2.1", "a b"]
)
def test_a_name_that_is_not_ours_is_refused_in_plain_text(ask, host):
    answer = ask().get("/", headers={"Host": host})
    assert answer.status_code == 400
    assert answer.mimetype == "text/plain"
    assert sentence(answer).count("\n") == 1
    assert "--host NAME" in sentence(answer)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8470", "127.0.0.1:1", "[::1]:8470", "tasks.example.org"]
)
def test_our_own_names_are_answered(ask, host):
    assert ask(hosts=["tasks.example.org"]).get("/", headers={"Host": host}).status_code == 200


def test_a_page_for_every_address_answers_to_addresses_but_not_to_names(ask):
    client = ask(hosts=["0.0.0.0"])
    assert client.get("/", headers={"Host": "192.0.2.7:8470"}).status_code == 200
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("given", ["a/b", "example.org:80", "", "*"])
def test_a_host_that_is_not_a_name_is_refused_at_the_start(ask, given):
    from taskrunner.errors import InputError

    with pytest.raises(InputError, match="not a name of a host"):
        ask(hosts=[given])


def test_each_answer_has_the_strict_headers(ask):
    for path in ("/", "/no/such/page", "/api/status"):
        headers = ask().get(path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


# ---- forged requests


def test_a_form_without_its_token_is_refused(ask):
    answer = ask(define=True).post("/login", data={"name": "ann"})
    assert answer.status_code == 403
    assert "no valid token" in sentence(answer)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://localhost@evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_form_of_another_site_is_refused_even_with_the_token(ask, ann, headers):
    client = ask()
    data = {"token": form_token(client), "name": "ann", "password": PASSWORD}
    answer = client.post("/login", data=data, headers=headers)
    assert answer.status_code == 403
    assert "from another site" in sentence(answer)


def test_a_form_of_our_own_is_taken(ask, ann):
    client = ask()
    data = {"token": form_token(client), "name": "ann", "password": PASSWORD}
    headers = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/login", data=data, headers=headers).status_code == 303


# ---- login


def test_without_users_nobody_logs_in(ask):
    assert ask().get("/").status_code == 200
    assert ask().get("/login").status_code == 303


def test_with_users_a_browser_is_sent_to_the_login_and_a_program_is_told(ask, ann):
    answer = ask().get("/runs?state=failed", headers=HTML)
    assert (answer.status_code, answer.location) == (303, "/login?next=/runs?state%3Dfailed")
    answer = ask().get("/api/status")
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


def test_who_logs_in_comes_back_to_where_they_were(ask, ann):
    client = ask()
    answer = log_in(client, next="/api/status?a=1")
    assert (answer.status_code, answer.location) == (303, "/api/status?a=1")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    "place", ["https://evil.example/", "//evil.example", "/\\evil.example", "evil", "/a\nb"]
)
def test_the_login_leads_to_no_other_site(ask, ann, place):
    assert log_in(ask(), next=place).location == "/"


def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(ask, ann):
    client = ask()
    wrong = log_in(client, password="something else")
    unknown = log_in(client, name="nobody")
    assert wrong.status_code == unknown.status_code == 403
    assert "the name or the password is wrong" in sentence(wrong)
    assert "the name or the password is wrong" in sentence(unknown)
    assert client.get("/").status_code == 401


def test_more_than_five_attempts_in_a_minute_have_to_wait(ask, ann):
    client = ask()
    codes = [log_in(client, password="wrong").status_code for _ in range(6)]
    assert codes == [403] * 5 + [429]
    answer = log_in(client)
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 60


def test_a_session_lasts_over_a_restart_and_ends_with_the_password(ask, ann):
    first, second = ask(), ask()
    name, _, value = log_in(first).headers["Set-Cookie"].partition(";")[0].partition("=")
    second.set_cookie(name, value)
    assert second.get("/").status_code == 200
    users.keep(str(ann), None, users.with_password("ann", Role.OPERATE, "another password"))
    assert second.get("/").status_code == 401


def test_who_logs_out_is_asked_again(ask, ann):
    client = ask()
    log_in(client)
    with client.session_transaction() as kept:
        assert kept["name"] == "ann"
    client.post("/logout", data={"token": form_token_of(client)})
    assert client.get("/").status_code == 401


def form_token_of(client) -> str:
    """The token of the forms of who is logged in, also where no page shows one."""
    from taskrunner.web import guard

    with client:
        client.get("/")
        return guard.form_token()


# ---- files of users


def test_the_files_are_private_and_hold_no_secret(home):
    users.keep(str(home), None, users.with_password("ann", Role.SEE, PASSWORD))
    user, token = users.with_token("deploy", Role.OPERATE)
    place = users.keep(str(home), None, user)
    text = (home / "page.users").read_text()
    assert PASSWORD not in text
    assert token not in text
    assert [each.name for each in users.load(place)] == ["ann", "deploy"]
    assert (home / "page.users").stat().st_mode & 0o777 == 0o600
    users.key(str(home))
    assert (home / "page.key").stat().st_mode & 0o777 == 0o600


def test_a_file_that_others_can_read_is_refused_and_the_page_lives_on(ask, ann):
    client = ask()
    (ann / "page.users").chmod(0o644)
    answer = client.get("/")
    assert answer.status_code == 503
    assert "chmod 600" in sentence(answer)
    (ann / "page.users").chmod(0o600)
    assert log_in(client).status_code == 303


def test_a_file_that_is_removed_lets_nobody_in(ask, ann):
    client = ask(define=True)
    log_in(client)
    (ann / "page.users").unlink()
    assert client.get("/").status_code == 401
    assert client.get("/", headers=HTML).status_code == 303
    assert ask().get("/").status_code == 200, "a page that is started without users has none"


def test_a_user_who_is_added_closes_a_page_that_was_open(ask, home):
    client = ask()
    assert client.get("/").status_code == 200
    users.keep(str(home), None, users.with_password("ann", Role.SEE, PASSWORD))
    assert client.get("/").status_code == 401


@pytest.mark.parametrize(
    "line", ["user eve root aa bb", "user eve see aaa bb", "user eve see aa b"]
)
def test_a_line_that_is_not_a_user_is_named(ask, ann, line):
    with open(ann / "page.users", "a") as file:
        file.write(f"{line}\n")
    answer = ask().get("/")
    assert "line 2: not a user of the page" in sentence(answer)
    assert answer.status_code == 409


def test_a_pipe_as_the_file_of_users_is_refused_at_once(ask, ann):
    client = ask()
    (ann / "page.users").unlink()
    os.mkfifo(ann / "page.users", 0o600)
    answer = client.get("/")
    assert answer.status_code == 409 and "it is a pipe, not a file" in sentence(answer)


# ---- tokens and roles


def test_a_token_needs_no_form_token_and_gets_no_cookie(ask, home):
    user, token = users.with_token("deploy", Role.SEE)
    users.keep(str(home), None, user)
    answer = ask().get("/api/status", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers
    wrong = ask().get("/api/status", headers={"Authorization": f"Bearer {token}x"})
    assert wrong.status_code == 401
    assert token not in sentence(wrong)


def test_nobody_may_more_than_the_page_and_nobody_more_than_their_role(ask, home):
    from taskrunner.web import guard

    user, token = users.with_token("deploy", Role.DEFINE)
    users.keep(str(home), None, user)
    headers = {"Authorization": f"Bearer {token}"}
    for options, may in (({}, "see"), ({"operate": True}, "operate"), ({"define": True}, "define")):
        with ask(**options) as client:
            client.get("/", headers=headers)
            assert guard.visitor().role is users.ROLES[may]
    users.keep(str(home), None, users.with_password("ann", Role.SEE, PASSWORD))
    with ask(define=True) as client:
        log_in(client)
        client.get("/")
        assert guard.may("see") and not guard.may("operate")
        assert guard.who() == "ann"
