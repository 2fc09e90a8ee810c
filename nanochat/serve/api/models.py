"""`GET /v1/models` and `GET /v1/models/ID`: what can be asked."""

import time
from typing import Any

from nanochat.serve.models import ModelCard, ModelRegistry

STARTED = int(time.time())
"""When the server began: what clients are told of a model's creation."""


def model_list(registry: ModelRegistry) -> dict[str, Any]:
    """Every model that has been named, loaded or not."""
    return {"object": "list", "data": [model_document(card) for card in registry.cards()]}


def model_document(card: ModelCard) -> dict[str, Any]:
    """A model in OpenAI's form; `max_model_len` as vLLM calls the context."""
    return {
        "id": card.id,
        "object": "model",
        "created": STARTED,
        "owned_by": "nanochat",
        "root": str(card.name),
        "parent": None,
        "max_model_len": card.context,
        "kind": card.kind,
    }
