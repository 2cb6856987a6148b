"""Maintenance of the store: retention, backups, and a reserve for a full disk."""
