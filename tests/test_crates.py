"""The crate's own tests: the splitter against the regular expression over all of Unicode, the trainer and
the encoder against their definitions."""

import shutil
import subprocess
from pathlib import Path

import pytest

MANIFEST = Path(__file__).resolve().parents[2] / "rustbpe" / "Cargo.toml"


@pytest.mark.timeout(900)  # the first time compiles the crate and its dependencies for testing
def test_the_crates_own_tests_pass() -> None:
    if shutil.which("cargo") is None:
        pytest.skip("needs cargo: https://rustup.rs")
    command = ["cargo", "test", "--quiet", "--no-default-features", "--manifest-path", str(MANIFEST)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    passed = [line for line in done.stdout.splitlines() if line.startswith("test result: ok.")]
    assert sum(int(line.split()[3]) for line in passed) >= 18, done.stdout
