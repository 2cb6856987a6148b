"""Real servers on the loopback for tests: HTTP that answers as it is told, SMTP that keeps what it gets."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

DATA = Path(__file__).parent / "data"
CERTIFICATE, KEY = DATA / "loopback.pem", DATA / "loopback.key"


def server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATE, KEY)
    return context


@dataclass
class Request:
    """What one request brought."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Web:
    """An HTTP server: `answers` are given one after another, the last one for ever.

    An answer is a status, with a text for `Location` or the body; "hang" never answers, "drip" never ends.
    """

    url: str = ""
    answers: list[object] = field(default_factory=lambda: [200])
    got: list[Request] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def web(*, tls: bool = False) -> Iterator[Web]:
    state = Web()

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            state.got.append(Request(self.command, self.path, dict(self.headers), body))
            answer = state.answers.pop(0) if len(state.answers) > 1 else state.answers[0]
            if answer == "hang":
                state.over.wait(100)
                return
            status, text = answer if isinstance(answer, tuple) else (answer, "")
            if answer == "drip":
                status, text = 200, "x" * 100_000
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", text)
                text = ""
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            if answer == "drip":
                for sign in text:
                    if state.over.wait(0.05):
                        return
                    try:
                        self.wfile.write(sign.encode())
                    except OSError:
                        return
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    if tls:
        server.socket = server_context().wrap_socket(server.socket, server_side=True)
    state.url = f"http{'s' * tls}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield state
    finally:
        state.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Mails:
    """What an SMTP server has taken, and who logged in."""

    port: int = 0
    got: list[object] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    refuse: str = ""

    async def handle_DATA(self, _: object, session: object, envelope: object) -> str:  # noqa: N802  as above
        if self.refuse:
            return self.refuse
        self.got.append(envelope)
        self.encrypted.append(session.ssl is not None)
        return "250 taken"

    def log_in(self, *given: object) -> AuthResult:
        data = given[-1]
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        good = data.password == b"open sesame"
        return AuthResult(
            success=good, handled=good
        )  # what is not handled is refused by the server


class AnyPort(Controller):
    """A controller that lets the kernel choose the port."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def smtp(*, starttls: bool = False, tls: bool = False, login: bool = False) -> Iterator[Mails]:
    state = Mails()
    more = {"authenticator": state.log_in, "auth_required": True} if login else {}
    controller = AnyPort(
        state,
        hostname="127.0.0.1",
        port=0,
        tls_context=server_context() if starttls else None,
        ssl_context=server_context() if tls else None,
        require_starttls=starttls,
        auth_require_tls=starttls,
        **more,
    )
    controller.start()
    state.port = controller.port
    try:
        yield state
    finally:
        controller.stop()
