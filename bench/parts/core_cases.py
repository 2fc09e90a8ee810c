"""CORE by ours and by karpathy/nanochat with one model's weights. Each runs in a worker."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """What is evaluated: folders of bundle and tokenizer, the model's shape, rows of each task."""

    bundle: str
    tokenizer: str
    depth: int
    head_dim: int
    context: int
    rows: int
    tasks: str
    dtype: str
    threads: int

    def config(self, vocab: int) -> dict[str, Any]:
        width = self.depth * 64
        heads = width // self.head_dim
        return {
            "sequence_len": self.context,
            "vocab_size": vocab,
            "n_layer": self.depth,
            "n_head": heads,
            "n_kv_head": heads,
            "n_embd": width,
            "window_pattern": "L",
        }


def fill(model: Any) -> None:
    """The same numbers in both models: they have the same parameters by name."""
    import torch

    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            generator = torch.Generator().manual_seed(sum(name.encode()))
            drawn = torch.randn(parameter.shape, generator=generator)
            # Matrices keep the scale of what they read; λs stay near where training starts them.
            scale = parameter.shape[1] ** -0.5 if parameter.ndim == 2 else 0.05
            parameter.copy_(drawn * scale + (1.0 if name == "resid_lambdas" else 0.0))


def ours(case: Case) -> dict[str, Any]:
    """Seconds and results of each task."""
    import nanochat  # noqa: F401 - sets how OpenMP waits, before torch is loaded

    # isort: split
    import torch

    from nanochat.common.paths import Layout
    from nanochat.compute.device import setup_runtime
    from nanochat.config.eval_options import BaseEvalOptions
    from nanochat.evals.bundle import read_bundle
    from nanochat.evals.core import CoreRun, Records, chunks, prompt_builder, score_chunk
    from nanochat.evals.nanochat_lm import CPU_TOKENS, NanochatLM
    from nanochat.model.architecture import ModelConfig
    from nanochat.model.gpt import build_model
    from nanochat.run.stage_run import StageRun
    from nanochat.tokenizer.tokenizer import Tokenizer

    if case.threads:
        torch.set_num_threads(case.threads)
    dtype = getattr(torch, case.dtype)
    tokenizer = Tokenizer.load(Path(case.tokenizer) / "tokenizer")
    model = build_model(ModelConfig(**case.config(tokenizer.vocab_size)), "cpu", dtype)
    fill(model)
    lm = NanochatLM(model.eval(), tokenizer)
    run = StageRun(Layout(Path()), None, "base_eval", BaseEvalOptions(), 1)
    core = CoreRun(lm, run, setup_runtime("cpu", case.dtype), None, CPU_TOKENS)
    found = {}
    for task in read_bundle(Path(case.bundle), tuple(filter(None, case.tasks.split(",")))):
        records = Records(core, {})
        prompts = prompt_builder(lm, task, case.rows)
        started = time.perf_counter()
        for chunk in chunks(len(prompts.rows)):
            score_chunk(core, prompts, chunk, records)
        seconds = time.perf_counter() - started
        found[task.label] = {"seconds": seconds, "correct": [r["correct"] for r in records.share(task.label)]}
    return found


def reference(case: Case) -> dict[str, Any]:
    """The same by upstream nanochat's code; a result is None where it dies."""
    import json
    import random

    import torch
    import yaml
    from nanochat.core_eval import evaluate_example
    from nanochat.gpt import GPT, GPTConfig

    from nanochat.tokenizer.tokenizer import get_tokenizer

    if case.threads:
        torch.set_num_threads(case.threads)
    tokenizer = get_tokenizer()
    with torch.device("meta"):
        model = GPT(GPTConfig(**case.config(tokenizer.get_vocab_size())))
    model.to_empty(device="cpu")
    model.init_weights()
    fill(model)
    model.eval()
    folder = Path(case.bundle)
    wanted = set(filter(None, case.tasks.split(",")))
    found = {}
    for task in yaml.safe_load((folder / "core.yaml").read_text(encoding="utf-8"))["icl_tasks"]:
        if wanted and task["label"] not in wanted:
            continue
        lines = (folder / "eval_data" / task["dataset_uri"]).read_text(encoding="utf-8").splitlines()
        data = [json.loads(line) for line in lines]
        random.Random(1337).shuffle(data)
        data = data[: case.rows]
        meta = {
            "task_type": task["icl_task_type"],
            "num_fewshot": task["num_fewshot"][0],
            "continuation_delimiter": task.get("continuation_delimiter", " "),
        }
        correct: list[bool | None] = []
        started = time.perf_counter()
        for index in range(len(data)):
            try:
                correct.append(
                    bool(evaluate_example(index, model, tokenizer, data, torch.device("cpu"), meta))
                )
            except AssertionError:
                correct.append(None)
        found[task["label"]] = {"seconds": time.perf_counter() - started, "correct": correct}
    return found
