"""The texts tokenizers are measured on, beside the built-in ones: samples of shards, files of the user."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from nanochat.common.errors import UserError
from nanochat.common.text import sanitize
from nanochat.data.extract import Extractor
from nanochat.data.shards import open_shard, read_row_group, split_shards
from nanochat.data.sources import Skips, walk

PIECE = 1 << 20
"""Characters of a file that are encoded at a time at most."""


def shard_texts(folder: Path) -> dict[str, str]:
    """The first row group of training and of validation data, as `train` and `val`.

    Raises `UserError` where there are no shards, or they hold no text.
    """
    texts = {}
    shards = split_shards(folder)
    for name, path in (("train", shards.train[0]), ("val", shards.val)):
        with open_shard(path) as file:
            text = "\n".join(read_row_group(file, path, 0)) if file.num_row_groups else ""
        if not text:
            raise UserError(f"the first row group of {path} holds no text", "build the shards again")
        texts[name] = text
    return texts


def own_texts(
    places: Sequence[Path],
    taken: Iterable[str] = (),
    *,
    text_key: str = "text",
    max_chars: int = -1,
    note: Callable[[str], object] = lambda line: None,
    cut: Callable[[str], object] = lambda line: None,
) -> dict[str, Iterator[str]]:
    """A text for each place, by the name of its path, one that is not `taken`: as `own_documents` reads it.

    Raises `UserError` for a place that cannot be read, before any is.
    """
    for place in places:
        for _ in walk([str(place)], Skips()):
            break
    return {
        name: own_documents(
            place, text_key=text_key, max_chars=max_chars, note=partial(_noted, note, name), cut=cut
        )
        for place, name in zip(places, text_names(places, taken), strict=True)
    }


def text_names(places: Sequence[Path], taken: Iterable[str] = ()) -> list[str]:
    """A name for each place, that of its path, with a number where it is `taken`."""
    names = set(taken)
    found = []
    for place in places:
        name = base = sanitize(place.name, 60).replace("/", "_") or "text"
        number = 1
        while name in names:
            number += 1
            name = f"{base}-{number}"
        names.add(name)
        found.append(name)
    return found


def _noted(note: Callable[[str], object], name: str, line: str) -> None:
    note(f"{name}: {line}")


def own_documents(
    place: Path,
    *,
    text_key: str = "text",
    max_chars: int = -1,
    note: Callable[[str], object] = lambda line: None,
    cut: Callable[[str], object] = lambda line: None,
) -> Iterator[str]:
    """The documents of a file, or of a folder's files, up to `max_chars` characters (-1: all).

    `cut` hears that there was more, `note` what was skipped, a line each. Raises `UserError` for a path that
    is not there.
    """
    skips, room = Skips(), max_chars
    with Extractor(skips, text_key, PIECE) as extractor:
        for document in (
            text for source in walk([str(place)], skips) for text in extractor.documents(source)
        ):
            try:
                document.encode()
            except UnicodeEncodeError:
                skips.add("not valid Unicode", place)
                continue
            if max_chars >= 0 and len(document) > room:
                yield document[:room]
                cut(f"of {place} the first {max_chars:,} characters are compared")
                break
            room -= len(document)
            yield document
    for line in skips.lines():
        note(line)
