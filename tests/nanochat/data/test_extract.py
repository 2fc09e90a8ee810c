"""What comes out of a file, whatever its kind, and what is left out and counted."""

import codecs
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sandbox_levels import linux_only

from nanochat.common.errors import UserError
from nanochat.data import extract, html_worker, json_records
from nanochat.data.extract import Extractor, split_document
from nanochat.data.html_text import page_text
from nanochat.data.html_worker import PageTexts
from nanochat.data.sources import Skips, walk


def read(*paths: Path, text_key: str = "text", doc_chars: int = 0) -> tuple[list[str], Skips]:
    """Every document of `paths`, and what was skipped."""
    skips = Skips()
    sources = list(walk([str(path) for path in paths], skips))
    with Extractor(skips, text_key, doc_chars) as extractor:
        texts = [text for source in sources for text in extractor.documents(source)]
    assert extractor.bytes_read == sum(source.size for source in sources)
    return texts, skips


def write(path: Path, content: str | bytes) -> Path:
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


# -- text --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.txt", "README", "notes.md", "code.py", "a.md.gz", "b.gz"])
def test_text_of_any_name_is_kept_as_it_is(tmp_path: Path, name: str) -> None:
    text = "# Title\n\n\tindented 中文 🙂\n"
    assert read(write(tmp_path / name, text))[0] == [text]


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_sets_the_encoding(tmp_path: Path, codec: str) -> None:
    assert read(write(tmp_path / "a.txt", "naïve 中文".encode(codec)))[0] == ["naïve 中文"]


def test_line_ends_become_newlines(tmp_path: Path) -> None:
    assert read(write(tmp_path / "a.txt", "one\r\ntwo\rthree\n"))[0] == ["one\ntwo\nthree\n"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary file"),
        (b"text " * 10_000 + b"\0" + b"text", "binary file"),
        ("café".encode("latin-1"), "not UTF-8 text"),
        (b"good " * 1_000_000 + b"\xff", "not UTF-8 text"),
        (b"cut in a character: \xe4\xb8", "not UTF-8 text"),
        (b"", "empty"),
        (b" \n\t\n", "empty"),
    ],
    ids=["picture", "late NUL", "latin-1", "late damage", "cut character", "empty", "blank"],
)
def test_files_that_are_not_text_are_skipped(tmp_path: Path, content: bytes, reason: str) -> None:
    texts, skips = read(write(tmp_path / "a.txt", content), doc_chars=1000)
    assert texts == []
    assert dict(skips.counts) == {reason: 1}
    assert str(tmp_path / "a.txt") in skips.lines()[0]


def test_a_file_too_long_to_keep_is_checked_before_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "WHOLE_FILE", 1000)
    text = "a line of text\n" * 5000
    assert "".join(read(write(tmp_path / "a.txt", text), doc_chars=300)[0]) == text
    assert read(write(tmp_path / "b.txt", text.encode() + b"\xff"), doc_chars=300)[0] == []


@given(blocks=st.lists(st.text(alphabet=" \nab", max_size=40), max_size=8), limit=st.integers(1, 25))
def test_splitting_loses_nothing_and_keeps_the_limit(blocks: list[str], limit: int) -> None:
    pieces = list(split_document(blocks, limit))
    assert "".join(pieces) == "".join(blocks)
    assert all(1 <= len(piece) <= limit for piece in pieces)
    assert pieces == list(split_document(["".join(blocks)], limit))


def test_a_split_prefers_blank_lines_then_lines_then_spaces() -> None:
    assert list(split_document(["aaa bbb\nccc\n\nddd eee fff"], 16)) == ["aaa bbb\nccc\n\n", "ddd eee fff"]
    assert list(split_document(["aaa bbb\nccc ddd"], 12)) == ["aaa bbb\n", "ccc ddd"]
    assert list(split_document(["aaa bbb ccc"], 9)) == ["aaa bbb ", "ccc"]
    assert list(split_document(["aaaaaaaaaa"], 4)) == ["aaaa", "aaaa", "aa"]


