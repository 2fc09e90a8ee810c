"""A real `nanochat chat_web` over two small models that say printable text, and what they should say."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import torch
from training_data import ROOT, byte_tokenizer

from nanochat.checkpoint.files import MODEL
from nanochat.checkpoint.tokenizer import tokenizer_meta
from nanochat.checkpoint.write import save_checkpoint
from nanochat.commands.export import main as export
from nanochat.common.paths import Layout
from nanochat.infer.engine import Engine
from nanochat.infer.sampling import Sampling
from nanochat.model.architecture import CLASSIC, ModelConfig, flags_to_meta
from nanochat.model.gpt import GPT, build_model
from nanochat.tokenizer.tokenizer import Tokenizer

BASE, CHAT = "base/d2", "sft/d2"
KEY = "a-key-for-tests"
ROWS, QUEUE = 4, 4
CONTEXT = 1024


def printable_model(tokenizer: Tokenizer, seed: int) -> GPT:
    """A classic model of random weights that hardly ever says anything but printable ASCII."""
    config = ModelConfig(
        sequence_len=CONTEXT,
        vocab_size=tokenizer.vocab_size,
        n_layer=2,
        n_head=2,
        n_kv_head=1,
        n_embd=32,
        window_pattern="L",
        parts=CLASSIC,
    )
    model = build_model(config, "cpu")
    generator = torch.Generator().manual_seed(seed)
    printable = [
        all(32 <= byte < 127 for byte in tokenizer.decode_bytes([token]))
        for token in range(len(tokenizer.ranks))
    ]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
        for token in range(tokenizer.vocab_size):
            if token >= len(printable) or not printable[token]:
                model.lm_head.weight[token] = 0
    return model


def write_checkpoint(layout: Layout, source: str, model: GPT, tokenizer: Tokenizer) -> None:
    meta = {
        "step": 5,
        "model_config": model.config.to_meta(),
        "parts": flags_to_meta(model.config.parts),
        "run_id": "test",
        **tokenizer_meta(tokenizer),
    }
    save_checkpoint(layout.checkpoints(source) / "d2", 5, {MODEL: dict(model.state_dict())}, meta)


@dataclass
class Served:
    """The server, and its models in this process."""

    url: str
    base: Path
    tokenizer: Tokenizer
    models: dict[str, GPT]

    @property
    def api(self) -> str:
        """The address that clients are given."""
        return f"{self.url}/v1"

    def conversation(self, *messages: dict[str, str]) -> list[int]:
        """The ids of a conversation up to where the assistant speaks."""
        return self.tokenizer.render_for_completion([*messages, {"role": "assistant", "content": ""}])

    def generate(
        self, model: str, prompt: Sequence[int], count: int, samples: int = 1, **sampling: Any
    ) -> list[list[int]]:
        """The engine's own tokens for the same request."""
        engine = Engine(self.models[model], self.tokenizer if model == CHAT else None)
        return engine.generate_batch(
            prompt,
            samples=samples,
            max_tokens=count,
            sampling=Sampling(**({"temperature": 0.0} | sampling)),
            stop=self.tokenizer.answer_ends,
        )[0]

    def texts(self, *arguments: Any, **sampling: Any) -> list[str]:
        """As `generate`, as text."""
        return [self.tokenizer.decode(ids) for ids in self.generate(*arguments, **sampling)]

    def rows(self) -> int:
        """Rows that are running, as the server's metrics say."""
        text = httpx.get(f"{self.url}/metrics", headers={"Authorization": f"Bearer {KEY}"}).text
        values = re.findall(r"^nanochat_rows(?:\{[^}]*\})? (\d+)$", text, re.MULTILINE)
        assert values, text
        return sum(map(int, values))


@contextmanager
def served(base: Path) -> Iterator[Served]:
    """Starts the server and ends it."""
    layout = Layout(base)
    tokenizer = byte_tokenizer()
    tokenizer.save(layout.tokenizer)
    models = {BASE: printable_model(tokenizer, 1), CHAT: printable_model(tokenizer, 2)}
    for name, model in models.items():
        write_checkpoint(layout, name.partition("/")[0], model, tokenizer)
    command = [sys.executable, "-m", "nanochat", "chat_web", f"--base-dir={base}", "--port=0", "--json"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "NANOCHAT_API_KEY": KEY,
    }
    errors = (base / "chat_web.log").open("w")
    with (
        errors,
        subprocess.Popen(
            [
                *command,
                "--dtype=float32",
                f"--model={CHAT}",
                f"--model={BASE}",
                f"--max-rows={ROWS}",
                f"--queue={QUEUE}",
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (base / "chat_web.log").read_text()
            ready = json.loads(line)
            assert ready["models"] == [CHAT, BASE]
            yield Served(ready["url"], base, tokenizer, models)
        finally:
            process.terminate()
            process.wait(20)
    assert process.returncode in (0, -15), (base / "chat_web.log").read_text()


def exported(base: Path, out: Path) -> Path:
    """The base model in Hugging Face's format, for its tokenizer."""
    assert export([f"--base-dir={base}", "--source=base", f"--out={out}"]) == 0
    return out
