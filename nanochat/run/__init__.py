"""A stage's run: its directory, its event log, its progress, its processes."""
