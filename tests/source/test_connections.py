"""Each connection to SQLite is closed: from Python 3.13 on, one that is left open fails some later test."""

import re

from tests.samples import ROOT

# As a context manager, a connection commits and stays open.
LEFT_OPEN = re.compile(r"with sqlite3\.connect\(|, sqlite3\.connect\(.*\) as ")


def test_no_connection_is_its_own_context_manager():
    faults = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("taskrunner", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name != "test_connections.py"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if LEFT_OPEN.search(line)
    ]
    assert not faults
