"""The Rust crates' own tests: of the tokenizer the splitter against the regular expression over all of
Unicode, the trainer and the encoder against their definitions; of the decoding kernel its sums."""

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.timeout(900)  # the first time compiles a crate and its dependencies for testing
@pytest.mark.parametrize(
    ("crate", "options", "least"),
    [("rustbpe", ["--no-default-features"], 18), ("nanochat/infer/decode_kernel", [], 4)],
)
def test_the_crates_own_tests_pass(crate: str, options: list[str], least: int) -> None:
    if shutil.which("cargo") is None:
        pytest.skip("needs cargo: https://rustup.rs")
    command = ["cargo", "test", "--quiet", *options, "--manifest-path", str(ROOT / crate / "Cargo.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    passed = [line for line in done.stdout.splitlines() if line.startswith("test result: ok.")]
    assert sum(int(line.split()[3]) for line in passed) >= least, done.stdout
