"""Samples of a base model: fixed prompts continued greedily, and unconditioned text from bos alone."""

from nanochat.infer.engine import generate_batch
from nanochat.model.gpt import GPT
from nanochat.run.stage_run import StageRun
from nanochat.tokenizer.tokenizer import Tokenizer

PROMPTS = (
    "The capital of France is",
    "The chemical symbol of gold is",
    "If yesterday was Friday, then tomorrow will be",
    "The opposite of hot is",
    "The planets of the solar system are:",
    "My favorite color is",
    "If 5*x + 3 = 13, then x is",
)
"""Upstream nanochat's, so that samples can be compared."""
PROMPT_TOKENS = 16
UNCONDITIONED_SAMPLES, UNCONDITIONED_TOKENS = 8, 128


def write_samples(run: StageRun, model: GPT, tokenizer: Tokenizer, step: int, seed: int) -> None:
    """Logs a sample event for each prompt and for each unconditioned sample, and prints them.

    Returns early when the run is asked to stop: the caller decides what to do, as it may have to save first.
    """
    stop = frozenset({tokenizer.bos_id})
    for prompt in PROMPTS:
        if run.stop_requested:
            return
        ids = tokenizer.encode(prompt, bos=True)
        greedy = generate_batch(model, ids, max_tokens=PROMPT_TOKENS, temperature=0, stop=stop)[0]
        text = tokenizer.decode(greedy)
        run.sample(step, prompt, text, "greedy")
        run.log(f"{prompt}⟶{text}")
    if run.stop_requested:
        return
    unconditioned = generate_batch(
        model,
        [tokenizer.bos_id],
        samples=UNCONDITIONED_SAMPLES,
        max_tokens=UNCONDITIONED_TOKENS,
        temperature=1.0,
        seed=seed,
        stop=stop,
    )
    for ids in unconditioned:
        run.sample(step, "", tokenizer.decode(ids), "temperature 1")
    run.log(f"⟶{tokenizer.decode(unconditioned[0])}")
