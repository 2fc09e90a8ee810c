"""The tokenizers there are to look at, and opening one of them by what the user names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.tokenizer.explore.splitter import Splitter

PATTERNS = ("nanochat", "gpt2", "cl100k", "o200k")
"""Split patterns by name, for a rank file that is not known by its hash."""


class PatternNeeded(UserError):
    """A rank file says no split pattern: ask, then open again with `pattern`."""


Group = Literal["trained", "checkpoint", "published", "plain", "file"]


@dataclass(frozen=True)
class Source:
    """A tokenizer to choose: `spec` is what `open_source` takes, `name` what a list shows, `where` the place
    of its file or what it is."""

    spec: str
    name: str
    where: str
    group: Group = "file"


def known_sources(layout: Layout) -> list[Source]:
    """Tokenizers under the base directory (the present one, kept ones, those of checkpoints), then GPT-2,
    cl100k, o200k, then bytes, characters, words. Reads folders, no vocabulary: open to find out."""
    raise NotImplementedError


def open_source(spec: str, layout: Layout, *, pattern: str = "", offline: bool = False) -> Splitter:
    """The tokenizer that `spec` names: a known name (`gpt2`, `cl100k`, `o200k`, `r50k`, `bytes`, `characters`,
    `words`), a folder, or a file.

    Files: our `tokenizer.json`, one of Hugging Face, a tiktoken rank file, a SentencePiece `.model`, upstream's
    `tokenizer.pkl`. A rank file has no split pattern: it is known by its hash, or `pattern` names it
    (`gpt2`, `cl100k`, `o200k`, `nanochat`, or a pattern itself). Slow, up to some seconds: off the event loop.
    Raises `PatternNeeded` where it must be asked for, `UserError` for all else.
    """
    raise NotImplementedError


def describe_file(path: Path) -> str:
    """What kind of tokenizer file it is, in a few words; "" when it is none. Reads its first bytes only."""
    raise NotImplementedError
