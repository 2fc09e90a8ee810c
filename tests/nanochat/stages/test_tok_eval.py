"""tok_eval as a command: counts against tiktoken's own, with and without data and vocabularies."""

import csv
import hashlib
import json
import math
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
    table = [line for line in shown if not line.startswith("written to ")]
    assert max(map(len, table)) <= 80


def table_of(base: Path) -> list[dict[str, str]]:
    (path,) = (base / "tok_eval").glob("*.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_growth_use_and_unknowns_are_a_plain_count_s(base: Path, offline: Path) -> None:
    """Against loops over the same text, of the validation split; words known are the training text's."""
    results, _ = evaluate(base)
    tokenizer = byte_tokenizer()
    train, val = (
        "\n".join(
            pq.ParquetFile(base / f"base_data/shard_{n:05d}.parquet").read_row_group(0)["text"].to_pylist()
        )
        for n in (0, 2)
    )
    ids = tokenizer.encode(val)
    assert results["val/tokens_per_word"] == pytest.approx(len(ids) / len(val.split()), abs=1e-4)
    assert results["val/tokens_per_character"] == pytest.approx(len(ids) / len(val), abs=1e-4)
    assert results["val/used_percent"] == pytest.approx(100 * len(set(ids)) / 273, abs=0.01)
    assert results["val/nats_per_bpb"] == pytest.approx(math.log(2) * len(val.encode()) / len(ids), abs=1e-4)
    assert results["val/unknown_percent"] == results["val/characters_unknown_percent"] == 0
    known = set(train.split())  # fewer than 273
    unknown = [word for word in TEXTS["news"].split() if word not in known]
    assert results["news/words_unknown_percent"] == pytest.approx(
        100 * len(unknown) / len(TEXTS["news"].split()), abs=0.01
    )
    korean = tokenizer.encode(TEXTS["korean"])
    half = sum(tokenizer.decode([one]) == "\ufffd" for one in korean)
    assert half > 400
    assert results["korean/partial_percent"] == pytest.approx(100 * half / len(korean), abs=0.01)


def test_the_files_hold_every_vocabulary_and_read_back(base: Path, offline: Path) -> None:
    results, found = evaluate(base)
    name = f"tokenizer-{byte_tokenizer().sha256[:8]}"
    assert {path.name for path in (base / "tok_eval").iterdir()} == {
        f"{name}.{kind}" for kind in ("json", "md", "csv")
    }
    told = read_result(json.loads((base / "tok_eval" / f"{name}.json").read_text()))
    (part,) = [read_result(event.data[EVALUATION]) for event in found if event.kind == "eval"]
    assert told == part
    assert told is not None
    assert told.figures == results and told.complete and told.run == found[0].data.get("run", told.run)
    rows = table_of(base)
    assert [(row["text"], row["vocabulary"]) for row in rows[:3]] == [
        ("news", "ours"),
        ("news", "characters"),
        ("news", "words"),
    ]
    ours = rows[0]
    bits = math.log2(273) / float(ours["bytes_per_token"])
    assert float(ours["uniform_bpb"]) == pytest.approx(bits)
    assert (rows[1]["ids"], rows[1]["used_percent"], ours["ours_attention"]) == ("", "", "")
    page = (base / "tok_eval" / f"{name}.md").read_text()
    assert page.startswith("# Tokenizer tokenizer\n\n| text ")
    assert page.count("\n") == 4 + len(rows)


def test_files_and_folders_of_the_user_are_texts(
    base: Path, offline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    (own / "deep").mkdir(parents=True)
    (own / "a.md").write_text("# The one\n")
    (own / "deep" / "b.jsonl").write_text('{"text": "in the net"}\n{"text": "\\ud800"}\n')
    (own / "c.bin").write_bytes(b"\0\1")
    (tmp_path / "news").write_text("그 집은 크다\n" * 100)
    results, found = evaluate(base, "--max-chars=200", str(own), str(tmp_path / "news"))
    assert results["own/bytes"] == len("# The one\nin the net")
    assert results["own/tokens"] == len(byte_tokenizer().encode("# The one\n")) + len(
        byte_tokenizer().encode("in the net")
    )
    assert results["news/bytes"] == len(TEXTS["news"].encode())
    assert results["news-2/bytes"] == len(("그 집은 크다\n" * 100)[:200].encode())
    alerts = [event.data["message"] for event in found if event.kind == "alert"]
    assert f"of {tmp_path / 'news'} the first 200 characters are compared" in alerts
    told = capsys.readouterr().out
    assert "own: skipped 1 × binary file" in told
    assert "own: skipped 1 × not valid Unicode" in told


def test_a_path_of_the_user_that_is_missing_or_empty_is_told(
    base: Path, offline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tok_eval", f"--base-dir={base}", str(tmp_path / "none")]) != 0
    assert f"cannot read {tmp_path / 'none'}: No such file" in capsys.readouterr().err
    (tmp_path / "hollow").mkdir()
    assert main(["tok_eval", f"--base-dir={base}", str(tmp_path / "hollow")]) != 0
    assert "the text 'hollow' is empty" in capsys.readouterr().err
    made = [path for path in (base / "runs").iterdir() if "hollow" in (path / "events.jsonl").read_text()]
    done = [
        one for path in made for one in (path / "events.jsonl").read_text().splitlines() if "progress" in one
    ]
    assert made and not done, "it is told before any other text is measured"


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


def test_each_text_is_encoded_once(layout: Layout, offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, texts = Tokenizer._encoded, []

    def counted(self: Tokenizer, text: Any, encode: Any) -> Any:
        texts.append(text)
        return honest(self, text, encode)

    byte_tokenizer().save(layout.tokenizer)
    monkeypatch.setattr(Tokenizer, "_encoded", counted)
    evaluate(layout.base, "--offline")
    assert texts == [*TEXTS.values()]


def test_a_tokenizer_that_loses_text_fails(
    base: Path, offline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = Tokenizer.encode_to_numpy
    monkeypatch.setattr(
        Tokenizer, "encode_to_numpy", lambda self, text, bos=False: honest(self, text.strip(), bos=bos)
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
