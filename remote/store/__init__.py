"""Every run's events in SQLite, read from the host exactly once."""
