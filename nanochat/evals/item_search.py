"""Looking for a text in the lines of an items file, as bytes: hardly any line has to be parsed."""

import re
from collections.abc import Mapping
from typing import Any

from nanochat.common.fields import json_object, json_text
from nanochat.common.text import valid_text

_NAMES = (
    "v task subject index key correct losses prediction gold letters near_tie cropped problem choices prompt "
    "continuation samples samples_correct text transcript type python python_output finish stop length "
    "tokens true false null"
)
"""What stands in lines beside texts and numbers: the names of fields, and words of JSON."""
_STRUCTURE = re.compile(
    rb'"(?:key|type|finish)": "[a-z0-9_]*"'
    rb'|"[a-z_]+": (?:\[[-+0-9.,enul ]*\]|true|false|null|[-+0-9.e]+)?'
)
"""All of that, numbers included. Inside a string a quote has a backslash before it, so none of it is text."""
_WORD = re.compile(r"[^\W_]+(?:_[^\W_]+)*")
_NUMBER = re.compile(r"[0-9a-f]+")  # of hashes, and of numbers in the form 1e-05
_TEXTS = ("task", "subject", "prompt", "continuation", "prediction", "gold", "problem")


class Needle:
    """A text to look for in any case."""

    def __init__(self, text: str) -> None:
        # Lower case of bytes is that of ASCII: for other letters that have cases the line is decoded.
        self._is_cased = any(not c.isascii() and c.lower() != c.upper() for c in text)
        self._fold = str.casefold if self._is_cased else str.lower
        self._text = self._fold(valid_text(text))
        self._raw = json_text(self._text, None)[1:-1].encode()
        words = _WORD.findall(self._text)
        self._is_punctuation = not words
        found = {f'"{name}": '.encode(): name.count(self._text) for name in _NAMES.split() if self._text}
        self._names = [(name, times) for name, times in found.items() if times]
        """Names of fields that hold it, and how often each does."""
        self._may_be_structure = all(word in _NAMES or _NUMBER.fullmatch(word) for word in words)

    def is_in(self, line: bytes) -> bool:
        """Whether the text is in one of the texts of a record's line."""
        lowered = line.decode("utf-8", "replace").casefold().encode() if self._is_cased else line.lower()
        at = lowered.find(self._raw)
        if at >= 0 and self._may_be_structure:
            # Counted first, as most lines hold it in names only: taking out what is no text is slow.
            in_names = sum(lowered.count(name) * times for name, times in self._names)
            if self._raw and lowered.count(self._raw) == in_names:
                return False
            lowered = _STRUCTURE.sub(b"", lowered)
            at = lowered.find(self._raw)
        if at < 0:
            return False
        # The n of a line end's \n is no letter of the text.
        if at and lowered[at - 1] != ord("\\") and not self._is_punctuation:
            return True
        document = json_object(line)
        return document is not None and self._text in self._fold(_whole_text(document))


def _whole_text(document: Mapping[str, Any]) -> str:
    """Every text in a record that is the item's, one under the other."""
    found = [document.get(name) for name in _TEXTS]
    for name in ("choices", "samples"):
        several = document.get(name)
        found += several if isinstance(several, list) else ()
    # Of a sample its text: the pieces of its transcript are the same.
    texts = (one.get("text") if isinstance(one, dict) else one for one in found)
    return "\0".join(text for text in texts if isinstance(text, str))
