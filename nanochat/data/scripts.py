"""Which scripts a text is written in: Latin, Cyrillic, Han, Hangul …, by counting its letters.

Python's `unicodedata` has no script property; a letter's name begins with it: CYRILLIC SMALL LETTER A.
"""

import re
import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

NO_LETTERS = "no letters"
KANA_AND_HAN = "Kana and Han (Japanese)"
RARE = "rare scripts"
"""Those beyond U+FFFF, living and dead, as one."""
_RANGES = (
    (0x3400, 0x4DC0, "Han"),
    (0x4E00, 0xA000, "Han"),
    (0xAC00, 0xD7A4, "Hangul"),
    (0xF900, 0xFB00, "Han"),
    (0x10000, 0x1D000, RARE),
    (0x1E000, 0x1E960, RARE),
    (0x20000, 0x323B0, "Han"),
)
"""[from, to) of code points that need not be asked for by name."""
_PLANE = 0x10000
_READ_AS = {"Cjk": "Han", "Ideographic": "Han", "Katakana-hiragana": "Katakana"} | {
    "Feminine": "Latin",
    "Masculine": "Latin",
    "Kelvin": "Latin",
    "Angstrom": "Latin",
    "Micro": "Greek",
    "Ohm": "Greek",
}
_NO_SCRIPT = re.compile(
    "Modifier|Combining|Variation|Caron|Superscript|Vertical|Information|Euler|Script|Planck|Turned|Alef|Bet|Gimel"
    "|Dalet|Roman|Masu|Double-struck|Black-letter"
)
"""First words of letters and marks that are of no script, or of every one."""
_KANA_SHARE = 0.05
"""Of the letters of a text: from here it is Japanese, which writes Han too."""


@cache
def scripts() -> tuple[tuple[str, ...], NDArray[np.uint16]]:
    """The names, the first for what is no letter, and (0x110000,) the number of each code point's script."""
    names = {NO_LETTERS: 0}
    table = np.zeros(0x110000, dtype=np.uint16)
    for low, high, script in _RANGES:
        table[low:high] = names.setdefault(script, len(names))
    for code in range(_PLANE):
        if table[code] == 0 and unicodedata.category(letter := chr(code))[0] in "LM":
            script = _script(unicodedata.name(letter, ""))
            table[code] = names.setdefault(script, len(names)) if script else 0
    return tuple(names), table


def _script(name: str) -> str:
    words = [word.capitalize() for word in name.split()]
    if words[:1] in (["Fullwidth"], ["Halfwidth"]):
        del words[0]
    if not words or _NO_SCRIPT.fullmatch(words[0]):
        return ""
    if words[0] == "New":  # New Tai Lue
        return " ".join(words[:3])
    return _READ_AS.get(words[0], words[0])


def count_scripts(text: str) -> NDArray[np.int64]:
    """(S,) the characters of each script in `text`, in the order of `scripts`. Half a surrogate pair is of
    none."""
    names, table = scripts()
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    return np.bincount(table[codes], minlength=len(names))


def main_script(counts: NDArray[np.int64]) -> str:
    """The script that most letters are of. Han with some kana is Japanese; without any, and Hangul, are told
    with the language that mostly uses them."""
    names, _ = scripts()
    letters = int(counts[1:].sum())
    if not letters:
        return NO_LETTERS
    found = dict(zip(names, counts.tolist(), strict=True))
    kana = found["Hiragana"] + found["Katakana"]
    top = names[1 + int(np.argmax(counts[1:]))]
    if kana >= _KANA_SHARE * letters and 2 * (kana + found["Han"]) > letters:
        return KANA_AND_HAN
    return {"Han": "Han (Chinese)", "Hangul": "Hangul (Korean)"}.get(top, top)
