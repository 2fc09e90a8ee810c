"""A whole run as a table for pandas, polars, DuckDB or a spreadsheet."""
