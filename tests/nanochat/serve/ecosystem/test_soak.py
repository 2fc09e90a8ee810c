"""Fifty clients that come and go, some leaving in the middle: every text right, and memory flat.

Five seconds here; NANOCHAT_SOAK=10 makes it ten minutes, and then answers must also come evenly.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from training_data import ROOT

pytestmark = pytest.mark.slow

MINUTES = float(os.environ.get("NANOCHAT_SOAK", "0"))


@pytest.mark.timeout(60 * MINUTES + 300)
def test_clients_that_come_and_go_get_the_full_passs_texts(tmp_path: Path) -> None:
    size = () if MINUTES else ("--depth=2", "--vocab=512")
    command = [sys.executable, str(ROOT / "bench/serve.py"), f"--soak={MINUTES or 1 / 12}", "--json", *size]
    done = subprocess.run(
        [*command, "--era=modern", "--threads=1"], capture_output=True, text=True, check=False, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == 0, done.stdout
    assert found["finished"] > 50 and found["left"] > 5
    assert found["memory_growth"] < 0.05
    if MINUTES:
        assert found["gap_p99_ms"] <= 3 * found["gap_median_ms"]
