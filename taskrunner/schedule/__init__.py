"""Schedules as pure values, and their parts: expressions, zones, instants, lengths of time."""
