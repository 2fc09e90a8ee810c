"""What the runner answers on the command line."""
