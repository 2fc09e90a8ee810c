"""The tokenizer: upstream nanochat's merges, lossless text, safe files, conversations and their masks."""

import base64
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.common.text import valid_text
from nanochat.data.shards import iter_documents, split_shards
from nanochat.tokenizer import upstream
from nanochat.tokenizer.round_trip import check_pattern
from nanochat.tokenizer.special_tokens import MIN_VOCAB, SPECIAL_TOKENS
from nanochat.tokenizer.tokenizer import SPLIT_PATTERN, Tokenizer
from nanochat.tokenizer.upstream import read_token_bytes

TEXT = ["the cat sat on the mat", "the dog and the cat", "naïve café 中文 한국어 🙂", "x = 12345 + 6"] * 3


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train_from_iterator(TEXT, 300, trained_on={"data": "test"})


@pytest.fixture(scope="session")
def modern(shared_reference: Path) -> Tokenizer:
    return Tokenizer.load(shared_reference / "checkpoints" / "modern" / "tokenizer")


# -- training ----------------------------------------------------------------------------------------


def test_merges_equal_upstreams(shared_data: Path, modern: Tokenizer) -> None:
    """Upstream nanochat trained this vocabulary on these shards."""
    train = split_shards(shared_data / "text").train
    ours = Tokenizer.train_from_iterator((text[:10_000] for text in iter_documents(train)), 4096)
    assert ours.ranks == modern.ranks
    assert ours.special_ids == modern.special_ids


def test_ids_are_bytes_then_merges_then_specials(tokenizer: Tokenizer) -> None:
    assert all(tokenizer.ranks[bytes([byte])] == byte for byte in range(256))
    assert tokenizer.vocab_size == 300
    assert list(tokenizer.special_ids.values()) == list(range(291, 300))
    assert list(tokenizer.special_ids) == list(SPECIAL_TOKENS)
    assert tokenizer.bos_id == tokenizer.special_id("bos") == 291


def test_specials_follow_the_last_merge_when_pairs_run_out() -> None:
    small = Tokenizer.train_from_iterator(["abab"], 1000)
    assert small.ranks.keys() - {bytes([byte]) for byte in range(256)} == {b"ab", b"abab"}
    assert small.bos_id == 258
    assert small.vocab_size == 267


def test_a_vocabulary_below_bytes_and_specials_is_refused() -> None:
    with pytest.raises(UserError, match=f"at least {MIN_VOCAB}"):
        Tokenizer.train_from_iterator(TEXT, MIN_VOCAB - 1)
    assert Tokenizer.train_from_iterator(TEXT, MIN_VOCAB).vocab_size == MIN_VOCAB


def test_a_training_can_be_ended_from_its_progress() -> None:
    heard: list[tuple[str, int, int | None]] = []

    def stop(phase: str, done: int, total: int | None) -> None:
        heard.append((phase, done, total))
        if phase == "merge":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Tokenizer.train_from_iterator(TEXT, 300, progress=stop)
    assert heard[0][0] == "count"


# -- text --------------------------------------------------------------------------------------------


