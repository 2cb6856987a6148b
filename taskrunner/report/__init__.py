"""Answers about the past and the future: explain, statistics, the agenda, the graph, status."""
