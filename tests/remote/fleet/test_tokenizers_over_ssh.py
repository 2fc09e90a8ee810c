"""Tokenizers of a host behind a real sshd: listed, copied here once, opened like any other."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sshd import Sshd

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.tokenizer.explore.sources import known_sources, open_source
from nanochat.tokenizer.sample_texts import TEXTS
from nanochat.tokenizer.tokenizer import Tokenizer
from remote.fleet.fleet import Fleet
from remote.fleet.tokenizers import listing_of
from remote.hosts.book import HostBook

OURS = Tokenizer.train_from_iterator(TEXTS.values(), 400)


@pytest.fixture
def far(tmp_path: Path) -> Path:
    base = tmp_path / "far away"
    OURS.save(base / "tokenizer")
    return base


@pytest.fixture
async def fleet(layout: Layout, known_sshd: Sshd, far: Path) -> AsyncIterator[Fleet]:
    HostBook(layout).add(known_sshd.host(base=far))
    opened = Fleet(layout)
    try:
        yield opened
    finally:
        await opened.aclose()


async def test_a_tokenizer_of_a_host_is_copied_and_opened(
    fleet: Fleet, layout: Layout, far: Path, shared_reference: Path
) -> None:
    upstream = shared_reference / "checkpoints/modern/tokenizer"
    (far / "upstream").mkdir()
    shutil.copy(upstream / "tokenizer.pkl", far / "upstream")
    ours, theirs = await fleet.tokenizers.listed("box")
    assert (ours.folder, ours.vocab_size, ours.identity) == ("tokenizer", 400, OURS.fingerprint)
    for one, known in ((ours, OURS), (theirs, Tokenizer.load(upstream))):
        folder = await fleet.tokenizers.copy(one)
        assert open_source(str(folder), layout).split(TEXTS["code"]).ids.tolist() == known.encode(
            TEXTS["code"]
        )
    names = {source.name for source in known_sources(layout) if source.group == "host"}
    assert names == {"tokenizer of box (400)", "tokenizer of box"}

    folder = await fleet.tokenizers.copy(ours)
    shutil.rmtree(far / "tokenizer")
    assert await fleet.tokenizers.copy(ours) == folder  # the copy stands
    shutil.rmtree(folder)
    with pytest.raises(UserError, match="tokenizer of host 'box'"):
        await fleet.tokenizers.copy(ours)
    Tokenizer.train_from_iterator(TEXTS.values(), 500).save(far / "tokenizer")
    with pytest.raises(UserError, match=r"tokenizer of host 'box'|changed meanwhile"):
        await fleet.tokenizers.copy(ours)
    assert not folder.exists()


def test_an_answer_of_another_form_has_no_tokenizers() -> None:
    good = {"folder": "t", "files": {"tokenizer.json": 3}, "vocab_size": 5, "identity": "ab" * 32}
    assert len(listing_of("box", {"tokenizers": [good]})) == 1
    for field, value in (
        ("folder", ""),
        ("folder", None),
        ("files", {"../x": 3}),
        ("files", {"tokenizer.json": -1}),
        ("files", {"tokenizer.json": 1 << 40}),
        ("files", []),
        ("identity", "../../etc"),
        ("identity", 7),
    ):
        assert not listing_of("box", {"tokenizers": [good | {field: value}]})
    for answer in ({}, {"tokenizers": 3}, {"tokenizers": [1, None, []]}):
        assert listing_of("box", answer) == []
