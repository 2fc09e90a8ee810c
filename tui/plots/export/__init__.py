"""A plot as a file that looks as on screen: SVG, PNG, and its values as CSV."""
