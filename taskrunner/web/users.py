"""Users of the page: names, roles, and hashes of their passwords and tokens in one file.

Each line of the file is `user NAME ROLE SALT HASH` or `token NAME ROLE HASH`. Passwords are hashed by scrypt; tokens
are random, so SHA-256 is enough. It must not know Flask.
"""

import enum
import hashlib
import hmac
import os
import re
import secrets
import stat
import threading

from taskrunner.errors import HomeRefused, InputError, StateError, shown
from taskrunner.home import lock, paths
from taskrunner.model.record import record

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
HEX = re.compile(r"(?:[0-9a-f]{2})*")  # whole bytes
SHORTEST, LONGEST = 8, 1024  # characters of a password
# 16 MB and about a fifth of a second: as hard as OWASP asks, in memory that a small machine has.
SCRYPT = {"n": 2**14, "r": 8, "p": 5, "maxmem": 2**26}
ONE_AT_A_TIME = threading.Lock()  # else a few logins at once would need a multiple of that memory
NOBODY = bytes(16)  # the salt that the password of an unknown name is hashed with
PRIVATE = stat.S_IRWXG | stat.S_IRWXO


class Role(enum.IntEnum):
    """What somebody may do on the page, each role all of those before it."""

    NONE = 0
    SEE = 1  # read everything
    OPERATE = 2  # run, cancel, enable, disable, hold, resume
    DEFINE = 3  # add, change and remove tasks, which is to run any command

    @property
    def word(self) -> str:
        """Its name in files, flags and sentences."""
        return self.name.lower()


ROLES = {role.word: role for role in Role if role}


@record
class User:
    """One line of the file: a person with a password, or a program with a token."""

    kind: str  # user or token
    name: str
    role: Role
    salt: str  # hexadecimal; "" for a token
    hashed: str  # hexadecimal

    @property
    def proof(self) -> str:
        """A text that is another one after the password was changed: it ends the sessions of before."""
        return hashlib.sha256(f"{self.salt}{self.hashed}".encode()).hexdigest()[:16]

    def line(self) -> str:
        """Return the line of the file."""
        parts = (self.kind, self.name, self.role.word, self.salt, self.hashed)
        return " ".join(part for part in parts if part)


def find(home: str, given: str | None = None) -> str | None:
    """Return the path of the file of users, None when there is none; raises StateError when a given one is missing."""
    place = paths.path(home, paths.PAGE_USERS) if given is None else os.path.abspath(given)
    if os.path.lexists(place):
        return place
    if given is not None:
        raise StateError(
            f"there is no file of users {shown(place)}: `taskrunner page --user NAME` writes one"
        )
    return None


def load(place: str) -> list[User]:
    """Return the users of a file; raises HomeRefused when others can read it, StateError for a line that is none."""
    return [_user(place, number, line) for number, line in enumerate(_lines(place), 1) if line]


