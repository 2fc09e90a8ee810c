"""The filter language of runs, for the Runs screen and for `nanochat runs ls --filter`."""
