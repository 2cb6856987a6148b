"""Definitions of tasks: options, task files, crontabs, and the changes they make."""
