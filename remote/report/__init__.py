"""The report of runs: one document made of what the store holds, as Markdown and as one HTML page."""
