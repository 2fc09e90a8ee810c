"""Checkpoints as far as listing them goes: metadata and a few bytes, of models that `evaluations` judged."""

import hashlib
import json
import time
from pathlib import Path

MODEL = {"sequence_len": 256, "vocab_size": 4096, "n_layer": 12, "n_head": 6, "n_kv_head": 6, "n_embd": 768}


def make_checkpoints(base: Path) -> None:
    """Two steps of a base model and an sft model that was started from the last of them."""
    _save(base / "base_checkpoints/d12", 100)
    last = _save(base / "base_checkpoints/d12", 200)
    _save(base / "chatsft_checkpoints/d12", 300, {"name": "base/d12@200", "weights": last})


def _save(tag: Path, step: int, started_from: dict[str, str] | None = None) -> str:
    """Writes a checkpoint; returns the sha256 of what stands for its weights."""
    folder = tag / f"step_{step:06d}"
    folder.mkdir(parents=True, exist_ok=True)
    raw = f"{tag.parent.name} {step}".encode()
    digest = hashlib.sha256(raw).hexdigest()
    (folder / "model.safetensors").write_bytes(raw)
    meta = {
        "model_config": MODEL,
        "val_bpb": 2 - step / 1000,
        "figures": {"val/bpb": 2 - step / 1000},
        "data": {"name": "some text", "size": "2 shards", "sha256": "ab" * 32},
        "tokenizer_fingerprint": "cd" * 32,
        "files": {"model.safetensors": {"bytes": len(raw), "sha256": digest}},
        "saved_at": time.time() - 600 + step,
        "step": step,
        "started_from": started_from,
    }
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return digest
