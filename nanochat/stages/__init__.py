"""One file a stage: `run(options, run)` and what it is made of."""
