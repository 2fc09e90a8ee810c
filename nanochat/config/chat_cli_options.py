"""Options of `nanochat chat_cli`."""

from dataclasses import dataclass

from nanochat.common.paths import CHECKPOINT_FOLDERS
from nanochat.config.options import option
from nanochat.config.serve_options import AnsweringOptions


@dataclass(frozen=True)
class ChatCliOptions(AnsweringOptions):
    """Talk to a checkpoint, or to any OpenAI-compatible server."""

    model: str = option(
        "",
        "SOURCE/TAG[@STEP], such as sft/d20@650, instead of the next three; with --url the server's name",
        group="Model",
    )
    source: str = option(
        "sft", "Stage that wrote the checkpoint", short="-i", group="Model", choices=tuple(CHECKPOINT_FOLDERS)
    )
    model_tag: str = option(
        "", "Name of the checkpoint folder; default the deepest model's", short="-g", group="Model"
    )
    step: int = option(
        -1, "Step of the checkpoint", minus_one="the latest", short="-s", group="Model", minimum=0
    )
    url: str = option(
        "", "Talk to the server at this address instead, such as http://127.0.0.1:8000", group="Model"
    )
    api_key: str = option(
        "", "The server's key; better NANOCHAT_API_KEY, which `ps` does not show", group="Model"
    )
    prompt: str = option(
        "", "Ask this, print the answer, and end; - reads the question from stdin", short="-p"
    )
    prompts: str = option(
        "", "Ask each prompt of this file (text or .jsonl) and write a line of JSON for each", path=True
    )
    json: bool = option(False, "With -p or stdin: one line of JSON instead of the answer's text")
    load: str = option("", "Go on with a saved conversation", path=True)
    system: str = option("", "System message: what the model is told first", group="Answers")
    temperature: float = option(
        0.6, "Sampling temperature; 0: greedy", short="-t", group="Answers", minimum=0, maximum=2
    )
    top_k: int = option(
        50, "Sample from the k most likely tokens; 0: from all", short="-k", group="Answers", minimum=0
    )
    top_p: float = option(
        1.0,
        "Of those, sample from the fewest whose probabilities reach this",
        group="Answers",
        minimum=1e-6,
        maximum=1,
    )
    min_p: float = option(
        0.0,
        "Leave out tokens less likely than this times the likeliest",
        group="Answers",
        minimum=0,
        maximum=1,
    )
    max_tokens: int = option(256, "Most tokens of an answer", short="-m", group="Answers", minimum=1)
    seed: int = option(
        -1, "Seed of the sampling", minus_one="a new one for each answer", group="Answers", minimum=0
    )
