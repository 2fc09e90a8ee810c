"""Options of the stages that make shards and tokenizers, and of `data stats`."""

from dataclasses import dataclass

from nanochat.config.options import option


@dataclass(frozen=True)
class DataBuildOptions:
    """Pack files and folders into training shards."""

    paths: tuple[str, ...] = option(
        (),
        "Files and folders to pack: text, Markdown, HTML, code, JSON records, parquet; gz, zst, xz, bz2",
        group="Input",
        path=True,
        positional=True,
    )
    out: str = option(
        "",
        "Folder to write the shards to; default base_data under the base directory",
        group="Output",
        path=True,
    )
    demo: bool = option(
        False,
        "Pack the demo corpus: this Python's library sources, docstrings and help topics",
        group="Input",
    )
    text_key: str = option("text", "Field that holds the text in JSON and parquet records", group="Input")
    doc_chars: int = option(
        10_000,
        "Split files longer than this many characters at blank lines; 0: never. Records are never split",
        group="Input",
        minimum=0,
    )
    min_chars: int = option(1, "Skip documents shorter than this many characters", group="Input", minimum=1)
    shard_chars: int = option(250_000_000, "Approximate characters per shard", group="Output", minimum=1000)
    row_group: int = option(1024, "Documents per row group", group="Output", minimum=1)
    val_chars: int = option(
        -1,
        "Characters to hold out as the validation shard",
        minus_one="a twentieth, at most one shard",
        group="Output",
        minimum=1,
    )
    seed: int = option(42, "Seed of the document shuffle", group="Output")
    overwrite: bool = option(False, "Replace the shards already in the folder", group="Output")


@dataclass(frozen=True)
class DataDownloadOptions:
    """Download a published set of shards, or the bundle of CORE."""

    dataset: str = option(
        "climbmix",
        "Data set to download, or eval-bundle for CORE's tasks",
        choices=("climbmix", "fineweb-edu", "eval-bundle"),
    )
    num_files: int = option(
        -1,
        "Number of shards to download, from the first; climbmix adds its validation shard",
        minus_one="all",
        short="-n",
        minimum=0,
    )
    num_workers: int = option(4, "Parallel downloads", short="-w", minimum=1, maximum=64)
    out: str = option(
        "",
        "Folder to write to; default the data set's own under the base directory",
        path=True,
    )
    mirror: str = option("", "URL to use instead of https://huggingface.co, or of the bundle's server")
    retry_wait: float = option(
        2.0,
        "Seconds before the second of five attempts; doubles after each",
        minimum=0,
        maximum=600,
    )


@dataclass(frozen=True)
class DataStatsOptions:
    """Tell numbers about a corpus."""

    paths: tuple[str, ...] = option(
        (),
        "Files and folders, whatever data build reads; default the shards",
        group="Input",
        path=True,
        positional=True,
    )
    data_dir: str = option(
        "", "Folder with the shards; default base_data_climbmix, else base_data", group="Input", path=True
    )
    tokenizer_dir: str = option(
        "", "Folder with the tokenizer; default tokenizer under the base directory", group="Input", path=True
    )
    text_key: str = option("text", "Field that holds the text in JSON and parquet records", group="Input")
    doc_chars: int = option(
        10_000,
        "Split files longer than this many characters, as data build; 0: never",
        group="Input",
        minimum=0,
    )
    max_chars: int = option(
        -1,
        "Stop after the document that brings the total over this many characters",
        minus_one="read all",
        group="Input",
        minimum=1,
    )
    contexts: tuple[str, ...] = option(
        ("512", "1024", "2048", "4096"), "Contexts to tell the share cropped at", group="Output"
    )
    longest: int = option(
        10, "How many of the longest documents to list", group="Output", minimum=0, maximum=1000
    )


@dataclass(frozen=True)
class TokTrainOptions:
    """Train the byte-level BPE tokenizer."""

    max_chars: int = option(
        2_000_000_000,
        "Stop after the document that brings the total over this many characters",
        minimum=1,
    )
    doc_cap: int = option(10_000, "Truncate each document to this many characters", minimum=1)
    vocab_size: int = option(
        32_768,
        "Vocabulary size, including the 9 special tokens",
        minimum=266,  # MIN_VOCAB of the tokenizer: 256 bytes, 1 merge, 9 special tokens
        maximum=1 << 24,
    )
    data_dir: str = option(
        "",
        "Folder with the shards; default base_data_climbmix, else base_data",
        path=True,
    )
    tokenizer_dir: str = option(
        "",
        "Folder to save the tokenizer in; default tokenizer under the base directory",
        path=True,
    )
    overwrite: bool = option(
        False, "Replace a tokenizer that checkpoints were trained with; the old one is kept beside it"
    )


