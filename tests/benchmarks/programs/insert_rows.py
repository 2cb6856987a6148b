"""Prints the seconds of one transaction with the tasks and notes that a filled store has: insert_rows.py FILLED EMPTY."""

import sqlite3
import sys
import time
from contextlib import closing

filled, empty = sys.argv[1:]
with closing(sqlite3.connect(filled)) as store:
    tables = {}
    for table in ("tasks", "events"):
        found = store.execute(f"SELECT * FROM {table}").fetchall()
        tables[f"INSERT INTO {table} VALUES ({', '.join('?' * len(found[0]))})"] = found
with closing(sqlite3.connect(empty, isolation_level=None)) as store:
    store.execute("PRAGMA synchronous = full")
    store.execute("SELECT count(*) FROM tasks").fetchall()
    start = time.perf_counter()
    store.execute("BEGIN IMMEDIATE")
    for statement, rows in tables.items():
        store.executemany(statement, rows)
    store.execute("COMMIT")
    print(time.perf_counter() - start)
