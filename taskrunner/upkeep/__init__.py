"""The store kept small and safe: retention, backups, a reserve for a full disk."""
