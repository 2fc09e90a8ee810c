"""Opening a tokenizer by what the user names: ours, upstream's, published ones, rank files, bad input."""

import base64
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.data.shards import iter_row_groups, list_shards
from nanochat.tokenizer import published
from nanochat.tokenizer.explore.byte_level import RankSplitter
from nanochat.tokenizer.explore.merges import with_vocab
from nanochat.tokenizer.explore.rank_file import CL100K, GPT2, KNOWN_FILES, O200K, PATTERNS, KnownFile
from nanochat.tokenizer.explore.replay import replay
from nanochat.tokenizer.explore.sources import PatternNeededError, known_sources, open_source
from nanochat.tokenizer.files import rank_file
from nanochat.tokenizer.sample_texts import TEXTS
from nanochat.tokenizer.tokenizer import Tokenizer

BYTES = {bytes([byte]): byte for byte in range(256)}
OURS = Tokenizer.train_from_iterator(["the cat sat on the mat " * 5, *TEXTS.values()], 300)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


@pytest.fixture
def cache(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """tiktoken's cache with the published rank files."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(shared_data / "tiktoken-cache"))
    return shared_data / "tiktoken-cache"


def lines(ranks: dict[bytes, int]) -> list[bytes]:
    return rank_file(ranks).splitlines(keepends=True)


def refused(layout: Layout, spec: object, pattern: str = "gpt2") -> str:
    with pytest.raises(UserError) as caught:
        open_source(str(spec), layout, pattern=pattern, offline=True)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_tokenizers_under_the_base_directory_are_known(layout: Layout) -> None:
    assert [source.spec for source in known_sources(layout)] == [
        "gpt2",
        "cl100k",
        "o200k",
        "bytes",
        "characters",
        "words",
    ]
    first = Tokenizer.train_from_iterator([TEXTS["korean"]], 280)
    first.save(layout.tokenizer)
    OURS.save(layout.tokenizer, keep=True)  # keeps the first beside it
    OURS.save(layout.base / "base_checkpoints/d4/step_000020/tokenizer")  # the same once more: listed once
    third = Tokenizer.train_from_iterator([TEXTS["maths"]], 290)
    third.save(layout.base / "chatsft_checkpoints/d4/step_000100-ab12cd/tokenizer")
    third.save(layout.base / "sweep/290")
    (layout.base / "notes").mkdir()
    (layout.base / "notes/tokenizer.json").write_text("{")
    found = [source for source in known_sources(layout) if source.group in ("trained", "checkpoint")]
    assert [(source.name, source.group) for source in found] == [
        ("tokenizer (300)", "trained"),
        (f"tokenizer {first.sha256[:8]}, replaced (280)", "trained"),
        ("notes", "trained"),
        ("sweep/290 (290)", "trained"),
    ]
    ids = [
        open_source(source.spec, layout).split("the cat").ids.tolist()
        for source in found
        if source.name != "notes"
    ]
    assert ids == [one.encode("the cat") for one in (OURS, first, third)]
    shutil.rmtree(layout.base / "sweep")
    (source,) = [source for source in known_sources(layout) if source.group == "checkpoint"]
    assert source.name == "sft d4, step 100 (290)"
    opened = open_source(source.spec, layout)
    assert opened.name == "d4, step 100" and opened.specials == third.special_ids


def test_upstreams_tokenizer_opens_from_its_folder_and_its_file(
    shared_reference: Path, layout: Layout
) -> None:
    folder = shared_reference / "checkpoints/classic/tokenizer"
    known = Tokenizer.load(folder)
    for spec in (folder, folder / "tokenizer.pkl", folder.parent):
        opened = open_source(str(spec), layout)
        assert opened.split(TEXTS["code"]).ids.tolist() == known.encode(TEXTS["code"])
        assert opened.specials == known.special_ids


@pytest.mark.parametrize("known", [GPT2, CL100K, O200K], ids=lambda known: known.name)
def test_published_ones_give_tiktokens_ids(known: KnownFile, cache: Path, layout: Layout) -> None:
    import tiktoken

    encoding = tiktoken.get_encoding(known.encoding)
    opened = open_source(known.name, layout, offline=True)
    for text in TEXTS.values():
        assert opened.split(text).ids.tolist() == encoding.encode_ordinary(text)
    text = TEXTS["news"]
    smaller, played = with_vocab(opened, 3000).split(text), replay(opened, text)
    assert smaller.ids.tolist() == played.of_size(3000).ids.tolist()
    assert isinstance(opened, RankSplitter) and opened.pattern == encoding._pat_str
    assert opened.vocab_size == encoding.n_vocab and opened.specials == encoding._special_tokens


def test_a_published_file_is_known_by_its_hash_whatever_its_name(cache: Path, layout: Layout) -> None:
    paths = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in cache.iterdir()}
    copy = layout.base / "llama.model"
    shutil.copy(paths[GPT2.sha256], copy)
    opened = open_source(str(copy), layout)
    assert (opened.name, opened.vocab_size, opened.specials) == ("GPT-2", 50257, {"<|endoftext|>": 50256})
    assert {known.sha256 for known in KNOWN_FILES} >= set(paths)


def test_without_cache_and_network_a_name_is_one_line(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(layout.base / "none"))
    told = refused(layout, "cl100k")
    assert "TIKTOKEN_CACHE_DIR" in told and told.count(str(layout.base / "none")) == 1
    monkeypatch.setattr(published, "_HOST", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="no vocabulary of o200k"):
        open_source("o200k", layout)


def test_no_two_tokenizers_of_different_folders_have_the_same_name(layout: Layout) -> None:
    folders = [layout.tokenizer, layout.base / "pipeline" / "tokenizer", layout.base / "v2" / "tokenizer"]
    folders += [layout.base / "tok-8k", layout.base / "base_checkpoints/d20/step_000300/tokenizer"]
    for folder in folders:
        OURS.save(folder)
    names = [open_source(str(folder), layout).name for folder in folders]
    assert names == ["tokenizer", "pipeline/tokenizer", "v2/tokenizer", "tok-8k", "d20, step 300"]


def test_a_rank_file_asks_for_its_pattern(layout: Layout) -> None:
    path = layout.base / "mine.tiktoken"
    path.write_bytes(rank_file(OURS.ranks))
    with pytest.raises(PatternNeededError, match="gpt2"):
        open_source(str(path), layout)
    for name, pattern in PATTERNS.items():
        assert open_source(str(path), layout, pattern=name).pattern == pattern
    assert open_source(str(path), layout, pattern=r"\w+|\W+").split("a b").ids.tolist() == [97, 32, 98]
    assert "did you mean 'gpt2'" in refused(layout, path, "gpt-2")
    assert "pattern" in refused(layout, path, "(((")


def test_our_own_rank_file_needs_no_pattern(layout: Layout) -> None:
    OURS.save(layout.tokenizer)
    (path,) = layout.tokenizer.glob("*.tiktoken")
    opened = open_source(str(path), layout)
    assert opened.pattern == OURS.pattern and opened.specials == OURS.special_ids
    meta = layout.tokenizer / "tokenizer.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"ranks_sha256": "0" * 64}))
    with pytest.raises(PatternNeededError):  # it is about another file
        open_source(str(path), layout)


def without(*bad: bytes) -> dict[bytes, int]:
    return {token: rank for token, rank in BYTES.items() if token not in bad}


BAD = {
    "a hole": (b"".join(lines({**BYTES, b"ab": 300})), "rank 256 is missing (44 of 301 are)"),
    "a rank twice": (b"".join([*lines(BYTES), b"YWI= 17\n"]), "lines 18 and 257 both have rank 17"),
    "a token twice": (b"".join([*lines(BYTES), b"YQ== 256\n"]), "lines 98 and 257 are the same token"),
    "no byte": (b"".join(lines({**without(b"a"), b"ab": 97})), "0x61 is the first"),
    "no base64": (b"".join([*lines(BYTES), b"Y!I= 256\n"]), "line 257 is not base64"),
    "no rank": (b"".join([*lines(BYTES), b"YWI= x\n"]), "line 257 is not base64"),
    "a negative rank": (b"".join([*lines(BYTES), b"YWI= -1\n"]), "line 257 is not base64"),
    "a cut line": (b"".join(lines(BYTES))[:-3], "lines 3 and 256 both have rank 2"),
    "an empty token": (b"".join([*lines(BYTES), b" 256\n"]), "line 257 is not base64"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_rank_file_is_one_line_that_names_the_fault(layout: Layout, name: str) -> None:
    raw, fault = BAD[name]
    path = layout.base / "bad.tiktoken"
    path.write_bytes(raw)
    assert fault in refused(layout, path)


@pytest.mark.parametrize(
    "content", [b"", b"plain text\n", b"\x00\xff\xfe" * 50, b"\x80\x04\x95", b"\n", b"PAR1" + bytes(90)]
)
def test_what_is_no_tokenizer_is_one_line(layout: Layout, content: bytes) -> None:
    path = layout.base / "file.txt"
    path.write_bytes(content)
    assert "no tokenizer that is known" in refused(layout, path)


def test_places_without_a_tokenizer_are_one_line(layout: Layout) -> None:
    assert "did you mean 'gpt2'" in refused(layout, "gtp2")
    assert "no tokenizer in" in refused(layout, layout.base)
    os.mkfifo(layout.base / "tokenizer.json")
    assert "no tokenizer in" in refused(layout, layout.base)
    assert "regular file" in refused(layout, layout.base / "tokenizer.json")
    for name in ("a.tiktoken", "b.tiktoken"):
        (layout.base / name).write_bytes(rank_file(BYTES))
    assert "several" in refused(layout, layout.base)
    (layout.base / "evil.pkl").write_bytes(
        base64.b64decode("gASVIAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAR0cnVllIWUUpQu")
    )
    assert "refused" in refused(layout, layout.base / "evil.pkl")


def test_ids_of_a_corpus_are_those_of_the_trained_tokenizer(shared_data: Path, layout: Layout) -> None:
    OURS.save(layout.tokenizer)
    opened = open_source(str(layout.tokenizer), layout)
    _, _, texts = next(iter_row_groups(list_shards(shared_data / "text")[:1]))
    assert list(opened.count_tokens(texts)) == [len(ids) for ids in OURS.encode_batch(texts)]
