"""Paths that units of systemd made by an earlier version still call; nothing here is imported."""
