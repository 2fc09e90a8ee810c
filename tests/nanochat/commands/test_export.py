"""Export to Hugging Face's format, and agreement with transformers' own NanoChat."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from training_data import byte_tokenizer, documents
from upstream_files import random_model, write_upstream_checkpoint

from nanochat.checkpoint.weights import load_weights, open_model
from nanochat.checkpoint.write import save_checkpoint
from nanochat.cli import main
from nanochat.commands.export import CARD, DOCUMENTS
from nanochat.common.paths import Layout
from nanochat.data.shards import iter_row_groups, list_shards
from nanochat.model.architecture import CLASSIC, ModelConfig, flags_to_meta
from nanochat.model.gpt import GPT, build_model
from nanochat.tokenizer.huggingface import merge_pair, tokenizer_json
from nanochat.tokenizer.special_tokens import SPECIAL_TOKENS
from nanochat.tokenizer.tokenizer import Tokenizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("transformers") is None, reason="needs transformers: pip install '.[test]'"),
]

tokenizers = pytest.importorskip("tokenizers", reason="needs transformers: pip install '.[test]'")

FILES = (*DOCUMENTS, CARD, "model.safetensors")
VOCAB = byte_tokenizer().vocab_size
UNROUNDED = replace(CLASSIC, rotary_bfloat16=False)
OLD = ModelConfig(64, VOCAB, 3, 4, 2, 64, "L", CLASSIC)
IDS = torch.randint(0, VOCAB, (2, 60), generator=torch.Generator().manual_seed(3))


def export(base: Path, out: Path, *options: str) -> int:
    return main(["export", f"--base-dir={base}", f"--out={out}", *options])


def write_base(base: Path, config: ModelConfig, seed: int = 0) -> GPT:
    byte_tokenizer().save(base / "tokenizer")
    model = random_model(config, seed)
    write_upstream_checkpoint(base / "base_checkpoints/d3", config, dict(model.state_dict()))
    return model


# transformers is imported where it is used: it takes a second, which each worker would spend on collecting.
def theirs(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).eval()


def their_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def with_parts(model: GPT, **parts: Any) -> GPT:
    """The same weights under other parts."""
    config = replace(model.config, parts=replace(model.config.parts, **parts))
    other = build_model(config, "cpu")
    load_weights(other, model.state_dict(), "test")
    return other


def logits(model: GPT, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model(ids)
    return out


def round_tables(model: Any) -> None:
    """Makes transformers round its rotary tables to bfloat16."""
    rotary, honest = model.model.rotary_emb, model.model.rotary_emb.forward
    rotary.forward = lambda *a, **k: tuple(table.bfloat16().float() for table in honest(*a, **k))


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"n_kv_head": 1},
        {"n_kv_head": 4},
        {"n_layer": 1, "n_head": 1, "n_kv_head": 1},
        {"n_layer": 5, "n_head": 6, "n_kv_head": 3, "n_embd": 96},
    ],
    ids=str,
)
def test_logits_are_those_of_transformers(tmp_path: Path, sizes: dict[str, int]) -> None:
    """To 1e-4 with the same tables, rounded or not; the rounding alone is worth about 1e-3."""
    config = replace(OLD, **sizes)
    model = write_base(tmp_path, config)
    assert export(tmp_path, tmp_path / "out") == 0
    other = theirs(tmp_path / "out")
    assert type(other).__name__ == "NanoChatForCausalLM"
    with torch.no_grad():
        unrounded = other(IDS).logits
        round_tables(other)
        rounded = other(IDS).logits
    torch.testing.assert_close(logits(model, IDS), rounded, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        logits(with_parts(model, rotary_bfloat16=False), IDS), unrounded, atol=1e-4, rtol=0
    )
    assert (rounded - unrounded).abs().max() > 1e-4


def test_upstreams_classic_checkpoint(shared_reference: Path, tmp_path: Path) -> None:
    base = shared_reference / "checkpoints/classic"
    assert export(base, tmp_path / "out") == 0
    other = theirs(tmp_path / "out")
    round_tables(other)
    words = their_tokenizer(tmp_path / "out")
    for case in json.loads((base / "expected.json").read_text())["cases"]:
        ids = words(case["prompt"], return_tensors="pt")
        assert ids["input_ids"][0].tolist() == case["ids"]
        with torch.no_grad():
            last = other(**ids).logits[0, -1]
        assert last[case["top8_ids"]].tolist() == pytest.approx(case["top8_logits"], abs=1e-4)
        greedy = other.generate(**ids, max_new_tokens=24, do_sample=False, eos_token_id=None)
        assert greedy[0, len(case["ids"]) :].tolist() == case["greedy_ids"]


def test_a_full_window_and_a_padded_vocabulary_are_expressible(tmp_path: Path) -> None:
    parts = replace(CLASSIC, windows=True, vocab_multiple=64, rotary_base=50_000.0, rotary_bfloat16=False)
    config = replace(OLD, parts=parts)
    byte_tokenizer().save(tmp_path / "tokenizer")
    model = random_model(config)
    meta = {"model_config": config.to_meta(), "parts": flags_to_meta(parts)}
    save_checkpoint(
        tmp_path / "chatsft_checkpoints/d3", 9, {"model.safetensors": dict(model.state_dict())}, meta
    )
    assert export(tmp_path, tmp_path / "out", "--source", "sft") == 0
    other = theirs(tmp_path / "out")
    torch.testing.assert_close(logits(model, IDS), other(IDS).logits.detach(), atol=1e-4, rtol=0)
    tokenizer = byte_tokenizer()
    assert other.generation_config.eos_token_id == [tokenizer.special_id("assistant_end"), tokenizer.bos_id]


def test_weights_in_bfloat16(tmp_path: Path) -> None:
    model = write_base(tmp_path, OLD)
    assert export(tmp_path, tmp_path / "out", "--dtype=bfloat16") == 0
    saved = load_file(tmp_path / "out/model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.bfloat16}
    assert torch.equal(saved["lm_head.weight"], model.lm_head.weight.detach().bfloat16())


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    """A tokenizer with real merges, of prose, digits and code."""
    texts = [*documents(300, 5), Path(__file__).read_text() * 3, "1234 567 89 " * 50, "naïve 漢字 🙂🙂 " * 30]
    return Tokenizer.train_from_iterator(texts, 900)


@pytest.fixture(scope="module")
def exported(trained: Tokenizer) -> Any:
    return tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(trained)))


def pieces() -> st.SearchStrategy[str]:
    """Any text, and text near the corners of the split pattern."""
    corners = st.sampled_from(
        [
            "'s",
            "'LL",
            "don't",
            " ",
            "  ",
            "\n",
            "\r\n",
            "\t",
            "12",
            "345",
            "!!!",
            " the",
            "漢",
            "é",
            "🙂",
            "\u00a0",
            "ſ",
        ]
    )
    return st.lists(st.one_of(st.text(max_size=8), corners), max_size=12).map("".join)


@given(text=pieces())
@settings(max_examples=300)
def test_ids_are_ours_for_any_text(trained: Tokenizer, exported: Any, text: str) -> None:
    if any(name in text for name in SPECIAL_TOKENS):
        return
    assert exported.encode(text, add_special_tokens=False).ids == trained.encode(text)
    assert exported.encode(text).ids == trained.encode(text, bos=True)
    assert exported.decode(trained.encode(text)) == text


def test_ids_are_ours_over_a_corpus(shared_reference: Path, shared_data: Path) -> None:
    """Every document of one row group of each shard, with upstream's vocabulary of 4,096."""
    tokenizer = Tokenizer.load(shared_reference / "checkpoints/modern/tokenizer")
    other = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(tokenizer)))
    count = 0
    for shard in list_shards(shared_data / "text"):
        _, _, texts = next(iter_row_groups([shard]))
        texts = [text[:20_000] for text in texts]
        ours = tokenizer.encode_batch(texts)
        for text, ids, encoded in zip(
            texts, ours, other.encode_batch(texts, add_special_tokens=False), strict=True
        ):
            assert encoded.ids == ids, text[:80]
            count += len(ids)
    assert count > 500_000


