"""Packing: every distinct document once, shuffled the same way always, the last shard a fair sample."""

import random
import tempfile
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.data import corpus
from nanochat.data.corpus import BucketSort, CorpusSummary, ShardCutter, plan_shards, write_shards
from nanochat.data.shards import iter_documents, list_shards, split_shards


def pack(
    texts: list[str], out: Path, *, shard_chars: int = 1000, val_chars: int = -1, **options: int
) -> CorpusSummary:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        sort = BucketSort(Path(scratch), options.get("seed", 42))
        for text in texts:
            sort.add(text)
        return write_shards(
            sort, out, shard_chars=shard_chars, val_chars=val_chars,
            row_group=options.get("row_group", 1024), report=lambda share: None,
        )  # fmt: skip


def words(count: int, seed: int = 0) -> list[str]:
    generator = random.Random(seed)
    return [f"{index} " + "word " * generator.randint(1, 30) for index in range(count)]


@pytest.mark.slow
@given(
    texts=st.lists(st.text(min_size=1, max_size=30), min_size=2, max_size=40), shard_chars=st.integers(1, 200)
)
def test_every_distinct_document_comes_out_once(texts: list[str], shard_chars: int) -> None:
    if len(set(texts)) < 2:
        texts = [*texts, "one", "two"]
    with tempfile.TemporaryDirectory() as folder:
        packed = pack(texts, Path(folder), shard_chars=shard_chars)
        shards = list_shards(Path(folder))
        found = list(iter_documents(shards))
        assert sorted(found) == sorted(set(texts))
        assert all(pq.ParquetFile(path).metadata.num_rows for path in shards)
    assert packed.documents == len(found)
    assert packed.duplicates == len(texts) - len(found)
    assert packed.chars == sum(map(len, found))
    assert packed.shards == len(shards) >= 2


def test_the_same_documents_make_the_same_files_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = words(500)
    pack(texts, tmp_path / "a")
    monkeypatch.setattr(corpus, "BUFFER_BYTES", 4096)  # many blocks on disk in place of one
    pack([*texts[::-1], *texts[:100]], tmp_path / "b")
    first, second = list_shards(tmp_path / "a"), list_shards(tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_another_seed_is_another_order(tmp_path: Path) -> None:
    texts = words(200)
    pack(texts, tmp_path / "a", seed=1)
    pack(texts, tmp_path / "b", seed=2)
    first, second = (list(iter_documents(list_shards(tmp_path / name))) for name in "ab")
    assert first != second
    assert sorted(first) == sorted(second)


def test_the_layout_is_finewebs(tmp_path: Path) -> None:
    pack(words(5000), tmp_path, shard_chars=200_000)
    for path in list_shards(tmp_path):
        file = pq.ParquetFile(path)
        assert file.schema_arrow.names == ["text"]
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        assert sizes[:-1] == [1024] * (len(sizes) - 1)
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_small_corpus_holds_out_one_part_in_twenty(tmp_path: Path) -> None:
    """Two sources of 600 and 400 documents: validation has both in about these shares."""
    texts = [f"left {i} " + "x" * 50 for i in range(600)] + [f"right {i} " + "x" * 50 for i in range(400)]
    packed = pack(texts, tmp_path, shard_chars=250_000_000)
    assert packed.shards == 2
    assert 0.03 < packed.val_chars / packed.chars < 0.07
    held_out = list(iter_documents([split_shards(tmp_path).val]))
    assert 0.35 < sum(text.startswith("left") for text in held_out) / len(held_out) < 0.85


def test_a_large_corpus_holds_out_one_shard(tmp_path: Path) -> None:
    packed = pack(words(4000), tmp_path, shard_chars=5000)
    sizes = [sum(map(len, iter_documents([path]))) for path in list_shards(tmp_path)]
    assert packed.shards > 40
    assert max(sizes) < 5000 + 200
    assert min(sizes) > 5000 - 400
    assert sizes[-1] == packed.val_chars


@given(
    lengths=st.lists(st.integers(0, 1000) | st.just(100_000), min_size=2, max_size=60),
    shard_chars=st.integers(1, 3000),
    val_chars=st.integers(-1, 3000),
)
def test_shards_are_consecutive_and_never_empty(lengths: list[int], shard_chars: int, val_chars: int) -> None:
    plan = plan_shards(sum(lengths), shard_chars, min(val_chars, shard_chars))
    cutter = ShardCutter(plan, len(lengths))
    numbers = [cutter.next(length) for length in lengths]
    assert numbers[0] == 0
    assert numbers[-1] >= 1
    assert {b - a for a, b in pairwise(numbers)} <= {0, 1}
    in_shard = [
        [n for n, k in zip(lengths, numbers, strict=True) if k == shard] for shard in set(numbers[:-1])
    ]
    assert all(
        sum(part[:-1]) <= max(plan.train_chars / plan.train_shards, shard_chars) + 1 for part in in_shard
    )


def test_a_gigantic_document_ends_its_row_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "ROW_GROUP_CHARS", 1000)
    pack(["x" * 1500 + str(i) for i in range(20)], tmp_path, shard_chars=1_000_000)
    assert pq.ParquetFile(tmp_path / "shard_00000.parquet").num_row_groups > 10


@pytest.mark.parametrize("texts", [[], ["one"], ["one", "one", "one"]])
def test_fewer_than_two_documents_cannot_be_split(tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(UserError, match="two are needed"):
        pack(texts, tmp_path)


def test_a_lone_surrogate_is_no_text() -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.raises(UnicodeEncodeError):
        BucketSort(Path(folder), 0).add("\ud800")
