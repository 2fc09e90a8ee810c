"""Training: the step, the loop around it, the optimizer, and what each stage adds."""