@given(text=st.text())
def test_decoding_gives_the_text_back(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(texts=st.lists(st.text(), max_size=5), bos=st.booleans())
def test_a_batch_is_each_text_alone(tokenizer: Tokenizer, texts: list[str], bos: bool) -> None:
    rows = tokenizer.encode_batch(texts, bos=bos)
    assert rows == [([tokenizer.bos_id] if bos else []) + tokenizer.encode(text) for text in texts]


@given(texts=st.lists(st.text(st.characters(exclude_categories=())), max_size=5), bos=st.booleans())
def test_arrays_counts_and_spans_are_those_of_the_lists(
    tokenizer: Tokenizer, texts: list[str], bos: bool
) -> None:
    """Also of half a surrogate pair, which is encoded as U+FFFD."""
    rows = tokenizer.encode_batch(texts, bos=bos)
    ids, offsets = tokenizer.encode_batch_to_numpy(texts, bos=bos, num_threads=2)
    assert (ids.dtype.name, offsets.dtype.name) == ("uint32", "uint64")
    assert [ids[start:end].tolist() for start, end in pairwise(offsets.tolist())] == rows
    assert [tokenizer.encode_to_numpy(text, bos=bos).tolist() for text in texts] == rows
    counts = tokenizer.count_batch(texts).tolist()
    assert counts == [len(row) - bos for row in rows] == [tokenizer.count(text) for text in texts]
    for text in texts:
        spanned, spans = tokenizer.encode_with_offsets(text)
        assert spanned.tolist() == tokenizer.encode(text) == tokenizer.encoding.encode_ordinary(text)
        assert (
            b"".join(valid_text(text).encode()[a:b] for a, b in spans.tolist()) == valid_text(text).encode()
        )


def test_a_pattern_that_gives_up_is_one_line() -> None:
    stuck = Tokenizer({bytes([byte]): byte for byte in range(256)}, pattern=r"(?:a|a|a)*?(?=b)\b")
    with pytest.raises(UserError, match=r"cannot encode this.*[Bb]acktrack"):
        stuck.encode("a" * 60)
    with pytest.raises(UserError, match=r"cannot encode this.*[Bb]acktrack"):
        stuck.encode("\ud800" + "a" * 60)
    with pytest.raises(UserError, match="split pattern does not compile"):
        Tokenizer(stuck.ranks, pattern="(").count("a")


@given(before=st.text(max_size=5), name=st.sampled_from(SPECIAL_TOKENS), after=st.text(max_size=5))
def test_special_tokens_typed_in_text_are_text(
    tokenizer: Tokenizer, before: str, name: str, after: str
) -> None:
    ids = tokenizer.encode(before + name + after)
    assert not set(ids) & set(tokenizer.special_ids.values())
    assert tokenizer.decode(ids) == before + name + after


def test_token_bytes_count_raw_bytes(tokenizer: Tokenizer) -> None:
    counts = tokenizer.token_bytes
    assert counts[0x80] == 1  # three as U+FFFD
    assert counts[-9:] == [0] * 9
    text = "naïve café 中文"
    assert sum(counts[i] for i in tokenizer.encode(text)) == len(text.encode())


@pytest.mark.parametrize(
    "text",
    [" " * 1_200_000, "x" + "\t \u3000" * 300_000 + "y", "a" * 1_000_000],
    ids=["spaces", "white space within text", "letters"],
)
def test_endless_runs_are_encoded(modern: Tokenizer, text: str) -> None:
    """tiktoken alone aborts on a million spaces."""
    assert modern.decode(modern.encode(text)) == text


# -- files -------------------------------------------------------------------------------------------


def test_what_is_saved_is_what_is_loaded(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    again = Tokenizer.load(tmp_path)
    assert again.ranks == tokenizer.ranks
    assert again.pattern == tokenizer.pattern
    assert again.trained_on == {"data": "test"}
    assert again.sha256 == tokenizer.sha256
    assert again.token_bytes == tokenizer.token_bytes


def test_the_rank_file_is_tiktokens(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from tiktoken.load import load_tiktoken_bpe

    tokenizer.save(tmp_path)
    [path] = tmp_path.glob("*.tiktoken")
    assert load_tiktoken_bpe(str(path)) == tokenizer.ranks


def test_saving_again_leaves_two_files(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    other = Tokenizer.train_from_iterator(TEXT, 280)
    other.save(tmp_path)
    assert Tokenizer.load(tmp_path).ranks == other.ranks
    assert len(list(tmp_path.iterdir())) == 2


def test_the_fingerprint_covers_all_that_ids_and_bits_per_byte_depend_on(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    others = [
        Tokenizer.train_from_iterator(TEXT, 280),
        Tokenizer(tokenizer.ranks, pattern=r"\s+|\S+"),
        Tokenizer(tokenizer.ranks, token_bytes=[2 * count for count in tokenizer.token_bytes]),
    ]
    assert len({one.fingerprint for one in [tokenizer, *others]}) == 4
    assert others[1].sha256 == others[2].sha256 == tokenizer.sha256
    for one in others:
        one.save(tmp_path)
        assert Tokenizer.load(tmp_path).fingerprint == one.fingerprint


def test_a_tokenizer_of_version_0_1_0_has_no_fingerprint_and_opens(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    tokenizer.save(tmp_path)
    meta = json.loads((tmp_path / "tokenizer.json").read_text())
    del meta["fingerprint"]
    (tmp_path / "tokenizer.json").write_text(json.dumps(meta))
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint


def test_a_replaced_tokenizer_is_kept_where_asked(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    other = Tokenizer.train_from_iterator(TEXT, 280)
    other.save(tmp_path, keep=True)
    other.save(tmp_path)
    assert Tokenizer.load(tmp_path).ranks == other.ranks
    kept = Tokenizer.load_kept(tmp_path, tokenizer.sha256)
    assert kept is not None
    assert kept.fingerprint == tokenizer.fingerprint
    assert Tokenizer.load_kept(tmp_path, "0" * 64) is None


@pytest.mark.parametrize("lost", range(4))
def test_a_pattern_that_loses_characters_is_refused(lost: int) -> None:
    """tiktoken leaves out what no alternative matches."""
    check_pattern(SPLIT_PATTERN)
    kinds = [r"\p{L}", r"\p{N}", r"\s", r"[^\s\p{L}\p{N}]"]
    check_pattern("|".join(kinds))
    del kinds[lost]
    with pytest.raises(UserError, match="loses characters"):
        check_pattern("|".join(kinds))


def test_kill_while_saving_leaves_a_complete_tokenizer(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from nanochat.tokenizer.tokenizer import Tokenizer\n"
        f"texts = {TEXT!r}\n"
        "both = [Tokenizer.train_from_iterator(texts, size) for size in (280, 300)]\n"
        "both[0].save(Path(sys.argv[1])); print('ready', flush=True)\n"
        "while True:\n  for one in both: one.save(Path(sys.argv[1]))\n"
    )
    for delay in (0.0, 0.011, 0.023, 0.037):
        child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        assert Tokenizer.load(tmp_path).vocab_size in (280, 300)


def _cut(folder: Path) -> None:
    [path] = folder.glob("*.tiktoken")
    path.write_bytes(path.read_bytes()[:-20])


def _swap_a_token(folder: Path) -> None:
    [path] = folder.glob("*.tiktoken")
    path.write_bytes(path.read_bytes().replace(base64.b64encode(b"a") + b" ", base64.b64encode(b"b") + b" "))


def _edit(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        meta = json.loads((folder / "tokenizer.json").read_text())
        (folder / "tokenizer.json").write_text(json.dumps({**meta, **changes}))

    return edit


def _pipe(folder: Path) -> None:
    """Whoever opens it waits for a writer for ever."""
    [path] = folder.glob("*.tiktoken")
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "damage",
    [
        _cut,
        _swap_a_token,
        _edit(vocab_size=12),
        _edit(special_tokens={"<|bos|>": 3}),
        _edit(ranks_sha256="0" * 64),
        _edit(ranks=7),
        _edit(ranks="../../elsewhere.tiktoken"),
        _edit(version=2),
        _edit(token_bytes=[1, 2]),
        _edit(token_bytes=[1] * 300),
        _edit(pattern=r"\s+|\S+"),
        _edit(pattern=r"\p{L}+", fingerprint=""),
        _edit(pattern="(", fingerprint=""),
        _edit(pattern="x*", fingerprint=""),
        _edit(fingerprint="0" * 64),
        _pipe,
        _edit(format="other"),
        lambda folder: (folder / "tokenizer.json").write_text("{"),
        lambda folder: [path.unlink() for path in folder.glob("*.tiktoken")],
    ],
)
def test_a_damaged_tokenizer_is_one_line(
    tokenizer: Tokenizer, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    tokenizer.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError) as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_plans_tokenizer_is_named_where_there_is_no_other(tmp_path: Path) -> None:
    ranks = {bytes([byte]): byte for byte in range(256)}
    Tokenizer(ranks).save(tmp_path / "demo" / "tokenizer")
    with pytest.raises(UserError, match=rf"or name one: --tokenizer-dir {tmp_path / 'demo' / 'tokenizer'}"):
        Tokenizer.load(tmp_path / "tokenizer")


def test_no_tokenizer_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nanochat tok_train"):
        Tokenizer.load(tmp_path)


# -- upstream nanochat's files -----------------------------------------------------------------------


def test_upstreams_folders_load(shared_reference: Path, modern: Tokenizer, tmp_path: Path) -> None:
    classic = Tokenizer.load(shared_reference / "checkpoints" / "classic" / "tokenizer")
    for one, era in ((modern, "modern"), (classic, "classic")):
        assert one.vocab_size == 4096
        expected = json.loads((shared_reference / "checkpoints" / era / "expected.json").read_text())
        assert expected["cases"]
        for case in expected["cases"]:
            assert one.encode(case["prompt"], bos=True) == case["ids"]
    classic.save(tmp_path)
    assert Tokenizer.load(tmp_path).token_bytes == classic.token_bytes


class _Shell:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch OWNED",)


def _encoding_pickle(state: object) -> bytes:
    body = pickle.dumps(state, protocol=4)[11:-1]  # without PROTO, FRAME and STOP
    head = b"\x80\x04\x8c\x0dtiktoken.core\x94\x8c\x08Encoding\x94\x93\x94)\x81"
    return head + body + b"b."


def _good_state() -> dict[str, Any]:
    return {
        "name": "x",
        "pat_str": r"\s+|\S+",
        "mergeable_ranks": {bytes([byte]): byte for byte in range(256)},
        "special_tokens": {name: 256 + index for index, name in enumerate(SPECIAL_TOKENS)},
    }


def _install(folder: Path, content: bytes) -> None:
    (folder / "tokenizer.pkl").write_bytes(content)


def test_an_encodings_pickle_is_read_without_unpickling(tmp_path: Path) -> None:
    _install(tmp_path, _encoding_pickle(_good_state()))
    assert Tokenizer.load(tmp_path).vocab_size == 265


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(_Shell()),
        pickle.dumps(_Shell(), protocol=0),
        pickle.dumps({"a": _Shell()}),
        pickle.dumps({"mergeable_ranks": {}}),
        b"cos\nsystem\n(S'touch OWNED'\ntR.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0btouch OWNED\x85R.",
        b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93)\x81.",
        b"\x80\x04r\xff\xff\xff\x7f.",
        b"",
        b"\x80\x04}",
        b"not a pickle at all",
    ],
)
def test_a_pickle_that_is_more_is_refused_and_not_run(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _install(tmp_path, content)
    with pytest.raises(UserError, match="is refused") as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "OWNED").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"special_tokens": {"<|endoftext|>": 256}},
        {"mergeable_ranks": {b"a": 0}},
        {"mergeable_ranks": {"a": 0}},
        {"pat_str": 3},
    ],
)
def test_an_encoding_that_is_not_nanochats_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    _install(tmp_path, _encoding_pickle({**_good_state(), **change}))
    with pytest.raises(UserError):
        Tokenizer.load(tmp_path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_hostile_token_bytes_file_is_refused(
    shared_reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(shared_reference / "checkpoints" / "modern" / "tokenizer" / "tokenizer.pkl", tmp_path)
    (tmp_path / "token_bytes.pt").write_bytes(pickle.dumps(_Shell()))
    with pytest.raises(UserError, match=r"token_bytes\.pt is refused"):
        Tokenizer.load(tmp_path)
    assert not (tmp_path / "OWNED").exists()


def test_token_bytes_that_unpack_to_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A KB on disk: a tensor of a billion elements that share one, and an archive that is mostly zeros."""
    path = tmp_path / "token_bytes.pt"
    torch.save(torch.zeros(1, dtype=torch.int32).expand(1 << 30), path)
    assert path.stat().st_size < 10_000
    with pytest.raises(UserError, match="1,073,741,824 byte counts, more than any vocabulary"):
        read_token_bytes(path)
    monkeypatch.setattr(upstream, "MAX_TENSOR_BYTES", 1 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2 << 20))
    with pytest.raises(UserError, match=r"token_bytes\.pt is refused"):
        read_token_bytes(path)


def test_a_flipped_bit_in_token_bytes_changes_no_count(shared_reference: Path, tmp_path: Path) -> None:
    source = shared_reference / "checkpoints" / "modern" / "tokenizer"
    shutil.copy(source / "tokenizer.pkl", tmp_path)
    raw = (source / "token_bytes.pt").read_bytes()
    right = Tokenizer.load(source).token_bytes
    refused = 0
    for position in range(0, len(raw), len(raw) // 60):
        flipped = bytearray(raw)
        flipped[position] ^= 1 << position % 8
        (tmp_path / "token_bytes.pt").write_bytes(flipped)
        try:
            assert read_token_bytes(tmp_path / "token_bytes.pt") == right
        except UserError:
            refused += 1
    assert refused > 40


# -- conversations -----------------------------------------------------------------------------------


def test_conversations_render_as_upstreams(shared_reference: Path, modern: Tokenizer) -> None:
    oracle = json.loads((shared_reference / "oracles" / "tasks.json").read_text())
    rendered = oracle["render"] + [e for task in oracle["tasks"].values() for e in task["examples"]]
    assert len(rendered) > 50
    for example in rendered:
        assert modern.render_conversation(example["messages"]) == (example["ids"], example["mask"])
        if "completion_tail" in example:
            prompt = modern.render_for_completion(example["messages"])
            assert prompt[-len(example["completion_tail"]) :] == example["completion_tail"]
            assert len(prompt) == example["completion_len"]


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def test_only_what_the_assistant_says_is_trained(tokenizer: Tokenizer) -> None:
    parts = [
        {"type": "text", "text": "so "},
        {"type": "python", "text": "1+1"},
        {"type": "python_output", "text": "2"},
        {"type": "text", "text": " it is"},
    ]
    ids, mask = tokenizer.render_conversation([user("add"), assistant(parts)])
    trained = tokenizer.decode([token for token, flag in zip(ids, mask, strict=True) if flag])
    assert trained == "so <|python_start|>1+1<|python_end|> it is<|assistant_end|>"
    assert tokenizer.decode(ids) == (
        "<|bos|><|user_start|>add<|user_end|><|assistant_start|>so <|python_start|>1+1<|python_end|>"
        "<|output_start|>2<|output_end|> it is<|assistant_end|>"
    )


def test_a_system_message_joins_the_first_user_message(tokenizer: Tokenizer) -> None:
    system = {"role": "system", "content": "be brief"}
    joined = tokenizer.render_conversation([system, user("hi"), assistant("ho")])
    assert joined == tokenizer.render_conversation([user("be brief\n\nhi"), assistant("ho")])


def test_a_conversation_is_cut_and_a_completion_ends_in_assistant_start(tokenizer: Tokenizer) -> None:
    long = [user("word " * 100), assistant("yes")]
    ids, mask = tokenizer.render_conversation(long, max_tokens=50)
    assert len(ids) == len(mask) == 50
    prompt = tokenizer.render_for_completion(long, max_tokens=50)
    assert len(prompt) == 51
    assert prompt[-1] == tokenizer.special_id("assistant_start")


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ([], "empty"),
        ([assistant("hi")], "turn 0 is from 'assistant' where 'user'"),
        ([user("a"), user("b")], "turn 1 is from 'user'"),
        ([user("a"), {"role": "robot", "content": "b"}], "turn 1 is from 'robot'"),
        ([{"role": "system", "content": "x"}], "not followed by a user"),
        ([{"role": "system", "content": "x"}, assistant("y")], "not followed by a user"),
        ([{"role": "user"}], "message 0 has no role and content"),
        (["hello"], "message 0 has no role and content"),
        ([user("a"), {"role": "assistant", "content": None}], "message 1"),
        ([user([{"type": "text", "text": "x"}])], "message 0 .user.: the content is not text"),
        ([user("a"), assistant([{"type": "image", "text": "x"}])], "unknown kind of content part 'image'"),
        ([user("a"), assistant([{"type": "text"}])], "has no text"),
        ("hello", "a list of messages"),
    ],
)
def test_what_is_no_conversation_is_named(tokenizer: Tokenizer, messages: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        tokenizer.render_conversation(messages)
