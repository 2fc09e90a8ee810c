"""The commands beside the stages, and the table that finds them."""
