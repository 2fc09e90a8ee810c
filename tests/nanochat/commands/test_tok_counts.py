"""Tokens counted in a corpus from the command line: each as often as it is encoded, and kept."""

import csv
import io
import json
from collections import Counter
from pathlib import Path

import pytest
from training_data import write_shards

from nanochat.cli import main
from nanochat.commands import corpus_counts
from nanochat.commands.corpus_counts import Corpus, corpora, kept_counts
from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.tokenizer.explore.sources import open_source
from nanochat.tokenizer.sample_texts import CODE, NEWS, SCIENCE
from nanochat.tokenizer.tokenizer import Tokenizer

TRAIN = [NEWS, SCIENCE, NEWS]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    Tokenizer.train_from_iterator([CODE, NEWS], 420).save(folder / "tokenizer")
    write_shards(folder / "base_data", [TRAIN, [CODE]])
    return folder


def told(base: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["tok_counts", f"--base-dir={base}", *words]) == 0
    return capsys.readouterr().out


def test_each_token_is_counted_as_often_as_it_is_encoded(
    base: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = Tokenizer.load(base / "tokenizer")
    encoded = Counter(token for text in TRAIN for token in tokenizer.encode(text))
    table = list(csv.DictReader(io.StringIO(told(base, capsys, "--only=all", "--csv"))))
    assert {int(row["id"]): int(row["count"]) for row in table if row["count"] != "0"} == dict(encoded)
    assert len(table) == 420
    monkeypatch.setattr(corpus_counts, "count_tokens", None)  # what was counted is kept
    document = json.loads(told(base, capsys, "--json"))
    low = {token: encoded[token] for token in range(411) if encoded[token] < 10}
    assert {one["id"]: one["count"] for one in document["listed"]} == low
    assert document["never"] == sum(count == 0 for count in low.values())
    sizes = [one["bytes"] for one in document["listed"]]
    assert sizes[-1] == 1 and sizes.index(1) == len(sizes) - sizes.count(1)
    lines = told(base, capsys, "--only=never", "--limit=3").splitlines()
    assert len(lines) == 6 and "more: --limit" in lines[-1]
    assert told(base, capsys, "--md", "--limit=2").count("\n| ") == 4


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--tokenizer=words"], "no vocabulary to count"),
        (["--tokenizer=bytes", "--data-dir=/nowhere"], "/nowhere"),
        (["--tokenizer=/nowhere/at/all"], "no tokenizer is called"),
    ],
)
def test_what_cannot_be_counted_is_one_line(base: Path, tmp_path: Path, words: list[str], what: str) -> None:
    from nanochat.commands.tok_counts import main as command

    with pytest.raises(UserError, match=r"no tokenizer in .*train one first"):
        command([f"--base-dir={tmp_path}"])
    with pytest.raises(UserError, match=what):
        command([f"--base-dir={base}", *words])


def test_a_folder_with_one_shard_has_no_counts(base: Path, tmp_path: Path) -> None:
    write_shards(tmp_path / "plan" / "data", [[NEWS]])
    layout = Layout(tmp_path)
    (corpus,) = corpora(layout)
    assert corpus == Corpus("plan/data", tmp_path / "plan" / "data")
    assert kept_counts(tmp_path, open_source("bytes", layout), corpus) is None
