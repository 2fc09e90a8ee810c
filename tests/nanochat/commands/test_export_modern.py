"""Modern models as a folder with its own code: the model that transformers loads is the one we have."""

import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_data import byte_tokenizer
from upstream_files import random_model

from nanochat.checkpoint.files import list_checkpoints
from nanochat.checkpoint.in_use import users
from nanochat.checkpoint.write import save_checkpoint
from nanochat.cli import main
from nanochat.commands.huggingface import weights as hf
from nanochat.common.errors import UserError
from nanochat.evals.results import EvaluationResult, TaskFigure
from nanochat.model.architecture import MODERN, ModelConfig, flags_to_meta
from nanochat.model.gpt import GPT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("transformers") is None, reason="needs transformers: pip install '.[test]'"),
]

VOCAB = byte_tokenizer().vocab_size
CONFIG = ModelConfig(600, VOCAB, 5, 4, 2, 64, "SL", MODERN)
"""Windows of 256 of 600, two query heads a key head, a vocabulary that is padded."""
IDS = torch.randint(0, VOCAB, (2, 590), generator=torch.Generator().manual_seed(3))


def write_model(base: Path, config: ModelConfig = CONFIG, source: str = "chatsft", **meta: Any) -> GPT:
    byte_tokenizer().save(base / "tokenizer")
    model = random_model(config)
    told = {"model_config": config.to_meta(), "parts": flags_to_meta(config.parts), "run_id": "r1", **meta}
    files = {"model.safetensors": dict(model.state_dict())}
    save_checkpoint(base / f"{source}_checkpoints/d5", 9, files, told)
    return model


def export(base: Path, out: Path, *words: str) -> int:
    return main(["export", "sft/d5@9", f"--base-dir={base}", f"--out={out}", *words])


