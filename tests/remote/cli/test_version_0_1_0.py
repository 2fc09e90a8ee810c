"""Runs that version 0.1.0 wrote, opened by this one: listed, shown, and their options still read."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nanochat.common.paths import Layout
from nanochat.config.command_parser import collect
from nanochat.config.options import from_mapping
from nanochat.config.stages import stage_spec
from nanochat.run.stage_run import stage_parser

ROOT = Path(__file__).resolve().parents[3]
RUNS = ROOT / "tests" / "version_0_1_0" / "runs"
STATUS = {
    "20261129-235950-tok_train-dea0": "succeeded",
    "20261129-235951-base_train-23d5": "failed",
    "20261130-000006-base_eval-9e49": "failed",
}


def nanochat(*words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "nanochat", *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).stdout


@pytest.mark.slow
def test_its_runs_are_listed_and_shown(layout: Layout, home: Path) -> None:
    shutil.copytree(RUNS, layout.runs)
    rows: list[dict[str, Any]] = json.loads(nanochat("runs", "ls", "--json"))
    assert {row["run_id"]: row["status"] for row in rows} == STATUS
    by_stage = {row["stage"]: row for row in rows}
    assert by_stage["tok_train"]["results"]["vocab_size"] == 266
    assert by_stage["base_eval"]["plan_name"] == "old"
    assert (by_stage["base_train"]["exit_code"], by_stage["base_eval"]["exit_code"]) == (1, 2)
    assert "nowhere does not exist" in nanochat("runs", "show", "20261129-235951")


@pytest.mark.parametrize("run_id", STATUS)
def test_its_options_and_command_lines_are_still_read(run_id: str) -> None:
    run = json.loads((RUNS / run_id / "run.json").read_text())
    spec = stage_spec(run["stage"])
    options = from_mapping(spec.options, run["options"])
    words = run["argv"][run["argv"].index("-m") + 2 :]
    words = words[1:] if words[0] == run["stage"] else words
    assert collect(spec.options, stage_parser(spec).parse_args(words)) == options
