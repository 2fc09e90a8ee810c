"""What the screens for training tokenizers show: a small tokenizer, a sweep, numbers about a corpus."""

from __future__ import annotations

from pathlib import Path

from nanochat.commands.data_stats_print import as_json
from nanochat.data.duplicates import DuplicateCounter
from nanochat.data.stats import Collector, Document, collect
from nanochat.tokenizer.sample_texts import TEXTS
from nanochat.tokenizer.sweep_figures import Point, Sweep
from nanochat.tokenizer.tokenizer import Tokenizer

SIZES = (512, 1024, 2048, 4096)


def make_training_results(base: Path) -> None:
    """Fills `base` with one of each."""
    tokenizer = Tokenizer.train_from_iterator([TEXTS["news"]], 600)
    tokenizer.save(base / "small")
    points = [
        Point(size, 90_000, 40_000 - 5 * size, size, size, size, 9 * size, 900 + size) for size in SIZES
    ]
    _write(base / "tok_sweeps", Sweep(tuple(points), 4, 512, "own").document())
    with DuplicateCounter() as duplicates:
        collector = Collector(duplicates, has_tokens=True)
        documents = [Document(text, name) for name, text in TEXTS.items()]
        collect(documents, collector, lambda texts: tokenizer.count_batch(texts).tolist())
        _write(base / "data_stats", as_json(collector.result([64, 512])))


def _write(folder: Path, text: str) -> None:
    folder.mkdir(parents=True)
    (folder / "20260101-120000.json").write_text(text, encoding="utf-8")
