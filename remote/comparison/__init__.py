"""Runs side by side: what they were asked, and what they measured at equal step, tokens, FLOPs or time.

The Compare screen and `nanochat runs compare` show what these modules compute.
"""

LETTERS = "ABCDEF"
MOST_RUNS = len(LETTERS)
"""As many runs as can be read side by side."""
