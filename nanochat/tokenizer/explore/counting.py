"""How often each id stands in a corpus: counted once, kept, and the tokens that hardly ever do."""

import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

from nanochat.common.files import read_regular
from nanochat.common.paths import atomic_write, make_dir
from nanochat.tokenizer.explore.splitter import Splitter

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FOLDER = "token_counts"
"""Under the base directory: what was counted, a file for each tokenizer and corpus."""
HARDLY = 10
"""A token seen fewer times than this in the corpus is hardly used."""
_BATCH = 2_000_000
"""Characters that are encoded at a time: some hundredths of a second, after which a cancel is heard."""


@dataclass(frozen=True, eq=False)
class TokenCounts:
    """`counts` (vocab_size,) int64: how often each id stands in the corpus."""

    counts: "npt.NDArray[np.int64]"
    documents: int
    bytes: int
    """Of the corpus, in UTF-8."""

    @property
    def tokens(self) -> int:
        """Of the whole corpus."""
        return int(self.counts.sum())

    def places(self) -> "npt.NDArray[np.int64]":
        """(vocab_size,) each id's place by count, 1 for the most frequent; equals share the first."""
        import numpy as np

        ascending = np.sort(self.counts)
        return 1 + len(ascending) - ascending.searchsorted(self.counts, side="right")


def cached_counts(base: Path, splitter: Splitter, data_sha256: str) -> TokenCounts | None:
    """What `count_corpus` kept under the base directory for this tokenizer and this data.

    None when there is nothing, or it cannot be read: then count again.
    """
    import numpy as np

    path = _path(base, splitter, data_sha256)
    try:
        with np.load(io.BytesIO(read_regular(path)), allow_pickle=False) as kept:
            counts, size = kept["counts"], kept["size"]
            told = str(kept["fingerprint"]), str(kept["data"])
    except (
        OSError,
        ValueError,
        KeyError,
        EOFError,
        MemoryError,
        BadZipFile,
        zlib.error,
        NotImplementedError,
    ):
        return None
    right = counts.dtype == np.int64 and counts.shape == (splitter.vocab_size,) and size.shape == (2,)
    if not right or told != (splitter.fingerprint, data_sha256):
        return None
    return TokenCounts(counts, int(size[0]), int(size[1]))


def count_corpus(
    base: Path,
    splitter: Splitter,
    data_sha256: str,
    batches: Iterable[Sequence[str]],
    *,
    progress: Callable[[int, int], object] = lambda documents, size: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> TokenCounts | None:
    """Counts every id over the batches of documents, and keeps the result under the base directory.

    `progress(documents, bytes)` is called after each part; None, and nothing kept, once `cancelled()` says
    so. Runs in the caller's thread; encoding takes all cores and leaves the GIL free. Raises `UserError`
    when the result cannot be kept, or the tokenizer has no ids to count.
    """
    import numpy as np

    counts = np.zeros(splitter.vocab_size or 0, np.int64)
    documents = size = 0
    for batch in _parts(batches):
        if cancelled():
            return None
        counts += splitter.count_ids(batch)
        documents += len(batch)
        size += sum(len(text.encode("utf-8", "replace")) for text in batch)
        progress(documents, size)
    if cancelled():
        return None
    found = TokenCounts(counts, documents, size)
    _keep(base, splitter, data_sha256, found)
    return found


def _parts(batches: Iterable[Sequence[str]]) -> Iterator[list[str]]:
    """The documents in parts of `_BATCH` characters, or one longer document."""
    part: list[str] = []
    held = 0
    for batch in batches:
        for text in batch:
            part.append(text)
            held += len(text)
            if held >= _BATCH:
                yield part
                part, held = [], 0
    if part:
        yield part


def _keep(base: Path, splitter: Splitter, data_sha256: str, found: TokenCounts) -> None:
    import numpy as np

    content = io.BytesIO()
    np.savez_compressed(
        content,
        counts=found.counts,
        size=np.asarray([found.documents, found.bytes], np.int64),
        fingerprint=np.asarray(splitter.fingerprint),
        data=np.asarray(data_sha256),
    )
    path = _path(base, splitter, data_sha256)
    make_dir(path.parent)
    atomic_write(path, content.getvalue())


def _path(base: Path, splitter: Splitter, data_sha256: str) -> Path:
    return base / FOLDER / f"{splitter.fingerprint[:16]}-{data_sha256[:16]}.npz"


@dataclass(frozen=True, eq=False)
class Rare:
    """Ids of the vocabulary but special tokens, ascending: `never` stand in the corpus, `hardly` fewer times
    than the limit."""

    never: "npt.NDArray[np.int64]"
    hardly: "npt.NDArray[np.int64]"


def rare(splitter: Splitter, counts: TokenCounts, limit: int = HARDLY) -> Rare:
    """The tokens that a model trained on this corpus hardly sees: their embeddings stay as they began.

    Single bytes are among them, which another text may need.
    """
    import numpy as np

    special = set(splitter.specials.values())
    low = [token for token in np.flatnonzero(counts.counts < limit).tolist() if token not in special]
    ids = np.asarray([token for token in low if _is_there(splitter, token)], np.int64)
    seen = counts.counts[ids] > 0
    return Rare(ids[~seen], ids[seen])


def _is_there(splitter: Splitter, token_id: int) -> bool:
    try:
        splitter.token(token_id)
    except KeyError:
        return False
    return True
