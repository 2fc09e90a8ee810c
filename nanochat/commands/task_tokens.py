"""`nanochat tasks show --tokens`: the conversations of a task as tokens, with roles and mask."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nanochat.common.fields import safe_json
from nanochat.tokenizer.explore.spelling import shown

if TYPE_CHECKING:
    from nanochat.tokenizer.conversation import Annotated, AnnotatedToken


def as_json(found: "Annotated") -> str:
    """One line: ids, mask and roles of the tokens that are kept, and how many are cut away."""
    kept = found.kept
    document: dict[str, Any] = {
        "ids": [token.id for token in kept],
        "mask": [int(token.trained) for token in kept],
        "roles": [token.role for token in kept],
        "cut": len(found.lost),
        "cut_trained": sum(token.trained for token in found.lost),
    }
    return safe_json(document)


def as_text(found: "Annotated") -> Iterator[str]:
    """A line of sums, then one a token: its place, its id, whether it is trained, its role, its bytes."""
    kept, lost = found.kept, found.lost
    trained = sum(token.trained for token in kept)
    cut = f"; {len(lost):,} cut away, {sum(t.trained for t in lost):,} of them trained" if lost else ""
    yield f"{len(kept):,} tokens, {trained:,} of them trained{cut}"
    yield from (_line(index, token) for index, token in enumerate(kept))


def _line(index: int, token: "AnnotatedToken") -> str:
    text = token.raw.decode() if token.is_special else shown(token.raw)
    return f"{index:>6}  {token.id:>7}  {'trained' if token.trained else '-':<7}  {token.role:<11}  {text}"
