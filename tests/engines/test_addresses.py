"""Addresses of a Redis, with a real one: TLS with certificates of both sides, an account, a database, a socket."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from taskrunner import Manual
from taskrunner.engines.rq_queue import Queue
from taskrunner.report.doctor import check_queues, snapshot
from tests.daemons import free_port
from tests.engines.redis_box import Box, until

pytestmark = [pytest.mark.xdist_group("rq-tls"), pytest.mark.slow, pytest.mark.one_python]
OPENSSL = shutil.which("openssl")


def certificates(folder: Path) -> None:
    """Make an authority, and a server and a client that it knows."""

    def openssl(*words: str) -> None:
        subprocess.run([OPENSSL, *words], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=authority")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
    for who in ("server", "client"):
        openssl("req", *new, "-keyout", f"{who}.key", "-out", f"{who}.csr", "-subj", f"/CN={who}")
        signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{who}.csr", "-out", f"{who}.crt", *signed)


@pytest.fixture(scope="module")
def secured(redis_there, needs, tmp_path_factory: pytest.TempPathFactory):
    """A Redis that listens with TLS only, wants a certificate and an account; and the address of it for a client."""
    needs("redis", OPENSSL, "there is no openssl")
    folder = tmp_path_factory.mktemp("tls")
    certificates(folder)
    port = free_port()
    box = Box(folder)
    box.port = port
    words = [
        "--tls-port",
        str(port),
        "--tls-auth-clients",
        "yes",
        "--tls-ca-cert-file",
        f"{folder}/ca.crt",
    ]
    words += ["--tls-cert-file", f"{folder}/server.crt", "--tls-key-file", f"{folder}/server.key"]
    words += ["--user", "ann", "on", ">hunter2", "~*", "&*", "+@all"]
    try:
        box.start(*words)
        yield box
    finally:
        box.close()


def address(box: Box, account: str = "ann:hunter2@", database: object = 3, *more: str) -> str:
    place = box.folder
    given = more or (f"ssl_certfile={place}/client.crt", f"ssl_keyfile={place}/client.key")
    parameters = "&".join([f"ssl_ca_certs={place}/ca.crt", *given])
    return f"rediss://{account}127.0.0.1:{box.port}/{database}?{parameters}"


def test_runs_travel_with_tls_certificates_an_account_and_a_database(secured, make, home):
    url = address(secured)
    runner = make(secured, url=url)
    worker = secured.worker("one", url=url)
    runner.add("report", None, Manual(), shell="echo out; exit 3", queue="heavy")
    run = runner.run("report")
    assert (run.state, run.exit_code, b"".join(runner.log(run))) == ("failed", 3, b"out\n")
    (state,) = runner.queues()
    assert (state.error, len(state.workers)) == (None, 1)
    assert "hunter2" not in state.url
    (found,) = check_queues.findings(snapshot.take(str(home), runner.now()))
    assert "answers at rediss://ann:***@" in found.what
    secured.end(worker)


@pytest.mark.parametrize(
    ("account", "more", "said"),
    [
        ("ann:wrong@", (), "invalid username-password pair"),
        (
            "ann:hunter2@",
            ("ssl_certfile=/no/such",),
            "no file /no/such, which its address has as ssl_certfile",
        ),
        ("ann:hunter2@", ("db=99",), "DB index is out of range"),
    ],
)
def test_what_is_wrong_with_an_address_is_told_in_one_sentence(secured, account, more, said):
    place = secured.folder
    own = (f"ssl_certfile={place}/client.crt", f"ssl_keyfile={place}/client.key")
    names = {each.partition("=")[0] for each in more}
    rest = [each for each in own if each.partition("=")[0] not in names]
    queue = Queue(address(secured, account, "", *rest, *more), "default")
    assert queue.ask_server_id() is None
    assert said in queue.trouble
    assert "hunter2" not in queue.trouble
    queue.close()


def test_a_server_that_is_not_of_the_authority_is_not_trusted(secured):
    queue = Queue(f"rediss://127.0.0.1:{secured.port}/0", "default")
    assert queue.ask_server_id() is None
    assert "certificate verify failed" in queue.trouble
    queue.close()


def test_a_password_that_is_wanted_and_not_there_is_told(own):
    own.redis.config_set("requirepass", "hunter2")
    queue = own.queue()
    assert queue.ask_server_id() is None
    assert queue.trouble == "it asks for a password, and its address has none"
    queue.close()
    queue = Queue(f"unix://:hunter2@{own.socket}?db=2", "default")
    assert until(queue.ask_server_id)
    queue.close()
