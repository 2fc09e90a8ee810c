"""All hosts at once: their connections, agents, runs, and what follows them."""
