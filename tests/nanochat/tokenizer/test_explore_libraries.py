"""Tokenizers of others through their own libraries: real files, trained here, split as the libraries do."""

import io
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.tokenizer.explore import library_splitter
from nanochat.tokenizer.explore.blocks import blocks
from nanochat.tokenizer.explore.libraries import tiled
from nanochat.tokenizer.explore.library_splitter import LibrarySplitter
from nanochat.tokenizer.explore.merges import merge_tree
from nanochat.tokenizer.explore.protobuf import fields
from nanochat.tokenizer.explore.replay import replay
from nanochat.tokenizer.explore.sources import open_source
from nanochat.tokenizer.sample_texts import TEXTS

tk = pytest.importorskip("tokenizers", reason="needs pip install '.[tokenizers]'")
spm = pytest.importorskip("sentencepiece", reason="needs pip install '.[tokenizers]'")

LINES = [line for text in TEXTS.values() for line in text.splitlines() if line.strip()]
HARD = "Hello  wörld 中文 🙂 ①ﬁ\tx\n y <s><|end|> e\u0301\u200d "
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]


def sentencepiece_model(path: Path, **options: Any) -> None:
    sink = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=sink,
        vocab_size=500,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    path.write_bytes(sink.getvalue())


EXACT = {"byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False}


def byte_level(path: Path, prefix: bool = False) -> None:
    made = tk.Tokenizer(tk.models.BPE())
    made.pre_tokenizer = tk.pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    made.decoder = tk.decoders.ByteLevel()
    alphabet = tk.pre_tokenizers.ByteLevel.alphabet()
    trainer = tk.trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=alphabet, special_tokens=["<|end|>"], show_progress=False
    )
    made.train_from_iterator(LINES, trainer)
    made.add_tokens(["wörld"])
    made.save(str(path))


