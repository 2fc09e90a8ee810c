"""Checkpoints on disk: their files, saving them during training, loading their weights."""
