"""tok_eval as a command: counts against tiktoken's own, with and without data and vocabularies."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import requests
import tiktoken
from training_data import byte_tokenizer, make_base

from nanochat.cli import main
from nanochat.common.paths import Layout
from nanochat.evals.results import EVALUATION, read_result
from nanochat.run.events import Event, read_events
from nanochat.tokenizer.published import GPT2, GPT4
from nanochat.tokenizer.sample_texts import TEXTS
from nanochat.tokenizer.tokenizer import Tokenizer


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_base(tmp_path / "base")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache of tiktoken's, and a network that answers nothing."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("tiktoken.registry.ENCODINGS", {})
    return tmp_path / "cache"


def evaluate(base: Path, *options: str) -> tuple[dict[str, Any], list[Event]]:
    assert main(["tok_eval", f"--base-dir={base}", *options]) == 0
    (folder,) = (base / "runs").iterdir()
    found = read_events(folder / "events.jsonl")[0]
    results: dict[str, Any] = found[-1].data["results"]
    return results, found


def test_counts_and_differences_are_tiktoken_s(
    base: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = shared_data / "tiktoken-cache"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    results, found = evaluate(base, f"--vocab-dir={cache}")
    tokenizer = byte_tokenizer()
    texts = dict(TEXTS)
    for name, shard in (("train", 0), ("val", 2)):
        group = pq.ParquetFile(base / f"base_data/shard_{shard:05d}.parquet").read_row_group(0)
        texts[name] = "\n".join(group.column("text").to_pylist())
    for name, text in texts.items():
        ours = len(tokenizer.encode(text))
        assert results[f"{name}/bytes"] == len(text.encode())
        assert results[f"{name}/tokens"] == ours
        assert results[f"{name}/bytes_per_token"] == pytest.approx(len(text.encode()) / ours, abs=1e-3)
        for key, theirs in (
            ("gpt2", len(tiktoken.get_encoding(GPT2.encoding).encode_ordinary(text))),
            ("gpt4", len(tiktoken.get_encoding(GPT4.encoding).encode_ordinary(text))),
            ("characters", len(text)),
            ("words", len(text.split())),
        ):
            saved = results[f"{name}/fewer_than_{key}_percent"]
            assert saved == pytest.approx(100 * (theirs - ours) / theirs, abs=0.01), (name, key)
    (logged,) = [event.data for event in found if event.kind == "eval"]
    figures = dict(logged)
    told = read_result(figures.pop(EVALUATION))
    assert figures == {f"tok/{name}": value for name, value in results.items()}
    assert told is not None
    assert (told.checkpoint, told.step, told.figures) == ("tokenizer", None, results)
    shown = capsys.readouterr().out.splitlines()
    assert "ours (273 ids) against GPT-2 (50,257 ids)" in shown
    assert max(map(len, shown)) <= 80


def test_what_is_not_there_is_named_and_left_out(
    layout: Layout, offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    byte_tokenizer().save(layout.tokenizer)
    results, found = evaluate(layout.base)
    alerts = [event.data["message"] for event in found if event.kind == "alert"]
    assert [what.split(":")[0] for what in alerts[1:]] == ["compared without GPT-2", "compared without GPT-4"]
    assert alerts[0].startswith("no training data in")
    assert str(offline) in alerts[1]
    assert {name.split("/")[0] for name in results} == {"vocab_size", *TEXTS}
    assert not any("gpt" in name for name in results)
    assert "against characters" in capsys.readouterr().out


def test_what_is_fetched_is_said_before_and_nothing_is_offline(
    layout: Layout, offline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the cache holds a damaged file, which tiktoken throws away."""
    asked: list[tuple[str, list[str]]] = []

    def get(url: str, **_: object) -> Any:
        asked.append((url, logs_so_far()))
        raise requests.ConnectionError("no network here")

    def logs_so_far() -> list[str]:
        folder = max((layout.base / "runs").iterdir())
        events = read_events(folder / "events.jsonl")[0]
        return [str(event.data["text"]) for event in events if event.kind == "log"]

    monkeypatch.setattr(requests, "get", get)
    monkeypatch.setattr(requests, "head", get)
    byte_tokenizer().save(layout.tokenizer)
    offline.mkdir()
    (offline / hashlib.sha1(GPT2.url.encode()).hexdigest()).write_bytes(b"damaged")
    _, found = evaluate(layout.base, "--offline")
    assert not asked
    alerts = [str(event.data["message"]) for event in found if event.kind == "alert"]
    assert [
        f"{name}: no vocabulary" in told for name, told in zip(("GPT-2", "GPT-4"), alerts[1:], strict=True)
    ]
    assert all("nothing is fetched offline" in told for told in alerts[1:])
    shutil.rmtree(layout.base / "runs")
    evaluate(layout.base)
    assert [url for url, _ in asked] == [GPT2.url, GPT4.url]
    assert all(url in logs[-1] for url, logs in asked)


def test_a_tokenizer_that_loses_text_fails(
    base: Path, offline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = Tokenizer.encode
    monkeypatch.setattr(
        Tokenizer, "encode", lambda self, text, bos=False: honest(self, text.strip(), bos=bos)
    )
    assert main(["tok_eval", f"--base-dir={base}"]) == 1
    assert "decoding does not give the text 'news' back" in capsys.readouterr().err


def test_no_tokenizer_no_data(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tok_eval"]) != 0
    assert "train one first: nanochat tok_train" in capsys.readouterr().err
    byte_tokenizer().save(layout.tokenizer)
    assert main(["tok_eval", "--data-dir", str(layout.base / "none")]) != 0
    assert "does not exist" in capsys.readouterr().err


def test_the_built_in_texts_are_of_several_kinds() -> None:
    assert all(len(text) > 290 for text in TEXTS.values())
    assert sum("가" <= letter <= "힣" for letter in TEXTS["korean"]) > 150
    compile(TEXTS["code"], "code", "exec")
