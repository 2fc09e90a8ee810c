"""Trains the tokenizer on the first characters of the training shards and measures its compression."""

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from nanochat.common.errors import UserError
from nanochat.common.name_lock import NameTakenError, hold_name
from nanochat.common.paths import Layout
from nanochat.config.data_options import TokTrainOptions
from nanochat.data.expected import expected_bytes
from nanochat.data.shards import ShardSet, capped, iter_documents, iter_row_groups, split_shards
from nanochat.run.events import JSON
from nanochat.run.first_attempt import may_replace
from nanochat.run.progress import Progress
from nanochat.run.stage_run import StageRun, main
from nanochat.tokenizer.tokenizer import Tokenizer

READING_SHARE = 0.9
"""Fraction of the progress bar for reading and counting; the merges are the rest."""
SAMPLE_CHARS = 4_000_000
"""Characters of validation text that the compression is measured on."""


def run(options: TokTrainOptions, run: StageRun) -> dict[str, float | int | str]:
    """Reads until `max_chars`, learns the merges, saves, measures. Returns the results of `stage_end`."""
    out = run.layout.tokenizer_dir(options.tokenizer_dir)
    shards = split_shards(run.layout.data_dir(options.data_dir))
    trained_on: dict[str, Any] = {
        "data": shards.folder.name,
        "max_chars": options.max_chars,
        "doc_cap": options.doc_cap,
    }
    run.hold(only_tok_train(out, run.run_id))
    overwrite = may_replace(out, run, options.overwrite)
    if not overwrite:
        check_replaceable(run.layout, out, options.vocab_size, trained_on)
    if shards.gap_warning:
        run.alert("missing shards", shards.gap_warning)
    expected = min(options.max_chars, expected_bytes(shards.train))
    run.start(
        total_steps=expected,
        unit="chars",
        info={"data_dir": str(shards.folder), "shards": len(shards.train), "vocab_size": options.vocab_size},
    )
    with Progress(run, "training") as progress:
        reader = Reader(run, progress, expected)
        documents = capped(iter_documents(shards.train), options.max_chars, options.doc_cap)
        tokenizer = Tokenizer.train_from_iterator(
            reader.counted(documents),
            options.vocab_size,
            trained_on=trained_on,
            progress=reader.merging,
        )
    seconds = time.monotonic() - reader.started
    run.check_stop()
    if reader.documents == 0:
        raise UserError(f"the training shards in {shards.folder} hold no text", "build them again")
    if tokenizer.vocab_size < options.vocab_size:
        run.alert(
            "small vocabulary",
            f"the text ran out of pairs to merge: the vocabulary is {tokenizer.vocab_size}, "
            f"not {options.vocab_size}",
        )
    tokenizer.trained_on |= {"chars": reader.chars, "documents": reader.documents}
    used = used_tokenizer(run.layout, out, tokenizer)
    if used and not overwrite:
        raise used
    tokenizer.save(out, keep=used is not None)
    run.log(f"saved to {out}")
    if used:
        run.log("the tokenizer that was there is kept beside it: checkpoints were trained with it")
    return {**report(run, tokenizer, reader, seconds, shards), "path": str(out)}


