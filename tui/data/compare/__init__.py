"""What the Compare screen shows, without widgets."""
