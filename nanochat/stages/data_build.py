"""Packs files, folders or the demo corpus into shards: read and sort, write, rename."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

from nanochat.common.atomic_folder import AtomicFolder
from nanochat.common.errors import UserError
from nanochat.common.fields import json_text
from nanochat.config.data_options import DataBuildOptions
from nanochat.data.corpus import BucketSort, CorpusSummary, write_shards
from nanochat.data.demo_corpus import demo_texts, source_files
from nanochat.data.extract import MAX_DOC_CHARS, Extractor, split_document
from nanochat.data.manifest import FORMAT, MANIFEST
from nanochat.data.shards import shard_name
from nanochat.data.sources import Skips, Source, walk
from nanochat.run.first_attempt import may_replace
from nanochat.run.progress import Progress
from nanochat.run.stage_run import StageRun, main

READING_SHARE = 0.6
"""Fraction of the progress bar for reading; writing is the rest."""
ALERT_SHARE = 0.01
"""Data dropped or skipped beyond this fraction is an alert."""
_OURS = re.compile(rf"shard_\d+\.parquet|{re.escape(MANIFEST)}|\.\S+\.(part|tmp|lock)|\S+\.(part|tmp)")


def run(options: DataBuildOptions, run: StageRun) -> dict[str, float | int | str]:
    """Builds the folder `out`, complete or not at all. Returns the results of `stage_end`."""
    if not options.paths and not options.demo:
        raise UserError(
            "nothing to pack", "give files or folders, or --demo for the Python library's own text"
        )
    if options.val_chars > options.shard_chars:
        raise UserError(f"--val-chars {options.val_chars} is more than a shard, {options.shard_chars}")
    out = run.layout.resolve(options.out) if options.out else run.layout.base / "base_data"
    started = time.monotonic()
    skips = Skips()
    overwrite = may_replace(out, run, options.overwrite)
    with AtomicFolder(out, lambda name: bool(_OURS.fullmatch(name)), overwrite) as new:
        reader = Reader(options, run, skips, exclude=(new.out, new.scratch.parent))
        run.start(total_steps=reader.total_bytes, unit="bytes", info={"out": str(out)})
        sort = BucketSort(new.scratch, options.seed)
        reader.read_into(sort)
        report_input(run, reader.kinds, skips, sort.added)
        if sort.added == 0:
            raise UserError(
                f"no document came out of the input; {_why(skips)}", "see `nanochat data build --help`"
            )
        with Progress(run, "writing", low=READING_SHARE) as progress:
            summary = write_shards(
                sort,
                new.content,
                shard_chars=options.shard_chars,
                val_chars=options.val_chars,
                row_group=options.row_group,
                report=lambda share: _report_written(run, progress, share),
            )
        report_duplicates(run, summary)
        (new.content / MANIFEST).write_text(_manifest(options, summary, skips), encoding="utf-8")
        run.check_stop()
        new.commit()
    return _report(run, out, summary, skips, sort.chars_added, time.monotonic() - started)


class Reader:
    """Reads every document of the input into a sort, with progress by bytes read."""

    def __init__(
        self, options: DataBuildOptions, run: StageRun, skips: Skips, exclude: tuple[Path, ...]
    ) -> None:
        self._options, self._run, self._skips, self._exclude = options, run, skips, exclude
        self._demo = source_files() if options.demo else []
        self._extractor = Extractor(skips, options.text_key, options.doc_chars)
        base = str(run.layout.base)  # a plan may say {base}
        self._paths = [path.replace("{base}", base, 1) for path in options.paths]
        files = sum(source.size for source in walk(self._paths, Skips(), exclude))
        self.total_bytes = files + sum(path.stat().st_size for path in self._demo)

    def read_into(self, sort: BucketSort) -> None:
        """Adds the documents; too short ones and those that are not valid Unicode are counted as skipped."""
        with self._extractor, Progress(self._run, "reading", high=READING_SHARE) as progress:
            for where, text in self._documents():
                if not text.strip() or len(text) < self._options.min_chars:
                    self._skips.add("empty or shorter than --min-chars", where)
                else:
                    try:
                        sort.add(text)
                    except UnicodeEncodeError:
                        self._skips.add("not valid Unicode", where)
                if progress.due():
                    self._run.check_stop()
                    self._report_read(progress, sort)

    @property
    def kinds(self) -> dict[str, int]:
        """How many files were read as what, the most frequent first."""
        return dict(self._extractor.kinds.most_common())

    def _documents(self) -> Iterator[tuple[str, str]]:
        for source in self._sources():
            for text in self._extractor.documents(source):
                yield str(source.path), text
        limit = min(self._options.doc_chars or MAX_DOC_CHARS, MAX_DOC_CHARS)
        for text in demo_texts(self._demo, self._skips) if self._demo else ():
            for piece in split_document([text], limit):
                yield "the demo corpus", piece

    def _sources(self) -> Iterator[Source]:
        for source in walk(self._paths, self._skips, self._exclude):
            self._run.check_stop()
            yield source

    def _report_read(self, progress: Progress, sort: BucketSort) -> None:
        read = self._extractor.bytes_read or sort.chars_added
        progress.update(
            read / max(1, self.total_bytes),
            {"data/docs": sort.added, "data/bytes": read, "data/skipped": self._skips.total},
            note=f"{sort.added:,} documents",
        )


def report_input(run: StageRun, kinds: dict[str, int], skips: Skips, documents: int) -> None:
    """Says how the files were read and what was left out; an alert when that is more than 1 %."""
    if kinds:
        run.log("files read as: " + ", ".join(f"{kind} {count:,}" for kind, count in kinds.items()))
    for line in skips.lines():
        run.log(line)
    if documents:  # none at all is an error, which says why
        alert_loss(run, "data_skipped", skips.total, documents + skips.total, "files and records are skipped")


def report_duplicates(run: StageRun, summary: CorpusSummary) -> None:
    """An alert when more than 1 % of the documents were exact duplicates."""
    read = summary.documents + summary.duplicates
    alert_loss(run, "data_duplicates", summary.duplicates, read, "documents are exact duplicates, dropped")


def alert_loss(run: StageRun, what: str, lost: int, of: int, text: str) -> None:
    """An alert `what` when more than 1 % of `of` is lost."""
    if lost > ALERT_SHARE * of:
        run.alert(what, f"{lost:,} of {of:,} {text} ({100 * lost / of:.1f} %)")


def _report_written(run: StageRun, progress: Progress, share: float) -> None:
    if progress.due():
        run.check_stop()
        progress.update(share)


def _why(skips: Skips) -> str:
    return "; ".join(skips.lines()) if skips.total else "it holds no file"


def _manifest(options: DataBuildOptions, summary: CorpusSummary, skips: Skips) -> str:
    """What the shards are made of; without times and paths, so that equal builds are equal files."""
    content = {
        "format": FORMAT,
        "version": 1,
        "sources": [Path(path).name for path in options.paths] + (["demo"] if options.demo else []),
        "seed": options.seed,
        "doc_chars": options.doc_chars,
        "documents": summary.documents,
        "chars": summary.chars,
        "duplicates": summary.duplicates,
        "shards": summary.shards,
        "files": {
            shard_name(number): {"documents": built.documents, "footer_sha256": built.footer}
            for number, built in enumerate(summary.built)
        },
        "val_documents": summary.val_documents,
        "val_chars": summary.val_chars,
        "skipped": dict(sorted(skips.counts.items())),
    }
    return json_text(content) + "\n"


def _report(
    run: StageRun, out: Path, summary: CorpusSummary, skips: Skips, chars_read: int, seconds: float
) -> dict[str, float | int | str]:
    run.log(
        f"packed {summary.documents:,} documents, {summary.chars:,} characters into {summary.shards} shards "
        f"in {seconds:.1f} s ({summary.duplicates:,} exact duplicates dropped)"
    )
    run.log(
        f"the last shard is for validation: {summary.val_documents:,} documents, "
        f"{summary.val_chars:,} characters"
    )
    run.log(f"saved to {out}")
    run.metric(
        None, {"progress": 1.0, "eta_s": 0.0, "data/docs": summary.documents, "data/skipped": skips.total}
    )
    return {
        "documents": summary.documents,
        "chars": summary.chars,
        "duplicates": summary.duplicates,
        "skipped": skips.total,
        "shards": summary.shards,
        "val_chars": summary.val_chars,
        "chars_per_sec": round(chars_read / seconds),
        "seconds": round(seconds, 3),
        "path": str(out),
    }


if __name__ == "__main__":
    raise SystemExit(main("data_build"))
