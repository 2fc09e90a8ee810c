"""The text a pretraining reads: what becomes of long documents, what was cropped, and the validation rows."""

from collections.abc import Iterator
from dataclasses import dataclass

from nanochat.checkpoint.files import Checkpoint
from nanochat.compute.device import Runtime
from nanochat.config.train_options import BaseTrainOptions
from nanochat.data.dataloader import LoaderState, PackedLoader
from nanochat.data.long_documents import CONTINUE_FROM, estimate_cropping
from nanochat.data.packing import LongDocuments, Tokens
from nanochat.data.shards import ShardSet
from nanochat.run.stage_run import StageRun
from nanochat.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class CroppingNote:
    """What is said of cropping before the first step: a log line, or an alert."""

    text: str
    alert: bool = False

    def tell(self, run: StageRun) -> None:
        if self.alert:
            run.alert("cropping", self.text)
        elif self.text:
            run.log(self.text)


def choose_long_documents(
    options: BaseTrainOptions,
    runtime: Runtime,
    tokenizer: Tokenizer,
    shards: ShardSet,
    rows: int,
    resumed: Checkpoint | None,
) -> tuple[LongDocuments, CroppingNote]:
    """What is done with documents longer than a row in a training of `rows` rows, and what is said of it.

    "auto" goes on as the checkpoint did, and else crops unless that would drop over half of the text.
    """
    found = None
    if runtime.ranks.is_main:
        found = estimate_cropping(tokenizer, shards.train, options.max_seq_len, max(1, rows))
    found = runtime.ranks.broadcast(found)
    large = found is not None and found.share > CONTINUE_FROM
    wanted = options.long_documents
    if wanted == "auto" and resumed is not None:
        wanted = str(resumed.meta.get("long_documents", "crop"))  # version 0.1.0 cropped
    if wanted == "continue" or (wanted == "auto" and large):
        why = f"cropping would drop {found}" if found else "nothing is cropped"
        return "continue", CroppingNote(f"long documents continue in the next row: {why}")
    if found is None:
        return "crop", CroppingNote("")
    hint = "; --long-documents continue reads them on" if large else ""
    return "crop", CroppingNote(f"packing crops away {found}{hint}", alert=found.share >= CONTINUE_FROM)


def reading_results(loader: LoaderState, long_documents: LongDocuments) -> dict[str, float | int | str]:
    """What became of the text: how much of it best-fit packing cropped away, and the epoch it came to.

    Nothing is said of what was never read.
    """
    if not loader.tokens_taken:
        return {}
    return {
        "cropped_percent": 100 * loader.tokens_cut / loader.tokens_taken,
        "long_documents": long_documents,
        "epoch": loader.position.epoch,
    }


def validation_rows(options: BaseTrainOptions, tokenizer: Tokenizer, shards: ShardSet) -> Iterator[Tokens]:
    """The validation shard's rows, packed, a batch (B, T+1) at a time.

    Without `--eval-tokens` they end when as many tokens as the shard has were packed or cropped.
    """
    loader = PackedLoader(tokenizer, [shards.val], options.device_batch_size, options.max_seq_len)
    while options.eval_tokens > 0 or not loader.epoch_size or loader.state.tokens_taken < loader.epoch_size:
        yield loader.next_rows()
