"""Dynamic loss scaling for float16, whose small gradients would round to zero (arXiv 1710.03740).

The loss is multiplied by a scale before the backward pass and the gradients divided by it after. A gradient
that overflows costs the step and halves the scale; a long run without overflow doubles it.
"""

from dataclasses import dataclass

INITIAL_SCALE = 2.0**16
GROWTH, BACKOFF, GROWTH_STEPS = 2.0, 0.5, 2000
"""The defaults of torch.amp.GradScaler. Powers of two scale without rounding."""
LOWEST = 1.0
"""An overflow at this scale has another cause: unscaled gradients overflow too."""


@dataclass
class LossScale:
    """The scale, and the steps since it last changed. Both are kept in checkpoints."""

    scale: float = INITIAL_SCALE
    good_steps: int = 0

    def update(self, overflow: bool) -> bool:
        """Adds one step; returns whether the scale explains its overflow, and has been lowered.

        Every rank passes the same `overflow`, so their scales stay the same.
        """
        if overflow:
            explained = self.scale > LOWEST
            self.scale, self.good_steps = max(LOWEST, self.scale * BACKOFF), 0
            return explained
        self.good_steps += 1
        if self.good_steps == GROWTH_STEPS:
            self.scale, self.good_steps = self.scale * GROWTH, 0
        return False