def _lines(place: str) -> list[str]:
    _check_private(place)
    try:
        with open(place, encoding="utf-8", opener=paths.without_waiting) as file:
            return [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise StateError(f"the file of users {shown(place)} cannot be read: {why}") from exc


def _check_private(place: str) -> None:
    try:
        found = os.stat(place)
    except OSError as exc:
        raise StateError(f"{shown(place)} cannot be read: {exc.strerror}") from exc
    if found.st_uid not in (0, os.geteuid()):
        raise HomeRefused(
            f"{shown(place)} belongs to user id {found.st_uid}: run chown {os.geteuid()} {place}"
        )
    if found.st_mode & PRIVATE:
        mode = stat.S_IMODE(found.st_mode)
        raise HomeRefused(
            f"{shown(place)} can be read by others (mode {mode:04o}): run chmod 600 {place}"
        )


def _user(place: str, number: int, line: str) -> User:
    parts = line.split()
    if len(parts) == 4 and parts[0] == "token":
        parts.insert(3, "")
    good = len(parts) == 5 and parts[0] in ("user", "token") and parts[2] in ROLES
    if (
        not good
        or not NAME.fullmatch(parts[1])
        or not all(HEX.fullmatch(part) for part in parts[3:])
    ):
        raise StateError(
            f"{place}, line {number}: not a user of the page; remove the line and write it with `taskrunner page --user NAME`"
        )
    kind, name, role, salt, hashed = parts
    return User(kind, name, ROLES[role], salt, hashed)


# ---- passwords and tokens


def with_password(name: str, role: Role, password: str) -> User:
    """Return a person with a new password; raises InputError for a name or a password that cannot be one."""
    _check_name(name)
    if not SHORTEST <= len(password) <= LONGEST:
        raise InputError(
            f"the password has {len(password)} characters: give {SHORTEST} to {LONGEST}"
        )
    salt = secrets.token_bytes(16)
    return User("user", name, role, salt.hex(), _hash(password, salt).hex())


def with_token(name: str, role: Role) -> tuple[User, str]:
    """Return a program with a new token, and the token; raises InputError for a name that cannot be one."""
    _check_name(name)
    token = f"tr_{secrets.token_urlsafe(32)}"
    return User("token", name, role, "", _hash_token(token)), token


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise InputError(
            f"{shown(name)} is not a valid name of a user: use 1 to 64 letters, digits and the signs . _ @ -, "
            "a letter or digit first"
        )


def _hash(password: str, salt: bytes) -> bytes:
    with ONE_AT_A_TIME:
        return hashlib.scrypt(password.encode(errors="surrogatepass"), salt=salt, **SCRYPT)


def _hash_token(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def of_password(known: list[User], name: str, password: str) -> User | None:
    """Return the person of a name and password, None for a wrong one; an unknown name takes as long."""
    user = next((each for each in known if each.kind == "user" and each.name == name), None)
    salt = NOBODY if user is None else bytes.fromhex(user.salt)
    given = _hash(password[: LONGEST + 1], salt).hex()
    return user if user is not None and hmac.compare_digest(given, user.hashed) else None


def of_token(known: list[User], token: str) -> User | None:
    """Return the program of a token, None for a wrong one."""
    given = _hash_token(token)
    found = [
        each for each in known if each.kind == "token" and hmac.compare_digest(given, each.hashed)
    ]
    return found[0] if found else None


# ---- writing


def keep(home: str, place: str | None, user: User) -> str:
    """Write a user to the file, in place of one of that kind and name, and return the path of the file."""
    return _write(home, place, user.kind, user.name, user)


def drop(home: str, place: str | None, name: str) -> str:
    """Remove a person and a token of that name; raises StateError when there is neither."""
    found = find(home, place)
    if found is None or all(each.name != name for each in load(found)):
        raise StateError(f"there is no user {shown(name)} of the page")
    return _write(home, place, None, name, None)


def _write(home: str, place: str | None, kind: str | None, name: str, user: User | None) -> str:
    if place is None:
        paths.check(home)
        paths.create(home)
        place = paths.path(home, paths.PAGE_USERS)
    place = os.path.abspath(place)
    with lock.held(f"{place}.lock", wait=10.0):
        known = load(place) if os.path.exists(place) else []
        left = [each for each in known if each.name != name or kind not in (None, each.kind)]
        left += [] if user is None else [user]
        _replace(place, "".join(f"{each.line()}\n" for each in left))
    return place


def _replace(place: str, text: str) -> None:
    """Write a private file as a whole, in one step; raises StateError."""
    new_file = f"{place}.new"
    try:
        fd = os.open(
            new_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        with open(fd, "w", encoding="utf-8") as file:
            os.fchmod(fd, 0o600)
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.rename(new_file, place)
    except OSError as exc:
        raise StateError(f"{shown(place)} cannot be written: {exc.strerror}") from exc


# ---- the key of sessions


def key(home: str) -> bytes:
    """Return the key that signs sessions, made at first use; where nothing can be written it lasts as long as we do."""
    place = paths.path(home, paths.PAGE_KEY)
    new = secrets.token_bytes(32)
    if not os.path.exists(place) and not _make_key(place, new):
        return new
    _check_private(place)
    try:
        with open(place, "rb", opener=paths.without_waiting) as file:
            return bytes.fromhex(file.read(100).decode("ascii").strip()) or new
    except (OSError, ValueError):
        return new


def _make_key(place: str, new: bytes) -> bool:
    """Return whether there is a key now, ours or one that another process has just made."""
    temporary = f"{place}.{secrets.token_hex(4)}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, new.hex().encode() + b"\n")
            os.fsync(fd)
            os.link(temporary, place)
        finally:
            os.close(fd)
            os.unlink(temporary)
    except FileExistsError:
        return True
    except OSError:
        return False
    return True
