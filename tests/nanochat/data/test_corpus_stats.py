"""Numbers about a corpus, each against a plain count over the same documents."""

import csv
import io
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from training_data import byte_tokenizer, documents, write_shards

from nanochat.cli import main
from nanochat.commands.data_stats_print import as_json
from nanochat.common.errors import UserError
from nanochat.data.duplicates import DuplicateCounter
from nanochat.data.long_documents import estimate_cropping
from nanochat.data.scripts import KANA_AND_HAN, NO_LETTERS, RARE, count_scripts, main_script, scripts
from nanochat.data.stats import VALIDATION, Collector, Document, collect, histogram, percentiles
from nanochat.data.stats_document import parse_stats, read_stats


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Grüße, ça va? ĲſKÅ ª", "Latin"),
        ("Привет, world", "Cyrillic"),
        ("日本語のテキストを読む", KANA_AND_HAN),
        ("ﾃｷｽﾄ々", KANA_AND_HAN),
        ("中文文本和一些字", "Han (Chinese)"),
        ("큰 집", "Hangul (Korean)"),
        ("αβγ µ Ω", "Greek"),
        ("हिन्दी", "Devanagari"),
        ("שלום", "Hebrew"),
        ("𐌰𐌱", RARE),
        ("12 + 3 = 😀 \ud800", NO_LETTERS),
        ("", NO_LETTERS),
    ],
)
def test_the_main_script_of_a_text(text: str, script: str) -> None:
    counts = count_scripts(text)
    assert main_script(counts) == script
    assert counts.sum() == len(text)


def test_a_combining_accent_is_of_no_script_and_a_vowel_sign_of_its_own() -> None:
    names, table = scripts()
    assert names[table[0x301]] == NO_LETTERS
    assert names[table[ord("\u093f")]] == "Devanagari"
    assert len(names) < 100


@pytest.mark.parametrize("in_memory", [4, 1000])
def test_duplicates_on_disk_are_those_in_memory(in_memory: int) -> None:
    texts = [f"text {n % 37} {'x' * (n % 37)}".encode() for n in range(100)]
    with DuplicateCounter(in_memory) as counter:
        for number, raw in enumerate(texts):
            counter.add(raw, held_out=number >= 90)
        found = counter.count()
        assert counter.count() == found
    counts = Counter(texts)
    assert found.documents == 100 - 37
    assert found.bytes == sum(len(raw) * (count - 1) for raw, count in counts.items())
    assert found.held_out_too == len(set(texts[:90]) & set(texts[90:])) == 10


def test_what_was_on_disk_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with DuplicateCounter(2) as counter:
        for number in range(9):
            counter.add(bytes([number]))
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_bins_double_and_percentiles_are_nearest_ranks() -> None:
    lengths = Counter({0: 1, 1: 2, 5: 3, 7: 1, 64: 93})
    assert [(one.low, one.high, one.documents, one.units) for one in histogram(lengths)] == [
        (0, 0, 1, 0),
        (1, 1, 2, 2),
        (2, 3, 0, 0),
        (4, 7, 4, 22),
        (8, 15, 0, 0),
        (16, 31, 0, 0),
        (32, 63, 0, 0),
        (64, 127, 93, 93 * 64),
    ]
    ordered = sorted(lengths.elements())
    assert percentiles(lengths) == {
        "min": 0,
        **{f"p{p}": ordered[p - 1] for p in (1, 5, 25, 50, 75, 95, 99)},
        "max": 64,
    }
    assert (histogram(Counter()), percentiles(Counter())) == ([], {})


def test_memory_is_flat_in_the_number_of_documents() -> None:
    def peak(count: int) -> int:
        def made() -> Iterator[Document]:
            for number in range(count):
                yield Document(f"{number:06d} " * 300, "here")

        with DuplicateCounter(1000) as duplicates:
            tracemalloc.start()
            collect(made(), Collector(duplicates, has_tokens=False), None)
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return found

    scripts()
    peak(200)
    assert peak(3000) - peak(300) < 500_000  # the 2,700 documents are 5.7 MB


def test_a_sample_is_drawn_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nanochat.data.stats.SAMPLE", 200)
    with DuplicateCounter() as duplicates:
        collector = Collector(duplicates, has_tokens=False)
        for number in range(2000):
            collector.add(Document("x" * number, "here"), 0)
        collector.add(Document("y" * 9999, "there", VALIDATION), 0)
    assert len(collector.sample) == len(set(collector.sample)) == 200
    assert 800 < sum(collector.sample) / 200 < 1200
    assert max(collector.sample) < 2000


@pytest.fixture
def base(tmp_path: Path) -> Path:
    train, val = documents(300, 1), documents(40, 3)
    write_shards(tmp_path / "base_data", [[*train, train[0], " \n"], [*val, train[1]]])
    byte_tokenizer().save(tmp_path / "tokenizer")
    return tmp_path


def told(base: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["data", "stats", f"--base-dir={base}", *words]) == 0
    return capsys.readouterr().out


