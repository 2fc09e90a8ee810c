"""When one process of a training fails, log and console have its own line, not the lost connection."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from training_data import TINY, events_of, of_kind

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
FAILING = """
import os, sys
from nanochat.common.errors import UserError
from nanochat.run.stage_run import main
from nanochat.train.loop import Training

record = Training._record_step

def failing(self, *given):
    if self.state.step == 3 and os.environ["RANK"] == "1":
        {how}
    record(self, *given)

Training._record_step = failing
sys.exit(main("base_train", sys.argv[1:]))
"""


OWN = ('raise UserError("the disk of rank 1 is gone")', "error in rank 1: the disk of rank 1 is gone")
DEFECT = ('raise ValueError("a defect here")', "error in rank 1: ValueError: a defect here")
KILLED = ("os.kill(os.getpid(), 9)", "another process of the group ended without a word")


@pytest.mark.parametrize(("how", "line", "torchrun"), [(*OWN, True), (*DEFECT, False), (*KILLED, False)])
def test_the_failing_ranks_own_line_is_told(base: Path, how: str, line: str, torchrun: bool) -> None:
    script = base / "failing.py"
    script.write_text(FAILING.format(how=how), encoding="utf-8")
    options = [f"--base-dir={base}", *TINY, "--num-iterations=40", "--eval-every=-1", "--sample-every=-1"]
    env = os.environ | {
        "PYTHONPATH": str(ROOT), "NANOCHAT_RUN_DIR": str(base / "runs/the-run"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    start = [sys.executable, str(script)]
    if torchrun:
        start = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)
        ]  # fmt: skip
    else:
        launcher = (
            "import sys; from nanochat.run.launcher import launch;"
            "sys.path.insert(0, sys.argv.pop(1)); sys.exit(launch('failing', sys.argv[1:], 2))"
        )
        start = [sys.executable, "-c", launcher, str(base)]
        env["PYTHONPATH"] = f"{ROOT}:{base}"
    done = subprocess.run(
        [*start, *options], env=env, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode != 0
    [end] = of_kind(events_of(base, "the-run"), "stage_end")
    assert end.data["status"] == "failed"
    assert line in str(end.data["error"])
    told = [text for text in done.stderr.splitlines() if text.startswith("base_train: error")]
    assert len(told) == 1
    assert line in told[0]