@dataclass(frozen=True)
class TokSweepOptions:
    """Compare vocabularies of several sizes."""

    vocab_sizes: tuple[str, ...] = option(
        ("4096", "8192", "16384", "32768", "65536"),
        "Vocabulary sizes, special tokens included",
        group="Sizes",
    )
    depth: int = option(
        20, "Layers of the model that the tables are in", group="Sizes", minimum=1, maximum=1000
    )
    max_seq_len: int = option(2048, "Its context length in tokens", group="Sizes", minimum=2)
    data_dir: str = option(
        "", "Folder with the shards; default base_data_climbmix, else base_data", group="Input", path=True
    )
    max_chars: int = option(
        2_000_000_000,
        "Stop after the document that brings the total over this many characters",
        group="Input",
        minimum=1,
    )
    doc_cap: int = option(10_000, "Truncate each document to this many characters", group="Input", minimum=1)
    val_chars: int = option(
        4_000_000, "Characters of validation text to measure on", group="Input", minimum=1
    )
    out: str = option(
        "", "Folder to save the tokenizers in, each in a folder named by its size", group="Output", path=True
    )


@dataclass(frozen=True)
class TokExportOptions:
    """Write a tokenizer for other libraries."""

    tokenizer_dir: str = option(
        "", "Folder of the tokenizer, ours or upstream's; default tokenizer", group="Input", path=True
    )
    out: str = option("", "Folder to write", short="-o", group="Output", path=True)
    max_seq_len: int = option(
        2048, "Context length in tokens of the model, for transformers", group="Output", minimum=1
    )
    chat: bool = option(False, "For a chat model: a text ends with the answer's end", group="Output")
    force: bool = option(False, "Replace an earlier export in the folder", group="Output")


@dataclass(frozen=True)
class TokCompareOptions:
    """Compare tokenizers: tokens that only one has, ids that moved, compression text by text."""

    tokenizers: tuple[str, ...] = option(
        (),
        "Two tokenizers or more: gpt2, cl100k, o200k, bytes, characters, words, or the path of a file or "
        "folder: ours, tokenizer.json, a tiktoken rank file, a SentencePiece model",
        group="Input",
        positional=True,
    )
    texts: tuple[str, ...] = option(
        (),
        "Your own files and folders to measure on too, each as one text; may be given again",
        group="Input",
        path=True,
        repeated=True,
    )
    text_key: str = option("text", "Field that holds the text in JSON and parquet records", group="Input")
    max_chars: int = option(
        20_000_000, "Characters to read of each path", minus_one="all", group="Input", minimum=1
    )
    data_dir: str = option(
        "", "Folder with the shards; default base_data_climbmix, else base_data", group="Input", path=True
    )
    pattern: str = option(
        "", "Split pattern of a rank file that is not known: gpt2, cl100k, o200k, nanochat, or a pattern"
    )
    offline: bool = option(False, "Download nothing: compare with the vocabularies that are here")
    only: str = option("", "Tell of this alone", choices=("tokens", "texts"), group="Output")
    limit: int = option(
        20, "Tokens to list of each kind, but in csv", minus_one="all", group="Output", minimum=0
    )


@dataclass(frozen=True)
class TokCountsOptions:
    """Count how often each token stands in a corpus, and tell those that it hardly has."""

    tokenizer: str = option(
        "", "A tokenizer, as tok_compare takes it; default tokenizer under the base directory", group="Input"
    )
    data_dir: str = option(
        "", "Folder with the shards; default base_data_climbmix, else base_data", group="Input", path=True
    )
    pattern: str = option(
        "", "Split pattern of a rank file that is not known: gpt2, cl100k, o200k, nanochat, or a pattern"
    )
    offline: bool = option(False, "Download nothing: take a vocabulary that is here")
    only: str = option(
        "rare",
        "Which tokens to list: never in the corpus, hardly (under ten times), both as rare, or all of them",
        choices=("rare", "never", "hardly", "all"),
        group="Output",
    )
    limit: int = option(20, "Tokens to list, but in csv and JSON", minus_one="all", group="Output", minimum=0)


@dataclass(frozen=True)
class TokEvalOptions:
    """Compare the tokenizer with GPT-2's and GPT-4's."""

    paths: tuple[str, ...] = option(
        (),
        "Your own files and folders to compare on too, each as one text, whatever data build reads",
        group="Input",
        path=True,
        positional=True,
    )
    text_key: str = option("text", "Field that holds the text in JSON and parquet records", group="Input")
    max_chars: int = option(
        20_000_000, "Characters to read of each path", minus_one="all", group="Input", minimum=1
    )
    data_dir: str = option(
        "",
        "Folder with the shards; default base_data_climbmix, else base_data",
        path=True,
    )
    tokenizer_dir: str = option(
        "",
        "Folder with the tokenizer; default tokenizer under the base directory",
        path=True,
    )
    vocab_dir: str = option(
        "",
        "Folder with tiktoken's rank files; default TIKTOKEN_CACHE_DIR, else tiktoken's own cache",
        path=True,
    )
    offline: bool = option(False, "Download nothing: compare with the vocabularies that are here")