@contextlib.contextmanager
def only_tok_train(out: Path, run_id: str) -> Iterator[None]:
    """Holds the tokenizer folder `out`. Raises `UserError` with the run of another tok_train that does."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold_name(out, f"run {run_id or 'without a directory'}"))
        except NameTakenError as error:
            raise UserError(
                f"{error.holder or 'another run'} is training the tokenizer in {out}",
                "wait for it, or save to another folder with --tokenizer-dir",
            ) from None
        yield


def check_replaceable(layout: Layout, out: Path, vocab_size: int, trained_on: Mapping[str, Any]) -> None:
    """Raises `UserError` when the tokenizer in `out` is one that checkpoints need and another would come out.

    The same size from the same text is the same one again, most likely: that is seen once it is trained.
    """
    present = _tokenizer_in(out)
    if present is None:
        return
    same = present.vocab_size == vocab_size and trained_on.items() <= present.trained_on.items()
    if not same and (refusal := used_tokenizer(layout, out)) is not None:
        raise refusal


def used_tokenizer(layout: Layout, out: Path, successor: Tokenizer | None = None) -> UserError | None:
    """Why the tokenizer in `out` may not be replaced by `successor`; None when it may."""
    present = _tokenizer_in(out)
    if present is None or (successor is not None and present.fingerprint == successor.fingerprint):
        return None
    from nanochat.checkpoint.tokenizer import trained_with  # with torch, which is not needed otherwise

    count = len(trained_with(layout, present))
    if not count:
        return None
    checkpoints = "1 checkpoint was" if count == 1 else f"{count:,} checkpoints were"
    return UserError(
        f"{checkpoints} trained with the tokenizer in {out}, and this one would be another",
        "save to another folder with --tokenizer-dir, or add --overwrite: the old one is kept beside it",
    )


def _tokenizer_in(folder: Path) -> Tokenizer | None:
    """The tokenizer in a folder, None when there is none that can be loaded."""
    try:
        return Tokenizer.load(folder)
    except UserError:
        return None


class Reader:
    """Counts the documents that pass through it and reports the progress of the training."""

    def __init__(self, run: StageRun, progress: Progress, expected: int) -> None:
        self._run, self._progress, self._expected = run, progress, max(1, expected)
        self.documents = self.chars = self.bytes = 0
        self.started = time.monotonic()

    def counted(self, documents: Iterable[str]) -> Iterator[str]:
        for document in documents:
            self.documents += 1
            self.chars += len(document)
            self.bytes += len(document) if document.isascii() else len(document.encode())
            yield document
            if self._progress.due():
                self._run.check_stop()
                self._report_progress()

    def merging(self, phase: str, done: int, total: int | None) -> None:
        """The trainer's progress callback; stops the training when the run is asked to stop."""
        self._run.check_stop()
        if phase == "merge" and total and self._progress.due():
            self._progress.update(
                READING_SHARE + (1 - READING_SHARE) * done / total,
                {**self.amounts(), "tok/merges": done},
                note=f"{done:,} of {total:,} merges",
            )

    def amounts(self) -> dict[str, JSON]:
        """How much text has been read, as metrics."""
        return {"tok/documents": self.documents, "tok/chars": self.chars, "tok/bytes": self.bytes}

    def _report_progress(self) -> None:
        rate = self.bytes / 1e6 / (time.monotonic() - self.started)
        self._progress.update(
            READING_SHARE * min(1.0, self.chars / self._expected),
            {**self.amounts(), "tok/mb_per_sec": rate},
            note=f"{self.chars / 1e6:,.0f}M characters, {rate:.1f} MB/s",
        )


def bytes_per_token(tokenizer: Tokenizer, shard: Path) -> float:
    """Compression over the first documents of `shard`, about four million characters; 0 without text."""
    size = tokens = chars = 0
    for _, _, documents in iter_row_groups([shard]):
        for document in documents:
            size += len(document.encode())
            tokens += tokenizer.count(document)
            chars += len(document)
            if chars >= SAMPLE_CHARS:
                return size / tokens
    return size / tokens if tokens else 0.0


def report(
    run: StageRun, tokenizer: Tokenizer, reader: Reader, seconds: float, shards: ShardSet
) -> dict[str, float | int | str]:
    """Measures and logs speed and compression; returns them."""
    rate = reader.bytes / 1e6 / seconds
    compression = bytes_per_token(tokenizer, shards.val)
    lengths = [len(token) for token in tokenizer.ranks]
    run.metric(
        None,
        {
            "progress": 1.0,
            "eta_s": 0.0,
            **reader.amounts(),
            "tok/mb_per_sec": rate,
            "tok/merges": len(tokenizer.ranks) - 256,
        },
    )
    run.eval(None, {"tok/bytes_per_token": compression})
    run.log(
        f"trained {tokenizer.vocab_size:,} tokens on {reader.documents:,} documents, "
        f"{reader.chars:,} characters in {seconds:.1f} s ({rate:.1f} MB/s)"
    )
    run.log(f"{compression:.3f} bytes per token on validation text; longest token {max(lengths)} bytes")
    return {
        "vocab_size": tokenizer.vocab_size,
        "documents": reader.documents,
        "chars": reader.chars,
        "seconds": round(seconds, 3),
        "mb_per_sec": round(rate, 3),
        "bytes_per_token": round(compression, 4),
        "sha256": tokenizer.sha256,
    }


if __name__ == "__main__":
    raise SystemExit(main("tok_train"))
