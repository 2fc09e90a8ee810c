"""English words for the spelling tasks: a word list, else the words of the pretraining corpus."""

import re
from collections import Counter
from itertools import islice
from pathlib import Path

from nanochat.common.errors import UserError
from nanochat.common.files import regular_text
from nanochat.data.shards import iter_documents, list_shards
from nanochat.tasks.registry import TaskData

DEFAULT_NAME = "words_alpha.txt"
SOURCE = "https://raw.githubusercontent.com/dwyl/english-words/refs/heads/master/words_alpha.txt"
CORPUS_DOCUMENTS = 20_000
"""Documents at the beginning of the corpus whose words are counted."""
FEWEST_WORDS = 100

_WORD = re.compile(r"(?<!\w)[a-z]{2,20}(?!\w)")
_LISTED = re.compile(r"[a-z]+")


def find_words(data: TaskData) -> list[str]:
    """The words, lower case a to z, in a fixed order.

    From the word list named in `data`, else `words_alpha.txt` in the base directory, else those that occur at
    least twice in the corpus. Raises `UserError` that says where to get a list.
    """
    path = data.path(data.words, DEFAULT_NAME)
    if data.words or path.is_file():
        return read_words(path)
    folder = data.layout.data_dir(data.corpus)
    words = corpus_words(folder) if folder.is_dir() else []
    if len(words) < FEWEST_WORDS:
        raise UserError(
            f"no words to spell: there is no {path}, and {folder} holds {len(words)}",
            f"download {SOURCE} to it, name another list with --words, or a corpus with --data",
        )
    return words


def read_words(path: Path) -> list[str]:
    """The words of a list, one a line. Raises `UserError` that names the first bad line."""
    try:
        lines = regular_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"cannot read the word list {path}: {reason}", "a word a line") from error
    words = [line.strip() for line in lines]
    for number, word in enumerate(words, 1):
        if not _LISTED.fullmatch(word):
            raise UserError(f"{path}, line {number}: {word[:40]!r} is not a word of the letters a to z")
    if not words:
        raise UserError(f"{path} holds no word", "a word a line")
    return words


def corpus_words(folder: Path) -> list[str]:
    """The lower-case words of 2 to 20 letters that occur at least twice in the shards of `folder`, sorted."""
    counts: Counter[str] = Counter()
    for document in islice(iter_documents(list_shards(folder)), CORPUS_DOCUMENTS):
        counts.update(_WORD.findall(document))
    return sorted(word for word, count in counts.items() if count > 1)
