"""Midtraining: a base model learns conversations, calls of tools, and choices answered by a letter."""

from nanochat.config.chat_options import MidTrainOptions
from nanochat.run.stage_run import StageRun, main
from nanochat.tasks import stage_mixtures
from nanochat.train.chat import identity_task
from nanochat.train.finetune import Recipe, train

RECIPES = {
    "modern": Recipe("packed", warm_start=True, init_lr_frac=1.0, warmdown_ratio=0.2),
    "classic": Recipe("stream", warm_start=False, init_lr_frac=1.0, warmdown_ratio=0.2),
}
"""The classic era trained every token of one stream of conversations, with a fresh optimizer."""
VALIDATION = ("SmolTalk/test", "MMLU/test:5200", "GSM8K/test:420")
"""Upstream nanochat's: MMLU and GSM8K are cut to about their part of the training mixture."""


def run(options: MidTrainOptions, run: StageRun) -> dict[str, float | int | str]:
    """The stage. Results: val/bpb, train/loss, steps, tokens, seconds, checkpoint, chat/<task> …"""
    return train(
        options,
        run,
        "mid",
        recipe=RECIPES[options.era],
        mixture=stage_mixtures.mid_train(identity_task(options, run)),
        val_mixture=VALIDATION,
    )


if __name__ == "__main__":
    raise SystemExit(main("mid_train"))
