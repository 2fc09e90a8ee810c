"""The transformer, its attention and its loss."""
