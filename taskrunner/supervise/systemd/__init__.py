"""Runs that systemd carries, each in a transient unit of its own."""
