"""One question with one seed, asked through every client: who gets what.

    python tests/nanochat/serve/ecosystem/same_tokens.py BASE_DIR sft/pipeline --seed 7

Starts `nanochat chat_web` over a base directory, and asks `chat_cli` (by itself and through the server),
curl, OpenAI's client and lm-evaluation-harness. Ends with 1 unless all answers are the engine's.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import evaluate, task

ROOT = Path(__file__).resolve().parents[4]
KEY = "a-key-for-tests"
ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    "NANOCHAT_API_KEY": KEY,
    "NANOCHAT_DTYPE": "float32",
}


@dataclass(frozen=True)
class Asked:
    """A question and how its answer is sampled."""

    question: str
    seed: int
    temperature: float = 0.8
    top_k: int = 40
    max_tokens: int = 48

    def document(self, model: str) -> dict[str, Any]:
        """As a request for a chat answer."""
        return {
            "model": model,
            "messages": [{"role": "user", "content": self.question}],
            "temperature": self.temperature,
            "top_k": self.top_k,
            "max_tokens": self.max_tokens,
            "seed": self.seed,
        }


def by_engine(base: Path, model: str, asked: Asked) -> str:
    """The engine's own answer, without a server."""
    from nanochat.checkpoint.names import parse_name
    from nanochat.checkpoint.weights import open_model
    from nanochat.common.paths import Layout
    from nanochat.infer.engine import Engine
    from nanochat.infer.sampling import Sampling

    name = parse_name(model)
    step = -1 if name.step is None else name.step
    opened = open_model(Layout(base), name.source, tag=name.tag, step=step)
    tokenizer = opened.tokenizer
    prompt = tokenizer.render_for_completion(
        [{"role": "user", "content": asked.question}, {"role": "assistant", "content": ""}]
    )
    sampling = Sampling(temperature=asked.temperature, top_k=asked.top_k, seed=asked.seed)
    [tokens], _ = Engine(opened.model, tokenizer).generate_batch(
        prompt, max_tokens=asked.max_tokens, sampling=sampling, stop=tokenizer.answer_ends
    )
    return tokenizer.decode(tokens)


def by_chat_cli(base: Path, model: str, asked: Asked, url: str = "") -> str:
    """`nanochat chat_cli -p`, which loads the model itself, or asks the server."""
    where = ["--url", url] if url else ["--base-dir", str(base), "--dtype=float32"]
    command = [sys.executable, "-m", "nanochat", "chat_cli", *where, "--model", model, "-p", asked.question]
    how = [f"--{name.replace('_', '-')}={getattr(asked, name)}" for name in ("temperature", "top_k", "seed")]
    return str(run([*command, *how, f"--max-tokens={asked.max_tokens}", "--json"])["answer"])


def by_curl(url: str, model: str, asked: Asked) -> str:
    """curl, not streamed."""
    command = ["curl", "-sS", f"{url}/v1/chat/completions", "-H", f"Authorization: Bearer {KEY}"]
    found = run([*command, "-H", "Content-Type: application/json", "-d", json.dumps(asked.document(model))])
    return str(found["choices"][0]["message"]["content"])


def by_openai(url: str, model: str, asked: Asked) -> str:
    """OpenAI's client, streamed."""
    import openai

    document = asked.document(model)
    top_k = document.pop("top_k")
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY) as client:
        stream = client.chat.completions.create(**document, stream=True, extra_body={"top_k": top_k})
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream)


def by_lm_eval(url: str, model: str, asked: Asked) -> str:
    """lm-evaluation-harness, on a task of one row."""
    generation = {
        "until": [], "max_gen_toks": asked.max_tokens, "temperature": asked.temperature, "top_k": asked.top_k
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        asked_task = task(
            Path(folder), [{"query": asked.question, "answer": "none"}], output_type="generate_until",
            doc_to_text="{{query}}", doc_to_target="answer", generation_kwargs=generation,
            metric_list=[{"metric": "exact_match"}],
        )  # fmt: skip
        arguments = {"model": model, "base_url": f"{url}/v1/chat/completions", "seed": asked.seed}
        _, [sample] = evaluate("local-chat-completions", KEY, arguments, asked_task, apply_chat_template=True)
    return str(sample["resps"][0][0])


def run(command: list[str]) -> dict[str, Any]:
    """The JSON that a command prints last."""
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | ENVIRONMENT, stdin=subprocess.DEVNULL,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def answers(base: Path, url: str, model: str, asked: Asked) -> dict[str, str]:
    """What each client got, by its name."""
    found = {
        "the engine": by_engine(base, model, asked),
        "chat_cli": by_chat_cli(base, model, asked),
        "chat_cli --url": by_chat_cli(base, model, asked, url),
        "openai": by_openai(url, model, asked),
        "lm_eval": by_lm_eval(url, model, asked),
    }
    if shutil.which("curl"):
        found["curl"] = by_curl(url, model, asked)
    return found


@contextmanager
def serving(base: Path, model: str) -> Iterator[str]:
    """The address of a server over one checkpoint, in float32."""
    command = [sys.executable, "-m", "nanochat", "chat_web", f"--base-dir={base}", f"--model={model}"]
    with subprocess.Popen(
        [*command, "--port=0", "--json", "--dtype=float32"], env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("base_dir", type=Path)
    parser.add_argument("model")
    parser.add_argument("--question", default="Why is the sky blue?")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with serving(options.base_dir, options.model) as url:
        found = answers(options.base_dir, url, options.model, Asked(options.question, options.seed))
    for name, text in found.items():
        print(f"{name:>16}  {text!r}")
    same = len(set(found.values())) == 1
    print("all the same" if same else "they differ")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
