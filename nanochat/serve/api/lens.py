"""`POST /v1/lens`: for each place of a prompt, what each layer would have said next (the logit lens)."""

from typing import Any

from nanochat.infer.token_table import TokenTable, token_table
from nanochat.serve.api.endpoint import Reply
from nanochat.serve.api.errors import refused
from nanochat.serve.api.fields import Fields
from nanochat.serve.api.parameters import check_ids, lens_parameters
from nanochat.serve.api.prompts import encode_prompt, overflow
from nanochat.serve.models import ModelRegistry

MAX_GUESSES = 500_000
"""Tokens of one answer, over its places and layers: some 40 MB."""


async def lens(registry: ModelRegistry, fields: Fields, reply: Reply) -> None:
    """Shows the `top_k` likeliest next tokens of every layer at every place, or at `positions` only."""
    wanted = lens_parameters(fields)
    async with registry.use(wanted.model) as loaded:
        table = token_table(loaded.tokenizer)
        if isinstance(wanted.prompt, str):
            ids = await encode_prompt(loaded, wanted.prompt, "prompt", wanted.add_bos)
        else:
            ids = wanted.prompt
            check_ids("prompt", ids, loaded.tokenizer.vocab_size)
        if not ids:
            raise refused("prompt", "prompt holds no token: leave add_special_tokens on for bos")
        if len(ids) > loaded.card.context:
            raise overflow("prompt", len(ids), loaded.card.context, new=0)
        positions = range(len(ids)) if wanted.positions is None else wanted.positions
        if max(positions) >= len(ids):
            raise refused("positions", f"positions: {max(positions):,} is beyond the {len(ids):,} tokens")
        layers = loaded.layers
        if len(positions) * layers * wanted.top_k > MAX_GUESSES:
            most = MAX_GUESSES // (layers * wanted.top_k)
            raise refused(
                "positions",
                f"positions: {len(positions):,} places of {layers} layers with top_k {wanted.top_k} are too "
                f"much for one answer: name at most {most:,}",
            )
        found = await loaded.lens(ids, wanted.top_k, positions)
        places = [
            {
                "position": at,
                "id": ids[at],
                "token": table.text(ids[at]),
                "layers": [[_guess(table, token, logprob) for token, logprob in top] for top in layers],
            }
            for at, layers in zip(positions, found, strict=True)
        ]
        document = {"object": "lens", "model": loaded.card.id, "system_fingerprint": str(loaded.card.name)}
        await reply.json({**document, "tokens": ids, "places": places})


def _guess(table: TokenTable, token: int, logprob: float) -> dict[str, Any]:
    return {"id": token, "token": table.text(token), "logprob": logprob}