def theirs(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        out = model(ids)
    found: torch.Tensor = out if isinstance(out, torch.Tensor) else out.logits
    return found


def greedy(model: GPT, ids: torch.Tensor, tokens: int) -> list[int]:
    for _ in range(tokens):
        ids = torch.cat([ids, logits(model, ids)[:, -1:].argmax(-1)], dim=1)
    return ids[0].tolist()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[GPT, Any]:
    """Our model, and what transformers loads of its export."""
    base = tmp_path_factory.mktemp("modern")
    model = write_model(base)
    assert export(base, base / "out") == 0
    return model, theirs(base / "out")


def test_logits_are_ours_over_windows_and_a_padded_vocabulary(both: tuple[GPT, Any]) -> None:
    model, other = both
    assert type(other).__name__ == "NanochatModernForCausalLM"
    assert min(window for window in model.config.windows if window is not None) == 256
    torch.testing.assert_close(logits(other, IDS), logits(model, IDS), atol=1e-4, rtol=0)


def test_generate_with_its_cache_says_greedily_what_we_say(both: tuple[GPT, Any]) -> None:
    """Also in a batch padded at the left, with beams, and when a caller reads a prompt in two parts."""
    model, other = both
    prompt = IDS[:1, :270]  # beyond a short window
    how: dict[str, Any] = {"do_sample": False, "eos_token_id": None}
    said = other.generate(prompt, max_new_tokens=12, **how)
    assert said[0].tolist() == greedy(model, prompt, 12)
    pad = other.generation_config.pad_token_id
    batch = torch.stack([torch.cat([torch.full((5,), pad), IDS[0, :20]]), IDS[1, :25]])
    mask = torch.ones_like(batch)
    mask[0, :5] = 0
    padded = other.generate(batch, attention_mask=mask, max_new_tokens=8, **how)
    assert padded[0, 5:].tolist() == greedy(model, IDS[:1, :20], 8)
    assert padded[1].tolist() == greedy(model, IDS[1:, :25], 8)
    beams = {**how, "num_beams": 3, "max_new_tokens": 6}
    without = other.generate(prompt[:, :40], use_cache=False, **beams)
    assert torch.equal(other.generate(prompt[:, :40], **beams), without)
    with torch.no_grad():
        first = other(prompt[:, :100], use_cache=True)
        rest = other(prompt[:, 100:], cache=first.cache).logits
    torch.testing.assert_close(rest, logits(model, prompt)[:, 100:], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "without", ["value_embeds", "smear", "backout", "windows", "layer_scales value_embeds smear backout"]
)
def test_each_part_may_be_missing(tmp_path: Path, without: str) -> None:
    config = replace(CONFIG, n_layer=2, parts=replace(MODERN, **dict.fromkeys(without.split(), False)))
    model = write_model(tmp_path, config)
    assert export(tmp_path, tmp_path / "out") == 0
    ids = IDS[:, :300]
    torch.testing.assert_close(logits(theirs(tmp_path / "out"), ids), logits(model, ids), atol=1e-4, rtol=0)


def test_upstreams_modern_checkpoint(shared_reference: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    base = shared_reference / "checkpoints/modern"
    assert main(["export", "base/d2", f"--base-dir={base}", f"--out={tmp_path / 'out'}"]) == 0
    other, words = theirs(tmp_path / "out"), AutoTokenizer.from_pretrained(tmp_path / "out")
    for case in json.loads((base / "expected.json").read_text())["cases"]:
        ids = words(case["prompt"], return_tensors="pt")
        assert ids["input_ids"][0].tolist() == case["ids"]
        last = logits(other, ids["input_ids"])[0, -1]
        assert last[case["top8_ids"]].tolist() == pytest.approx(case["top8_logits"], abs=1e-4)
        said = other.generate(**ids, max_new_tokens=24, do_sample=False, eos_token_id=None)
        assert said[0, len(case["ids"]) :].tolist() == case["greedy_ids"]


def test_shards_in_bfloat16_with_an_index(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    assert export(tmp_path, tmp_path / "out", "--dtype=bfloat16", "--max-shard-size=100KB") == 0
    shards = sorted((tmp_path / "out").glob("model-*.safetensors"))
    index = json.loads((tmp_path / "out" / hf.INDEX).read_text())
    saved = {name: tensor for shard in shards for name, tensor in load_file(shard).items()}
    assert len(shards) > 2 and set(index["weight_map"]) == set(saved)
    assert all(path.stat().st_size < 120_000 for path in shards)
    assert {tensor.dtype for tensor in saved.values()} == {torch.bfloat16}
    assert torch.equal(saved["lm_head.weight"], model.lm_head.weight.detach()[:VOCAB].bfloat16())
    other = theirs(tmp_path / "out")
    assert other.dtype == torch.bfloat16 and logits(other, IDS[:, :50]).isfinite().all()
    assert export(tmp_path, tmp_path / "out", "--force") == 0  # fewer files take the place of all
    assert not list((tmp_path / "out").glob("model-*"))


@pytest.mark.parametrize(
    ("text", "size"), [("5GB", 5 * 10**9), ("500mb", 5 * 10**8), ("7B", 7), ("x", 0), ("0GB", 0), ("-1GB", 0)]
)
def test_sizes_of_shards(text: str, size: int) -> None:
    if size:
        assert hf.shard_bytes(text) == size
    else:
        with pytest.raises(UserError, match="write it as 5GB"):
            hf.shard_bytes(text)


def test_the_card_tells_what_was_measured_of_that_very_step(tmp_path: Path) -> None:
    data = {"name": "SmolTalk, MMLU", "size": "3,100 conversations", "sha256": "ab" * 32}
    write_model(
        tmp_path, data=data, figures={"val/bpb": 0.5, "chat/GSM8K": 0.125, "rl/pass@1": 0.75}, val_bpb=0.5
    )
    assert export(tmp_path, tmp_path / "out") == 0
    card = (tmp_path / "out/README.md").read_text()
    for words in (
        "0.5000 bits per byte",
        "GSM8K 0.1250",
        "pass@1 0.7500",
        "SmolTalk, MMLU",
        "gguf",
        "trust_remote_code",
    ):
        assert words in card
    # The tokenizer's class is read beside the configuration, which asks for leave to run code as well.
    assert card.count('from_pretrained(".", trust_remote_code=True)') == 2
    tasks = {"GSM8K": TaskFigure(0.25, 0.25, 0.01, 100)}
    (tmp_path / "chat_eval").mkdir()
    for step, mean in ((9, 0.375), (8, 0.5)):
        result = EvaluationResult(
            "sft/d5", step, "chat", {"max_problems": 100}, tasks, mean, 0.02, complete=True
        )
        (tmp_path / "chat_eval" / f"{step}.json").write_text(json.dumps(result.as_json()))
    (tmp_path / "chat_eval" / "torn.json").write_text("{")
    assert export(tmp_path, tmp_path / "out", "--force") == 0
    card = (tmp_path / "out/README.md").read_text()
    assert "| GSM8K    |   0.2500 |   0.2500 | 0.0100 |" in card and "0.3750" in card
    assert "max_problems 100" in card and "0.5000 |" not in card


def test_a_checkpoint_is_marked_as_used_while_it_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path)
    (checkpoint,) = list_checkpoints(tmp_path / "chatsft_checkpoints/d5")
    seen: list[str] = []
    honest = hf.write_weights

    def watched(*arguments: Any) -> Any:
        seen.extend(users(checkpoint.path))
        return honest(*arguments)

    monkeypatch.setattr(hf, "write_weights", watched)
    assert export(tmp_path, tmp_path / "out") == 0
    assert seen == [f"export to {tmp_path / 'out'}"] and users(checkpoint.path) == []


def test_what_is_damaged_or_full_leaves_nothing_half_made(
    tmp_path: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path, replace(CONFIG, n_embd=256))
    assert export(tmp_path, small_disk / "out", "--max-shard-size=1MB") == 1
    assert list(small_disk.iterdir()) == []
    folder = tmp_path / "chatsft_checkpoints/d5/step_000009"
    raw = bytearray((folder / "model.safetensors").read_bytes())
    raw[-5] ^= 1
    shutil.copy(folder / "model.safetensors", tmp_path / "kept")
    (folder / "model.safetensors").write_bytes(raw)
    assert export(tmp_path, tmp_path / "out") != 0
    err = capsys.readouterr().err
    assert "its checksum differs" in err and not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


def test_other_formats_and_names_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path, replace(CONFIG, n_layer=1))
    for words, line in (
        (["sft/d5", "--format", "gguf"], "gguf has no nanochat architecture"),
        (["sft/d5", "base/d5"], "one too many"),
        (["sft/d5", "--step", "3"], "named twice"),
        (["sft/d5", "--max-shard-size", "big"], "is no size"),
        (["nothing"], "SOURCE/TAG"),
        (["sft/d5@8"], "no checkpoint of step 8"),
    ):
        assert main(["export", *words, f"--base-dir={tmp_path}", f"--out={tmp_path / 'out'}"]) == 2
        err = capsys.readouterr().err
        assert line in err and err.count("\n") == 1, words
    assert not (tmp_path / "out").exists()
