"""What can be asked of a stage: its options, and plans of several stages."""
