"""The control room's screens, one a file; each created when it is first shown."""
