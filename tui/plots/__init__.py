"""From a run's metrics to the cells of a plot."""
