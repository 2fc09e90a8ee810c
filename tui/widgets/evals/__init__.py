"""What the Evals screen shows: tables of scores, lists of items, one item."""
