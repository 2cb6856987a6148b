"""From slots to decisions: pure rules, given everything they need as arguments."""
