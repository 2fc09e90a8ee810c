"""Sweeps as lines, the tables of the data, a training's progress: the figures are those of the commands."""

import re
from dataclasses import replace

from nanochat.commands.data_stats_print import as_text, tables
from nanochat.data.duplicates import DuplicateCounter
from nanochat.data.stats import Collector, CorpusStats, Document, collect
from nanochat.tokenizer.sweep_figures import Point, Sweep
from remote.runs import RunRow
from tui.data.tokenizer import stats_lines, sweeps, trainings

SWEEP = Sweep(
    (
        Point(4096, 1000, 300, 10, 20, 30, 200, 5),
        Point(8192, 1000, 250, 20, 40, 60, 260, 7),
        Point(50257, 1000, 220, 60, 90, 99, 400, 12),
    ),
    depth=4,
    context=512,
    data="base_data",
)


def test_a_sweep_is_drawn_over_the_logarithm_of_its_sizes() -> None:
    found = sweeps.points(SWEEP)
    assert tuple(found) == sweeps.METRICS
    xs = {tuple(row[1] for row in rows) for rows in found.values()}
    assert xs == {tuple(sweeps.place(point.vocab_size) for point in SWEEP.points)}
    first, second, _ = next(iter(xs))
    assert second - first == sweeps.OCTAVE
    values = {metric: [row[3] for row in rows] for metric, rows in found.items()}
    assert values[sweeps.COMPRESSION] == [point.bytes_per_token for point in SWEEP.points]
    assert values[sweeps.TABLES] == [60, 120, 249]
    assert values[sweeps.TOKENS] == [300, 250, 220]
    assert values[sweeps.COMPUTE] == [1, 1750 / 1500, 2640 / 1500]
    assert [label for _, label in sweeps.places([SWEEP, SWEEP])] == ["4k", "8k", "50,257"]
    assert "least compute with 4,096 ids" in sweeps.about(SWEEP)


def stats() -> CorpusStats:
    texts = ["one two three", "一二三四五", "one two three", "x" * 900, " "]
    with DuplicateCounter() as duplicates:
        collector = Collector(duplicates, has_tokens=True, longest=2)
        documents = [Document(text, f"here, document {at}") for at, text in enumerate(texts)]
        collect(documents, collector, lambda batch: [len(text.split()) for text in batch])
        return collector.result([2, 64])


def test_the_tables_are_those_of_the_command_at_every_width() -> None:
    found = stats()
    wanted = [re.split(r"\s{2,}", line.strip()) for line in as_text(found).splitlines() if line.strip()]
    for width in (300, 120, 78):
        lines = ["".join(text for text, _ in line) for line in stats_lines.lines(found, width)]
        drawn = " ".join(" ".join(lines).split())
        assert max(map(len, lines)) <= width
        for cells in wanted:
            assert all(" ".join(cell.split())[:40] in drawn for cell in cells)
    assert len(stats_lines.lines(found, 300)) < len(stats_lines.lines(found, 78))
    plain = "".join(text for line in stats_lines.lines(found, 78, unicode=False) for text, _ in line)
    assert "█" not in plain and "####" in plain
    titles = [table.title for table in tables(found)]
    assert "tokens a document" in titles and "what best-fit packing crops" in titles


def run(**more: object) -> RunRow:
    return RunRow("local/a", "local", "a", stage="tok_train", status="running", **more)  # type: ignore[arg-type]


def test_a_training_goes_from_the_text_to_the_merges_to_the_result() -> None:
    reading = run(
        total_steps=1000,
        unit="chars",
        options={"vocab_size": 1265},
        latest={"tok/chars": 250.0, "tok/bytes": 300.0, "tok/documents": 4.0, "tok/mb_per_sec": 12.5},
    )
    text, merges, amounts, compression = trainings.bars(reading)
    assert (text.share, text.note) == (0.25, "250 of about 1.00k characters")
    assert (merges.share, merges.note) == (None, "after the text")
    assert amounts.note == "12.50 MB/s · 4 documents · 300 bytes"
    assert compression.note == "measured when it has ended"
    merging = run(
        total_steps=1000, options={"vocab_size": 1265}, latest={"tok/chars": 900.0, "tok/merges": 500.0}
    )
    text, merges, *_ = trainings.bars(merging)
    assert (text.share, merges.share, merges.note) == (1.0, 0.5, "500 of 1,000")
    results: dict[str, float | str] = {
        "path": "/x/tokenizer",
        "bytes_per_token": 3.5,
        "documents": 9.0,
        "chars": 900.0,
    }
    ended = replace(merging, status="succeeded", results=results)
    assert trainings.bars(ended)[-1].note == "3.500 bytes a token on validation text"
    assert trainings.outcome(ended) == "saved in /x/tokenizer"
    assert trainings.training(run()).merges_wanted == 32768 - 265


def test_the_form_is_filled_in_as_the_training_that_is_looked_at() -> None:
    asked = {"vocab_size": 4096, "data_dir": "{base}/x", "overwrite": True, "max_chars": "many", "gone": 7}
    assert trainings.launch_values(run(options=asked)) == {"vocab_size": 4096, "data_dir": "{base}/x"}
    assert trainings.launch_values(None) == {}
