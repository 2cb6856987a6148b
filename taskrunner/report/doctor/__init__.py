"""What may keep taskrunner from working on this host, each finding with its cure."""
