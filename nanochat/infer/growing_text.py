"""UTF-8 that arrives in pieces which may end within a character."""

import codecs


class GrowingText:
    """Pieces of bytes in, whole characters out; invalid bytes become U+FFFD as when decoded at once."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.length = 0
        """Whole characters so far."""

    def add(self, raw: bytes) -> tuple[int, str]:
        """The characters before the one that the first byte of `raw` belongs to, and those now whole."""
        before = self.length
        first = self._decoder.decode(raw[:1])
        # The byte is the last of those that came out, unless the decoder kept it, alone or with others.
        kept = bool(self._decoder.getstate()[0])
        offset = before + len(first) - (1 if first and not kept else 0)
        text = first + self._decoder.decode(raw[1:])
        self.length += len(text)
        return offset, text

    def add_all(self, raw: bytes) -> str:
        """The characters now whole, as many `add` give one after the other."""
        text = self._decoder.decode(raw)
        self.length += len(text)
        return text

    def drop_unfinished(self) -> None:
        """Forgets the beginning of a character that will not be completed."""
        self._decoder.reset()
