"""Evaluations as the Evals screen looks at them, without any widget."""
