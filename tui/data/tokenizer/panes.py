"""The tokenizers of the panes, as they are kept between starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tui.data.tokenizer.corpora import corpora, kept_counts

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nanochat.common.paths import Layout
    from nanochat.tokenizer.explore.counting import TokenCounts
    from nanochat.tokenizer.explore.splitter import Splitter
    from tui.data.tokenizer.splitting import Shown

MOST_PANES = 4
LABELS = "ABCD"
LONGEST_SPEC = 4096


@dataclass(frozen=True, eq=False)
class Counted:
    """How often each id stands in the corpus called `corpus`, and its place by that."""

    corpus: str
    counts: TokenCounts
    places: npt.NDArray[np.int64]


@dataclass(eq=False)
class TokenizerPane:
    """A pane: `spec` and `pattern` open its tokenizer, which comes, or `error` does."""

    spec: str
    pattern: str = ""
    splitter: Splitter | None = None
    error: str = ""
    shown: Shown | None = None
    """What it shows of the text, once that is worked out."""
    counted: Counted | None = None

    @property
    def name(self) -> str:
        """What its heading says."""
        return self.splitter.name if self.splitter is not None else self.spec

    def document(self) -> dict[str, str]:
        """What is kept of it."""
        return {"spec": self.spec, "pattern": self.pattern}


def read_counted(layout: Layout, splitter: Splitter) -> Counted | None:
    """What was counted of a tokenizer earlier, in the first corpus that was; None without. In a thread."""
    if splitter.vocab_size is None:
        return None
    for corpus in corpora(layout):
        counts = kept_counts(layout.base, splitter, corpus)
        if counts is not None:
            return Counted(corpus.name, counts, counts.places())
    return None


def restored(kept: Any) -> list[TokenizerPane]:
    """The panes of an earlier start; what makes no sense is left out."""
    found = []
    for one in kept if isinstance(kept, list) else []:
        spec, pattern = (one.get("spec"), one.get("pattern", "")) if isinstance(one, dict) else (None, "")
        if isinstance(spec, str) and isinstance(pattern, str) and 0 < len(spec) <= LONGEST_SPEC:
            found.append(TokenizerPane(spec, pattern))
    return found[:MOST_PANES]
