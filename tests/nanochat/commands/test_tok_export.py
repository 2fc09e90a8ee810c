"""`nanochat tok_export`: the files of a tokenizer give our ids in every library that loads them."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.cli import main
from nanochat.common.paths import Layout
from nanochat.data.shards import iter_row_groups, list_shards
from nanochat.tokenizer.explore.sources import open_source
from nanochat.tokenizer.sample_texts import TEXTS
from nanochat.tokenizer.special_tokens import SPECIAL_TOKENS
from nanochat.tokenizer.tokenizer import Tokenizer

tokenizers = pytest.importorskip("tokenizers", reason="needs pip install '.[tokenizers]'")
OURS = Tokenizer.train_from_iterator([*TEXTS.values(), "it's 1234 \r\n  ﬁ 漢字 🙂🙂 " * 30], 800)
NAMES = [
    "README.md",
    "tokenizer.json",
    "tokenizer.tiktoken",
    "tokenizer.tiktoken.json",
    "tokenizer_config.json",
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base directory with the tokenizer, and its export in `out`."""
    base = tmp_path_factory.mktemp("tok-export")
    OURS.save(base / "tokenizer")
    assert main(["tok_export", f"--base-dir={base}", f"--out={base / 'out'}", "--max-seq-len=512"]) == 0
    return base


@pytest.fixture(scope="module")
def theirs(base: Path) -> Any:
    found = tokenizers.Tokenizer.from_file(str(base / "out/tokenizer.json"))
    found.encode_special_tokens = True
    return found


def texts() -> st.SearchStrategy[str]:
    corners = st.sampled_from(
        [*SPECIAL_TOKENS, "'LL", "12345", "\r\n", " \n ", "\u00a0", "ſ", "🙂", " the", "<|"]
    )
    return st.lists(st.one_of(corners, st.text(max_size=8)), max_size=12).map("".join)


@settings(max_examples=200)
@given(text=texts())
def test_any_text_has_our_ids_with_special_tokens_as_plain_text(theirs: Any, text: str) -> None:
    assert theirs.encode(text, add_special_tokens=False).ids == OURS.encode(text)
    assert theirs.encode(text).ids == OURS.encode(text, bos=True)


@pytest.mark.parametrize("era", ["modern", "classic"])
def test_a_corpus_has_our_ids(shared_reference: Path, shared_data: Path, tmp_path: Path, era: str) -> None:
    """Some documents of each shard; all of them with NANOCHAT_TOKENIZER=long."""
    folder = shared_reference / "checkpoints" / era / "tokenizer"
    assert main(["tok_export", f"--tokenizer-dir={folder}", f"--out={tmp_path}"]) == 0
    ours = Tokenizer.load(folder)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    theirs.encode_special_tokens = True
    every = os.environ.get("NANOCHAT_TOKENIZER") == "long"
    count = 0
    for shard in list_shards(shared_data / "text"):
        for _, _, group in iter_row_groups([shard]):
            batch = group if every else [text[:5_000] for text in group[:40]]
            found = theirs.encode_batch_fast(batch, add_special_tokens=False)
            assert [one.ids for one in found] == ours.encode_batch(batch)
            count += sum(len(one.ids) for one in found)
            if not every:
                break
    assert count > 200_000


def test_each_snippet_of_the_readme_gives_our_ids(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers", reason="needs pip install '.[test]'")
    out = base / "out"
    monkeypatch.chdir(out)
    snippets = re.findall(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    assert len(snippets) == 3
    for snippet in snippets:
        names: dict[str, Any] = {}
        exec(snippet.replace("The capital of France", "<|bos|> 1234 漢字"), names)
        assert list(names["ids"]) == OURS.encode("<|bos|> 1234 漢字")
    assert sorted(path.name for path in out.iterdir()) == NAMES


def test_the_rank_file_says_its_pattern_beside_it(base: Path) -> None:
    about = json.loads((base / "out/tokenizer.tiktoken.json").read_text())
    assert about["pat_str"] == OURS.pattern and about["special_tokens"] == OURS.special_ids
    for name in ("tokenizer.tiktoken", "tokenizer.json"):
        opened = open_source(str(base / "out" / name), Layout(base))
        assert opened.specials == OURS.special_ids and opened.vocab_size == OURS.vocab_size
        assert opened.split(TEXTS["korean"]).ids.tolist() == OURS.encode(TEXTS["korean"])


def test_the_context_is_the_models(base: Path) -> None:
    config = json.loads((base / "out/tokenizer_config.json").read_text())
    assert (config["model_max_length"], config["eos_token"]) == (512, "<|bos|>")


def test_an_export_is_replaced_on_demand_and_nothing_else(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tok_export", f"--base-dir={base}", f"--out={base / 'out'}"]
    before = (base / "out/tokenizer.tiktoken").read_bytes()
    assert main(words) == 2 and "--force" in capsys.readouterr().err
    assert main([*words, "--force", "--chat"]) == 0
    config = json.loads((base / "out/tokenizer_config.json").read_text())
    assert config["eos_token"] == "<|assistant_end|>"
    assert (base / "out/tokenizer.tiktoken").read_bytes() == before
    assert main(["tok_export", f"--base-dir={base}", f"--out={base / 'tokenizer'}", "--force"]) == 2
    assert main(["tok_export", f"--base-dir={base}"]) == 2
    assert main(["tok_export", f"--base-dir={base}", f"--tokenizer-dir={base}", f"--out={base / 'x'}"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert (
        len(errors) == 3
        and "own folder" in errors[0]
        and "--out" in errors[1]
        and "no tokenizer" in errors[2]
    )
