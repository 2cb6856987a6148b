"""One home: its paths, its lock, its heartbeat, its settings and its log file."""
