"""The pipeline: data, tokenizer, model, training, evals, inference. Knows no screen and no SSH."""

import os

__version__ = "0.1.0"

# OpenMP's idle threads spin by default, which on a machine with other work (a screen, a tokenizer, a second
# run) made a training step twenty times slower. They must be told before torch is loaded.
# GNU's runtime may spin for some microseconds, from one operation of a step to the next: up to a fifth
# faster on idle cores and costs nothing on busy ones (docs/training.md).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
