"""The values that everything else passes on: tasks, runs, decisions, outcomes, and the answers of the library."""
