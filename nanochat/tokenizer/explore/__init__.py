"""How any tokenizer cuts a text, and why: splits, merges, differences, counts. No widget, no torch."""
