"""The tokenizers of the panes, as they are kept between starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanochat.tokenizer.explore.splitter import Splitter
    from tui.data.tokenizer.splitting import Shown

MOST_PANES = 4
LABELS = "ABCD"
LONGEST_SPEC = 4096


@dataclass(eq=False)
class TokenizerPane:
    """A pane: `spec` and `pattern` open its tokenizer, which comes, or `error` does."""

    spec: str
    pattern: str = ""
    splitter: Splitter | None = None
    error: str = ""
    shown: Shown | None = None
    """What it shows of the text, once that is worked out."""

    @property
    def name(self) -> str:
        """What its heading says."""
        return self.splitter.name if self.splitter is not None else self.spec

    def document(self) -> dict[str, str]:
        """What is kept of it."""
        return {"spec": self.spec, "pattern": self.pattern}


def restored(kept: Any) -> list[TokenizerPane]:
    """The panes of an earlier start; what makes no sense is left out."""
    found = []
    for one in kept if isinstance(kept, list) else []:
        spec, pattern = (one.get("spec"), one.get("pattern", "")) if isinstance(one, dict) else (None, "")
        if isinstance(spec, str) and isinstance(pattern, str) and 0 < len(spec) <= LONGEST_SPEC:
            found.append(TokenizerPane(spec, pattern))
    return found[:MOST_PANES]
