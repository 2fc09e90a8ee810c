"""Documents of a file, whatever its kind: text, Markdown and code as they are, HTML stripped, the text
field of jsonl and parquet records; each of them (but parquet) also gzipped.

Memory is bounded whatever the size of the file: a long file is read in blocks and split into documents,
records come one by one.
"""

import codecs
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from nanochat.common.errors import UserError
from nanochat.data.html_worker import MAX_PAGE, PageTexts
from nanochat.data.shards import check_text_column
from nanochat.data.sources import Skips, Source

BLOCK = 1 << 20
"""Bytes read at a time."""
WHOLE_FILE = 32 << 20
"""Up to this many bytes a text file is kept while it is checked; a longer one is read twice."""
MAX_DOC_CHARS = 1 << 24
"""No document is longer, whatever the options say: it bounds memory."""
MAX_LINE = 64 << 20
"""Bytes of a jsonl line."""

_HTML = frozenset({".html", ".htm", ".xhtml"})
_JSONL = frozenset({".jsonl", ".ndjson"})
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BROWSERS_KNOW = re.compile(
    r"utf-8|cp(866|874|932|949|125[0-8])|iso8859-\d+|koi8-[ru]|mac-(roman|cyrillic)|gb18030|big5hkscs|euc_jp|iso2022_jp"
)
"""The encodings a page may declare (WHATWG Encoding), by Python's names. UTF-16 in ASCII is none."""
_BROWSERS_READ = {"ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874"} | {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
"""What browsers take some of them for."""
_META_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)


class Unusable(Exception):  # noqa: N818 - a reason to skip a file, caught within this module
    """A file (or the rest of one) without documents: the `reason` it is counted under, and a `detail`."""

    def __init__(self, reason: str, detail: str = "", wrong_field: bool = False) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail
        self.wrong_field = wrong_field
        """Intact, but without the text field asked for: --text-key can fix it."""


class Extractor:
    """Reads sources one after the other; `bytes_read` counts the bytes of all of them so far.

    A context manager: it keeps the process that reads HTML.
    """

    def __init__(self, skips: Skips, text_key: str = "text", doc_chars: int = 0) -> None:
        self.skips = skips
        self.text_key = text_key
        self.doc_chars = min(doc_chars or MAX_DOC_CHARS, MAX_DOC_CHARS)
        self._finished = 0
        self._position: Callable[[], int] = lambda: 0
        self._pages = PageTexts()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pages.close()

    @property
    def bytes_read(self) -> int:
        return self._finished + self._position()

    def documents(self, source: Source) -> Iterator[str]:
        """The documents of one file; a file that yields none is counted in `skips` with the reason.

        Raises `UserError` when the user named a record file that lacks the text field or is damaged: a mere
        count would hide that the input asked for is missing.
        """
        try:
            yield from self._documents(source.path)
        except Unusable as error:
            if source.named and (error.wrong_field or error.detail):
                hint = (
                    "name the field of the text with --text-key" if error.wrong_field else "create it again"
                )
                raise UserError(f"{source.path}: {error.reason}; {error.detail}", hint) from error
            self.skips.add(error.reason, source.path)
        except OSError as error:
            self.skips.add(f"unreadable file ({error.strerror or type(error).__name__})", source.path)
        finally:
            self._finished += source.size
            self._position = lambda: 0

    def _documents(self, path: Path) -> Iterator[str]:
        suffixes = [suffix.lower() for suffix in path.suffixes]
        gzipped = suffixes[-1:] == [".gz"]
        kind = suffixes[-2] if gzipped and len(suffixes) > 1 else "" if gzipped else "".join(suffixes[-1:])
        if kind == ".parquet" and not gzipped:
            yield from self._parquet(path)
        elif kind in _JSONL:
            yield from self._records(_jsonl(self._open(path, gzipped), self.text_key, self.skips, path))
        else:
            texts = verified_text(lambda: self._open(path, gzipped), html=kind in _HTML)
            yield from split_document([self._page(texts)] if kind in _HTML else texts, self.doc_chars)

    def _open(self, path: Path, gzipped: bool) -> io.BufferedIOBase:
        raw = path.open("rb")
        self._position = lambda: 0 if raw.closed else raw.tell()
        if not gzipped:
            return raw
        return _GzipFile(raw)

    def _page(self, blocks: Iterable[str]) -> str:
        """The text of an HTML page, which is parsed as a whole."""
        page, size = [], 0
        for block in blocks:
            page.append(block)
            size += len(block)
            if size > MAX_PAGE:
                break  # long enough to be refused
        try:
            return self._pages.text("".join(page))
        except ValueError as error:
            raise Unusable(str(error)) from error

    def _records(self, texts: Iterable[str]) -> Iterator[str]:
        """A record is a document as its author made it: only what would break the bound is split."""
        for text in texts:
            if len(text) <= MAX_DOC_CHARS:
                yield text
            else:
                yield from split_document([text], MAX_DOC_CHARS)

    def _parquet(self, path: Path) -> Iterator[str]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        size = path.stat().st_size
        try:
            with pq.ParquetFile(path, pre_buffer=False, buffer_size=BLOCK) as file:
                try:
                    check_text_column(path, file.schema_arrow, self.text_key)
                except UserError as error:
                    columns = ", ".join(file.schema_arrow.names[:8])
                    reason = f"parquet without a text column '{self.text_key}'"
                    raise Unusable(reason, f"its columns: {columns}", wrong_field=True) from error
                rows, seen = max(1, file.metadata.num_rows), 0
                for batch in file.iter_batches(batch_size=256, columns=[self.text_key]):
                    seen += batch.num_rows
                    done = size * seen // rows
                    self._position = lambda done=done: done  # type: ignore[misc]
                    values: list[str | None] = batch.column(0).to_pylist()
                    yield from self._records(value for value in values if value is not None)
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise Unusable("damaged parquet", "it is truncated or not parquet") from error


