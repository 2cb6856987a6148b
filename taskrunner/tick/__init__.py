"""The three that drive a supervisor: a tick, the daemon, a run by hand."""
