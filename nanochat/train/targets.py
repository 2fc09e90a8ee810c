"""What is left to learn of conversations once they are cut to a row, told before the first step."""

from collections.abc import Iterable
from dataclasses import dataclass

from nanochat.common.errors import UserError
from nanochat.data.conversations import ConversationLoader
from nanochat.run.stage_run import StageRun

SAMPLE = 1000
"""Conversations that are looked at, spread evenly: enough for a percentage, done in seconds."""
ALERT_SHARE = 0.01
"""Share of conversations with nothing left to learn from which on it is an alert."""


@dataclass(frozen=True)
class TargetCount:
    """Of `checked` conversations, `empty` have no token left to learn; all together have `targets`."""

    checked: int
    empty: int
    targets: int
    tokens: int = 0
    """Tokens of all of them, those that are cut away as well."""
    cut: int = 0
    """Tokens cut away."""


def count_targets(loader: ConversationLoader, indices: Iterable[int]) -> TargetCount:
    """Counts the tokens to learn in the conversations at `indices`, each cut as `loader` cuts it."""
    checked = empty = targets = kept = cut = 0
    for index in indices:
        tokens = loader.render(loader.conversations[index]["messages"])
        # The first token of a row is an input only.
        found = int((tokens[1:] >= 0).sum())
        checked, empty, targets = checked + 1, empty + (not found), targets + found
        kept, cut = kept + len(tokens), cut + loader.cut
    return TargetCount(checked, empty, targets, kept + cut, cut)


def check_targets(run: StageRun, loader: ConversationLoader, context: int) -> None:
    """Alerts when conversations have nothing left to learn after the cut to a row of `context` tokens.

    Raises `UserError` when none of them has. Large mixtures are looked at in part, unless nothing is found.
    """
    step = max(1, loader.size // SAMPLE)
    count = count_targets(loader, range(0, loader.size, step))
    if not count.targets and step > 1:
        for index in range(loader.size):
            if count_targets(loader, [index]).targets:
                break
        else:
            count = TargetCount(loader.size, loader.size, 0)
    cut = f"after the cut to {context:,} tokens"
    if not count.targets and count.checked == loader.size:
        raise UserError(
            f"none of the {loader.size:,} conversations has anything left to learn {cut}",
            "give a larger --max-seq-len, or conversations whose answers come earlier",
        )
    alert_of_cut(run, count, context)
    if count.empty == 0:
        return
    looked = "" if count.checked == loader.size else f" looked at (of {loader.size:,})"
    text = (
        f"{count.empty:,} of {count.checked:,} conversations{looked} have nothing left to learn {cut}: "
        "they are read and teach nothing"
    )
    if count.empty > ALERT_SHARE * count.checked:
        run.alert("nothing_to_learn", text)
    else:
        run.log(text)


def alert_of_cut(run: StageRun, count: TargetCount, context: int) -> None:
    """Says what share of the conversations' tokens is cut away; an alert from 1 %. Nothing where none is."""
    if not count.cut:
        return
    share = 100 * count.cut / count.tokens
    of = f"the tokens of {count.checked:,} conversations"
    text = f"{share:.1f} % of {of} lie beyond {context:,} and are cut away"
    if count.cut > ALERT_SHARE * count.tokens:
        run.alert("conversations_cut", text)
    else:
        run.log(text)
