"""The Evals screen: tables of scores, items, differences, curves."""
