"""Documents of a file, whatever its kind: text, Markdown and code as they are, HTML stripped, the text
field of JSON and parquet records; each of them (but parquet) also compressed. Records and compression are
known by content, whatever the name says.

Memory is bounded whatever the size of the file: a long file is read in blocks and split into documents,
records come one by one.
"""

import codecs
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from nanochat.common.errors import UserError
from nanochat.common.files import is_utf_8, open_regular
from nanochat.data.html_worker import MAX_PAGE, PageTexts
from nanochat.data.json_records import as_utf8, may_be_json, read_array, read_lines, records_shape
from nanochat.data.shards import MAX_ROW_GROUP, RowGroupTooLarge, check_text_column, row_group_values
from nanochat.data.sources import Skips, Source
from nanochat.data.unpacked import BUFFER, Damaged, compression, kind_suffix, unpacked

BLOCK = 1 << 20
"""Bytes read at a time."""
WHOLE_FILE = 32 << 20
"""Up to this many bytes a text file is kept while it is checked; a longer one is read twice."""
MAX_DOC_CHARS = 1 << 24
"""No document is longer, whatever the options say: it bounds memory."""

_HTML = frozenset({".html", ".htm", ".xhtml"})
_JSONL = frozenset({".jsonl", ".ndjson"})
_PARQUET = b"PAR1"
_NO_RECORDS = "text (JSON that holds no records)"
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
        self.kinds: Counter[str] = Counter()
        """How the files were read, for people: "JSON lines", "text" …; what is skipped is in none."""

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
        stream = self._open(path)
        try:
            suffix, head = kind_suffix(path), stream.peek(4096)
        except Damaged as error:
            stream.close()
            raise _damaged(error) from error
        except BaseException:
            stream.close()
            raise
        if head.startswith(_PARQUET) or suffix == ".parquet":
            compressed = not isinstance(stream.raw, io.FileIO)
            stream.close()
            if compressed:
                raise Unusable("parquet in a compressed file", "unpack it first")
            self.kinds["parquet"] += 1
            yield from self._parquet(path)
            return
        shape = "lines" if suffix in _JSONL else ""
        if not shape and suffix not in _HTML and may_be_json(head):
            shape = self._shape(path)
        elif shape and head.lstrip().startswith(b"[") and self._shape(path) == "array":
            shape = "array"
        if shape:
            self.kinds["JSON lines" if shape == "lines" else "JSON arrays"] += 1
            yield from self._records(self._json(stream, shape, path))
            return
        html = suffix in _HTML
        waiting = [stream]
        texts = verified_text(lambda: waiting.pop() if waiting else self._open(path), html)
        kind = "HTML" if html else _NO_RECORDS if suffix == ".json" else "text"
        try:
            for piece in split_document([self._page(texts)] if html else texts, self.doc_chars):
                if kind:
                    self.kinds[kind] += 1
                    kind = ""
                yield piece
        finally:
            stream.close()

    def _open(self, path: Path) -> io.BufferedReader:
        raw: io.BufferedReader = io.BufferedReader(io.FileIO(path), BUFFER)
        self._position = lambda: 0 if raw.closed else raw.tell()
        return unpacked(raw, compression(path, raw))

    def _shape(self, path: Path) -> str:
        try:
            return records_shape(as_utf8(self._open(path)))
        except Damaged as error:
            raise _damaged(error) from error

    def _json(self, stream: io.BufferedReader, shape: str, path: Path) -> Iterator[str]:
        """The text field of each record. Records without one are counted in `skips`."""
        whole, name = ("jsonl", "jsonl line") if shape == "lines" else ("JSON array", "record")
        found, other_keys = 0, ""
        read = read_lines if shape == "lines" else read_array
        try:
            with closing(as_utf8(stream)) as utf8:
                for record in read(utf8, self.skips, path):
                    text = record.get(self.text_key)
                    if isinstance(text, str):
                        found += 1
                        yield text
                    else:
                        other_keys = other_keys or ", ".join(list(record)[:8])
                        self.skips.add(f"{name} without a text field '{self.text_key}'", path)
        except Damaged as error:
            raise _damaged(error, f"{found} records came before the damage") from error
        if not found and other_keys:
            reason = f"{whole} without a text field '{self.text_key}'"
            raise Unusable(reason, f"its fields: {other_keys}", wrong_field=True)

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
            source = path if is_utf_8(path) else open_regular(path)
            with pq.ParquetFile(source, pre_buffer=False, buffer_size=BLOCK) as file:
                try:
                    check_text_column(path, file.schema_arrow, self.text_key)
                except UserError as error:
                    columns = ", ".join(file.schema_arrow.names[:8])
                    reason = f"parquet without a text column '{self.text_key}'"
                    raise Unusable(reason, f"its columns: {columns}", wrong_field=True) from error
                rows, seen = max(1, file.metadata.num_rows), 0
                for group in range(file.num_row_groups):
                    done = size * seen // rows
                    self._position = lambda done=done: done  # type: ignore[misc]
                    seen += file.metadata.row_group(group).num_rows
                    try:
                        yield from self._records(row_group_values(file, group, self.text_key))
                    except RowGroupTooLarge:
                        self.skips.add(f"parquet row group over {MAX_ROW_GROUP >> 30} GiB", path)
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise Unusable("damaged parquet", "it is truncated or not parquet") from error


def _damaged(error: Damaged, detail: str = "") -> Unusable:
    return Unusable(f"damaged {error.kind}", detail or f"it is truncated or not {error.kind}")


def verified_text(open_stream: Callable[[], io.BufferedReader], html: bool = False) -> Iterator[str]:
    """The decoded blocks of a file that is text to its last byte, with `\\n` line ends.

    Nothing is yielded before the whole file is known to decode; a long file is read a second time for
    that rather than kept. Raises `Unusable`: binary (it holds NUL), not UTF-8, damaged, empty.
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


def _decoded(open_stream: Callable[[], io.BufferedReader], html: bool) -> Iterator[str]:
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
    except Damaged as error:
        raise _damaged(error) from error


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
