#!/usr/bin/env bash
# wandb 0.31.0: an offline run's .wandb file grows by whole blocks of 32 KiB, or every 15 seconds; at first it is 7 bytes of header.
#
# What run.log is given waits in memory until a block is full or the 15 seconds are over. Whoever follows a running training by its
# file sees an empty run at first and a slow one always late: a file that has not grown is no run that stands still, and one that
# ends with a block ends in the middle of a record. (wandb/wandb#12742 brought the 15 seconds; before, only full blocks were written.)
#
# Seen with Python 3.11: after init 7 bytes · 50 rows after a flush: 0 bytes in 3 s, 14,548 after 15 s · 450 rows: 131,072 = 4 × 32 KiB
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check wandb==0.31.0
cat >"$folder/try.py" <<'PY'
import time
from pathlib import Path

import wandb

BLOCK = 32 * 1024
folder = Path(__file__).parent
begun = time.monotonic()
settings = wandb.Settings(console="off", x_disable_stats=True)
run = wandb.init(mode="offline", dir=folder, project="late", settings=settings)
(file,) = folder.rglob("*.wandb")
first, started = file.stat().st_size, time.monotonic() - begun
print(f"after init {first:,} bytes")


def log(rows):
    for step in range(rows):
        run.log({"loss": 1 / (step + 1)})


def grown(size):
    """Seconds until the file is larger than `size`."""
    begun = time.monotonic()
    while file.stat().st_size <= size and time.monotonic() - begun < 60:
        time.sleep(0.05)
    return time.monotonic() - begun


log(1)
grown(first)
size = file.stat().st_size
log(50)
time.sleep(3)
soon = file.stat().st_size - size
late = 3 + grown(size)
print(f"50 rows after a flush: {soon} bytes in 3 s, {file.stat().st_size - size:,} after {late:.0f} s")
log(450)
time.sleep(2)
blocks = file.stat().st_size
print(f"450 rows more: {blocks:,} = {blocks / BLOCK:g} × 32 KiB")
run.finish()
assert first == 7 or started > 14, first
assert soon == 0 and 10 < late < 30, (soon, late)
assert blocks >= 2 * BLOCK and blocks % BLOCK == 0, blocks
PY
export WANDB_CONFIG_DIR="$folder" WANDB_CACHE_DIR="$folder" WANDB_DATA_DIR="$folder" WANDB_SILENT=true
"$folder/venv/bin/python" "$folder/try.py"
