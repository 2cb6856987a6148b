"""Notifications, metrics, and the lines of the log."""
