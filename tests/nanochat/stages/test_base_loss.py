"""base_loss as a command: the reference's figures, the same for any batch size and number of ranks."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import torch
from training_data import byte_tokenizer, make_base, runs_of
from upstream_files import random_model, write_upstream_checkpoint, write_upstream_tokenizer

from nanochat.checkpoint.weights import open_model
from nanochat.cli import main
from nanochat.common.paths import Layout
from nanochat.compute.device import Runtime
from nanochat.compute.ranks import Ranks
from nanochat.config.eval_options import BaseLossOptions
from nanochat.data.shards import iter_documents, split_shards
from nanochat.data.stream import stream_rows
from nanochat.evals.results import EVALUATION, EVALUATIONS, read_result
from nanochat.evals.samples import PROMPTS, UNCONDITIONED_SAMPLES
from nanochat.model.architecture import CLASSIC, ModelConfig
from nanochat.run.events import Event, read_events
from nanochat.run.progress import Progress
from nanochat.run.stage_run import StageRun
from nanochat.stages import base_loss

pytestmark = pytest.mark.slow

VOCAB = byte_tokenizer().vocab_size
MODERN = ModelConfig(64, VOCAB, 2, 2, 1, 32, "SL")
OLD = ModelConfig(64, VOCAB, 2, 2, 1, 32, "L", CLASSIC)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, tokenizer and a checkpoint of either era in the reference's format: tags d2 and old."""
    folder = make_base(tmp_path_factory.mktemp("base"))
    for tag, config in (("d2", MODERN), ("old", OLD)):
        weights = dict(random_model(config).state_dict())
        write_upstream_checkpoint(folder / "base_checkpoints" / tag, config, weights)
    return folder


def measure(base: Path, *options: str) -> dict[str, float]:
    words = ["base_loss", f"--base-dir={base}", "--dtype=float32", "--device-type=cpu", *options]
    assert main(words) == 0
    return {event.kind: event.data for event in events(base)}["stage_end"]["results"]


def events(base: Path) -> list[Event]:
    return read_events(runs_of(base)[-1] / "events.jsonl")[0]


def test_bits_per_byte_equal_upstream(shared_reference: Path, shared_data: Path, tmp_path: Path) -> None:
    for name in ("tokenizer", "base_checkpoints"):
        (tmp_path / name).symlink_to(shared_reference / "checkpoints/modern" / name)
    expected = json.loads((shared_reference / "oracles/bpb.json").read_text())
    case = expected["d2_val"]
    tokens = case["device_batch_size"] * case["sequence_len"] * case["steps"]
    data = f"--data-dir={shared_data / 'text'}"
    seen = measure(tmp_path, data, f"--split-tokens={tokens}", "--device-batch-size=24")
    assert seen["val/bpb"] == pytest.approx(expected["d2_val"]["bpb"], abs=1e-5)
    assert seen["train/bpb"] == pytest.approx(expected["d2_train"]["bpb"], abs=1e-5)
    assert (seen["tokens"], seen["step"]) == (tokens, 300)


def test_a_classic_checkpoint_gives_the_figure_it_was_saved_with(
    shared_reference: Path, shared_data: Path, tmp_path: Path
) -> None:
    """Rows from the stream, bytes as the classic file counts them, whatever the batch size."""
    for name in ("tokenizer", "base_checkpoints"):
        (tmp_path / name).symlink_to(shared_reference / "checkpoints/classic" / name)
    saved = json.loads((shared_reference / "checkpoints/classic/expected.json").read_text())
    seen = measure(
        tmp_path, f"--data-dir={shared_data / 'text'}", "--split-tokens=65536", "--device-batch-size=48"
    )
    assert seen["val/bpb"] == pytest.approx(saved["val_bpb_at_save"], abs=1e-5)


def test_rows_of_the_other_era_when_asked(base: Path) -> None:
    words = ["--split-tokens=3200"]
    figures = {}
    for tag in ("d2", "old"):
        for rows in ("auto", "packed", "stream"):
            figures[tag, rows] = measure(base, *words, "--model-tag", tag, "--rows", rows)["val/bpb"]
    assert figures["d2", "auto"] == figures["d2", "packed"] != figures["d2", "stream"]
    assert figures["old", "auto"] == figures["old", "stream"] != figures["old", "packed"]


