"""When a task is due: schedules as pure values, and what they are made of: expressions, zones, instants, lengths of time."""
