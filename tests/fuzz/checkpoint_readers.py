"""The readers of what hosts and files tell of checkpoints, which no bytes may break."""

import io
import json
from pathlib import Path
from typing import Any

from nanochat.commands.huggingface.tensor_file import float32_places
from nanochat.common.fields import json_object
from nanochat.common.text import UNSAFE
from remote.agent.checkpoint_files import Place
from remote.checkpoints.saved import listing_of
from remote.checkpoints.table import COLUMNS, about, brief, depends, document, family_of, rows

_META: dict[str, Any] = {
    "model_config": {"n_layer": 2, "n_head": 2, "n_kv_head": 1, "n_embd": 64, "vocab_size": 300},
    "parts": {"smear": False, "qk_gain": 1.2},
    "val_bpb": 1.5,
    "figures": {"val/bpb": 1.5, "chat/GSM8K": 0.1},
    "data": {"name": "a", "size": "b", "sha256": "c"},
    "user_config": {
        "source": "base",
        "model_tag": "d4",
        "model_step": 100,
        "init_from": "/x/base_checkpoints/d4",
    },
}
_META["model_config"]["sequence_len"] = 256
_SAVED: dict[str, Any] = {
    "source": "base", "tag": "d4", "step": 100, "entry": "step_000100", "t": 5.0, "run": "r1",
    "files": {"model.safetensors": 7}, "weights": "ab", "optimizer": True, "used_by": ["a server"],
    "meta": _META,
}  # fmt: skip
_CHILD = {
    **_SAVED,
    "source": "sft",
    "meta": {**_META, "started_from": {"name": "base/d4@100", "weights": "ab"}},
}
_ANSWER: dict[str, Any] = {
    "saved": [_SAVED, {**_CHILD, "run": "r2", "weights": "cd"}],
    "starts": {
        "r2": {"stage": "chat_sft", "started_from": "/x/base_checkpoints/d4/step_000100", "options": {}}
    },
    "live": [{"run": "r3", "stage": "chat_sft", "waits": True, "source": "base", "tag": "d4", "step": -1}],
    "left_out": 1,
}
ANSWERS = (json.dumps(_ANSWER).encode(),)
_REQUEST = {
    "do": "read",
    "source": "base",
    "tag": "d4",
    "entry": "model_000100.pt",
    "file": "meta_000100.json",
}
REQUESTS = tuple(
    json.dumps({**_REQUEST, **more}).encode() for more in ({}, {"entry": "step_000100", "file": "a/b"})
)
_HEADER = b'{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
TENSORS = (len(_HEADER).to_bytes(8, "little") + _HEADER + bytes(8),)


def read_answer(raw: bytes) -> None:
    """A host's checkpoints, with all that is told of them: clean and bounded."""
    listing = listing_of("box", json_object(raw) or {}, 10.0)
    family = family_of([listing])
    for row in rows([listing], []):
        told = [column.shown(row, 10.0) for column in COLUMNS.values()]
        told += [line for pair in (*about(row, family, 10.0), *brief(row, family)) for line in pair]
        assert not UNSAFE.search("".join((*told, *depends(row, family))))
        json.dumps(document(row, family))


def read_request(raw: bytes) -> None:
    """A file that an agent is asked for lies in its checkpoint."""
    content = json_object(raw) or {}
    base = Path("/base")
    place = Place(base, content)
    for path in (place.file(content.get("file")), place.staged(content.get("file"))):
        assert path.is_relative_to(place.folder) or path.is_relative_to(base / "incoming")
        assert ".." not in path.parts


def read_tensors(raw: bytes) -> None:
    """Where the tensors of a file begin."""
    assert all(place >= 8 for place in float32_places(io.BytesIO(raw)).values())
