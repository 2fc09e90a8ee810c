"""What the Checkpoints screen shows, without widgets."""
