"""Options of the stages that make shards and tokenizers."""

from dataclasses import dataclass

from nanochat.config.options import option


@dataclass(frozen=True)
class DataBuildOptions:
    """Pack files and folders into training shards."""

    paths: tuple[str, ...] = option(
        (),
        "Files and folders to pack: text, Markdown, HTML, code, jsonl, parquet, gz",
        group="Input",
        path=True,
        positional=True,
    )
    out: str = option(
        "", "Folder of the shards; default base_data under the base directory", group="Output", path=True
    )
    demo: bool = option(
        False, "Pack the running Python's own text: library sources, docstrings, pydoc topics", group="Input"
    )
    text_key: str = option("text", "Field of the text in jsonl and parquet input", group="Input")
    doc_chars: int = option(
        10_000,
        "Split a file longer than this many characters at blank lines; 0: never. Records stay whole",
        group="Input",
        minimum=0,
    )
    min_chars: int = option(1, "Skip documents shorter than this many characters", group="Input", minimum=1)
    shard_chars: int = option(250_000_000, "Characters in a shard, about", group="Output", minimum=1000)
    row_group: int = option(1024, "Documents in a row group", group="Output", minimum=1)
    val_chars: int = option(
        -1,
        "Characters held out as the validation shard",
        minus_one="one part in twenty, at most one shard",
        group="Output",
        minimum=1,
    )
    seed: int = option(42, "Seed of the document shuffle", group="Output")
    overwrite: bool = option(False, "Replace shards that are already in the folder", group="Output")


@dataclass(frozen=True)
class DataDownloadOptions:
    """Fetch a published set of shards, or the bundle of CORE."""

    dataset: str = option(
        "climbmix", "Which set of shards, or eval-bundle: CORE's tasks",
        choices=("climbmix", "fineweb-edu", "eval-bundle"),
    )  # fmt: skip
    num_files: int = option(
        -1,
        "How many shards from the first on; climbmix adds its validation shard",
        minus_one="all",
        short="-n",
        minimum=0,
    )
    num_workers: int = option(4, "Downloads at a time", short="-w", minimum=1, maximum=64)
    out: str = option("", "Folder of the shards; default the set's own under the base directory", path=True)
    mirror: str = option("", "Address that stands for https://huggingface.co, or the bundle's server")
    retry_wait: float = option(
        2.0, "Seconds before the second of five tries; doubles with each", minimum=0, maximum=600
    )


@dataclass(frozen=True)
class TokTrainOptions:
    """Train the byte-level BPE tokenizer."""

    max_chars: int = option(
        2_000_000_000, "Stop after the document that takes the total over this many characters", minimum=1
    )
    doc_cap: int = option(10_000, "Cut each document at this many characters", minimum=1)
    vocab_size: int = option(
        32_768, "Size of the vocabulary, the 9 special tokens included", minimum=265, maximum=1 << 24
    )
    data_dir: str = option("", "Folder of the shards; default base_data_climbmix, else base_data", path=True)
    tokenizer_dir: str = option("", "Folder to save the tokenizer in; default tokenizer", path=True)


@dataclass(frozen=True)
class TokEvalOptions:
    """Compare the tokenizer with GPT-2's and GPT-4's."""

    data_dir: str = option("", "Folder of the shards; default base_data_climbmix, else base_data", path=True)
    tokenizer_dir: str = option("", "Folder of the tokenizer; default tokenizer", path=True)
    vocab_dir: str = option(
        "", "Folder of tiktoken's rank files; default TIKTOKEN_CACHE_DIR, else tiktoken's own", path=True
    )
