"""What models learn from: logs, catalogue and viewers, as of the moment of every event."""
