"""A checkpoint and its tokenizer: saved together, found again, never taken for another."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from training_data import TINY, byte_tokenizer, error_line, make_base, stage_here

from nanochat.checkpoint.files import MODEL, OPTIM, Checkpoint, find_checkpoint
from nanochat.checkpoint.tokenizer import tokenizer_files, tokenizer_meta, trained_with
from nanochat.checkpoint.weights import open_model
from nanochat.checkpoint.write import save_checkpoint
from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.model.architecture import ModelConfig, flags_to_meta
from nanochat.model.gpt import build_model
from nanochat.run.stage_run import main
from nanochat.tokenizer.tokenizer import Tokenizer


def other_tokenizer() -> Tokenizer:
    """As many ids as the byte tokenizer's, other merges."""
    ranks = {bytes([i]): i for i in range(256)}
    for merge in (b"ab", b"cd", b"ef", b"gh", b"ij", b"kl", b"mn", b"op"):
        ranks[merge] = len(ranks)
    return Tokenizer(ranks)


def save_model(base: Path, tokenizer: Tokenizer, carried: bool = True, **meta: Any) -> Checkpoint:
    """A tiny model of stage rl; not `carried`: as version 0.1.0 saved it."""
    config = ModelConfig(
        sequence_len=16, vocab_size=tokenizer.vocab_size, n_layer=1, n_head=2, n_kv_head=2, n_embd=32
    )
    model = build_model(config, "cpu")
    model.init_weights(1)
    named = tokenizer_meta(tokenizer) if carried else {"tokenizer_sha256": tokenizer.sha256}
    about = {"model_config": config.to_meta(), "parts": flags_to_meta(config.parts), **named, **meta}
    files = {MODEL: dict(model.state_dict()), OPTIM: {}}
    extra = tokenizer_files(tokenizer) if carried else {}
    return save_checkpoint(Layout(base).checkpoints("rl") / "d1", 5, files, about, extra=extra)


@pytest.mark.parametrize("present", ["none", "another", "the same"])
def test_a_checkpoint_opens_with_the_tokenizer_inside_it(tmp_path: Path, present: str) -> None:
    own = byte_tokenizer()
    save_model(tmp_path, own)
    if present != "none":
        (own if present == "the same" else other_tokenizer()).save(tmp_path / "tokenizer")
    assert open_model(Layout(tmp_path), "rl").tokenizer.fingerprint == own.fingerprint


def test_another_tokenizer_that_is_named_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path, byte_tokenizer())
    other_tokenizer().save(tmp_path / "other")
    with pytest.raises(UserError, match="another tokenizer"):
        open_model(Layout(tmp_path), "rl", tokenizer_dir=str(tmp_path / "other"))


def test_a_changed_pattern_is_another_tokenizer(tmp_path: Path) -> None:
    """The same ranks split other words: other ids for the same text."""
    own = byte_tokenizer()
    save_model(tmp_path, own)
    Tokenizer(own.ranks, pattern=r"\s+|\S+").save(tmp_path / "other")
    with pytest.raises(UserError, match="another tokenizer"):
        open_model(Layout(tmp_path), "rl", tokenizer_dir=str(tmp_path / "other"))


def test_a_damaged_tokenizer_inside_falls_back_on_the_same_one_elsewhere(tmp_path: Path) -> None:
    own = byte_tokenizer()
    inside = save_model(tmp_path, own).path / "tokenizer" / "tokenizer.json"
    inside.write_text(inside.read_text().replace('"pattern": "', '"pattern": "x'))
    with pytest.raises(UserError, match="is damaged"):
        open_model(Layout(tmp_path), "rl")
    own.save(tmp_path / "tokenizer")
    assert open_model(Layout(tmp_path), "rl").tokenizer.fingerprint == own.fingerprint


@pytest.mark.parametrize("where", ["default", "named", "kept"])
def test_a_checkpoint_of_version_0_1_0_finds_its_tokenizer(tmp_path: Path, where: str) -> None:
    own = byte_tokenizer()
    folder = tmp_path / "tokenizer"
    named = "{base}/pipeline/tokenizer" if where == "named" else ""
    save_model(tmp_path, own, carried=False, user_config={"tokenizer_dir": named})
    if where == "named":
        other_tokenizer().save(folder)
        folder = tmp_path / "pipeline" / "tokenizer"
    own.save(folder)
    if where == "kept":
        other_tokenizer().save(folder, keep=True)
    assert open_model(Layout(tmp_path), "rl").tokenizer.sha256 == own.sha256


def test_a_checkpoint_of_version_0_1_0_without_its_tokenizer_is_one_line(tmp_path: Path) -> None:
    save_model(tmp_path, byte_tokenizer(), carried=False)
    with pytest.raises(UserError, match="no tokenizer in"):
        open_model(Layout(tmp_path), "rl")
    other_tokenizer().save(tmp_path / "tokenizer")
    with pytest.raises(UserError, match="another tokenizer"):
        open_model(Layout(tmp_path), "rl")


def test_checkpoints_that_name_a_tokenizer_are_counted(tmp_path: Path) -> None:
    own, other = byte_tokenizer(), other_tokenizer()
    save_model(tmp_path, own)
    assert len(trained_with(Layout(tmp_path), own)) == 1
    assert trained_with(Layout(tmp_path), other) == []


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_base(tmp_path)


@pytest.mark.slow
def test_a_training_resumes_with_the_tokenizer_of_its_checkpoint(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder's tokenizer was replaced meanwhile, as by another tok_train."""
    options = [*TINY, "--sample-every=-1", "--eval-every=-1", f"--tokenizer-dir={base / 'tokenizer'}"]
    assert stage_here("base_train", base, *options, "--num-iterations=2") == 0
    first = find_checkpoint(base / "base_checkpoints")
    assert json.loads((first.path / "tokenizer" / "tokenizer.json").read_text())["vocab_size"] == 273
    shutil.rmtree(base / "tokenizer")
    other_tokenizer().save(base / "tokenizer")
    assert main("base_train", [f"--base-dir={base}", *options, "--num-iterations=3", "--resume"]) == 2
    assert "another tokenizer" in error_line(capsys)
    assert stage_here("base_train", base, *options, "--num-iterations=3", attempt=2) == 0
    last = find_checkpoint(base / "base_checkpoints")
    assert last.step == 3
    assert last.meta["tokenizer_fingerprint"] == first.meta["tokenizer_fingerprint"]
