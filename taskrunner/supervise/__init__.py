"""Claimed runs are started and watched, and their ends recorded; left-over runs are settled."""