def test_a_truncated_gzip_is_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt.gz", os.urandom(5000).hex())
    path.write_bytes(path.read_bytes()[:-50])
    (tmp_path / "b.txt.gz").write_bytes(b"not gzip")
    texts, skips = read(tmp_path)
    assert texts == []
    assert dict(skips.counts) == {"damaged gzip": 2}
    with pytest.raises(UserError, match=r"a\.txt\.gz: damaged gzip"):
        read(path)


# -- HTML --------------------------------------------------------------------------------------------

PAGE = """<!doctype html><html><head><title>A page</title><style>p { color: red }</style>
<script>if (a < b) { document.write("<p>no</p>") }</script></head>
<body><!-- no --><h1>Hello</h1><p>One &amp; two <b>bold</b>,
   three&nbsp;&#8212; caf&eacute;</p><div>line<br>next</div>
<ul><li>first<li>second</ul><table><tr><th>a<th>b<tr><td>1<td>2</table>
<pre>def f():
    return 1</pre><noscript>no</noscript><svg><text>no</text></svg></body></html>"""
TEXT = """A page

Hello

One & two bold, three\u00a0— café

line
next

- first
- second

a b
1 2

def f():
    return 1"""


def test_a_page_becomes_what_a_reader_sees(tmp_path: Path) -> None:
    for name in ("a.html", "b.HTM", "c.html.gz"):
        assert ["".join(read(write(tmp_path / name, PAGE))[0])] == [TEXT]


@pytest.mark.parametrize("block", [1, 7, 300])
def test_a_page_read_in_blocks_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(extract, "BLOCK", block)
    assert read(write(tmp_path / "a.html", PAGE))[0] == [TEXT]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>one<svg><path d='M0'><p>two", "one\n\ntwo"),
        ("<p>one<noscript>and<p>two", "oneand\n\ntwo"),
        ("<p>one</p><object data=x>and<p>two", "one\n\nand\n\ntwo"),
        ("<p>one<iframe src='a>b'>and<p>two", "oneand\n\ntwo"),
        ("<p>one<template><p>two", "one\n\ntwo"),
        ("<title>one<p>two", "one\n\ntwo"),
        ("<p>one<textarea><p>two", "one\n\ntwo"),
        ("<plaintext><p>one", "one"),
        ("<object>one<object>no</object><p>two", "one\n\ntwo"),
        ("<object>no<object>no</object>no</object>yes", "yes"),
        ("<OBJECT>no</Object >yes<NoScript>no</NOSCRIPT>", "yes"),
        ("<script src='x'/><title/><iframe/><p>one", "one"),
        ("<p>one<script>two", "one"),
        ("<p>one<style>two", "one"),
        ("<svg/>one", "one"),
        ("<frameset><p>one", "one"),
        ("<!-- <noscript> --><p>one", "one"),
    ],
)
def test_what_nothing_closes_does_not_swallow_the_rest(page: str, text: str) -> None:
    assert page_text(page.encode()) == text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>one<div>two</div>three", "one\n\ntwo\nthree"),
        ("<ul><li>one<ul><li>two</ul><li>three</ul>four", "- one\n\n- two\n\n- three\n\nfour"),
        ("<b>one<i>two</b>three</i>", "onetwothree"),
        ("<table>one<tr><td>two", "one\n\ntwo"),
        ("<pre>\none\n\n  two</pre>", "one\n\n  two"),
        ("one<!-- two <p> -->three<!doctype x>four<?five?>six", "onethreefoursix"),
        (
            "&lt;p&gt; &copy;&#169;&#xA9; &amp;amp; &nosuch; &notit; &#0;&#x80;",
            "<p> ©©© &amp; &nosuch; ¬it; \ufffd€",
        ),
        ("one</p>two</br>three", "one\n\ntwo\nthree"),
        ("a<wbr>b <span> c </span> <img alt=d> e", "ab c e"),
        ("<frameset><frame></frameset><noframes><body><p>one</body></noframes>", "one"),
        ("", ""),
    ],
)
def test_markup_is_mended_as_browsers_do(page: str, text: str) -> None:
    assert page_text(page.encode()) == text


