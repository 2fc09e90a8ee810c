"""Themes, colours, and how each status is shown."""
