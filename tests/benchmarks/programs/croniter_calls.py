"""Prints the seconds that bare calls of croniter take: croniter_calls.py FILE, a JSON list of expressions and counts."""

import json
import sys
import time
from datetime import UTC, datetime

from croniter import croniter

with open(sys.argv[1], encoding="utf-8") as file:
    wanted = json.load(file)
now = datetime.now(UTC).replace(tzinfo=None)
start = time.perf_counter()
for expression, count in wanted:
    walker = croniter(expression, now, ret_type=datetime)
    for _ in range(count):
        walker.get_next()
print(time.perf_counter() - start)
