"""Prints the seconds that each of ROUNDS calls for the last runs of a task take in each home, in turn, as JSON.

history_calls.py ROUNDS TASK HOME...
"""

import json
import sys
import time

from taskrunner import TaskRunner

rounds, task, homes = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
runners = [TaskRunner(home) for home in homes]
found: list[list[float]] = [[] for _ in homes]
for number in range(rounds + 1):
    for place, runner in enumerate(runners):
        start = time.perf_counter()
        runner.history(task, limit=20)
        took = time.perf_counter() - start
        if number:  # the first round warms up
            found[place].append(took)
print(json.dumps(found))
