"""The commands other than the stages, and the table that lists them."""
