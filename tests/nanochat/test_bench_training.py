"""The benchmarks of training run to their end, here at small sizes, from a bare checkout."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
NOT_BARE = ("safetensors", "textual", "plotext", "transformers", "asyncssh", "rustbpe", "psutil")
"""What a machine with torch, pyarrow and tiktoken alone does not have."""


def bench(tmp_path: Path, script: str, *options: str, bare: bool = False) -> tuple[str, dict[str, Any]]:
    """What the script printed, and its last line as JSON."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if bare:
        hidden = f"import sys\nsys.modules.update(dict.fromkeys({NOT_BARE!r}))\n"
        (tmp_path / "sitecustomize.py").write_text(hidden)
        environment["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / script), *options],
        capture_output=True, text=True, timeout=240, env=environment, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads(done.stdout.splitlines()[-1])


SMALL = ("--device=cpu", "--context=64", "--vocab=512", "--head-dim=64", "--rows=2", "--steps=1")


def test_the_gpu_benchmark_runs_from_a_bare_checkout(tmp_path: Path) -> None:
    """Every precision is near float32, and float8 further from it than bfloat16."""
    text, found = bench(tmp_path, "gpu.py", *SMALL, "--depths=2", "--modes=eager", bare=True)
    results = {r["case"]: r for r in found["results"]}
    assert list(results) == ["d2 bf16 eager sdpa", "d2 fp8 eager sdpa"]
    narrow, narrower = results.values()
    assert 0 < narrow["gradient_error"] < 0.03
    assert narrow["gradient_error"] < narrower["gradient_error"] < 0.3
    assert narrower["loss_error"] < 0.02
    assert all(r["tok_per_sec"] > 0 and r["estimate_bytes"] > 0 for r in results.values())
    assert "13 matrices in float8" in narrower["kernels"]
    assert found["left_out"] == []
    assert "not here: --attention fa3: it runs on Hopper GPUs" in text


def test_the_gpu_benchmark_stops_in_time_and_says_what_it_left_out(tmp_path: Path) -> None:
    _, found = bench(tmp_path, "gpu.py", *SMALL, "--depths=1,2", "--modes=eager", "--seconds=1")
    assert found["results"] == []
    assert len(found["left_out"]) == 4
    assert all("no time left" in reason for reason in found["left_out"])


def test_the_training_benchmark_sets_us_beside_a_public_peer(tmp_path: Path) -> None:
    text, found = bench(
        tmp_path, "train.py", "--depth=1", "--context=64", "--vocab=256", "--device-batch-size=2",
        "--total-batch-size=256", "--steps=2", "--only=classic,transformers", "--json",
    )  # fmt: skip
    rates = {r["name"]: r["tok_per_sec"] for r in found["results"]}
    assert list(rates) == ["classic", "transformers"]
    assert found["ratios"]["transformers"] == rates["classic"] / rates["transformers"]
    assert all(r["first_step_seconds"] > 0 and r["peak_memory_bytes"] > 0 for r in found["results"])
    assert "× the tokens a second of transformers" in text
