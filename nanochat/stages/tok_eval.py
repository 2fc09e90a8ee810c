"""Compares our tokenizer with those of GPT-2 and GPT-4, with characters and with words, text by text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from nanochat.common.errors import Exit, UserError
from nanochat.config.data_options import TokEvalOptions
from nanochat.data.shards import open_shard, read_row_group, split_shards
from nanochat.evals.results import EVALUATION, EVALUATIONS, EvaluationResult
from nanochat.run.events import JSON
from nanochat.run.stage_run import StageRun, main
from nanochat.tokenizer.published import GPT2, GPT4, published_encoding
from nanochat.tokenizer.sample_texts import TEXTS
from nanochat.tokenizer.special_tokens import SPECIAL_TOKENS
from nanochat.tokenizer.tokenizer import Tokenizer, split_long_runs


@dataclass(frozen=True)
class Count:
    """How many tokens a text of `size` bytes is."""

    size: int
    tokens: int

    @property
    def bytes_per_token(self) -> float:
        return self.size / self.tokens if self.tokens else 0.0


@dataclass(frozen=True)
class Vocabulary:
    """Something that splits text into tokens. `ids` is the number of different ones, None without bound."""

    name: str
    count: Callable[[str], int]
    ids: int | None = None

    @property
    def key(self) -> str:
        return self.name.lower().replace("-", "")


def run(options: TokEvalOptions, run: StageRun) -> dict[str, float | int | str]:
    """The stage. Results: bytes per token and the difference to each vocabulary, for each text."""
    folder = run.layout.tokenizer_dir(options.tokenizer_dir)
    tokenizer = Tokenizer.load(folder)
    texts = read_texts(options, run)
    settings = {"data": run.layout.told(run.layout.data_dir(options.data_dir))}
    told = EvaluationResult(run.layout.told(folder), None, "tokenizer", settings, run=run.run_id)
    info: dict[str, JSON] = {
        "tokenizer_dir": str(folder),
        "vocab_size": tokenizer.vocab_size,
        "sha256": tokenizer.sha256,
    }
    run.start(total_steps=len(texts), unit="text", info={**info, EVALUATIONS: [told.as_json()]})
    for name, text in texts.items():
        check_round_trip(tokenizer, name, text)
    run.log(f"round trip: {len(texts)} texts decode from their ids byte for byte")
    ours = Vocabulary("ours", lambda text: len(tokenizer.encode(text)), tokenizer.vocab_size)
    others = [*published(options, run), CHARACTERS, WORDS]
    counts: dict[str, dict[str, Count]] = {}
    for vocabulary in (ours, *others):
        run.check_stop()
        counts[vocabulary.name] = {
            name: Count(len(text.encode()), vocabulary.count(text)) for name, text in texts.items()
        }
    results = compared(ours, others, counts)
    told = replace(told, figures=results, complete=True)
    values: dict[str, JSON] = {f"tok/{name}": value for name, value in results.items()}
    run.eval(None, {**values, EVALUATION: told.as_json()})
    for vocabulary in others:
        for line in table(ours, vocabulary, counts["ours"], counts[vocabulary.name]):
            run.log(line)
    log_special_tokens(run, others)
    run.metric(None, {"progress": 1.0, "eta_s": 0.0})
    return {**results}


def compared(
    ours: Vocabulary, others: list[Vocabulary], counts: Mapping[str, Mapping[str, Count]]
) -> dict[str, float | int]:
    """The results: each text in our tokens, and how many per cent fewer these are than in each other."""
    results: dict[str, float | int] = {"vocab_size": ours.ids or 0}
    for name, own in counts[ours.name].items():
        results[f"{name}/bytes"], results[f"{name}/tokens"] = own.size, own.tokens
        results[f"{name}/bytes_per_token"] = round(own.bytes_per_token, 4)
        for vocabulary in others:
            saved = difference(own, counts[vocabulary.name][name])
            results[f"{name}/fewer_than_{vocabulary.key}_percent"] = round(saved, 2)
    return results


CHARACTERS = Vocabulary("characters", len)
WORDS = Vocabulary("words", lambda text: len(text.split()))


def read_texts(options: TokEvalOptions, run: StageRun) -> dict[str, str]:
    """The built-in texts, and the first row group of training and validation data where there are shards."""
    texts = dict(TEXTS)
    folder = run.layout.data_dir(options.data_dir)
    if not options.data_dir and not folder.is_dir():
        run.alert("no_data", f"no training data in {folder}: only the built-in texts are compared")
        return texts
    shards = split_shards(folder)
    for name, path in (("train", shards.train[0]), ("val", shards.val)):
        with open_shard(path) as file:
            text = "\n".join(read_row_group(file, path, 0)) if file.num_row_groups else ""
        if not text:
            raise UserError(f"the first row group of {path} holds no text", "build the shards again")
        texts[name] = text
    return texts


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

        def count(text: str, encode: Callable[[str], list[int]] = encoding.encode_ordinary) -> int:
            return sum(len(encode(piece)) for piece in split_long_runs(text))

        found.append(Vocabulary(vocabulary.name, count, encoding.n_vocab))
    return found


def check_round_trip(tokenizer: Tokenizer, name: str, text: str) -> None:
    """Raises `UserError` (exit 1) unless the ids of `text` decode to exactly its bytes."""
    if tokenizer.decode_bytes(tokenizer.encode(text)) != text.encode():
        raise UserError(
            f"decoding does not give the text '{name}' back",
            "train the tokenizer again: nanochat tok_train",
            Exit.FAILED,
        )


def difference(ours: Count, other: Count) -> float:
    """How many per cent fewer tokens ours needs than the other; negative: more."""
    return 100 * (other.tokens - ours.tokens) / other.tokens if other.tokens else 0.0


def table(
    ours: Vocabulary, other: Vocabulary, own: Mapping[str, Count], counts: Mapping[str, Count]
) -> list[str]:
    """One comparison in lines of at most 80 columns; the last column is what attention over the same text
    costs, its work growing with the square of the tokens."""
    size = f" ({other.ids:,} ids)" if other.ids else ""
    lines = [
        f"ours ({ours.ids:,} ids) against {other.name}{size}",
        f"{'text':<8} {'bytes':>10} {other.name:>11} {'bytes/tok':>9} {'ours':>10} {'bytes/tok':>9} "
        f"{'fewer':>7} {'attention':>9}",
    ]
    for name, count in counts.items():
        mine = own[name]
        cost = (mine.tokens / count.tokens) ** 2 if count.tokens else 0.0
        lines.append(
            f"{name:<8} {count.size:>10,} {count.tokens:>11,} {count.bytes_per_token:>9.2f} "
            f"{mine.tokens:>10,} {mine.bytes_per_token:>9.2f} {difference(mine, count):>6.1f}% {cost:>8.2f}×"
        )
    return lines


def log_special_tokens(run: StageRun, others: list[Vocabulary]) -> None:
    """Logs how many tokens the special tokens take, spelled out, in vocabularies that lack them."""
    foreign = [
        f"{sum(map(vocabulary.count, SPECIAL_TOKENS)) / len(SPECIAL_TOKENS):.1f} in {vocabulary.name}"
        for vocabulary in others
        if vocabulary.ids
    ]
    if foreign:
        run.log(f"a special token is one id here; as text, in tokens: {', '.join(foreign)}")


if __name__ == "__main__":
    raise SystemExit(main("tok_eval"))
