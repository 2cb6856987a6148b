"""Checks of a home and its host, each finding with its remedy; nothing here writes.

Whatever a check looks at may be missing, locked or broken.
"""
