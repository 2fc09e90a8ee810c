"""What screens show, read from the store, the hosts and the files of a run."""
