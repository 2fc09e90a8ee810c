"""What cropping costs is said before the first step, and long documents continue where it costs half."""

import json
from pathlib import Path

import pytest
from training_data import TINY, byte_tokenizer, documents, events_of, of_kind, write_shards

from nanochat.run.stage_run import main

pytestmark = pytest.mark.slow


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """A base directory whose documents are many times longer than a row."""
    base = tmp_path / "base"
    byte_tokenizer().save(base / "tokenizer")
    texts = [" ".join(documents(40, seed)) for seed in range(24)]
    (base / "base_data").mkdir(parents=True)
    write_shards(base / "base_data", [texts, [" ".join(documents(40, 99))]], row_group=8)
    return base


def train(base: Path, *options: str) -> dict[str, object]:
    """Trains a few steps; returns the results."""
    argv = [f"--base-dir={base}", *TINY, "--sample-every=-1", *options]
    assert main("base_train", argv) == 0
    results: dict[str, object] = of_kind(events_of(base), "stage_end")[0].data["results"]
    return results


def said(base: Path, kind: str) -> list[str]:
    key = "message" if kind == "alert" else "text"
    before = []
    for event in events_of(base):
        if event.kind == "metric":
            break
        if event.kind == kind:
            before.append(str(event.data[key]))
    return before


def meta(base: Path, step: int) -> dict[str, object]:
    path = next((base / "base_checkpoints").glob(f"*/step_{step:06d}/meta.json"))
    found: dict[str, object] = json.loads(path.read_text())
    return found


def test_long_documents_continue_where_cropping_would_drop_over_half(books: Path) -> None:
    results = train(books, "--num-iterations=2")
    assert results["cropped_percent"] == 0
    assert results["long_documents"] == "continue"
    assert any(
        line.startswith("long documents continue in the next row: cropping would drop about 9")
        for line in said(books, "log")
    )
    assert meta(books, 2)["long_documents"] == "continue"
    assert not [text for text in said(books, "alert") if "crop" in text]


def test_the_rule_of_upstream_is_there_for_the_asking_with_an_alert(books: Path) -> None:
    results = train(books, "--num-iterations=20", "--long-documents=crop")
    [alert] = [text for text in said(books, "alert") if "crop" in text]
    assert alert.startswith("packing crops away about 9") and "--long-documents continue" in alert
    assert isinstance(results["cropped_percent"], float) and results["cropped_percent"] > 90


def test_a_resume_keeps_the_rule_of_its_checkpoint(books: Path) -> None:
    train(books, "--num-iterations=2", "--long-documents=crop")
    train(books, "--num-iterations=4", "--resume")
    assert meta(books, 4)["long_documents"] == "crop"