def word_ends(path: Path) -> None:
    """As CLIP's: bytes, and a sign at the end of a word; white space is left out."""
    made = tk.Tokenizer(tk.models.BPE(end_of_word_suffix="</w>", unk_token="<unk>"))
    made.normalizer = tk.normalizers.Lowercase()
    made.pre_tokenizer = tk.pre_tokenizers.Sequence(
        [
            tk.pre_tokenizers.Split(tk.Regex(r"\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"), "removed", invert=True),
            tk.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = tk.trainers.BpeTrainer(
        vocab_size=700,
        initial_alphabet=tk.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<unk>"],
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    made.train_from_iterator(LINES, trainer)
    made.save(str(path))


def normalized_bytes(path: Path) -> None:
    """Bytes by a normalizer in place of a pre-tokenizer."""
    made = tk.Tokenizer(tk.models.BPE())
    made.normalizer = tk.normalizers.Sequence([tk.normalizers.ByteLevel()])
    alphabet = tk.pre_tokenizers.ByteLevel.alphabet()
    trainer = tk.trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(LINES, trainer)
    made.save(str(path))


def metaspace(path: Path) -> None:
    """As Llama 2's: merges of characters, bytes for what the vocabulary lacks."""
    made = tk.Tokenizer(tk.models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = tk.normalizers.Sequence([tk.normalizers.Prepend("▁"), tk.normalizers.Replace(" ", "▁")])
    trainer = tk.trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<unk>", *BYTE_TOKENS], show_progress=False
    )
    made.train_from_iterator(LINES, trainer)
    made.save(str(path))


def unigram(path: Path) -> None:
    made = tk.Tokenizer(tk.models.Unigram())
    made.normalizer, made.pre_tokenizer = tk.normalizers.NFKC(), tk.pre_tokenizers.Metaspace()
    trainer = tk.trainers.UnigramTrainer(
        vocab_size=350, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )
    made.train_from_iterator(LINES, trainer)
    made.save(str(path))


def wordpiece(path: Path) -> None:
    made = tk.Tokenizer(tk.models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = (
        tk.normalizers.BertNormalizer(),
        tk.pre_tokenizers.BertPreTokenizer(),
    )
    trainer = tk.trainers.WordPieceTrainer(vocab_size=350, special_tokens=["[UNK]"], show_progress=False)
    made.train_from_iterator(LINES, trainer)
    made.save(str(path))


def wordlevel(path: Path) -> None:
    made = tk.Tokenizer(tk.models.WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = tk.pre_tokenizers.Whitespace()
    trainer = tk.trainers.WordLevelTrainer(vocab_size=300, special_tokens=["<unk>"], show_progress=False)
    made.train_from_iterator(LINES, trainer)
    made.save(str(path))


MADE: dict[str, Callable[[Path], None]] = {
    "byte_level.json": byte_level,
    "byte_level_prefix.json": partial(byte_level, prefix=True),
    "word_ends.json": word_ends,
    "normalized_bytes.json": normalized_bytes,
    "metaspace.json": metaspace,
    "unigram.json": unigram,
    "wordpiece.json": wordpiece,
    "wordlevel.json": wordlevel,
    "unigram.model": partial(sentencepiece_model, model_type="unigram"),
    "bpe.model": partial(sentencepiece_model, model_type="bpe", **EXACT),
    "exact.model": partial(sentencepiece_model, model_type="unigram", add_dummy_prefix=False, **EXACT),
    "char.model": partial(sentencepiece_model, model_type="char"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    for name, make in MADE.items():
        make(folder / name)
    return folder


@pytest.fixture(scope="module")
def opened(folder: Path) -> Iterator[Callable[[str], LibrarySplitter]]:
    """Opens a file of the folder, each once."""
    held: dict[str, LibrarySplitter] = {}

    def get(name: str) -> LibrarySplitter:
        if name not in held:
            found = open_source(str(folder / name), Layout(folder))
            assert isinstance(found, LibrarySplitter)
            held[name] = found
        return held[name]

    yield get
    for splitter in held.values():
        splitter.close()


def library_ids(path: Path, text: str) -> list[int]:
    if path.suffix == ".model":
        return list(spm.SentencePieceProcessor(model_file=str(path)).encode(text))
    found = tk.Tokenizer.from_file(str(path))
    found.encode_special_tokens = True
    return list(found.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize("name", MADE)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.lists(st.one_of(st.sampled_from(HARD.split(" ")), st.text(max_size=6)), max_size=8).map(" ".join)
)
def test_ids_are_the_librarys_and_spans_tile_the_text(
    opened: Callable[[str], LibrarySplitter], name: str, text: str
) -> None:
    splitter = opened(name)
    split = splitter.split(text)
    assert list(splitter.count_tokens([text])) == [len(split)]
    pieces = [split.piece(index) for index in range(len(split))]
    assert not pieces or b"".join(pieces) == split.data
    assert "".join(block.text for block in blocks(split)) == split.text
    exact = pieces == [splitter.token(token) for token in split.ids.tolist()] and (pieces or not text)
    assert bool(split.note) != bool(exact)


@pytest.mark.parametrize("name", MADE)
def test_a_file_is_shown_as_its_library_reads_it(
    folder: Path, opened: Callable[[str], LibrarySplitter], name: str
) -> None:
    splitter = opened(name)
    for text in (HARD, TEXTS["korean"], TEXTS["code"], "", " "):
        ids = splitter.split(text).ids.tolist()
        assert ids == library_ids(folder / name, text)
        counts = splitter.count_ids([text, "the"])
        assert len(counts) == splitter.vocab_size and counts.sum() == len(ids) + len(splitter.split("the"))
    for token in range(splitter.vocab_size):
        assert splitter.spelled(token) and splitter.token(token) is not None
    with pytest.raises(KeyError):
        splitter.token(splitter.vocab_size)
    with pytest.raises(KeyError):
        splitter.spelled(-1)


KINDS = {
    "byte_level.json": ("bpe", ""),
    "word_ends.json": ("bpe", "a sign for a word's end"),
    "normalized_bytes.json": ("bpe", ""),
    "metaspace.json": ("bpe", "of characters, not of bytes"),
    "unigram.json": ("unigram", "nothing is merged"),
    "wordpiece.json": ("wordpiece", "nothing is merged"),
    "wordlevel.json": ("wordlevel", "nothing is merged"),
    "unigram.model": ("unigram", "nothing is merged"),
    "bpe.model": ("bpe", "merges characters, not bytes"),
    "char.model": ("characters", "not merged"),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_has_no_merge_tree_says_why(opened: Callable[[str], LibrarySplitter], name: str) -> None:
    splitter = opened(name)
    kind, why = KINDS[name]
    assert splitter.kind == kind and why in splitter.no_tree
    assert (splitter.ranks is None) == bool(splitter.no_tree)
    if splitter.no_tree:
        with pytest.raises(UserError, match=splitter.no_tree[:20]):
            merge_tree(splitter, 300)


def test_notes_say_what_the_library_changes(opened: Callable[[str], LibrarySplitter]) -> None:
    def note(name: str, text: str) -> str:
        return opened(name).split(text).note

    assert note("exact.model", HARD) == "" == note("byte_level.json", HARD)
    assert (
        note("bpe.model", HARD) == "a space is added before the text" == note("byte_level_prefix.json", HARD)
    )
    assert "white space" in note("wordpiece.json", "the news") and "normalised" in note("unigram.json", "ﬁ")
    assert "2 unknown tokens" in note("wordlevel.json", "qqq zzz")


def test_tokens_that_share_a_character_have_its_bytes(opened: Callable[[str], LibrarySplitter]) -> None:
    for name in ("exact.model", "bpe.model", "metaspace.json", "byte_level.json", "word_ends.json"):
        (emoji,) = [block for block in blocks(opened(name).split("a 🙃")) if "🙃" in block.text]
        assert "".join(emoji.hex).replace(" ", "").removeprefix("20") == "🙃".encode().hex(), name


def test_spans_of_wordpiece_take_the_white_space_before_a_word(
    opened: Callable[[str], LibrarySplitter],
) -> None:
    split = opened("wordpiece.json").split("The  End")
    pieces = [split.piece(index) for index in range(len(split))]
    (after,) = [piece for piece in pieces if piece[:1] == b" "]
    assert b"".join(pieces) == b"The  End" and b"  End".startswith(after) and len(after) > 2


def test_merges_of_a_byte_level_file_are_followed(opened: Callable[[str], LibrarySplitter]) -> None:
    splitter = opened("byte_level.json")
    assert splitter.pattern is not None and splitter.specials == {"<|end|>": 0}
    text = "the shortest path, wörld 中文"
    split = splitter.split(text)
    played = replay(splitter, text)
    assert played.state(len(played)).ids.tolist() == split.ids.tolist()
    for number in (0, 1, len(played) // 2, len(played) - 1):
        state = played.state(number)
        assert b"".join(map(splitter.token, state.ids.tolist())) == split.data
    added = [split.piece(index) for index in range(len(split))].index("wörld".encode())
    with pytest.raises(UserError, match="added as a whole"):
        merge_tree(splitter, int(split.ids[added]))
    with pytest.raises(UserError, match="a space is added"):
        replay(opened("byte_level_prefix.json"), text)
    smallest = played.of_size(256)
    assert len(smallest) == len(split.data) - len("wörld".encode()) + 1


def test_old_spellings_of_merges_are_read(folder: Path, tmp_path: Path) -> None:
    document = json.loads((folder / "byte_level.json").read_text())
    document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]
    del document["model"]["type"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(document))
    splitter = LibrarySplitter(path.read_bytes(), path, "tokenizers")
    assert splitter.kind == "bpe" and merge_tree(splitter, 400).parts
    splitter.close()


# -- bad input ---------------------------------------------------------------------------------------

BAD = {
    "empty.json": b"{}",
    "other.json": b'{"model": {"type": "New", "vocab": {}}, "version": "1.0"}',
    "cut.json": b'{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0',
    "deep.json": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "cut.model": b"\n\x0e\n\x05<unk>\x15\x00",
    "text.model": b"\nhello, this is text\n",
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_the_library_refuses_is_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(BAD[name])
    with pytest.raises(UserError) as caught:
        open_source(str(path), Layout(tmp_path))
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_ids_no_vocabulary_has_are_refused(folder: Path, tmp_path: Path) -> None:
    document = json.loads((folder / "wordlevel.json").read_text())
    document["model"]["vocab"]["huge"] = 1 << 31
    path = tmp_path / "huge.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match="more than any vocabulary"):
        open_source(str(path), Layout(tmp_path))


def test_a_library_that_is_not_installed_says_what_to_install(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokenizers.py").write_text("raise ImportError('no')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=r"not installed \(pip install"):
        open_source(str(folder / "unigram.json"), Layout(tmp_path))


def test_a_process_that_dies_is_started_again(folder: Path) -> None:
    path = folder / "exact.model"
    splitter = LibrarySplitter(path.read_bytes(), path, "sentencepiece")
    process = splitter._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(UserError, match="ended while it split"):
        splitter.split("the")
    assert splitter.split("the").ids.tolist() == library_ids(path, "the")
    splitter.close()


def test_the_process_ends_with_its_splitter(folder: Path) -> None:
    path = folder / "exact.model"
    splitter = LibrarySplitter(path.read_bytes(), path, "sentencepiece")
    process = splitter._process
    assert process is not None and process.poll() is None
    del splitter
    assert process.wait(10) == -signal.SIGKILL


def test_threads_share_a_splitter(opened: Callable[[str], LibrarySplitter]) -> None:
    splitter = opened("byte_level.json")
    texts = [f"the cat {number} sat" * (1 + number) for number in range(8)]
    found: dict[str, list[int]] = {}

    def work(text: str) -> None:
        for _ in range(5):
            found[text] = splitter.split(text).ids.tolist()

    threads = [threading.Thread(target=work, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {text: splitter.split(text).ids.tolist() for text in texts}


def test_a_process_that_does_not_start_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_splitter.sys, "executable", str(folder / "none"))
    with pytest.raises(UserError, match="no process to read"):
        open_source(str(folder / "unigram.json"), Layout(folder))


# -- parts -------------------------------------------------------------------------------------------


def test_spans_with_gaps_and_overlaps_become_tiles() -> None:
    data = "a  é b".encode()
    assert tiled(data, [b" a", b"e\xcc\x81", b"b"], [(0, 1), (3, 5), (6, 7)]) == [1, 5, 7]
    assert tiled(data, [b" ", b"a", b"x"], [(0, 1), (0, 1), (3, 7)]) == [0, 1, 7]  # a prefix of its own
    assert tiled("é".encode(), [b"\xc3", b"\xa9"], [(0, 0), (0, 2)]) == [1, 2]
    assert tiled(b"a  \xc3\xa9", [b"a", b"\xc3", b"\xa9"], [(0, 1), (3, 5), (3, 5)]) == [1, 4, 5]
    assert tiled(data, [b"?"], [(0, 1)]) == [7]  # what follows the last token is shown with it
    assert tiled(b"", [], []) == []
    assert tiled(b"ab", [b"x", b"y"], [(0, 99), (5, 1)]) == [2, 2]  # whatever a library says


@given(raw=st.binary(max_size=60))
def test_a_damaged_protobuf_message_is_a_value_error(raw: bytes) -> None:
    try:
        found = list(fields(raw))
    except ValueError:
        return
    assert all(number >= 0 for number, _ in found)
