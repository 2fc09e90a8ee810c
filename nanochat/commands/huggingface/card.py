"""The model card of an export: what the model is, what it was trained on, its scores, how it is loaded."""

from collections.abc import Iterator
from typing import Any

from nanochat.checkpoint.figures import bpb_of_step
from nanochat.checkpoint.files import Checkpoint
from nanochat.checkpoint.names import CheckpointName
from nanochat.commands.huggingface.documents import lacking
from nanochat.common import fields
from nanochat.common.paths import Layout
from nanochat.common.table_formats import markdown
from nanochat.common.text import sanitize
from nanochat.evals.results import MEANS, EvaluationResult, Kind, TaskFigure, read_result
from nanochat.model.architecture import ModelConfig, parameter_counts

FOLDERS = ("base_eval", "chat_eval", "base_loss")
MOST_FILES, MOST_BYTES = 2_000, 1 << 20
TITLES: dict[Kind, str] = {"core": "CORE", "chat": "chat", "bpb": "bits per byte"}


def results_of(layout: Layout, name: CheckpointName) -> list[EvaluationResult]:
    """The newest result of each kind that lies in the base directory, of that very step."""
    newest: dict[str, EvaluationResult] = {}
    for result in _results(layout):
        if result.checkpoint == f"{name.source}/{name.tag}" and result.step == name.step:
            known = newest.get(result.kind)
            if known is None or (result.complete, result.t) >= (known.complete, known.t):
                newest[result.kind] = result
    return [newest[kind] for kind in TITLES if kind in newest]


def _results(layout: Layout) -> Iterator[EvaluationResult]:
    for folder in FOLDERS:
        try:
            paths = sorted((layout.base / folder).glob("*.json"))[-MOST_FILES:]
        except OSError:
            continue
        for path in paths:
            try:
                if not path.is_file() or path.stat().st_size > MOST_BYTES:
                    continue
                document = fields.json_object(path.read_bytes())
            except OSError:
                continue
            if document is not None and (result := read_result(document)) is not None:
                yield result


def model_card(layout: Layout, checkpoint: Checkpoint, config: ModelConfig, name: CheckpointName) -> str:
    """A README for whoever finds the folder."""
    modern = lacking(config)
    era = "modern" if modern else "classic"
    total = parameter_counts(config)["total"]
    title, trained = sanitize(name.tag, 120), _trained_on(checkpoint.meta.get("data"))
    return "\n".join(
        part
        for part in (
            "---\nlibrary_name: transformers\npipeline_tag: text-generation\n---\n",
            f"# {title}\n",
            f"A nanochat model of the {era} architecture ({name.source}, step {name.step}).\n",
            f"- {total:,} parameters: {config.n_layer} layers, width {config.n_embd}, {config.n_head} heads "
            f"({config.n_kv_head} for keys and values)",
            f"- vocabulary {config.vocab_size:,}, context {config.sequence_len:,} tokens",
            trained,
            _scores(layout, checkpoint, name),
            _rounding(config) if not modern else _own_code(modern),
            _usage(bool(modern)),
        )
        if part
    )


def _trained_on(data: Any) -> str:
    if not isinstance(data, dict):
        return ""
    told = [text for word in ("name", "size") if (text := fields.text(data.get(word)))]
    digest = fields.text(data.get("sha256"), 64)
    return f"- trained on {', '.join(told)}" + (f" (sha256 {digest[:16]}…)" if digest else "") if told else ""


def _scores(layout: Layout, checkpoint: Checkpoint, name: CheckpointName) -> str:
    """The tables of what was measured of this step, here or while training."""
    bpb = bpb_of_step(checkpoint)
    parts = [f"- {bpb:.4f} bits per byte on its validation text"] if bpb is not None else []
    results = results_of(layout, name)
    if not any(result.kind in MEANS for result in results):
        figures = checkpoint.meta.get("figures")
        parts += list(_while_training(figures if isinstance(figures, dict) else {}))
    for result in results:
        if result.kind in MEANS:
            parts.append(f"\n## {TITLES[result.kind]}\n\n{_table(result)}")
        elif result.bpb:
            split = ", ".join(f"{split} {value:.4f}" for split, value in result.bpb.items())
            parts.append(f"- bits per byte: {split}")
    return "\n".join(parts)


def _table(result: EvaluationResult) -> str:
    rows = [_row(task, figure) for task, figure in result.tasks.items()]
    if result.mean is not None:
        error = "" if result.mean_stderr is None else f"{result.mean_stderr:.4f}"
        rows.append([MEANS[result.kind], "", f"{result.mean:.4f}", error])
    settings = ", ".join(f"{name} {value}" for name, value in result.settings.items() if name != "bundle")
    note = f"\nmeasured with {sanitize(settings, 300)}\n" if settings else ""
    return markdown(["task", "accuracy", "centered", "±"], rows) + note


def _row(task: str, figure: TaskFigure) -> list[str]:
    values = (figure.accuracy, figure.centered, figure.stderr)
    return [task, *("" if value is None else f"{value:.4f}" for value in values)]


def _while_training(figures: dict[str, Any]) -> Iterator[str]:
    told = [
        f"{sanitize(task, 60)} {value:.4f}"
        for name, value in list(figures.items())[:200]
        for group, _, task in [str(name).partition("/")]
        if group in ("core", "chat", "rl") and "stderr" not in task and isinstance(value, int | float)
    ]
    if told:
        yield f"- measured while training: {', '.join(told)}"


def _rounding(config: ModelConfig) -> str:
    if not config.parts.rotary_bfloat16:
        return ""
    return (
        "\nIt was trained with rotary tables rounded to bfloat16. Loaded in float32, transformers does\n"
        "not round them, and logits differ by about 0.001 from nanochat's; in bfloat16 it does as well."
    )


def _own_code(parts: list[str]) -> str:
    return (
        f"\nIt has parts that transformers' own NanoChat lacks ({', '.join(parts)}), so the folder\n"
        "brings its code, `modeling_nanochat.py`, which `trust_remote_code=True` runs. It is written for\n"
        "transformers 5.24. llama.cpp and other readers of gguf know no nanochat architecture."
    )


def _usage(remote_code: bool) -> str:
    more = ", trust_remote_code=True" if remote_code else ""
    return (
        "\n```python\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'model = AutoModelForCausalLM.from_pretrained("."{more})\n'
        f'tokenizer = AutoTokenizer.from_pretrained("."{more})\n'
        'ids = tokenizer("The capital of France is", return_tensors="pt")\n'
        "print(tokenizer.decode(model.generate(**ids, max_new_tokens=16)[0]))\n"
        "```\n\n"
        "Text is encoded after `<|bos|>`. Special tokens spelled in a text are read as such; "
        "`split_special_tokens=True`\nreads them as the characters they are, as nanochat does.\n"
    )
