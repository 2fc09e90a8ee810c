"""What the benchmarks of training share: a worker process, and one training step of each contestant."""
