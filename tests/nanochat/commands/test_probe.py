"""`nanochat probe` and the files it reads: both eras of upstream, ours, and files that are no model."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from torch import Tensor
from training_data import byte_tokenizer
from upstream_files import random_model, write_upstream_checkpoint, write_upstream_tokenizer

from nanochat.checkpoint.weights import open_model, read_weights
from nanochat.checkpoint.write import save_checkpoint
from nanochat.cli import main
from nanochat.commands.probe import Probe, probe, table
from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.model.architecture import CLASSIC, ModelConfig
from nanochat.model.gpt import GPT

VOCAB = byte_tokenizer().vocab_size
MODERN = ModelConfig(16, VOCAB, 3, 4, 2, 32, "SL")
OLD = ModelConfig(16, VOCAB, 2, 2, 1, 32, "L", CLASSIC)
PROMPT = "the model learns to"


def as_json(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main(["probe", *words, "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert list(seen) == ["ids", "top_ids", "top_logits", "logsumexp", "greedy_ids", "text"]
    return seen


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that `nanochat probe` ends with."""
    code = main(["probe", "--prompt", "x", *words])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1), err
    return err


@pytest.mark.parametrize("era", ["modern", "classic"])
def test_upstreams_checkpoints_as_they_are_on_disk(
    shared_reference: Path, capsys: pytest.CaptureFixture[str], era: str
) -> None:
    base = shared_reference / "checkpoints" / era
    before = sorted(base.rglob("*"))
    for case in json.loads((base / "expected.json").read_text())["cases"]:
        seen = as_json(capsys, "--base-dir", str(base), "--prompt", case["prompt"])
        assert seen["ids"] == case["ids"]
        assert seen["top_ids"] == case["top8_ids"]
        assert seen["top_logits"] == pytest.approx(case["top8_logits"], abs=1e-4)
        assert seen["logsumexp"] == pytest.approx(case["logsumexp"], abs=1e-4)
        assert seen["greedy_ids"] == case["greedy_ids"]
    assert sorted(base.rglob("*")) == before


def reference_base(base: Path, config: ModelConfig, weights: dict[str, Tensor], **how: object) -> Path:
    write_upstream_tokenizer(base / "tokenizer", byte_tokenizer())
    return write_upstream_checkpoint(base / "base_checkpoints" / "d3", config, weights, **how)


def same(ours: Probe, base: Path) -> None:
    """The file in `base` gives what the model it was written from gives."""
    opened = open_model(Layout(base), "base")
    theirs = probe(opened.model, opened.tokenizer, PROMPT)
    assert theirs.ids == ours.ids
    assert theirs.top_logits == pytest.approx(ours.top_logits, abs=1e-6)
    assert theirs.logsumexp == pytest.approx(ours.logsumexp, abs=1e-6)
    assert (theirs.top_ids, theirs.greedy_ids) == (ours.top_ids, ours.greedy_ids)


def seen_by(model: GPT) -> Probe:
    return probe(model, byte_tokenizer(), PROMPT)


SHAPES = [
    MODERN,
    replace(MODERN, n_layer=1, window_pattern="L"),
    replace(MODERN, n_layer=5, n_head=8, n_kv_head=1, n_embd=64, window_pattern="SSSL", sequence_len=700),
    OLD,
    replace(OLD, n_layer=4, n_head=4, n_kv_head=2, n_embd=48),
]


@pytest.mark.parametrize("config", SHAPES, ids=lambda c: f"{c.n_layer}-{c.n_kv_head}-{c.window_pattern}")
def test_models_of_other_shapes_in_upstreams_format(tmp_path: Path, config: ModelConfig) -> None:
    model = random_model(config)
    reference_base(tmp_path, config, dict(model.state_dict()))
    same(seen_by(model), tmp_path)
    assert open_model(Layout(tmp_path), "base").model.config == config


@pytest.mark.parametrize("prefix", ["_orig_mod.", ""])
@pytest.mark.parametrize("config", [MODERN, OLD], ids=["modern", "classic"])
def test_compiled_names_and_bfloat16_tensors(tmp_path: Path, config: ModelConfig, prefix: str) -> None:
    model = random_model(config).bfloat16()
    saved = {prefix + name: tensor.clone() for name, tensor in model.state_dict().items()}
    reference_base(tmp_path, config, saved)
    same(seen_by(model.float()), tmp_path)


