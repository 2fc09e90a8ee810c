"""Compares our tokenizer with those of GPT-2 and GPT-4, with characters and with words, text by text."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nanochat.common.errors import Exit, UserError
from nanochat.common.paths import atomic_write_all, make_dir
from nanochat.config.data_options import TokEvalOptions
from nanochat.data.measured_texts import own_texts, shard_texts
from nanochat.evals.results import EVALUATION, EVALUATIONS, EvaluationResult
from nanochat.run.events import JSON
from nanochat.run.stage_run import StageRun, main
from nanochat.tokenizer.evaluation import (
    Count,
    Ids,
    Vocabulary,
    characters,
    count_text,
    most_frequent,
    partial_tokens,
    trained_vocabulary,
    words,
)
from nanochat.tokenizer.evaluation_tables import (
    as_csv,
    as_markdown,
    comparison_lines,
    figures,
    own_lines,
    unknown_lines,
)
from nanochat.tokenizer.published import GPT2, GPT4, published_encoding
from nanochat.tokenizer.sample_texts import TEXTS
from nanochat.tokenizer.special_tokens import SPECIAL_TOKENS
from nanochat.tokenizer.tokenizer import Tokenizer, split_long_runs

if TYPE_CHECKING:
    import tiktoken

FOLDER = "tok_eval"
"""Of the result files, under the base directory."""
Texts = Mapping[str, Iterable[str]]
"""The documents of each text, by its name. They are read once."""


def run(options: TokEvalOptions, run: StageRun) -> dict[str, float | int | str]:
    """The stage. Results: each text in our tokens, and the difference to each vocabulary."""
    folder = run.layout.tokenizer_dir(options.tokenizer_dir)
    tokenizer = Tokenizer.load(folder)
    built_in = read_texts(options, run)
    texts: Texts = {
        **{name: [text] for name, text in built_in.items()},
        **own_texts(
            [run.layout.resolve(path) for path in options.paths],
            built_in,
            text_key=options.text_key,
            max_chars=options.max_chars,
            note=run.log,
            cut=lambda line: run.alert("text_cut", line),
        ),
    }
    settings: dict[str, JSON] = {"data": run.layout.told(run.layout.data_dir(options.data_dir))}
    if options.paths:
        settings |= {"paths": list(options.paths), "max_chars": options.max_chars}
    told = EvaluationResult(run.layout.told(folder), None, "tokenizer", settings, run=run.run_id)
    info: dict[str, JSON] = {
        "tokenizer_dir": str(folder),
        "vocab_size": tokenizer.vocab_size,
        "sha256": tokenizer.sha256,
    }
    run.start(total_steps=len(texts), unit="text", info={**info, EVALUATIONS: [told.as_json()]})
    vocabularies = [
        trained_vocabulary("ours", tokenizer),
        *published(options, run),
        *whole_units(built_in.get("train", ""), tokenizer.vocab_size),
    ]
    counts = count_all(texts, vocabularies, tokenizer, run)
    results: dict[str, float | int] = {"vocab_size": tokenizer.vocab_size, **figures(counts)}
    told = replace(told, figures=results, complete=True, t=round(time.time(), 3))
    values: dict[str, JSON] = {f"tok/{name}": value for name, value in results.items()}
    run.eval(None, {**values, EVALUATION: told.as_json()})
    for line in [*own_lines(counts), *unknown_lines(counts), *comparison_lines(counts)]:
        run.log(line)
    log_special_tokens(run, vocabularies[1:])
    write_files(run, told, f"{folder.name}-{tokenizer.sha256[:8]}", counts)
    run.metric(None, {"progress": 1.0, "eta_s": 0.0})
    return {**results}


def count_all(
    texts: Texts, vocabularies: list[Vocabulary], tokenizer: Tokenizer, run: StageRun
) -> dict[str, list[Count]]:
    """Each text in every vocabulary. Raises `UserError` for one that ours does not give back, or that is
    empty."""
    counts: dict[str, list[Count]] = {}
    own_first = sorted(texts, key=lambda name: isinstance(texts[name], list))  # a bad path is told at once
    for done, name in enumerate(own_first, start=1):
        documents = texts[name]

        def check(document: str, ids: Ids, name: str = name) -> None:
            run.check_stop()
            check_round_trip(tokenizer, name, document, ids)

        counts[name] = count_text(documents, vocabularies, check)
        if not counts[name][0].size.bytes:
            raise UserError(f"the text '{name}' is empty", "name files and folders that hold text")
        run.metric(None, {"progress": done / len(texts)})
    run.log(f"round trip: {len(texts)} texts decode from their ids byte for byte")
    return {name: counts[name] for name in texts}


def whole_units(text: str, size: int) -> list[Vocabulary]:
    """Characters and words. With training text the `size` most frequent in it are what a vocabulary as large
    as ours would know; all else would be unknown."""
    if not text:
        return [characters(), words()]
    return [characters(most_frequent(text, size)), words(most_frequent(text.split(), size))]


def write_files(run: StageRun, told: EvaluationResult, name: str, counts: Mapping[str, list[Count]]) -> None:
    """The result as JSON, Markdown and csv, which belong together."""
    stem = make_dir(run.layout.base / FOLDER) / name
    title = f"Tokenizer {told.checkpoint}"
    contents = {
        ".json": json.dumps(told.as_json(), indent=1) + "\n",
        ".md": as_markdown(title, counts),
        ".csv": as_csv(counts),
    }
    atomic_write_all({stem.with_name(name + ending): text for ending, text in contents.items()})
    run.log(f"written to {run.layout.told(stem)}.json, .md and .csv")


def read_texts(options: TokEvalOptions, run: StageRun) -> dict[str, str]:
    """The built-in texts, and the first row group of training and validation data where there are shards."""
    texts = dict(TEXTS)
    folder = run.layout.data_dir(options.data_dir)
    if not options.data_dir and not folder.is_dir():
        run.alert("no_data", f"no training data in {folder}: only the built-in texts are compared")
        return texts
    return {**texts, **shard_texts(folder)}


def published(options: TokEvalOptions, run: StageRun) -> list[Vocabulary]:
    """GPT-2's and GPT-4's vocabularies; one that is not available is skipped with an alert."""
    found = []
    folder = run.layout.resolve(options.vocab_dir) if options.vocab_dir else None
    for vocabulary in (GPT2, GPT4):
        try:
            encoding = published_encoding(vocabulary, folder, offline=options.offline, note=run.log)
        except UserError as error:
            run.alert("no_vocabulary", f"compared without {vocabulary.name}: {error}")
            continue

        def encode(text: str, encode: Callable[[str], list[int]] = encoding.encode_ordinary) -> list[int]:
            return [token for piece in split_long_runs(text) for token in encode(piece)]

        tokens = published_tokens(encoding)
        found.append(Vocabulary(vocabulary.name, encoding.n_vocab, encode, partial_tokens(tokens)))
    return found


def published_tokens(encoding: "tiktoken.Encoding") -> Iterator[bytes]:
    """The bytes of each id; none where a published vocabulary leaves an id out."""
    for token in range(encoding.n_vocab):
        try:
            yield encoding.decode_single_token_bytes(token)
        except KeyError:
            yield b""


def check_round_trip(tokenizer: Tokenizer, name: str, text: str, ids: Ids) -> None:
    """Raises `UserError` (exit 1) unless the ids of `text` decode to exactly its bytes."""
    if tokenizer.decode_bytes(np.asarray(ids).tolist()) != text.encode():
        raise UserError(
            f"decoding does not give the text '{name}' back",
            "train the tokenizer again: nanochat tok_train",
            Exit.FAILED,
        )


def log_special_tokens(run: StageRun, others: list[Vocabulary]) -> None:
    """Logs how many tokens the special tokens take, spelled out, in vocabularies that lack them."""
    foreign = []
    for vocabulary in others:
        if vocabulary.encode is not None:
            tokens = sum(len(vocabulary.encode(name)) for name in SPECIAL_TOKENS)
            foreign.append(f"{tokens / len(SPECIAL_TOKENS):.1f} in {vocabulary.name}")
    if foreign:
        run.log(f"a special token is one id here; as text, in tokens: {', '.join(foreign)}")


if __name__ == "__main__":
    raise SystemExit(main("tok_eval"))
