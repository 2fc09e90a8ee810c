"""How sure a checkpoint is of its next token, and how often it is right; see docs/questions.md.

Bits per byte fall when a model is right, and when it knows how often it is right. This takes the two apart:
the mean probability of the likeliest token beside the share of tokens where it was right, and the temperature
with the lowest bits per byte. Dividing all logits by one temperature changes no greedy answer.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from nanochat.checkpoint.weights import OpenedModel, open_model
from nanochat.common.errors import UserError
from nanochat.config.command_parser import command_parser, parse_options
from nanochat.config.eval_options import BaseLossOptions
from nanochat.data.shards import split_shards
from nanochat.stages.base_loss import rows_of_split, text_batches

TEMPERATURES = [round(0.7 + 0.05 * step, 2) for step in range(47)]
"""0.7 to 3.0."""


def measure(opened: OpenedModel, paths: Sequence[Path], options: BaseLossOptions) -> tuple[Tensor, ...]:
    """(confidence, accuracy, bits per byte at each of TEMPERATURES (N,)) of the first rows of a split."""
    rows = rows_of_split(options.split_tokens, opened.model.config.sequence_len)
    size = min(options.device_batch_size, rows)
    token_bytes = torch.tensor(opened.tokenizer.token_bytes)
    sure = right = tokens = torch.zeros(())
    nats, count = torch.zeros(len(TEMPERATURES), dtype=torch.float64), torch.zeros(())
    batches = text_batches(opened, paths, size, options.rows, torch.device("cpu"))
    for number, batch in zip(range(-(-rows // size)), batches, strict=False):
        batch.targets[rows - number * size :] = -1  # rows of the last batch beyond `rows`
        logits = opened.model(batch.inputs)  # (B, T, V)
        kept = (batch.targets >= 0) & (token_bytes[batch.targets.clamp(min=0)] > 0)
        logits, targets = logits[kept], batch.targets[kept]  # (N, V), (N,)
        best, choice = logits.softmax(-1).max(-1)
        sure, right, tokens = sure + best.sum(), right + (choice == targets).sum(), tokens + len(targets)
        count = count + token_bytes[targets].sum()
        for place, temperature in enumerate(TEMPERATURES):
            nats[place] += torch.nn.functional.cross_entropy(logits / temperature, targets, reduction="sum")
    return sure / tokens, right / tokens, nats / (math.log(2) * count)


@torch.no_grad()
def main(argv: Sequence[str] | None = None) -> int:
    """Prints a line a split."""
    parser = command_parser("calibration.py", "Confidence and accuracy of a checkpoint.", BaseLossOptions)
    options, layout = parse_options(BaseLossOptions, parser, argv)
    opened = open_model(
        layout,
        options.source,
        tag=options.model_tag,
        step=options.step,
        tokenizer_dir=options.tokenizer_dir,
    )
    shards = split_shards(layout.data_dir(options.data_dir))
    for split, paths in (("train", shards.train), ("val", [shards.val])):
        sure, right, bpb = measure(opened, paths, options)
        best = int(bpb.argmin())
        plain = float(bpb[TEMPERATURES.index(1.0)])
        print(
            f"{split:<5} sure {float(sure):.1%}  right {float(right):.1%}  bpb {plain:.3f}, "
            f"at temperature {TEMPERATURES[best]:.2f} {float(bpb[best]):.3f}"
        )
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except UserError as error:
        raise SystemExit(f"calibration.py: error: {error}") from error