@pytest.mark.slow
def test_a_page_may_nest_deeper_than_python_recurses() -> None:
    assert page_text(b"<span>" * 50_000 + b"deep") == "deep"


def test_a_page_over_the_bound_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.html", "<p>" + "é" * (1 << 19))
    write(tmp_path / "b.html", "<p>short")
    monkeypatch.setattr(html_worker, "MAX_PAGE", 1 << 20)
    texts, skips = read(tmp_path)
    assert texts == ["short"]
    assert dict(skips.counts) == {"HTML page over 1 MiB": 1}


LONG_PAGE = "<p>one two three" * 200_000


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        pytest.param({"cpu_seconds": 0.01}, r"takes over 0\.01 s", id="time"),
        pytest.param({"memory": 100 << 20}, "cannot be parsed", id="memory", marks=linux_only),
    ],
)
def test_a_page_that_takes_too_much_is_lost_alone(limits: dict[str, float], said: str) -> None:
    pages = PageTexts(**limits)  # type: ignore[arg-type]
    try:
        assert pages.text("<p>before") == "before"
        with pytest.raises(ValueError, match=said):
            pages.text(LONG_PAGE)
        assert pages.text("<p>after") == "after"
    finally:
        pages.close()


def test_a_process_that_fails_by_itself_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_worker, "__name__", "nanochat.no_such_module")
    with pytest.raises(UserError, match="did not start: it ended with code 1"):
        PageTexts().text("<p>one")


def test_the_process_that_reads_pages_ends_with_its_reader(
    tmp_path: Path, left_behind: Callable[[], set[psutil.Process]]
) -> None:
    with Extractor(Skips()) as extractor:
        (source,) = walk([str(write(tmp_path / "a.html", PAGE))], Skips())
        assert list(extractor.documents(source)) == [TEXT]
        (process,) = left_behind()
        assert os.getpgid(process.pid) != os.getpgid(0)  # out of reach of a terminal's Ctrl-C
        assert list(extractor.documents(source)) == [TEXT]
        assert left_behind() == {process}
    assert left_behind() == set()


def test_a_folder_of_the_user_holds_no_module_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "selectolax.py", "raise SystemExit('not this one')")
    write(tmp_path / "a.html", "<p>one")
    monkeypatch.chdir(tmp_path)
    assert read(tmp_path / "a.html")[0] == ["one"]


def test_a_pages_own_charset_is_used(tmp_path: Path) -> None:
    page = '<html><head><meta http-equiv="Content-Type" content="text/html; charset={}"></head><p>café “q”'
    for declared, codec in (
        ("windows-1252", "cp1252"),
        ("iso-8859-1", "cp1252"),
        ("nonsense", "utf-8"),
        ("base64", "utf-8"),
        ("unicode_escape", "utf-8"),
        ("utf-7", "utf-8"),
        ("x" * 300, "utf-8"),
        ("utf-16", "utf-8"),
    ):
        path = write(tmp_path / "a.html", page.format(declared).encode(codec))
        assert read(path)[0] == ["café “q”"]


def test_a_declared_encoding_is_read_as_browsers_read_it(tmp_path: Path) -> None:
    """Each as the larger one that holds it: pages declare the smaller one and use the larger."""
    for declared, codec, text in (
        ("gb2312", "gbk", "鎔"),
        ("shift_jis", "cp932", "①"),
        ("latin1", "cp1252", "“"),
    ):
        path = write(tmp_path / "a.html", f"<meta charset={declared}><p>{text}".encode(codec))
        assert read(path)[0] == [text]


@given(page=st.text(alphabet="<>/!-[]&;= \n'\"abpscript", max_size=60))
def test_any_soup_is_read(page: str) -> None:
    assert isinstance(page_text(page.encode()), str)


@given(
    st.lists(
        st.sampled_from(["<noscript>", "</noscript>", "<object>", "</object>", "<p>", "</p>"]), max_size=12
    )
)
def test_words_after_the_last_end_tag_are_never_lost(tags: list[str]) -> None:
    assert page_text("".join([*tags, "</object></noscript>", " last"]).encode()).endswith("last")