def test_the_command_counts_shards_as_loops_do(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, val = documents(300, 1), documents(40, 3)
    train, val = [*train, train[0], " \n"], [*val, train[1]]
    found = json.loads(told(base, capsys, "--json", "--contexts=64,32", "--longest=2"))
    lengths = [len(byte_tokenizer().encode(text)) for text in (*train, *val)]
    for name, texts in (("training", train), ("validation", val)):
        assert found["splits"][name] == {
            "documents": len(texts),
            "bytes": sum(len(text.encode()) for text in texts),
            "characters": sum(map(len, texts)),
            "tokens": sum(len(byte_tokenizer().encode(text)) for text in texts),
        }
    assert found["duplicates"] == {
        "documents": 2,
        "bytes": len(train[0]) + len(train[1]),
        "held_out_too": 1,
    }
    assert found["empty"] == 1
    assert found["letters"]["Latin"] == sum(letter.isalpha() for text in (*train, *val) for letter in text)
    assert found["main_scripts"][NO_LETTERS]["documents"] == 1
    longest = max((*train, *val), key=len)
    assert found["longest"][0]["bytes"] == len(longest)
    assert found["longest"][0]["beginning"] == longest[:60].strip()
    assert len(found["longest"]) == 2
    assert sum(one["documents"] for one in found["histogram"]) == len(lengths)
    small, large = found["cropped"]
    assert (small["context"], large["context"]) == (32, 64)
    assert small["longer"] == sum(length > 32 for length in lengths)
    rows = sum(lengths[:302]) // 33
    same = estimate_cropping(byte_tokenizer(), [base / "base_data/shard_00000.parquet"], 32, rows)
    assert same is not None
    assert small["share"] == pytest.approx(same.share)
    assert 0 < large["share"] < small["share"]


def test_tables_hold_the_same_figures(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(told(base, capsys, "--json"))
    rows = list(csv.DictReader(io.StringIO(told(base, capsys, "--csv"))))
    values = {(row["table"], row["of"], row["figure"]): row["value"] for row in rows}
    assert values["split", "all", "tokens"] == str(found["total"]["tokens"])
    assert values["cropped", "512", "share"] == str(found["cropped"][0]["share"])
    assert values["duplicates", "all", "held_out_too"] == "1"
    page, text = told(base, capsys, "--md"), told(base, capsys)
    for shown in (page, text):
        assert f"{found['total']['tokens']:,}" in shown
        assert "in both splits" in shown
    assert page.startswith("# Corpus\n\n## text\n\n| split ")


def test_a_document_reads_back_and_anything_else_is_one_line(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = told(base, capsys, "--json")
    stats = parse_stats(text, "here")
    assert as_json(stats) == text
    whole = json.loads(text)
    (base / "list.json").write_text("[]")
    for path in (base / "list.json", base / "nowhere.json", base):
        with pytest.raises(UserError, match=str(path)):
            read_stats(path)
    for name in whole.keys() - {"source"}:
        for wrong in (None, [7], {"a": {}}, "x", -1):
            with suppress(UserError):  # a unit is one of two whatever it says
                parse_stats(json.dumps({**whole, name: wrong}), "here")
        with pytest.raises(UserError, match="here holds no numbers"):
            parse_stats(json.dumps({key: value for key, value in whole.items() if key != name}), "here")


def test_a_program_hears_how_far_it_is(
    base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanochat.common.progress_lines.SECONDS", 0.0)
    assert main(["data", "stats", f"--base-dir={base}", "--json", "--progress"]) == 0
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in err.splitlines()]
    assert {line["doing"] for line in lines} == {"reading", "counting duplicates"}
    shares = [line["share"] for line in lines if "share" in line]
    assert shares == sorted(shares) and 0 < shares[-1] <= 1
    read = [line for line in lines if line["doing"] == "reading"][-1]
    assert (read["documents"], read["bytes"]) == tuple(
        json.loads(out)["total"][name] for name in ("documents", "bytes")
    )


def test_files_without_a_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "a.txt").write_text("一二三\x1b[31m 四" * 3)
    (tmp_path / "own" / "b.jsonl").write_text('{"text": "one"}\n{"text": "one"}\n{"text": "\\ud800"}\n')
    (tmp_path / "own" / "c.png").write_bytes(b"\x89PNG\0")
    assert main(["data", "stats", f"--base-dir={tmp_path}", str(tmp_path / "own")]) == 0
    out, err = capsys.readouterr()
    assert "no tokenizer: lengths are in characters" in err
    assert "skipped 1 × binary file" in err and "skipped 1 × not valid Unicode" in err
    assert "characters a document" in out and "Han (Chinese)" in out and "validation" not in out
    assert "\x1b" not in out
    assert "packing" not in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none"], "cannot read"),
        (["--contexts=0"], "is not a list of numbers from 1"),
        (["--contexts=many"], "is not a list of numbers from 1"),
        (["--tokenizer-dir=nowhere"], "nanochat tok_train"),
        (["--data-dir=base_data", "x"], "two inputs"),
        ([], "does not exist"),
        (["empty"], "no document came out of the input"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["data", "stats", f"--base-dir={tmp_path / 'base'}", *words]) != 0
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
