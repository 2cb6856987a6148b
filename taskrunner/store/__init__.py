"""Tasks, runs and events in one SQLite file: the only owner of queries."""
