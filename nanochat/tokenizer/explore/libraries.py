"""`tokenizers` and `sentencepiece` behind one face, for the process that reads tokenizers of others."""

from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

MOST_IDS = 1 << 22
"""A vocabulary with larger ids is none."""

_SAID = {
    "prefix": "a space is added before the text",
    "space": "white space between tokens is left out or changed",
    "changed": "characters are changed (normalised) before the text is split",
}


@dataclass
class Library:
    """A tokenizer of others, loaded. Lists are by id, None where an id is not there."""

    kind: str
    spelled: list[str | None]
    tokens: list[bytes | None]
    specials: dict[str, int]
    pattern: str | None = None
    no_tree: str = ""
    """Why there is no merge tree; "" for a byte-level BPE."""
    added: set[int] = field(default_factory=set)
    """Ids that no merge makes: special tokens, and words that are searched for before anything is split."""
    merges: list[tuple[int, int]] = field(default_factory=list)
    """Pairs of ids in the order of merging, of a byte-level BPE."""
    unknown: int | None = None
    exact: bool = True
    """Until a text's tokens were not its own bytes: then the library is asked for offsets at once."""

    def encode(self, texts: list[str]) -> list[list[int]]:
        """The ids of each text, without special tokens around it."""
        raise NotImplementedError

    def offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids of one text, and the bytes of its UTF-8 that the library says each stands for."""
        raise NotImplementedError

    def split(self, text: str) -> tuple[list[int], list[int], str]:
        """Ids, where each ends in the text's bytes (each begins where the one before it ended), and why the
        spans are not the tokens' own bytes, "" where they are."""
        data = text.encode()
        spans: list[tuple[int, int]] | None = None
        if self.exact:
            (ids,) = self.encode([text])
        else:
            ids, spans = self.offsets(text)
        pieces = [self.tokens[token] or b"" for token in ids]
        joined = b"".join(pieces)
        if joined == data:
            return ids, list(accumulate(map(len, pieces))), ""
        if joined[:1] == b" " and joined[1:] == data:
            return ids, [end - 1 for end in accumulate(map(len, pieces))], _SAID["prefix"]
        if spans is None:
            self.exact = False
            ids, spans = self.offsets(text)
        ends = tiled(data, pieces, spans)
        return ids, ends, self._note(data, ids, pieces, ends)

    def _note(self, data: bytes, ids: list[int], pieces: list[bytes], ends: list[int]) -> str:
        """What makes the tokens' bytes differ from the text's."""
        found = dict.fromkeys(_SAID, False)
        unknown = start = 0
        for index, (token, piece, end) in enumerate(zip(ids, pieces, ends, strict=True)):
            own, start = data[start:end], end
            if own == piece:
                continue
            if token == self.unknown:
                unknown += 1
            elif index == 0 and b" " + own == piece:
                found["prefix"] = True
            elif own.strip() == piece.strip():
                found["space"] = True
            else:
                found["changed"] = True
        parts = [text for name, text in _SAID.items() if found[name]]
        if unknown:
            parts.append(f"{unknown:,} unknown {'tokens' if unknown > 1 else 'token'}")
        return "; ".join(parts) or "some of the text is in no token"


def tiled(data: bytes, pieces: list[bytes], spans: list[tuple[int, int]]) -> list[int]:
    """Where each token ends in the text, for tokens that begin where the one before ended.

    A library's spans have gaps, overlap (several tokens of one character), and may be empty. Where a token's
    own bytes are what comes next in the text they decide; else the library's end of it does.
    """
    ends: list[int] = []
    place, size = 0, len(data)
    for index, (piece, span) in enumerate(zip(pieces, spans, strict=True)):
        # A byte of a character that several tokens share: some libraries give all but the last no bytes.
        shared = len(piece) == 1 and piece[0] >= 0x80
        after_gap = max(place, span[0])
        if piece and (place + len(piece) <= span[1] or shared) and data.startswith(piece, place):
            place += len(piece)
        elif piece and after_gap + len(piece) <= span[1] and data.startswith(piece, after_gap):
            place = after_gap + len(piece)
        elif not _is_prefix(data, place, index, pieces, spans):
            place = min(max(place, span[1]), size)
        ends.append(place)
    if ends:
        ends[-1] = size
    return ends


def _is_prefix(
    data: bytes, place: int, index: int, pieces: list[bytes], spans: list[tuple[int, int]]
) -> bool:
    """Whether a token is not in the text, and the next one has the bytes that the library gives to both."""
    after = index + 1
    return after < len(spans) and spans[index] == spans[after] and data.startswith(pieces[after], place)


def byte_of(spelled: str) -> bytes | None:
    """The byte that a byte-fallback token (`<0xE4>`) stands for; None for any other."""
    if len(spelled) == 6 and spelled.startswith("<0x") and spelled.endswith(">"):
        try:
            return bytes([int(spelled[3:5], 16)])
        except ValueError:
            return None
    return None


def checked_size(largest: int) -> int:
    """The number of ids when that is the largest. ValueError for more than any vocabulary has."""
    if not 0 <= largest < MOST_IDS:
        raise ValueError(f"an id of {largest:,}, more than any vocabulary has")
    return largest + 1


def named(values: dict[int, Any], size: int) -> list[Any]:
    """Values by id as a list, None where there is none."""
    return [values.get(token) for token in range(size)]
