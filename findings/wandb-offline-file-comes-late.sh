#!/usr/bin/env bash
# wandb 0.31.0: an offline run's .wandb file grows by whole blocks of 32 KiB, or every 15 seconds; at first it is 7 bytes of header.
#
# What run.log is given waits in memory until a block is full or the 15 seconds are over. Whoever follows a running training by its
# file sees an empty run at first and a slow one always late: a file that has not grown is no run that stands still, and one that
# ends with a block ends in the middle of a record. (wandb/wandb#12742 brought the 15 seconds; before, only full blocks were written.)
#
# Seen with Python 3.11: after init 7 bytes · 160 rows in 40 s: the file grew 3 times · 450 at once: 4.00 blocks more
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


sizes = []
for _ in range(160):  # 40 s, a row every quarter of a second
    log(1)
    time.sleep(0.25)
    sizes.append(file.stat().st_size)
writes = len(set(sizes) - {first})
print(f"160 rows in 40 s: the file grew {writes} times")
log(450)
time.sleep(2)
print(f"450 rows at once: {(file.stat().st_size - sizes[-1]) / BLOCK:.2f} blocks of 32 KiB more")
run.finish()
assert first == 7 or started > 14, first
assert 1 <= writes <= 5, sizes
assert file.stat().st_size > 2 * BLOCK
PY
export WANDB_CONFIG_DIR="$folder" WANDB_CACHE_DIR="$folder" WANDB_DATA_DIR="$folder" WANDB_SILENT=true
"$folder/venv/bin/python" "$folder/try.py"
