"""One file a stage: `run(options, run)` and what it is made of."""

import sys

from nanochat.common.collector import hold_collector

if sys.argv[:1] == ["-m"]:  # `python -m nanochat.stages.STAGE`, which imports the stage next
    hold_collector()
