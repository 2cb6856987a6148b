"""Entries in cron and systemd that call a tick every minute."""
