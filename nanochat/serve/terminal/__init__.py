"""The chat in a terminal: input, commands, and answers that may hold anything."""
