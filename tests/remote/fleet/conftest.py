"""The small models of the pipeline's tests, to be served by a host."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "nanochat"))
