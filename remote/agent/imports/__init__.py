"""Logs of other programs read as runs of ours: upstream's console, W&B, TensorBoard, tables."""