# -- records -----------------------------------------------------------------------------------------


def test_jsonl_gives_its_text_field_and_counts_bad_lines(tmp_path: Path) -> None:
    lines = [
        json.dumps({"text": "first " * 10, "id": 1}), "", "{broken", "[1]", '{"text": 7}', '{"body": "x"}',
        '{"text": "caf\\u00e9"}', '{"text": "' + "[" * 3000 + '"}', "[" * 100_000,
    ]  # fmt: skip
    for name in ("a.jsonl", "a.ndjson", "a.jsonl.gz"):
        content = codecs.BOM_UTF8 + "\n".join(lines).encode()
        texts, skips = read(write(tmp_path / name, content), doc_chars=20)
        assert texts == ["first " * 10, "café", "[" * 3000]
        assert sorted(skips.counts.values()) == [1, 2, 2]


def test_another_field_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"text": "no", "body": "yes"}\n')
    assert read(path, text_key="body")[0] == ["yes"]


def test_a_jsonl_without_the_field_names_what_it_has(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"body": "x", "id": 1}\n' * 3)
    with pytest.raises(UserError, match=r"a\.jsonl: .*'text'; its fields: body, id \(.*--text-key"):
        read(path)
    assert read(tmp_path)[0] == []


def test_a_jsonl_line_without_end_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_records, "MAX_LINE", 1000)
    path = write(tmp_path / "a.jsonl", f'{{"text": "{"x" * 5000}"}}\n{{"text": "ok"}}\n')
    texts, skips = read(path)
    assert texts == ["ok"]
    assert skips.total == 1


def test_parquet_gives_its_rows_as_they_are(tmp_path: Path) -> None:
    texts = ["one", None, "two\r\n", "x" * 5000]
    pq.write_table(pa.table({"id": range(4), "text": texts}), tmp_path / "a.parquet", row_group_size=3)
    assert read(tmp_path / "a.parquet", doc_chars=10)[0] == ["one", "two\r\n", "x" * 5000]


def test_parquet_without_text_and_truncated_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "body": ["yes"]}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", text_key="body")[0] == ["yes"]
    with pytest.raises(UserError, match=r"a\.parquet: .*'text'; its columns: id, body \(.*--text-key"):
        read(tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    for size in (0, 10, len(content) - 5):
        (tmp_path / "b.parquet").write_bytes(content[:size])
        with pytest.raises(UserError, match=r"b\.parquet: damaged parquet"):
            read(tmp_path / "b.parquet")
    texts, skips = read(tmp_path)
    assert texts == []
    assert skips.total == 2


def test_a_record_past_every_bound_is_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "MAX_DOC_CHARS", 1000)
    pq.write_table(pa.table({"text": ["word " * 900]}), tmp_path / "a.parquet")
    texts, _ = read(tmp_path / "a.parquet")
    assert "".join(texts) == "word " * 900
    assert max(map(len, texts)) <= 1000


# -- which files -------------------------------------------------------------------------------------


def test_folders_are_walked_in_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/1.txt", "a/3.txt", "c.txt", ".git/config", "a/.hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, name)
    texts, skips = read(tmp_path)
    assert texts == ["c.txt", "a/3.txt", "b/1.txt", "b/2.txt"]
    assert dict(skips.counts) == {"hidden": 2}
    assert read(tmp_path / ".git")[0] == [".git/config"]


def test_loops_of_links_end_and_links_to_nowhere_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    write(tmp_path / "a" / "x.txt", "x")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "gone").symlink_to("nothing")
    texts, skips = read(tmp_path)
    assert texts == ["x"]
    assert dict(skips.counts) == {"broken link": 2}


def test_pipes_and_sockets_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert dict(read(tmp_path)[1].counts) == {"not a regular file": 1}
    with pytest.raises(UserError, match="neither a file nor a folder"):
        read(tmp_path / "pipe")


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        read(tmp_path / "none.txt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "x").chmod(0)
    assert dict(read(tmp_path)[1].counts) == {"unreadable file (Permission denied)": 1}
    with pytest.raises(UserError, match="Permission denied"):
        read(tmp_path / "a.txt")
