"""Small tokenizers, trained here, and the corpus they are of, for the screens about vocabularies."""

from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from nanochat.common.paths import Layout
from nanochat.tokenizer.explore.sources import open_source
from nanochat.tokenizer.sample_texts import TEXTS
from nanochat.tokenizer.tokenizer import Tokenizer
from tui.data.tokenizer.chosen import Chosen, ChosenTokenizer


@cache
def trained(text: str, vocab_size: int) -> Tokenizer:
    """A tokenizer of one of the built-in texts."""
    return Tokenizer.train_from_iterator([TEXTS[text]], vocab_size)


def opened(layout: Layout, text: str, vocab_size: int) -> ChosenTokenizer:
    """The tokenizer of a built-in text, saved under the base directory and opened from there."""
    folder = layout.base / text / "tokenizer"
    trained(text, vocab_size).save(folder)
    return ChosenTokenizer(str(folder), open_source(str(folder), layout, offline=True))


def chosen(layout: Layout, *texts: tuple[str, int]) -> Chosen:
    """What the Tokenizer screen hands on with a pane a tokenizer."""
    return Chosen(tuple(opened(layout, text, size) for text, size in texts))


def write_shards(folder: Path, shards: int = 2) -> None:
    """Shards of the built-in texts, a document each: the last one is the validation shard."""
    folder.mkdir(parents=True)
    for number in range(shards):
        table = pa.table({"text": [TEXTS["news"], TEXTS["science"]]})
        pq.write_table(table, folder / f"shard_{number:05d}.parquet")
