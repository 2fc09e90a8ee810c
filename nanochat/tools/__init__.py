"""What a model can call: the calculator, and the sandbox its programs run in."""
