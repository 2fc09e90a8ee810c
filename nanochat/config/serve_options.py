"""Options of `nanochat chat_web`, and those that it shares with `nanochat chat_cli`."""

from dataclasses import dataclass

from nanochat.common.paths import CHECKPOINT_FOLDERS
from nanochat.config.options import option

KEY_VARIABLE = "NANOCHAT_API_KEY"
"""The environment variable with the key that a server asks for and its clients send."""


@dataclass(frozen=True)
class AnsweringOptions:
    """What a model that answers runs on."""

    device_type: str = option(
        "", "Device to run on; default the best available", group="Run", choices=("", "cpu", "cuda", "mps")
    )
    dtype: str = option(
        "auto",
        "Data type to compute in; auto: bfloat16 where a GPU has it, else float32",
        group="Run",
        choices=("auto", "float32", "bfloat16", "float16"),
    )


@dataclass(frozen=True)
class ChatWebOptions(AnsweringOptions):
    """Serve checkpoints to every client of OpenAI's API."""

    model: tuple[str, ...] = option(
        (),
        "Checkpoints to serve, each SOURCE/TAG[@STEP] or NAME=SOURCE/TAG[@STEP], the default one first; may "
        "be given again; default the newest of the furthest stage",
        group="Model",
        repeated=True,
    )
    all_models: bool = option(
        False,
        "Serve every checkpoint of the base directory, also those saved later, each loaded when it is "
        "first asked for",
        group="Model",
    )
    source: str = option(
        "",
        "Instead of --model: the stage that wrote the checkpoint",
        short="-i",
        group="Model",
        choices=("", *CHECKPOINT_FOLDERS),
    )
    model_tag: str = option("", "Its folder's name; default the deepest model's", short="-g", group="Model")
    step: int = option(-1, "Its step", minus_one="the latest", short="-s", group="Model", minimum=0)
    tokenizer_dir: str = option(
        "", "Folder with the tokenizer; default the checkpoint's own", group="Model", path=True
    )
    host: str = option("127.0.0.1", "Address to listen at; any but this machine's own needs a key")
    port: int = option(8000, "Port; 0: a free one", short="-p", minimum=0, maximum=65_535)
    json: bool = option(False, "Print the line that says where it listens as JSON")
    access_log: bool = option(False, "Log every request to stderr")
    api_key: str = option(
        "",
        "Key that clients must send; better NANOCHAT_API_KEY or --api-key-file, which `ps` does not show",
        group="Access",
    )
    api_key_file: str = option("", "File whose first line is the key", group="Access", path=True)
    auth: bool = option(
        True, "Ask for the key, where there is one, and listen elsewhere only with one", group="Access"
    )
    cors_origin: tuple[str, ...] = option(
        (), "Web pages' origins that may ask, such as http://localhost:3000; *: any", group="Access"
    )
    max_rows: int = option(
        32, "Answers computed together, on each device", group="Batch", minimum=1, maximum=4096
    )
    queue: int = option(
        64,
        "Answers that may wait for a place; more are told to come back",
        group="Batch",
        minimum=0,
        maximum=1_000_000,
    )
    prefix_cache: int = option(
        -1,
        "MiB of keys and values kept from earlier prompts and answers, on each device; 0: none",
        minus_one="512 on a CPU, 4096 on a GPU, less where memory is short",
        group="Batch",
        minimum=0,
    )
    max_memory: float = option(
        -1,
        "GiB that models may take on each device, before the one used longest ago is unloaded",
        minus_one="half of what is free on a CPU, nine tenths on a GPU",
        group="Batch",
        minimum=0.01,
    )
    unload_after: float = option(
        -1,
        "Minutes after which a model that nobody asks gives its memory back, until it is asked again",
        minus_one="never",
        group="Batch",
        minimum=0.01,
    )
    num_gpus: int = option(
        1, "Copies of a model, one a GPU", short="-n", group="Run", minimum=1, maximum=1024
    )
    gpus: tuple[str, ...] = option(
        (),
        "These GPUs by number, such as 0,2, even if something runs on them; default free ones",
        group="Run",
    )
