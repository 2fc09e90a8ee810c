"""What the user can do to runs and plans, and the shell commands that do the same."""
