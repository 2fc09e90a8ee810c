"""The pipeline: data, tokenizer, model, training, evals, inference. Knows no screen and no SSH."""

import os

__version__ = "0.1.0"

# OpenMP's idle threads spin by default, which on a machine with other work (a screen, a tokenizer, a second
# run) made a training step twenty times slower. They must be told before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
