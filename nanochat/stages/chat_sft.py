"""Supervised fine-tuning: a model learns to answer as the assistant of a conversation does."""

from nanochat.config.chat_options import ChatSftOptions
from nanochat.run.stage_run import StageRun, main
from nanochat.tasks import stage_mixtures
from nanochat.train.chat import identity_task
from nanochat.train.finetune import Recipe, train

RECIPES = {
    "modern": Recipe("packed", warm_start=True, init_lr_frac=0.8, warmdown_ratio=0.5),
    "classic": Recipe(
        "padded", warm_start=False, init_lr_frac=0.02, warmdown_ratio=1.0, momentum=lambda step: 0.95
    ),
}
"""Upstream nanochat's. The classic era came here from midtraining and only polished, at 2 % of the rates; the
modern one fine-tunes the base model itself, at nearly the whole rates."""
VALIDATION = {
    "modern": ("SmolTalk/test", "MMLU/test:5200", "GSM8K/test:420"),
    "classic": ("SmolTalk/test:3200",),
}


def run(options: ChatSftOptions, run: StageRun) -> dict[str, float | int | str]:
    """The stage. Results: val/bpb, train/loss, steps, tokens, seconds, checkpoint, chat/<task> …"""
    return train(
        options,
        run,
        "sft",
        recipe=RECIPES[options.era],
        mixture=mixture(options, run),
        val_mixture=VALIDATION[options.era],
    )


def mixture(options: ChatSftOptions, run: StageRun) -> tuple[str, ...]:
    """The stage's own conversations, by era."""
    if options.era == "classic":
        return stage_mixtures.classic_chat_sft(identity_task(options, run))
    return stage_mixtures.chat_sft(options.mmlu_epochs, options.gsm8k_epochs)


if __name__ == "__main__":
    raise SystemExit(main("chat_sft"))
