"""The logit lens (nostalgebraist, 2020): what each layer would have said, had it been the last."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nanochat.common.errors import UserError
from nanochat.infer.logprobs import CHUNK, TopTokens, top_tokens
from nanochat.model.gpt import GPT
from nanochat.model.ops import norm


@torch.inference_mode()
def lens(
    model: GPT, ids: Sequence[int], top_k: int, positions: Sequence[int] | None = None
) -> list[list[TopTokens]]:
    """For each place of `ids`, or only `positions`, for each layer, the `top_k` likeliest next tokens after
    the final norm, head and softcap, with their log-probabilities in nats; the last layer's are the model's
    own.

    A model with backout takes back its learned part of the middle layer's output after later layers too.
    Up to the middle layer that would be a part of the layer's own output, a scale that the norm removes.
    Raises `UserError` for no ids, ids outside the vocabulary, and `top_k` below 1.
    """
    vocab = model.config.vocab_size
    if not ids:
        raise UserError("the text holds no token")
    if min(ids) < 0 or max(ids) >= vocab:
        raise UserError(f"the text holds ids outside the model's vocabulary of {vocab:,}")
    if top_k < 1:
        raise UserError(f"top-k {top_k}: a lens shows at least one token")
    streams: list[Tensor] = []  # (1, T, C) a layer
    model.hidden(torch.tensor([list(ids)], device=model.device), each_layer=streams.append)
    if positions is not None:
        streams = [stream[:, list(positions)] for stream in streams]
    middle = model.config.n_layer // 2
    layers = []
    for number, stream in enumerate(streams):
        if model.config.parts.backout and number >= middle:
            stream = stream - model.backout_lambda.to(stream.dtype) * streams[middle]
        places: list[TopTokens] = []
        for part in torch.split(norm(stream)[0], CHUNK):  # (≤ CHUNK, C)
            places += top_tokens(model.logits(part), top_k)
        layers.append(places)
    return [list(place) for place in zip(*layers, strict=True)]
