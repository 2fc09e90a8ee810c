"""What each token id stands for: its exact bytes, or the name of a special token."""

from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

from nanochat.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, eq=False)
class TokenTable:
    """Bytes and names by id, looked up once a tokenizer."""

    bytes_of: tuple[bytes | None, ...]
    """By id; None for special tokens."""
    names: dict[int, str]
    """Of the special tokens."""

    @cached_property
    def longest(self) -> int:
        """Bytes of the longest token."""
        return max(len(raw) for raw in self.bytes_of if raw is not None)

    def special(self, name: str) -> int:
        """The id of a special token by its name without `<|` `|>`."""
        return next(token for token, spelled in self.names.items() if spelled == f"<|{name}|>")

    def text(self, token: int) -> str:
        """The token's text by itself: invalid UTF-8 as U+FFFD, a special token's name."""
        raw = self.bytes_of[token]
        return self.names[token] if raw is None else raw.decode("utf-8", "replace")

    def spelling(self, token: int) -> str:
        r"""As OpenAI's legacy endpoint spells tokens, one for each: text, or `bytes:\xe2\x80` for what is no
        UTF-8 by itself."""
        raw = self.bytes_of[token]
        if raw is None:
            return self.names[token]
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in raw)


_TABLES: WeakKeyDictionary[Tokenizer, TokenTable] = WeakKeyDictionary()


def token_table(tokenizer: Tokenizer) -> TokenTable:
    """The table of a tokenizer, made when it is first asked for."""
    table = _TABLES.get(tokenizer)
    if table is None:
        raws: list[bytes | None] = [None] * tokenizer.vocab_size
        for raw, token in tokenizer.ranks.items():
            raws[token] = raw
        names = {token: name for name, token in tokenizer.special_ids.items()}
        table = _TABLES[tokenizer] = TokenTable(tuple(raws), names)
    return table
