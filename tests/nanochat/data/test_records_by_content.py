"""Records and compression are known by what a file holds, whatever its name."""

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanochat.common.errors import UserError
from nanochat.data import json_records
from nanochat.data.extract import Extractor
from nanochat.data.sources import Skips, walk

TEXTS = [f"document {number} " + "with words " * 20 + "中文" for number in range(30)]
RECORDS = [{"text": text, "url": "https://example.org/a", "timestamp": 1} for text in TEXTS]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()


def zstd(raw: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(raw)
    return bytes(sink.getvalue())


def read(path: Path, **options: object) -> tuple[list[str], Skips, dict[str, int]]:
    skips = Skips()
    with Extractor(skips, **options) as extractor:  # type: ignore[arg-type]
        texts = [text for source in walk([str(path)], skips) for text in extractor.documents(source)]
    return texts, skips, dict(extractor.kinds)


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.json", LINES),
        ("c4-train.00000-of-00001.json.gz", gzip.compress(LINES)),
        ("c4.json.gz", gzip.compress(LINES[:3000]) + gzip.compress(LINES[3000:])),
        ("pile.jsonl.zst", None),
        ("dolma.json.zstd", None),
        ("a.jsonl.xz", lzma.compress(LINES)),
        ("a.jsonl.xz", lzma.compress(LINES[:3000]) + lzma.compress(LINES[3000:])),
        ("a.json.bz2", bz2.compress(LINES)),
        ("no-suffix", LINES),
        ("records.txt", LINES),
        ("not-called-gz.jsonl", gzip.compress(LINES)),
        ("windows.jsonl", LINES.decode().encode("utf-16")),
        ("marked.json", b"\xef\xbb\xbf" + LINES),
    ],
)
def test_json_lines_are_records_by_any_name(tmp_path: Path, name: str, content: bytes | None) -> None:
    path = put(tmp_path / name, zstd(LINES) if content is None else content)
    texts, skips, kinds = read(path, doc_chars=100)
    assert texts == TEXTS
    assert kinds == {"JSON lines": 1}
    assert skips.total == 0


def test_zstd_frames_follow_each_other(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl.zst", zstd(LINES[:3000]) + zstd(LINES[3000:]))
    assert read(path)[0] == TEXTS


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["train.json", "train.jsonl", "train"])
def test_an_array_of_objects_is_records(tmp_path: Path, name: str, indent: int | None) -> None:
    content = json.dumps([*RECORDS, {"text": "long " * 50_000}], indent=indent).encode()
    texts, _, kinds = read(put(tmp_path / name, content))
    assert texts == [*TEXTS, "long " * 50_000]
    assert kinds == {"JSON arrays": 1}


def test_what_is_wrong_in_an_array_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "a.json", b'[{"text": "one"}, 2, {"body": "x"}, {"text": "two"}, {"text": "thr')
    texts, skips, _ = read(path)
    assert texts == ["one", "two"]
    assert dict(skips.counts) == {
        "element of a JSON array that is not an object": 1,
        "record without a text field 'text'": 1,
        "JSON array that breaks off or is damaged, the rest of it": 1,
    }
    monkeypatch.setattr(json_records, "MAX_LINE", 1000)
    texts, skips, _ = read(put(path, json.dumps([{"text": "one"}, {"text": "x" * 400_000}]).encode()))
    assert texts == ["one"] and skips.total == 1


def test_arrays_that_follow_each_other_are_all_read(tmp_path: Path) -> None:
    path = put(tmp_path / "a.jsonl", b'[{"text": "one"}]\n[{"text": "two"}, {"text": "three"}]\n\n')
    assert read(path)[0] == ["one", "two", "three"]


@pytest.mark.parametrize(
    "content", ['{\n  "name": "x",\n  "list": [1, 2]\n}\n', "[1, 2, 3]\n", "[section]\na = 1\n"]
)
def test_json_without_records_is_text_and_said(tmp_path: Path, content: str) -> None:
    texts, _, kinds = read(put(tmp_path / "package.json", content.encode()))
    assert texts == [content]
    assert kinds == {"text (JSON that holds no records)": 1}


def test_a_damaged_first_line_does_not_make_records_text(tmp_path: Path) -> None:
    texts, skips, _ = read(put(tmp_path / "a.json", b'{"text": "brok\n' + LINES))
    assert texts == TEXTS
    assert dict(skips.counts) == {"jsonl line that is not JSON": 1}


@pytest.mark.parametrize(
    ("suffix", "kind"), [("zst", "zstd"), ("xz", "xz"), ("bz2", "bzip2"), ("gz", "gzip")]
)
def test_damaged_compression_is_named(tmp_path: Path, suffix: str, kind: str) -> None:
    pack = {"zst": zstd, "xz": lzma.compress, "bz2": bz2.compress, "gz": gzip.compress}[suffix]
    path = put(tmp_path / f"a.jsonl.{suffix}", pack(LINES)[:-20])
    with pytest.raises(UserError, match=f"damaged {kind}"):
        read(path)
    with pytest.raises(UserError, match=f"damaged {kind}"):
        read(put(path, b"{} not compressed"))
    _, skips, _ = read(path.parent)
    assert dict(skips.counts) == {f"damaged {kind}": 1}


def test_parquet_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "blob")
    assert read(tmp_path / "blob")[0] == TEXTS
    packed = put(tmp_path / "a.parquet.gz", gzip.compress((tmp_path / "blob").read_bytes()))
    with pytest.raises(UserError, match="parquet in a compressed file; unpack it first"):
        read(packed)
