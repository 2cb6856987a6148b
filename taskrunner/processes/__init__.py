"""Child processes: started, watched, stopped, and their output kept within bounds. Nothing here knows a task."""
