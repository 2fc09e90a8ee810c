"""The sweep over vocabulary sizes: one training gives every size, and its figures are those of each alone."""

import csv
import io
import json
from pathlib import Path

import pytest
from training_data import documents, write_shards

from nanochat.cli import main
from nanochat.common.errors import UserError
from nanochat.model.architecture import flops_per_token, parameter_counts
from nanochat.scaling.horizon import config_from_depth
from nanochat.tokenizer.sweep import of_size, sizes_within
from nanochat.tokenizer.sweep_figures import read_sweep
from nanochat.tokenizer.tokenizer import Tokenizer

CODE = Path(__file__).read_text(encoding="utf-8")
TEXTS = [*documents(200, 1), CODE, "中文文本，한국어 텍스트 " * 20, "a" * 300]
SIZES = (266, 300, 411, 500)


def test_a_smaller_vocabulary_is_the_beginning_of_a_larger() -> None:
    """What the sweep rests on: trained alone, each size learns the same merges in the same order."""
    largest = Tokenizer.train_from_iterator(TEXTS, SIZES[-1])
    for size in SIZES:
        alone = Tokenizer.train_from_iterator(TEXTS, size)
        assert alone.vocab_size == size
        cut = of_size(largest, size)
        assert cut.ranks == alone.ranks
        assert cut.fingerprint == alone.fingerprint
        assert cut.encode(CODE) == alone.encode(CODE)


@pytest.mark.parametrize("size", [265, 501])
def test_a_size_that_is_not_inside_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"no {size} ids"):
        of_size(Tokenizer.train_from_iterator(TEXTS, 500), size)


def test_sizes_end_where_the_text_does() -> None:
    small = Tokenizer.train_from_iterator(["abababab"], 1000)
    assert small.vocab_size < 300
    assert list(sizes_within(small, [1000, 266, 5000])) == [266, small.vocab_size]
    assert list(sizes_within(small, [small.vocab_size, 266])) == [266, small.vocab_size]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    write_shards(tmp_path / "base_data", [TEXTS, documents(40, 3)])
    return tmp_path


def test_the_command_tells_what_each_size_costs(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "tok_sweep",
        f"--base-dir={base}",
        "--vocab-sizes=500,266,300",
        "--depth=2",
        f"--out={base / 'out'}",
    ]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["depth"], found["context"]) == (2, 2048)
    text = documents(40, 3)
    for size, told in zip((266, 300, 500), found["sizes"], strict=True):
        alone = Tokenizer.train_from_iterator(TEXTS, size)
        config = config_from_depth(2, size, 2048)
        counts = parameter_counts(config)
        tokens = sum(len(alone.encode(one)) for one in text)
        assert told["vocab_size"] == size
        assert told["tokens"] == tokens
        assert told["bytes"] == sum(len(one.encode()) for one in text)
        assert told["tables"] == counts["total"] - counts["matrices"] - counts["scalars"]
        assert told["flops"] == flops_per_token(config) * tokens
        assert Tokenizer.load(base / "out" / str(size)).fingerprint == alone.fingerprint
    assert min(told["compute"] for told in found["sizes"]) == 1.0
    assert (found["data"], found["documents"]) == ("base_data", len(TEXTS))
    kept = read_sweep(base / "out" / "sweep.json")
    assert [point.tokens for point in kept.points] == [told["tokens"] for told in found["sizes"]]
    assert json.loads(kept.document()) == json.loads((base / "out" / "sweep.json").read_text())
    assert main([*words, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(row["compute"]) for row in rows] == [told["compute"] for told in found["sizes"]]
    for form in ([], ["--md"]):
        assert main([*words, *form]) == 0
        shown = capsys.readouterr().out
        assert "compute: to train on the text once; least with " in shown
        assert f"{found['sizes'][1]['tokens']:,}" in shown
        assert form or max(map(len, shown.splitlines())) <= 80


def test_a_program_hears_how_far_it_is(
    base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanochat.common.progress_lines.SECONDS", 0.0)
    words = ["tok_sweep", f"--base-dir={base}", "--vocab-sizes=266,300", "--depth=2", "--json", "--progress"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    merging = [line for line in lines if line["doing"] == "merging"]
    measuring = [line["done"] for line in lines if line["doing"] == "measuring"]
    assert merging[-1]["done"] == merging[-1]["total"] == 300 - 265
    assert measuring == [0, 1]
    assert all(0 <= line["share"] <= 1 for line in lines)
    assert len(json.loads(out)["sizes"]) == 2


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"sizes": []}', '{"sizes": [{}]}', '{"sizes": [7]}', "[" * 9999]
)
def test_what_is_no_sweep_is_told_in_a_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match=r"is no sweep|lacks figures"):
        read_sweep(tmp_path / "x.json")
    with pytest.raises(UserError, match="cannot read"):
        read_sweep(tmp_path / "y.json")


def test_a_text_that_runs_out_of_pairs_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_shards(tmp_path / "base_data", [["abababab"], ["abab"]])
    assert main(["tok_sweep", f"--base-dir={tmp_path}", "--vocab-sizes=266,9000", "--depth=2"]) == 0
    out, err = capsys.readouterr()
    assert "ran out of pairs to merge at a vocabulary of 26" in err
    assert "9,000" not in out


def test_training_shards_without_text_are_told_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shards(tmp_path / "base_data", [[""], ["abab"]])
    assert main(["tok_sweep", f"--base-dir={tmp_path}", "--vocab-sizes=266,300"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"the training shards in {tmp_path / 'base_data'} hold no text" in err


def test_a_folder_that_cannot_be_written_is_told_before_the_training(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(*_: object, **__: object) -> None:
        raise AssertionError("trained for nothing")

    monkeypatch.setattr(Tokenizer, "train_from_iterator", train)
    (base / "file").write_text("in the way")
    assert (
        main(["tok_sweep", f"--base-dir={base}", "--vocab-sizes=266", f"--out={base / 'file' / 'out'}"]) == 1
    )
    err = capsys.readouterr().err
    assert f"cannot write into {base / 'file' / 'out'}: Not a directory (choose another folder" in err
    assert err.count("\n") == 1


def test_a_disk_that_fills_up_does_not_cost_the_table(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def save(self: Tokenizer, folder: Path) -> None:
        raise UserError(f"cannot write {folder}: No space left on device")

    monkeypatch.setattr(Tokenizer, "save", save)
    words = ["--vocab-sizes=266,300", "--depth=2", f"--out={base / 'out'}", "--csv"]
    assert main(["tok_sweep", f"--base-dir={base}", *words]) != 0
    out, err = capsys.readouterr()
    assert [row["vocab_size"] for row in csv.DictReader(io.StringIO(out))] == ["266", "300"]
    assert "No space left on device" in err


@pytest.mark.parametrize("sizes", ["", "none", "265", "300,99999999", "300,-1"])
def test_sizes_that_are_none_are_told_in_a_line(
    sizes: str, base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tok_sweep", f"--base-dir={base}", f"--vocab-sizes={sizes}"]) != 0
    err = capsys.readouterr().err
    assert "is not a list of at most 50 numbers from 266" in err
    assert err.count("\n") == 1