def test_the_stream_is_the_documents_one_after_the_other(base: Path) -> None:
    """Each batch of `unit` rows takes T·unit + 1 tokens; the last is only a target."""
    tokenizer = byte_tokenizer()
    paths = split_shards(base / "base_data").train
    expected = [token for text in iter_documents(paths) for token in tokenizer.encode(text, bos=True)]
    context, unit = 10, 3
    rows = stream_rows(tokenizer, paths, context, unit)
    for number in range(60):
        start = (number // unit) * (unit * context + 1) + (number % unit) * context
        assert next(rows).tolist() == expected[start : start + context + 1]
    count = len(expected) // (unit * context + 1) * unit - 60
    for _ in range(count):
        next(rows)
    again = next(rows).tolist()  # the epoch goes round
    assert set(again) <= set(expected)


@pytest.mark.parametrize("tag", ["d2", "old"])
def test_the_figure_does_not_depend_on_the_batch_size(base: Path, tag: str) -> None:
    figures = []
    for rows in (1, 7, 50, 64):
        seen = measure(base, "--model-tag", tag, "--split-tokens=3200", f"--device-batch-size={rows}")
        figures.append((seen["train/bpb"], seen["val/bpb"]))
    for figure in figures:
        assert figure == pytest.approx(figures[0], rel=1e-6)


def test_events_carry_the_figures_and_the_samples(base: Path) -> None:
    seen = measure(base, "--model-tag", "d2", "--split-tokens=640", "--seed", "5")
    found = events(base)
    (logged,) = [event for event in found if event.kind == "eval"]
    assert logged.step == 7
    figures = dict(logged.data)
    told = read_result(figures.pop(EVALUATION))
    assert figures == {name: seen[name] for name in ("train/bpb", "val/bpb")}
    assert told is not None
    assert told.bpb == {"train": seen["train/bpb"], "val": seen["val/bpb"]}
    assert (told.checkpoint, told.step, told.kind, told.complete) == ("base/d2", 7, "bpb", True)
    assert (told.settings["tokens"], told.settings["rows"]) == (640, "packed")
    start = found[0].data["info"]
    assert isinstance(start, dict)
    begun = read_result(start[EVALUATIONS][0])
    assert begun is not None
    assert (begun.settings, begun.bpb, begun.complete) == (told.settings, {}, False)
    samples = [event.data for event in found if event.kind == "sample"]
    assert [sample["prompt"] for sample in samples] == [*PROMPTS, *[""] * UNCONDITIONED_SAMPLES]
    free = [sample["text"] for sample in samples[len(PROMPTS) :]]
    assert len(set(free)) == UNCONDITIONED_SAMPLES
    measure(base, "--model-tag", "d2", "--split-tokens=640", "--seed", "5")
    assert [event.data for event in events(base) if event.kind == "sample"] == samples


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_the_rows_of_one_process(base: Path, monkeypatch: pytest.MonkeyPatch, world: int) -> None:
    """The counts of all ranks add up to those of one."""
    layout = Layout(base)
    options = BaseLossOptions(device_batch_size=8)
    opened = open_model(layout, "base", tag="d2")
    run = StageRun(layout, None, "base_loss", options, 1)
    paths = split_shards(layout.data_dir()).train
    parts: list[torch.Tensor] = []

    def keep(_ranks: Ranks, counts: torch.Tensor) -> torch.Tensor:
        parts.append(counts)
        return counts

    monkeypatch.setattr(Ranks, "sum", keep)
    monkeypatch.setattr(Ranks, "any", lambda _ranks, flag, _device: flag)
    for rank, size in ((0, 1), *((rank, world) for rank in range(world))):
        runtime = Runtime(torch.device("cpu"), torch.float32, rank, size)
        with Progress(run, "loss") as progress:
            losses = base_loss.SplitLosses(opened, runtime, run, options, rows=45)
            losses.bits_per_byte("train", paths, progress)
    whole, *shares = parts
    assert all(share[1] > 0 for share in shares)
    torch.testing.assert_close(torch.stack(shares).sum(0), whole, rtol=1e-6, atol=0)


def test_the_file_s_own_token_bytes_count(base: Path, tmp_path: Path) -> None:
    """Half the bytes a token in the tokenizer's file, twice the bits a byte."""
    tokenizer = byte_tokenizer()
    doubled = type(tokenizer)(tokenizer.ranks, token_bytes=[2 * n for n in tokenizer.token_bytes])
    write_upstream_tokenizer(tmp_path / "tokenizer", doubled)
    words = ["--model-tag", "old", "--split-tokens=640"]
    own = measure(base, *words)
    other = measure(base, *words, f"--tokenizer-dir={tmp_path / 'tokenizer'}")
    assert other["val/bpb"] == pytest.approx(own["val/bpb"] / 2, rel=1e-6)


def test_bad_input_is_one_line(base: Path, layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in (
        ([f"--base-dir={base}", "--split-tokens=63"], "less than one row of 64 tokens"),
        ([f"--base-dir={base}", "--model-tag=d3"], "no checkpoint tag 'd3'"),
        ([f"--base-dir={base}", "--source=mid"], "train first: nanochat mid_train"),
        ([f"--base-dir={base}", f"--data-dir={base / 'none'}", "--model-tag=d2"], "does not exist"),
        ([f"--base-dir={layout.base}"], "train first: nanochat base_train"),
    ):
        assert main(["base_loss", *words]) != 0
        err = capsys.readouterr().err
        assert says in err
        assert err.count("\n") == 1


def test_the_calibration_of_the_docs_has_the_same_bits_per_byte(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--model-tag=d2",
        "--split-tokens=2880",
        "--device-batch-size=7",
    ]  # 45 rows: the last batch has 3
    seen = measure(base, *words)
    file = Path(__file__).resolve().parents[3] / "docs/calibration.py"
    spec = importlib.util.spec_from_file_location("calibration", file)
    assert spec is not None and spec.loader is not None
    calibration = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(calibration)
    capsys.readouterr()
    assert calibration.main([f"--base-dir={base}", *words]) == 0
    said = capsys.readouterr().out.splitlines()
    figures = [[float(number) for number in re.findall(r"\d+\.\d+", line)] for line in said]
    for (sure, right, bpb, temperature, best), split in zip(figures, ("train", "val"), strict=True):
        assert bpb == pytest.approx(seen[f"{split}/bpb"], abs=6e-4)
        assert best <= bpb and 0.7 <= temperature <= 3
        assert 0 < sure < 100 and 0 <= right < 100