def test_a_token_no_merge_leads_to_is_only_taken_whole() -> None:
    ranks = {bytes([i]): i for i in range(256)}
    for token in (b"ab", b"abc", b"xyz"):  # no two neighbours in "xyz" are a token
        ranks[token] = len(ranks)
    assert merge_pair(b"abc", ranks) == (b"ab", b"c")
    assert merge_pair(b"xyz", ranks) is None
    tokenizer = Tokenizer(ranks)
    other = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(tokenizer)))
    for text in ("xyz", "xyzz", "abc xyz", "abcabc"):
        assert other.encode(text, add_special_tokens=False).ids == tokenizer.encode(text)


def test_special_tokens_and_the_chat_template(tmp_path: Path) -> None:
    write_base(tmp_path, OLD)
    assert export(tmp_path, tmp_path / "out") == 0
    ours, words = byte_tokenizer(), their_tokenizer(tmp_path / "out")
    assert len(words) == ours.vocab_size
    for name, token in ours.special_ids.items():
        assert words.convert_tokens_to_ids(name) == token
        assert words.encode(name, add_special_tokens=False) == [token]
        plain = words.encode(name, add_special_tokens=False, split_special_tokens=True)
        assert plain == ours.encode(name)
    assert (words.bos_token_id, words.eos_token_id) == (ours.bos_id, ours.bos_id)
    parts = [{"type": "text", "text": "2+2 is "}, {"type": "python", "text": "2+2"}]
    parts += [{"type": "python_output", "text": "4"}, {"type": "text", "text": "4."}]
    talk: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " the sum?\n"},
        {"role": "assistant", "content": parts},
        {"role": "user", "content": "thanks"},
    ]
    seen = words.apply_chat_template(talk, add_generation_prompt=True, return_dict=False)
    assert seen == ours.render_for_completion(talk)
    talk.append({"role": "assistant", "content": "in order"})
    assert words.apply_chat_template(talk, return_dict=False) == ours.render_conversation(talk)[0]