def test_tensors_saved_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(MODERN)
    monkeypatch.setattr("torch.serialization.location_tag", lambda storage: "cuda:3")
    path = reference_base(tmp_path, MODERN, dict(model.state_dict()))
    monkeypatch.undo()
    assert b"cuda:3" in path.read_bytes()
    same(seen_by(model), tmp_path)


def test_a_file_in_torch_s_old_format(tmp_path: Path) -> None:
    model = random_model(OLD)
    reference_base(tmp_path, OLD, dict(model.state_dict()), _use_new_zipfile_serialization=False)
    same(seen_by(model), tmp_path)


@pytest.mark.parametrize(
    "missing",
    [{"resid_lambdas"}, {"x0_lambdas"}, {"resid_lambdas", "x0_lambdas"}],
    ids=lambda m: "+".join(sorted(m)),
)
def test_files_of_the_months_between(tmp_path: Path, missing: set[str]) -> None:
    """Layer scales that are not there are 1 and 0, a window pattern that is not there is L."""
    config = replace(MODERN, window_pattern="L")
    model = random_model(config)
    saved = {name: t.clone() for name, t in model.state_dict().items() if name not in missing}
    path = reference_base(tmp_path, config, saved)
    meta_path = path.with_name("meta_000007.json")
    meta = json.loads(meta_path.read_text())
    del meta["model_config"]["window_pattern"]
    meta_path.write_text(json.dumps(meta))
    with torch.no_grad():
        if "resid_lambdas" in missing:
            model.resid_lambdas.fill_(1)
        if "x0_lambdas" in missing:
            model.x0_lambdas.fill_(0)
    same(seen_by(model), tmp_path)


@pytest.mark.parametrize("config", [MODERN, OLD], ids=["modern", "classic"])
def test_beyond_the_context_every_token_is_the_argmax_of_a_whole_forward_pass(config: ModelConfig) -> None:
    """The windows go on to the left of each token; nothing is cut, nothing dies."""
    model = random_model(config)
    for prompt in ("", "a", PROMPT * 4):
        seen = probe(model, byte_tokenizer(), prompt, greedy=40)
        ids = list(seen.ids)
        for token in seen.greedy_ids:
            with torch.no_grad():
                logits = model(torch.tensor([ids]))[0, -1]
            assert logits[token] >= logits.max() - 1e-5
            ids.append(token)
        assert len(ids) == len(seen.ids) + 40 > config.sequence_len


