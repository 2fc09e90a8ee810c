"""The control room's screens, one a file; each is made when it is first shown."""
