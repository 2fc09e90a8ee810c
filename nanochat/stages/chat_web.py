"""`nanochat chat_web`: serves checkpoints to every client of OpenAI's API.

A service is no run: it makes no run directory and is no stage of a plan. It answers until it is stopped.
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanochat.checkpoint.names import newest_name, resolve_name
from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import Layout
from nanochat.common.streams import say
from nanochat.config.command_parser import Parser, command_parser, parse_options
from nanochat.config.serve_options import ChatWebOptions

if TYPE_CHECKING:
    from nanochat.serve.models import ModelRegistry, ServedName


def parser() -> Parser:
    """The parser of `nanochat chat_web`."""
    return command_parser(
        "nanochat chat_web",
        "Serve checkpoints to every client of OpenAI's API, and of upstream nanochat's.",
        ChatWebOptions,
        epilog="Addresses: /v1/chat/completions, /v1/completions, /v1/models, /v1/lens, /tokenize, "
        "/detokenize, /health, /metrics; upstream's /chat/completions and /stats.",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `nanochat chat_web …` until it is stopped, and returns its exit code."""
    options, layout = parse_options(ChatWebOptions, parser(), argv)

    from nanochat.serve.access import check_access, read_key
    from nanochat.serve.server import build_app, log_to_stderr, open_socket, serve, url_of

    key = read_key(options.api_key, options.api_key_file)
    check_access(options.host, key, options.auth)
    served = served_names(options, layout)
    log_to_stderr(options.access_log)
    with open_socket(options.host, options.port) as opened:
        registry = make_registry(options, layout, served)
        app = build_app(registry, options.host, key, options.cors_origin)
        url = url_of(opened)

        def say_ready() -> None:
            ids = [card.id for card in registry.cards()]
            if options.json:
                print(json.dumps({"url": url, "models": ids}), flush=True)
            elif registry.serves_all:
                print(f"{url} answers with every checkpoint of {layout.base}; ctrl+c ends it", flush=True)
            else:
                first = registry.cards()[0].name
                say(f"{url} answers with {', '.join(ids)} (now {first}); ctrl+c ends it", sys.stdout)

        idle = 60 * options.unload_after if options.unload_after > 0 else None
        ended = asyncio.run(serve(registry, app, opened, say_ready, options.access_log, idle))
    if not ended:
        # A thread in the middle of a long step or of a large file would hold the process up for as long.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(Exit.OK)
    return Exit.OK


def served_names(options: ChatWebOptions, layout: Layout) -> "list[ServedName]":
    """What is served by a name of its own, from the options. Raises `UserError` for a name without a
    checkpoint."""
    from nanochat.serve.local import choose
    from nanochat.serve.models import ServedName

    if options.model:
        if options.source or options.model_tag or options.step >= 0:
            raise UserError("--model names the whole checkpoint", "drop --source, --model-tag and --step")
        served = [ServedName.parse(text) for text in options.model]
    elif options.source or options.model_tag or options.step >= 0:
        name = choose(layout, options.source or "sft", options.model_tag, options.step)
        served = [ServedName(str(name), name)]
    elif options.all_models:
        served = []
    else:
        name = newest_name(layout)
        served = [ServedName(str(name), name)]
    for one in served:
        resolve_name(layout, one.name)
    return served


def make_registry(options: ChatWebOptions, layout: Layout, served: "Sequence[ServedName]") -> "ModelRegistry":
    """The models on the devices that the options leave to them. Raises `UserError`."""
    from nanochat.serve.devices import memory_limit, pick_devices, prefix_bytes, serving_dtype
    from nanochat.serve.loading import Capacity, CheckpointLoader
    from nanochat.serve.models import ModelRegistry

    devices = pick_devices(options)
    limit = memory_limit(options.max_memory, devices)
    cache = prefix_bytes(options.prefix_cache, limit, devices[0].type)
    capacity = Capacity(options.max_rows, options.queue, cache)
    dtype = serving_dtype(options.dtype, devices[0])
    loader = CheckpointLoader(layout, devices, dtype, capacity, options.tokenizer_dir)
    return ModelRegistry(layout, served, loader, limit, serves_all=options.all_models)


if __name__ == "__main__":
    from nanochat.cli import main as front

    raise SystemExit(front(["chat_web", *sys.argv[1:]]))
