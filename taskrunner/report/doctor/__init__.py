"""Checks of a home and its host, each finding with its fix; nothing here writes.

Everything that a check reads may be missing, locked or damaged.
"""
