"""Storage: tasks, runs, events and messages in one SQLite file, and all queries."""
