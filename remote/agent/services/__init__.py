"""Services: servers of checkpoints that the agent starts on this host and ends when nobody keeps them."""
