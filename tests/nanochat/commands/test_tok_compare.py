"""Tokenizers side by side: the tokens that differ, and the figures that `tok_eval` has too."""

import csv
import io
import json
from pathlib import Path

import pytest

from nanochat.cli import main
from nanochat.commands.tok_compare import parser
from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.config.command_parser import collect, parse
from nanochat.config.data_options import TokCompareOptions
from nanochat.tokenizer.evaluation import characters, count_text, trained_vocabulary, words
from nanochat.tokenizer.evaluation_tables import rows
from nanochat.tokenizer.explore.compression import Stopped, count_documents, distinct, vocabulary_of
from nanochat.tokenizer.explore.sources import open_source
from nanochat.tokenizer.explore.splitter import Splitter
from nanochat.tokenizer.sample_texts import CODE, NEWS, TEXTS
from nanochat.tokenizer.tokenizer import Tokenizer

SIZES = {"code": 330, "news": 300}
DOCUMENTS = [NEWS, "", CODE, "한국어 " * 9, "\ud7ff a"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    for name, size in SIZES.items():
        Tokenizer.train_from_iterator([TEXTS[name]], size).save(folder / name)
    (folder / "own.txt").write_text("the cat sat\n" * 50, encoding="utf-8")
    return folder


def splitters(base: Path) -> list[Splitter]:
    layout = Layout(base)
    return [
        open_source(spec, layout) for spec in (str(base / "code"), str(base / "news"), "characters", "words")
    ]


def told(base: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["tok_compare", f"--base-dir={base}", *words]) == 0
    return capsys.readouterr().out


def test_the_figures_are_those_of_tok_eval(base: Path) -> None:
    """Counted in batches on all cores, each figure is what one document after the other gives."""
    ours = [trained_vocabulary(name, Tokenizer.load(base / name)) for name in SIZES]
    alone = count_text(DOCUMENTS, [*ours, characters(), words()])
    made = splitters(base)
    counts = count_documents(DOCUMENTS, made, [vocabulary_of(one) for one in made])

    def figures(counted: list[object]) -> list[list[object]]:
        return [[row[0], *row[2:]] for row in rows({"x": counted})]  # type: ignore[dict-item]

    assert figures([*counts]) == figures([*alone])


def test_counting_is_cancelled_between_batches(base: Path) -> None:
    made = splitters(base)[:1]
    with pytest.raises(Stopped):
        count_documents(DOCUMENTS, made, [vocabulary_of(made[0])], cancelled=lambda: True)


def test_tokens_and_texts_are_compared_as_a_document_and_tables(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = (str(base / "code"), str(base / "news"))
    document = json.loads(told(base, capsys, *pair, f"--texts={base / 'own.txt'}", "--json", "--limit=-1"))
    found = document["vocabularies"]
    a, b = (set(Tokenizer.load(base / name).ranks) for name in SIZES)
    assert {bytes.fromhex(one["hex"]) for one in found["tokens"]["only_a"]} == a - b
    assert {bytes.fromhex(one["hex"]) for one in found["tokens"]["only_b"]} == b - a
    assert found["in_both"] == len(a & b) + 9
    assert [row["text"] for row in document["texts"]] == [name for name in [*TEXTS, "own.txt"] for _ in pair]
    table = list(csv.DictReader(io.StringIO(told(base, capsys, *pair, "--csv"))))
    assert [row["where"] for row in table].count("only A") == len(a - b)
    texts = told(base, capsys, *pair, "--csv", "--only=texts")
    assert texts.startswith("text,vocabulary,ids,")
    page = told(base, capsys, *pair, "--md", "--limit=2")
    assert page.startswith("# Vocabularies\n") and "# Compression" in page
    lines = told(base, capsys, *pair, "--limit=3", f"--texts={base / 'own.txt'}").splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert any(line.startswith("own.txt ") for line in lines)


def test_several_are_compared_by_texts_under_names_of_their_own(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = told(base, capsys, "bytes", "characters", "bytes", "--csv")
    names = [row["vocabulary"] for row in csv.DictReader(io.StringIO(out))]
    assert names[:3] == ["bytes", "characters", "bytes (2)"]
    assert "bytes a token" in told(base, capsys, "words", str(base / "code"))
    assert [one.name for one in distinct([characters(), characters()])] == ["characters", "characters (2)"]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["bytes"], "name 2 to 12 tokenizers"),
        (["bytes"] * 13, "name 2 to 12 tokenizers"),
        (["bytes", "words", "characters", "--only=tokens"], "tokens are compared of two"),
        (["bytes", "words", "--only=tokens"], "no vocabulary"),
        (["bytes", "nothing-of-that-name"], "no tokenizer is called"),
        (["bytes", "characters", "--texts=/nowhere/at/all"], "/nowhere/at/all"),
        (["bytes", "characters", "--data-dir=/nowhere"], "/nowhere"),
    ],
)
def test_what_cannot_be_compared_is_one_line(base: Path, words: list[str], what: str) -> None:
    from nanochat.commands.tok_compare import main as command

    with pytest.raises(UserError, match=what):
        command([f"--base-dir={base}", *words])


def test_options_may_stand_between_the_tokenizers() -> None:
    given, _ = parse(parser(), ["gpt2", "--limit", "2", "bytes", "--only=texts", "words"])
    options = collect(TokCompareOptions, given)
    assert options.tokenizers == ("gpt2", "bytes", "words")
    assert (options.limit, options.only) == (2, "texts")
    with pytest.raises(UserError, match="unknown option '--nope'"):
        parse(parser(), ["gpt2", "--nope", "bytes"])
