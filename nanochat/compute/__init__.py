"""The device a process computes on, the ranks it computes with, and what GPUs are known."""