class _GzipFile(gzip.GzipFile):
    """A gzip reader that closes the file below it as well."""

    def __init__(self, raw: io.BufferedIOBase) -> None:
        super().__init__(fileobj=raw, mode="rb")
        self._raw_file = raw

    def close(self) -> None:
        super().close()
        self._raw_file.close()


def verified_text(open_stream: Callable[[], io.BufferedIOBase], html: bool = False) -> Iterator[str]:
    """The decoded blocks of a file that is text to its last byte, with `\\n` line ends.

    Nothing is yielded before the whole file is known to decode; a long file is read a second time for
    that rather than kept. Raises `Unusable`: binary (it holds NUL), not UTF-8, damaged gzip, empty.
    """
    kept: list[str] | None = []
    size, blank = 0, True
    for text in _decoded(open_stream, html):
        size += len(text)
        blank = blank and not text.strip()
        if kept is not None:
            kept.append(text)
            kept = kept if size <= WHOLE_FILE else None
    if blank:
        raise Unusable("empty")
    yield from _decoded(open_stream, html) if kept is None else kept


def _decoded(open_stream: Callable[[], io.BufferedIOBase], html: bool) -> Iterator[str]:
    try:
        with closing(open_stream()) as stream:
            block = stream.read(BLOCK)
            codec = _codec(block, html)
            decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(codec)(), translate=True)
            while block:
                text = decoder.decode(block)
                if "\0" in text:
                    raise Unusable("binary file")
                if text:
                    yield text
                block = stream.read(BLOCK)
            if rest := decoder.decode(b"", final=True):
                yield rest
    except UnicodeError as error:
        raise Unusable("not UTF-8 text") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Unusable("damaged gzip", "it is truncated or not gzip") from error


def _codec(head: bytes, html: bool) -> str:
    for bom, codec in _BOMS:
        if head.startswith(bom):
            return codec
    if b"\0" in head[:8192]:
        raise Unusable("binary file")
    declared = _META_CHARSET.search(head[:4096]) if html else None
    if declared:
        with suppress(LookupError):  # a name that Python does not know either
            name = codecs.lookup(declared[1].decode("ascii")).name
            name = _BROWSERS_READ.get(name, name)
            return name if _BROWSERS_KNOW.fullmatch(name) else "utf-8"
    return "utf-8"


def split_document(blocks: Iterable[str], limit: int) -> Iterator[str]:
    """The text of `blocks`, whole when it has at most `limit` characters, else in pieces of at most that.

    A piece ends after a blank line, else a line, else a space in its second half, else at `limit`. The
    pieces joined are the text again.
    """
    rest = ""
    for block in blocks:
        text, position = rest + block, 0
        while len(text) - position > limit:
            end = _cut(text, position, position + limit)
            yield text[position:end]
            position = end
        rest = text[position:]
    if rest:
        yield rest


def _cut(text: str, start: int, limit: int) -> int:
    middle = start + (limit - start + 1) // 2
    for boundary in ("\n\n", "\n", " "):
        found = text.rfind(boundary, middle, limit)
        if found >= 0:
            return found + len(boundary)
    return limit


def _jsonl(stream: io.BufferedIOBase, key: str, skips: Skips, path: Path) -> Iterator[str]:
    """The `key` field of each line's object. Bad lines are counted in `skips`."""
    found, other_keys = 0, ""
    try:
        with closing(stream):
            while line := stream.readline(MAX_LINE):
                record = _parse_line(line, stream, skips, path)
                if record is None:
                    continue
                text = record.get(key)
                if isinstance(text, str):
                    found += 1
                    yield text
                else:
                    other_keys = other_keys or ", ".join(list(record)[:8])
                    skips.add(f"jsonl line without a text field '{key}'", path)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Unusable("damaged gzip", f"{found} records came before the damage") from error
    if not found and other_keys:
        raise Unusable(f"jsonl without a text field '{key}'", f"its fields: {other_keys}", wrong_field=True)


def _parse_line(line: bytes, stream: io.BufferedIOBase, skips: Skips, path: Path) -> dict[str, object] | None:
    if len(line) == MAX_LINE and not line.endswith(b"\n"):
        while line and not line.endswith(b"\n"):
            line = stream.readline(MAX_LINE)
        skips.add("jsonl line over 64 MiB", path)
        return None
    line = line.removeprefix(codecs.BOM_UTF8).strip()
    if not line:
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        skips.add("jsonl line that is not JSON", path)
        return None
    if not isinstance(record, dict):
        skips.add("jsonl line that is not an object", path)
        return None
    return record
