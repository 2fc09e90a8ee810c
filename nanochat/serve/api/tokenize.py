"""`POST /tokenize` and `POST /detokenize`, in the shapes of vLLM's."""

from typing import Any

from nanochat.infer.token_table import token_table
from nanochat.serve.api.endpoint import Reply
from nanochat.serve.api.fields import Fields
from nanochat.serve.api.parameters import check_ids, detokenize_parameters, tokenize_parameters
from nanochat.serve.api.prompts import aside
from nanochat.serve.models import ModelRegistry


async def tokenize(registry: ModelRegistry, fields: Fields, reply: Reply) -> None:
    """The ids of a text or a conversation, however long; `max_model_len` says what the model takes."""
    wanted = tokenize_parameters(fields)
    async with registry.use(wanted.model) as loaded:
        tokenizer, prompt, conversation = loaded.tokenizer, wanted.prompt, wanted.conversation
        if conversation is not None:
            ids = await aside(
                conversation.characters,
                lambda: conversation.render(tokenizer, wanted.add_generation_prompt),
            )
        else:
            assert prompt is not None
            ids = await aside(len(prompt), lambda: tokenizer.encode(prompt, bos=wanted.add_bos))
        document: dict[str, Any] = {"count": len(ids), "max_model_len": loaded.card.context, "tokens": ids}
        if wanted.token_strings:
            table = token_table(tokenizer)
            document["token_strs"] = [table.text(token) for token in ids]
        await reply.json(document)


async def detokenize(registry: ModelRegistry, fields: Fields, reply: Reply) -> None:
    """The text of token ids; special tokens by their names."""
    wanted = detokenize_parameters(fields)
    async with registry.use(wanted.model) as loaded:
        check_ids("tokens", wanted.tokens, loaded.tokenizer.vocab_size)
        await reply.json({"prompt": loaded.tokenizer.decode(wanted.tokens)})