def test_what_is_there_is_only_replaced_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_base(tmp_path, OLD)
    out = tmp_path / "models" / "out"
    assert export(tmp_path, out) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    first = (out / "model.safetensors").read_bytes()
    write_base(tmp_path, OLD, seed=4)
    assert export(tmp_path, out) == 2
    assert "--force replaces it" in capsys.readouterr().err
    assert (out / "model.safetensors").read_bytes() == first
    assert export(tmp_path, out, "--force") == 0
    assert (out / "model.safetensors").read_bytes() != first
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    (out / "notes.txt").write_text("mine")
    assert export(tmp_path, out, "--force") == 2
    assert "notes.txt" in capsys.readouterr().err
    assert (out / "notes.txt").read_text() == "mine"
    assert main(["export", f"--base-dir={tmp_path}"]) == 2
    assert "no --out" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_base(tmp_path, replace(OLD, n_embd=256))
    assert export(tmp_path, small_disk / "out") == 1
    err = capsys.readouterr().err
    assert "cannot write" in err or "disk is full" in err
    assert err.count("\n") == 1
    assert list(small_disk.iterdir()) == []


def test_the_export_of_an_export_s_weights_is_the_model(tmp_path: Path) -> None:
    """Nothing is lost on the way: the tensors are the checkpoint's own, bit for bit."""
    write_base(tmp_path, OLD)
    assert export(tmp_path, tmp_path / "out") == 0
    saved = load_file(tmp_path / "out/model.safetensors")
    own = open_model(Layout(tmp_path), "base").model
    assert len(saved) == len(list(own.parameters()))
    assert torch.equal(saved["model.layers.2.self_attn.k_proj.weight"], own.blocks[2].attn.c_k.weight)
    assert torch.equal(saved["model.layers.1.mlp.fc2.weight"], own.blocks[1].mlp.c_proj.weight)
