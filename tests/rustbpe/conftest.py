"""What the tokenizer's tests compare with: PyPI's rustbpe 0.1.0, run in a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PEER_VERSION = "0.1.0"
PEER_PROGRAM = """
import json, sys
import rustbpe
for line in sys.stdin:
    ask = json.loads(line)
    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(ask["documents"], ask["vocab_size"], pattern=ask["pattern"])
    ranks = [[bytes(token).hex(), rank] for token, rank in tokenizer.get_mergeable_ranks()]
    answer = {"ranks": ranks, "ids": tokenizer.batch_encode(ask["texts"]), "file": rustbpe.__file__}
    print(json.dumps(answer), flush=True)
"""


class Peer:
    """A running interpreter whose `rustbpe` is PyPI's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-c", PEER_PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
        )

    def train(
        self, documents: Sequence[str], vocab_size: int, pattern: str | None, texts: Sequence[str] = ()
    ) -> tuple[list[tuple[bytes, int]], list[list[int]]]:
        """Its ranks after training on `documents`, and the ids it then gives to `texts`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        ask = {"documents": documents, "vocab_size": vocab_size, "pattern": pattern, "texts": list(texts)}
        print(json.dumps(ask), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        assert Path(answer["file"]).is_relative_to(self.folder), "the peer must not be our own rustbpe"
        return [(bytes.fromhex(token), rank) for token, rank in answer["ranks"]], answer["ids"]

    def close(self) -> None:
        self._process.communicate()


def peer_folder() -> Path:
    """The folder that holds PyPI's package: named by the environment, else installed into the cache once."""
    if named := os.environ.get("NANOCHAT_PEER_RUSTBPE"):
        return Path(named)
    folder = ROOT / ".cache" / f"rustbpe-{PEER_VERSION}"
    if not (folder / "rustbpe").is_dir():
        wanted = f"rustbpe=={PEER_VERSION}"
        install = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--disable-pip-version-check",
        ]
        done = subprocess.run(
            [*install, "--target", str(folder), wanted],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            pytest.skip(f"pip cannot install {wanted}, the peer to compare with: {reason}")
    return folder


@pytest.fixture(scope="session")
def peer() -> Iterator[Peer]:
    folder = peer_folder()
    if not (folder / "rustbpe").is_dir():
        pytest.skip(f"NANOCHAT_PEER_RUSTBPE={folder} holds no package rustbpe")
    running = Peer(folder)
    yield running
    running.close()