def test_a_checkpoint_of_ours_by_tag_and_step(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.save(layout.tokenizer)
    meta = {"model_config": MODERN.to_meta(), "tokenizer_sha256": tokenizer.sha256}
    for tag, step in (("d3", 10), ("d3", 20), ("other", 5)):
        weights = dict(random_model(MODERN, seed=step).state_dict())
        save_checkpoint(layout.checkpoints("sft") / tag, step, {"model.safetensors": weights}, meta)
    words = ["--source", "sft", "--prompt", PROMPT, "--top", "3", "--greedy", "5"]
    for step, where in ((20, []), (10, ["--step", "10"]), (5, ["--model-tag", "other"])):
        expected = probe(random_model(MODERN, seed=step), tokenizer, PROMPT, top=3, greedy=5)
        assert as_json(capsys, *words, *where) == expected.__dict__
    assert as_json(capsys, *words, "--greedy", "0")["greedy_ids"] == []
    assert not layout.runs.exists()
    assert "there are: d3, other" in fails(capsys, "-i", "sft", "--model-tag", "d9")
    assert "there are: 10, 20" in fails(capsys, "-i", "sft", "--model-tag", "d3", "--step", "11")
    assert "train first: nanochat chat_rl" in fails(capsys, "-i", "rl")
    assert "more than the vocabulary's 273" in fails(capsys, "-i", "sft", "--top", "999")


def test_the_table_fits_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference_base(tmp_path, MODERN, dict(random_model(MODERN).state_dict()))
    prompt = "the tab\t, a line\n, 漢字漢字 and \x1b[31mcolour " * 4
    assert main(["probe", "--base-dir", str(tmp_path), "--prompt", prompt]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert not any("\x1b" in line or "\t" in line for line in lines)
    assert lines[0].startswith("model         base d3, step 7: 3 layers, width 32, context 16")
    header = next(i for i, line in enumerate(lines) if line.startswith("rank"))
    chances = [float(line.split()[3]) for line in lines[header + 1 : header + 9]]
    assert chances == sorted(chances, reverse=True)
    assert 0 < sum(chances) <= 1


@given(st.text(max_size=40))
def test_any_prompt_is_shown_within_its_columns(prompt: str) -> None:
    tokenizer = byte_tokenizer()
    seen = Probe(tokenizer.encode(prompt, bos=True), [0], [0.0], 1.0, tokenizer.encode(prompt), prompt)
    assert all(cell_len(line) <= 80 for line in table(seen, tokenizer))


class Hostile:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch /tmp/hostile-weights-ran",)


def test_weights_that_would_run_code_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark = Path("/tmp/hostile-weights-ran")
    reference_base(tmp_path, MODERN, {"transformer.wte.weight": Hostile()})  # type: ignore[dict-item]
    assert "is refused: it asks for posix.system" in fails(capsys, "--base-dir", str(tmp_path))
    (tmp_path / "tokenizer/tokenizer.pkl").write_bytes(pickle.dumps(Hostile()))
    assert "is refused" in fails(capsys, "--base-dir", str(tmp_path))
    assert not mark.exists()


def damage(path: Path, how: str) -> None:
    raw = bytearray(path.read_bytes())
    if how == "cut":
        raw = raw[: len(raw) // 2]
    elif how == "empty":
        raw.clear()
    elif how == "flipped":
        raw[len(raw) // 2] ^= 1
    else:
        raw[:] = os.urandom(2000)
    path.write_bytes(raw)


@pytest.mark.parametrize("how", ["cut", "empty", "flipped", "noise"])
def test_a_damaged_file_is_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    path = reference_base(tmp_path, MODERN, dict(random_model(MODERN).state_dict()))
    damage(path, how)
    assert "model_000007.pt" in fails(capsys, "--base-dir", str(tmp_path))


def test_a_model_of_another_vocabulary_shape_or_tokenizer_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = dict(random_model(MODERN).state_dict())
    reference_base(tmp_path, MODERN, weights)
    write_upstream_checkpoint(tmp_path / "base_checkpoints/d4", replace(MODERN, n_layer=4), weights)
    where = ["--base-dir", str(tmp_path)]
    assert "holds 3 layers" in fails(capsys, *where, "--model-tag", "d4")
    other = replace(MODERN, vocab_size=300)
    model = random_model(other)
    write_upstream_checkpoint(tmp_path / "base_checkpoints/d5", other, dict(model.state_dict()))
    said = fails(capsys, *where, "--model-tag", "d5")
    assert "vocabulary of 300, the tokenizer 273" in said
    meta = {"model_config": MODERN.to_meta(), "tokenizer_sha256": "0" * 64}
    save_checkpoint(tmp_path / "base_checkpoints/d6", 1, {"model.safetensors": weights}, meta)
    assert "trained with another tokenizer" in fails(capsys, *where, "--model-tag", "d6")
    for name, content, why in (
        ("d7", "{}", "model_config"),
        ("d8", '{"model_config": []}', "the metadata of model_000007.pt is missing or damaged"),
        ("d9", '{"model_config": {"n_head": 0}}', "model_config"),
    ):
        tag = tmp_path / "base_checkpoints" / name
        shutil.copytree(tmp_path / "base_checkpoints/d3", tag)
        (tag / "meta_000007.json").write_text(content)
        assert why in fails(capsys, *where, "--model-tag", name)


def test_no_checkpoint_no_prompt_no_tokenizer(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    assert "train first: nanochat base_train" in fails(capsys)
    assert main(["probe"]) == 2
    assert "--prompt" in capsys.readouterr().err
    tag = layout.checkpoints("base") / "d3"
    write_upstream_checkpoint(tag, MODERN, dict(random_model(MODERN).state_dict()))
    assert "no tokenizer in" in fails(capsys)
    with pytest.raises(UserError, match="no weights file"):
        read_weights(tag / "model_000008.pt")
