"""A process that runs a stage loads it without Python's garbage collector, and runs it with it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

FRONT = """
import gc, sys
from nanochat.config.stages import StageSpec
from nanochat.cli import main

def load(spec):
    print("loading", gc.isenabled())
    return lambda options, run: print("running", gc.isenabled(), gc.get_freeze_count() > 1000) or {}

StageSpec.load = load
sys.argv = ["nanochat", *sys.argv[1:]]
assert main(["tok_eval"]) == 0
"""
AT_THE_END = "import atexit, gc\natexit.register(lambda: print('ended', gc.isenabled()))\n"


def told(folder: Path, *words: str) -> list[str]:
    """What a Python with these words prints of its collector."""
    (folder / "sitecustomize.py").write_text(AT_THE_END)
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "NANOCHAT_BASE_DIR": str(folder / "base"),
    }
    done = subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if line.startswith(("loading", "running", "ended"))]


def test_a_stage_that_is_the_process_is_loaded_without_it_and_runs_with_it(tmp_path: Path) -> None:
    assert told(tmp_path, "-c", FRONT, "tok_eval") == ["loading False", "running True True", "ended True"]


def test_a_stage_in_somebody_elses_process_leaves_it_alone(tmp_path: Path) -> None:
    assert told(tmp_path, "-c", FRONT, "other", "words") == [
        "loading True",
        "running True False",
        "ended True",
    ]


def test_python_m_of_a_stage_imports_it_without(tmp_path: Path) -> None:
    """Seen by one that ends before it would run."""
    assert told(tmp_path, "-m", "nanochat.stages.tok_eval", "--help") == ["ended False"]
    assert told(tmp_path, "-m", "nanochat.cli", "--help") == ["ended True"]
