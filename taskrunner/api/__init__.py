"""The library: what `TaskRunner` offers to programs and to the command line."""
