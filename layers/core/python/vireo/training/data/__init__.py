"""Training data: the log, the catalogue and the viewers, as of the time of every event."""
