"""Checkpoints on disk: their files, saving them beside the training, reading their weights."""
