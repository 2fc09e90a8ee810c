"""The API over upstream's real checkpoints of both eras, loaded by the registry."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from starlette.applications import Starlette

from nanochat.checkpoint.files import find_checkpoint
from nanochat.checkpoint.tokenizer import find_tokenizer
from nanochat.checkpoint.weights import load_model
from nanochat.common.paths import Layout
from nanochat.infer.engine import Engine
from nanochat.infer.sampling import Sampling
from nanochat.serve.api.routes import routes
from nanochat.serve.loading import Capacity, CheckpointLoader
from nanochat.serve.models import ModelRegistry, ServedName


@asynccontextmanager
async def served(base: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the checkpoint base/d2 under a base directory."""
    layout = Layout(base)
    capacity = Capacity(max_rows=4, queue=8, prefix_bytes=8 << 20)
    loader = CheckpointLoader(layout, [torch.device("cpu")], torch.float32, capacity)
    registry = ModelRegistry(layout, [ServedName.parse("base/d2")], loader, 1 << 30)
    transport = httpx.ASGITransport(app=Starlette(routes=routes(registry)))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=60) as client:
        yield client
    await registry.close()


@pytest.mark.parametrize("era", ["modern", "classic"])
async def test_greedy_completions_are_upstreams_tokens(shared_reference: Path, era: str) -> None:
    base = shared_reference / "checkpoints" / era
    cases = json.loads((base / "expected.json").read_text(encoding="utf-8"))["cases"]
    async with served(base) as client:
        for case in cases:
            greedy = case["greedy_ids"]
            body: dict[str, Any] = {"prompt": case["prompt"], "temperature": 0, "max_tokens": len(greedy)}
            first = (await client.post("/v1/completions", json=body | {"logprobs": 8})).json()
            (choice,) = first["choices"]
            text = (await client.post("/detokenize", json={"tokens": greedy})).json()["prompt"]
            text = text.removesuffix("\ufffd")  # a character that the last token leaves unfinished
            assert choice["text"] == text
            top = list(choice["logprobs"]["top_logprobs"][0].values())
            expected = [logit - case["logsumexp"] for logit in case["top8_logits"]]
            assert top == pytest.approx(expected, abs=2e-4)
            ids = (await client.post("/tokenize", json={"prompt": case["prompt"]})).json()
            assert ids["tokens"] == case["ids"]
            # By ids, again: from what the prefix cache kept.
            again = await client.post("/v1/completions", json=body | {"prompt": case["ids"]})
            assert again.json()["choices"][0]["text"] == text
        assert (await client.get("/v1/models/base/d2")).json()["kind"] == "base"


@pytest.mark.parametrize("era", ["modern", "classic"])
async def test_a_seed_gives_the_tokens_of_the_engine(shared_reference: Path, era: str) -> None:
    layout = Layout(shared_reference / "checkpoints" / era)
    checkpoint = find_checkpoint(layout.checkpoints("base"), "d2")
    tokenizer = find_tokenizer(checkpoint, layout)
    engine = Engine(load_model(checkpoint, torch.device("cpu"), torch.float32).eval())
    prompt = tokenizer.encode("The capital of", bos=True)
    sampling = Sampling(temperature=0.9, top_k=40, top_p=0.95, seed=11)
    rows, _ = engine.generate_batch(
        prompt, samples=3, max_tokens=32, sampling=sampling, stop=tokenizer.answer_ends
    )
    fields = {"temperature": 0.9, "top_k": 40, "top_p": 0.95, "seed": 11, "n": 3, "max_tokens": 32}
    async with served(layout.base) as client:
        answer = await client.post("/v1/completions", json={"prompt": prompt, **fields})
        assert [choice["text"] for choice in answer.json()["choices"]] == [
            tokenizer.decode(row).removesuffix("\ufffd") for row in rows
        ]
