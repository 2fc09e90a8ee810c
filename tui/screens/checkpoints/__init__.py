"""The Checkpoints screen: every checkpoint of every host, and what can be done with it."""
