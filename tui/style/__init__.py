"""Themes, colours, and the look of each status."""
