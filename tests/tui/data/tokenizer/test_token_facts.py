"""What is told of a token under the cursor, of tokenizers whose ids are not in the order of merging."""

import json
from pathlib import Path

import pytest

from nanochat.common.paths import Layout
from nanochat.tokenizer.explore.sources import open_source
from tui.data.tokenizer.characters import Glyphs
from tui.data.tokenizer.facts import TokenFacts, token_facts
from tui.data.tokenizer.splitting import Look, Work
from tui.widgets.tokenizer.token_detail import fact_lines
from tui.widgets.tokenizer.token_facts import TokenFacts as FactsWidget

pytest.importorskip("tokenizers")
GLYPHS = Glyphs(unicode=True)


def write(folder: Path, model: dict[str, object], pre_tokenizer: dict[str, object]) -> Path:
    document = {"version": "1.0", "added_tokens": [], "model": model, "pre_tokenizer": pre_tokenizer}
    path = folder / f"{model['type']}.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def facts_of(path: Path, text: str, index: int = 0) -> TokenFacts:
    splitter = open_source(str(path), Layout(path.parent))
    (shown,) = Work(GLYPHS).result(text, [(splitter, Look())]).panes
    found = token_facts(shown, index, GLYPHS)
    assert found is not None
    return found


def test_the_number_of_a_merge_is_its_place_among_the_merges_not_the_id(tmp_path: Path) -> None:
    vocab = {"<pad>": 0, "the": 1, "he": 2, "t": 3, "h": 4, "e": 5}
    model = {"type": "BPE", "vocab": vocab, "merges": [["h", "e"], ["t", "he"]]}
    path = write(
        tmp_path,
        model,
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    )
    found = facts_of(path, "the")
    assert (found.token_id, found.merge) == (1, 2)
    assert fact_lines(found, "")[0].plain == "“the”  id 1 · merge 2"

    widget = FactsWidget(whole=True)
    widget.show(open_source(str(path), Layout(tmp_path)), 1, None, 0)
    assert "merge     2" in [line.plain for line in widget.lines(60, 40)]


def test_an_unknown_word_is_told_to_be_the_unknown_token(tmp_path: Path) -> None:
    model = {"type": "WordPiece", "vocab": {"[UNK]": 0, "a": 1}, "unk_token": "[UNK]"}
    model |= {"continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    path = write(tmp_path, model, {"type": "Whitespace"})
    first = fact_lines(facts_of(path, "the a"), "")[0].plain
    assert first == "“the” is [UNK]  id 0"
    assert "is" not in fact_lines(facts_of(path, "the a", 1), "")[0].plain
