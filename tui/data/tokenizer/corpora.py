"""The corpora under the base directory and the counts of tokens in them, as `tok_counts` has them."""

from nanochat.commands.corpus_counts import Corpus, Progress, corpora, count_tokens, kept_counts

__all__ = ["Corpus", "Progress", "corpora", "count_tokens", "kept_counts"]
