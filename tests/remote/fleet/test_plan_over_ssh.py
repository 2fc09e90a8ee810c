"""The real stages through a real sshd: corpus, tokenizer, a small model; the app is killed midway."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes import clean_events
from sshd import Sshd

from nanochat.common.paths import Layout
from nanochat.run.events import read_events
from remote.hosts.book import HostBook
from remote.store.store import Store

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
PLAN = """
name = "tiny"
[[stage]]
stage = "data_build"
options = { paths = ["%s"], out = "{base}/base_data" }
[[stage]]
stage = "tok_train"
options = { vocab_size = 300 }
[[stage]]
stage = "base_train"
options = { depth = 1, head_dim = 16, max_seq_len = 64, device_batch_size = 8, total_batch_size = 512, num_iterations = 60, eval_every = 20, eval_tokens = 2048, warmup_steps = 2 }
"""  # noqa: E501

FAR_LOCALE = os.environ.get(
    "NANOCHAT_FAR_LOCALE", "LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 PYTHONIOENCODING=ascii:strict"
)
"""What the host's login sets: no UTF-8, and Python does not replace it."""


@pytest.fixture
def env(layout: Layout, home: Path, tmp_path: Path, known_sshd: Sshd) -> dict[str, str]:
    """A shell's environment, with a host `box` whose interpreter has nanochat."""
    python = tmp_path / "stage python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" OMP_NUM_THREADS=1 exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    known_sshd.kill()
    known_sshd.more_config = f"SetEnv {FAR_LOCALE}\n"
    known_sshd.start()
    HostBook(layout).add(known_sshd.host(base=tmp_path / "far", python=str(python)))
    text = tmp_path / "texts"
    text.mkdir()
    for number in range(60):
        (text / f"{number}.txt").write_text(f"Text {number}. " + "The cat sat on the mat and thought. " * 40)
    (tmp_path / "tiny.toml").write_text(PLAN % text)
    return {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_a_model_is_trained_far_away_while_the_app_dies_and_comes_back(
    env: dict[str, str], layout: Layout, tmp_path: Path
) -> None:
    nanochat = [sys.executable, "-m", "nanochat"]
    app = subprocess.Popen(
        [*nanochat, "--no-tui", "tiny.toml", "--host", "box"], env=env, cwd=tmp_path,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    far = tmp_path / "far"
    deadline = time.monotonic() + 200
    trained: list[Path] = []
    while not (trained and any(e.kind == "metric" for e in read_events(trained[0])[0])):
        assert time.monotonic() < deadline and app.poll() is None, app.stderr and app.stderr.read().decode()
        time.sleep(0.1)
        trained = list(far.glob("runs/*base_train*/events.jsonl"))
    app.send_signal(signal.SIGKILL)
    app.communicate()
    back = subprocess.run(
        [*nanochat, "runs", "follow", "base_train", "--json"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert back.returncode == 0, back.stderr
    seqs = [json.loads(line)["seq"] for line in back.stdout.splitlines()]
    assert seqs == list(range(len(seqs)))
    listed = subprocess.run([*nanochat, "runs", "ls"], env=env, capture_output=True, text=True, check=True)
    assert len(re.findall("✔ succeeded", listed.stdout)) == 3
    with Store(layout.store) as store:
        for run in store.runs():
            assert store.events(run.key) == clean_events(far / "runs" / run.run_id / "events.jsonl")
        run = store.find("base_train")
        bpb = [point[3] for point in store.series(run.key, "val/bpb").points()]
        assert len(bpb) >= 3 and bpb[-1] < bpb[0] - 0.5
        assert len(store.series(run.key, "train/loss").points()) > 10
        assert store.telemetry(run.key) and "host/cpu" in store.telemetry(run.key)[-1].data
    assert list(far.glob("base_checkpoints/*/*"))
    assert not (layout.base / "base_checkpoints").exists()  # all of it is over there
