"""Widgets of the Checkpoints screen."""
