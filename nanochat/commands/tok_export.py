"""`nanochat tok_export`: a tokenizer as files that other libraries load."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanochat.common.errors import Exit, UserError
from nanochat.common.fields import json_text
from nanochat.common.paths import atomic_write_all, make_dir
from nanochat.common.text import sanitize, size_bytes
from nanochat.config.command_parser import Parser, command_parser, parse_options
from nanochat.config.data_options import TokExportOptions
from nanochat.tokenizer.explore.rank_file import ABOUT_SUFFIX

if TYPE_CHECKING:
    from nanochat.tokenizer.tokenizer import Tokenizer

RANKS = "tokenizer.tiktoken"


def parser() -> Parser:
    """The parser of `nanochat tok_export`."""
    return command_parser(
        "nanochat tok_export",
        "Write a tokenizer, ours or upstream nanochat's, as Hugging Face's tokenizer.json and as a tiktoken "
        "rank file. Ids are the same in all of them.",
        TokExportOptions,
    )


def main(argv: Sequence[str]) -> int:
    """Runs `nanochat tok_export …` and returns its exit code."""
    options, layout = parse_options(TokExportOptions, parser(), argv)
    if not options.out:
        raise UserError("nanochat tok_export: no --out", "name the folder to write, for example --out tok-hf")
    out = layout.resolve(options.out)

    from nanochat.tokenizer.tokenizer import Tokenizer

    folder = layout.tokenizer_dir(options.tokenizer_dir)
    tokenizer = Tokenizer.load(folder)
    files = exported(tokenizer, context=options.max_seq_len, chat=options.chat)
    if folder.resolve() == out.resolve():
        raise UserError(f"{out} is the tokenizer's own folder", "name another one")
    if not options.force and (there := [name for name in files if (out / name).exists()]):
        raise UserError(f"{out / there[0]} exists", "name another folder, or --force replaces an export")
    make_dir(out)
    atomic_write_all({out / name: content for name, content in files.items()})
    size = size_bytes(sum(len(content) for content in files.values()))
    print(sanitize(f"{tokenizer.vocab_size:,} ids of {folder}: wrote {len(files)} files, {size}, to {out}"))
    for name in files:
        print(f"  {name:<24} {_ABOUT[name]}")
    return Exit.OK


_ABOUT = {
    "tokenizer.json": "tokenizers.Tokenizer.from_file",
    "tokenizer_config.json": "with it: transformers.AutoTokenizer.from_pretrained, chat template included",
    RANKS: "tiktoken's ranks: a line each of base64 bytes and an id",
    RANKS + ABOUT_SUFFIX: "its split pattern and special tokens, which a rank file does not hold",
    "README.md": "how each is loaded",
}


def exported(tokenizer: "Tokenizer", *, context: int, chat: bool) -> dict[str, bytes]:
    """The files by name. `context` is the model's, in tokens; with `chat` a text ends as an answer does."""
    from nanochat.tokenizer.files import rank_file
    from nanochat.tokenizer.huggingface import tokenizer_config, tokenizer_json

    ranks = rank_file(tokenizer.ranks)
    about = {
        "name": "nanochat",
        "pat_str": tokenizer.pattern,
        "special_tokens": tokenizer.special_ids,
        "explicit_n_vocab": tokenizer.vocab_size,
        "ranks_sha256": hashlib.sha256(ranks).hexdigest(),
    }
    return {
        "tokenizer.json": _json(tokenizer_json(tokenizer)),
        "tokenizer_config.json": _json(tokenizer_config(context, chat=chat)),
        RANKS: ranks,
        RANKS + ABOUT_SUFFIX: _json(about),
        "README.md": _README.encode(),
    }


def _json(content: object) -> bytes:
    return f"{json_text(content, indent=2)}\n".encode()


_README = f"""\
# A nanochat tokenizer

The same ids for the same text in each of these, without what is added around a text:

```python
import tokenizers

tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
tokenizer.encode_special_tokens = True  # "<|bos|>" in a text is plain characters, as in nanochat
ids = tokenizer.encode("The capital of France", add_special_tokens=False).ids
```

```python
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")
ids = tokenizer.encode("The capital of France", add_special_tokens=False, split_special_tokens=True)
```

```python
import base64
import json

import tiktoken

about = json.load(open("{RANKS}{ABOUT_SUFFIX}", encoding="utf-8"))
about.pop("ranks_sha256")
lines = [line.split() for line in open("{RANKS}", "rb")]  # load_tiktoken_bpe would keep a copy in its cache
ranks = {{base64.b64decode(token): int(rank) for token, rank in lines}}
tokenizer = tiktoken.Encoding(mergeable_ranks=ranks, **about)
ids = tokenizer.encode_ordinary("The capital of France")
```

By default `tokenizers` and `transformers` put `<|bos|>` first, as a model expects at the start of a document,
and take a special token that a text spells for the token itself. A rank file holds no split pattern: without
the one in `{RANKS}{ABOUT_SUFFIX}` the ids would be others.
"""
