"""What a person can do to runs and plans, and the commands that reproduce it."""
