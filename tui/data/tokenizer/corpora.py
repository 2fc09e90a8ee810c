"""The corpora under the base directory and the counts of tokens in them, as `tok_counts` has them."""

from nanochat.commands.corpus_counts import Corpus, Progress, corpora, count_tokens, kept_counts
from nanochat.common.paths import Layout

__all__ = ["Corpus", "Progress", "corpora", "count_tokens", "elsewhere", "kept_counts"]


def elsewhere(layout: Layout) -> str:
    """The first corpus, where the folder that commands read by default has no shards: a plan's is in a folder
    of its own. "" where the default will do, or there is none. Reads folders."""
    found = corpora(layout)
    return "" if not found or found[0].folder == layout.data_dir() else str(found[0].folder)
