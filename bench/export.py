"""How fast a checkpoint of 1 GB is exported to Hugging Face's format, beside `cp` of its weights..

Both end on the disk: the export is durable before it gets its name, and the copy is followed by `sync`.
"""

import argparse
import contextlib
import io
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from bench.parts.report import Row, report
from nanochat.checkpoint.write import save_checkpoint
from nanochat.cli import main as nanochat
from nanochat.model.architecture import MODERN, ModelConfig, flags_to_meta, parameter_counts
from nanochat.model.gpt import GPT
from nanochat.tokenizer.tokenizer import Tokenizer

SIZES = {1000: (14, 1024), 100: (4, 512)}
"""Layers and width by MB of float32."""
ROUNDS = 3
BARS = {"float32, no checksum": "≥ 70 %"}


def make(base: Path, size: int) -> Path:
    """A base directory with a modern checkpoint of about that many MB; returns the file of its weights."""
    tokenizer = Tokenizer.train_from_iterator(["some text for a tokenizer"], 266)
    tokenizer.save(base / "tokenizer")
    layers, width = SIZES[size]
    config = ModelConfig(
        2048, tokenizer.vocab_size, layers, width // 128, width // 128, width, "SSSL", MODERN
    )
    while 4 * parameter_counts(config)["total"] < size * 1e6:
        layers += 1
        config = ModelConfig(
            2048, tokenizer.vocab_size, layers, width // 128, width // 128, width, "SSSL", MODERN
        )
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in GPT(config).state_dict().items()}
    weights = {name: torch.rand(shape) for name, shape in shapes.items()}
    meta = {"model_config": config.to_meta(), "parts": flags_to_meta(MODERN)}
    return (
        save_checkpoint(base / "base_checkpoints/d1", 1, {"model.safetensors": weights}, meta).path
        / "model.safetensors"
    )


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, choices=sorted(SIZES), default=1000)
    parser.add_argument("--folder", type=Path, default=None, help="where to write [the temporary folder]")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        base = Path(name)
        weights = make(base, given.mb)
        size = weights.stat().st_size / 1e6

        def copy() -> None:
            subprocess.run(["cp", str(weights), str(base / "copy")], check=True)
            subprocess.run(["sync", str(base / "copy")], check=True)

        def export(*words: str) -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                code = nanochat(["export", "base/d1", f"--base-dir={base}", f"--out={base / 'out'}", *words])
            assert code == 0

        rows: list[tuple[str, float]] = []
        for label, work in (
            ("cp, sync", copy),
            ("float32", export),
            ("float32, no checksum", lambda: export("--no-check")),
            ("  200MB a file", lambda: export("--no-check", "--max-shard-size=200MB")),
            ("bfloat16, no checksum", lambda: export("--no-check", "--dtype=bfloat16")),
        ):
            took = []
            for _ in range(ROUNDS):
                shutil.rmtree(base / "out", ignore_errors=True)
                (base / "copy").unlink(missing_ok=True)
                took.append(timed(work))
            rows.append((label, min(took)))
    told: list[Row] = []
    for label, seconds in rows:
        share = rows[0][1] / seconds
        figure = f"{seconds:.2f} s · {size / seconds:,.0f} MB/s · {share:.0%}"
        told.append((label, figure, BARS.get(label, "")))
    title = f"{size:,.0f} MB of float32 weights, the best of {ROUNDS}, share of cp's speed"
    print("\n".join(report(title, told)))


if __name__ == "__main__":
    main()
