"""How long to train, what memory it takes, and what it costs."""
