"""The callers of a supervisor: a tick, the daemon, a manual run."""
