"""CORE: upstream's results, what a batch computes, resuming an interrupted run, damaged bundles."""

import contextlib
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from training_data import TINY, WORDS, byte_tokenizer, make_base, runs_of
from upstream_files import random_model, write_upstream_checkpoint

from nanochat.cli import main
from nanochat.evals.batches import plan_batches, score
from nanochat.evals.bundle import CoreTask, read_bundle
from nanochat.evals.core import chunks, lowest
from nanochat.evals.icl import Item, PromptBuilder, draw_examples
from nanochat.evals.items import read_items
from nanochat.evals.nanochat_lm import NanochatLM
from nanochat.evals.paired import compare
from nanochat.evals.results import EVALUATION, read_result
from nanochat.model.architecture import CLASSIC, ModelConfig
from nanochat.run.activity import EVALUATING, Activity
from nanochat.run.events import Event, read_events
from remote.store.evaluation_draft import Draft, take_result
from remote.store.evaluation_events import Drafts, Start, begin, take

VOCAB = byte_tokenizer().vocab_size
MODERN = ModelConfig(64, VOCAB, 3, 4, 2, 32, "SL")
OLD = ModelConfig(64, VOCAB, 2, 2, 1, 32, "L", CLASSIC)
KINDS = ("multiple_choice", "schema", "language_modeling")


TASK = """icl_tasks:
- label: t0
  icl_task_type: multiple_choice
  dataset_uri: world/t0.jsonl
  num_fewshot: [0]
"""


def words(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices(WORDS, k=count))


def make_row(kind: str, rng: random.Random) -> dict[str, Any]:
    if kind == "multiple_choice":
        return {
            "query": words(rng, 6),
            "choices": [words(rng, n) for n in (1, 2, 4)],
            "gold": rng.randrange(3),
        }
    if kind == "schema":
        contexts = [words(rng, 4), words(rng, 7)]
        return {"context_options": contexts, "continuation": words(rng, 3), "gold": rng.randrange(2)}
    return {"context": words(rng, 9) + " ", "continuation": words(rng, 1)}


def make_bundle(folder: Path, tasks: int = 22, rows: int = 12, shots: int = 2) -> Path:
    """A bundle in the published layout with generated rows: kinds in turn, every other one without shots."""
    (folder / "eval_data/world").mkdir(parents=True)
    rng = random.Random(5)
    config, table = ["icl_tasks:"], ["Eval Task,Task Category,Random baseline"]
    for number in range(tasks):
        kind = KINDS[number % 3]
        text = "".join(json.dumps(make_row(kind, rng)) + "\n" for _ in range(rows))
        (folder / f"eval_data/world/t{number}.jsonl").write_text(text)
        config += [
            "-", f"  label: t{number}", f"  dataset_uri: world/t{number}.jsonl",
            f"  num_fewshot: [{shots * (number % 2)}]", f"  icl_task_type: {kind}",
        ]  # fmt: skip
        config += ['  continuation_delimiter: "\\nAnswer: "'] if number % 4 == 0 else []
        table.append(f"t{number},made,{[100 / 3, 50, 0][number % 3]}")
    (folder / "core.yaml").write_text("\n".join(config) + "\n")
    (folder / "eval_meta_data.csv").write_text("\n".join(table) + "\n")
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_base(tmp_path_factory.mktemp("base"))
    write_upstream_checkpoint(folder / "base_checkpoints/d3", MODERN, dict(random_model(MODERN).state_dict()))
    make_bundle(folder / "eval_bundle")
    return folder


def evaluate(base: Path, *options: str, code: int = 0) -> dict[str, Any]:
    words = ["base_eval", f"--base-dir={base}", "--dtype=float32", "--device-type=cpu", *options]
    assert main(words) == code
    return {event.kind: event.data for event in events(base)}["stage_end"]["results"] if code == 0 else {}


def newest(base: Path) -> Path:
    return runs_of(base)[-1]


def events(base: Path) -> list[Event]:
    return read_events(newest(base) / "events.jsonl")[0]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def old_record(record: dict[str, Any]) -> dict[str, Any]:
    """The record as version 1 had it."""
    names = ("task", "index", "correct", "prediction", "gold", "losses", "prompt", "near_tie")
    return {name: record[name] for name in names}


QUICK = (
    "hellaswag_zeroshot,jeopardy,bigbench_qa_wikidata,arc_easy,copa,openbook_qa,lambada_openai,winograd,"
    "winogrande,piqa,coqa"
)


@pytest.mark.slow
def test_results_are_those_of_upstream(shared_reference: Path, shared_data: Path, tmp_path: Path) -> None:
    for name in ("tokenizer", "base_checkpoints"):
        (tmp_path / name).symlink_to(shared_reference / "checkpoints/modern" / name)
    items = tmp_path / "items.jsonl"
    evaluate(
        tmp_path, "--eval=core", f"--bundle={shared_data / 'eval_bundle'}", f"--tasks={QUICK}",
        "--max-per-task=20", f"--items={items}",
    )  # fmt: skip
    expected = json.loads((shared_reference / "oracles/core_d2.json").read_text())["tasks"]
    seen: dict[str, list[int]] = {name: [] for name in QUICK.split(",")}
    ties = 0
    for item in lines(items):
        want = expected[item["task"]]["correct"][item["index"]]
        same = want is None or bool(want) == item["correct"]
        assert same or item["near_tie"], item
        ties += not same
        seen[item["task"]].append(item["index"])
    assert all(indices == list(range(20)) for indices in seen.values())
    assert ties <= 1


@pytest.mark.parametrize("config", [MODERN, OLD], ids=["modern", "classic"])
def test_a_batch_gives_what_each_sequence_alone_gives(config: ModelConfig) -> None:
    """Prefixes shared and cut to the shortest, windows passed, rows padded: the same losses."""
    lm = NanochatLM(random_model(config), byte_tokenizer())
    rng = np.random.default_rng(3)
    items = []
    for index, length in enumerate((9, 150, 152, 200, 40, 151)):
        prefix = rng.integers(0, VOCAB, length)
        tails = [rng.integers(0, VOCAB, n) for n in (1, 5, 3)]
        sequences = [np.concatenate((prefix, tail)) for tail in tails]
        items.append(Item(index, "", 0, sequences, [(length, len(ids)) for ids in sequences]))
    items.append(Item(6, "", "", [rng.integers(0, VOCAB, 70)], [(64, 70)]))
    batches = plan_batches(items, lm, 4096)
    assert sorted(item.index for batch in batches for item in batch.items) == list(range(7))
    assert any(batch.shared and len(batch.items) > 1 for batch in batches)
    assert any(not batch.shared for batch in batches)
    for batch in batches:
        for item, found in zip(batch.items, score(lm, batch), strict=True):
            for ids, (start, end), seen in zip(item.sequences, item.spans, found, strict=True):
                with torch.no_grad():
                    logits = lm.model(torch.tensor(ids)[None])[0, start - 1 : end - 1]
                target = torch.tensor(ids[start:end])
                assert seen.loss == pytest.approx(F.cross_entropy(logits, target).item(), abs=1e-5)
                assert seen.predicted.tolist() == logits.argmax(-1).tolist()


TEXT = st.text(st.sampled_from("ab Z09.,\n\t'é中"), max_size=12)


@given(st.lists(TEXT, min_size=2, max_size=6), TEXT)
def test_examples_encoded_apart_are_the_tokens_of_the_whole(queries: list[str], answer: str) -> None:
    tokenizer = byte_tokenizer()
    rows = [{"query": query, "choices": [answer, query + "x"], "gold": 0} for query in queries]
    task = CoreTask("t", "multiple_choice", Path(), len(rows) - 1, " ", 0.5)
    for index in range(len(rows)):
        apart, whole = (
            PromptBuilder(task, rows, tokenizer.encode, tokenizer.bos_id, splits_at_newlines=cuts).item(index)
            for cuts in (True, False)
        )
        assert [ids.tolist() for ids in apart.sequences] == [ids.tolist() for ids in whole.sequences]
        assert apart.spans == whole.spans


@given(st.integers(2, 200), st.integers(0, 10), st.integers(0, 199))
def test_examples_are_drawn_from_the_other_rows_in_upstreams_order(n: int, shots: int, i: int) -> None:
    index, shots = i % n, min(shots, n - 1)
    others = [row for row in range(n) if row != index]
    assert draw_examples(index, n, shots) == random.Random(1234 + index).sample(others, shots)


def test_an_option_without_tokens_wins_only_as_the_first() -> None:
    nan = float("nan")
    for losses in ([1.0, 2.0], [2.0, 1.0, 1.0], [nan, 0.5], [0.5, nan], [3.0, nan, 2.0]):
        assert lowest(losses) == losses.index(min(losses))


def test_chunks_hold_every_row_once() -> None:
    for count in (1, 4, 20, 500, 10_001):
        assert [row for chunk in chunks(count) for row in chunk] == list(range(count))


@pytest.fixture(scope="module")
def whole(base: Path) -> Path:
    """The run of a whole evaluation; its items are copied to items.jsonl."""
    evaluate(base, "--eval=core", f"--items={base / 'items.jsonl'}")
    run = newest(base)
    for name in ("items.jsonl", "base_eval/base_model_000007.csv", "base_eval/base_model_000007.json"):
        shutil.copy(base / name, run / Path(name).name)
    return run


def told_by(run: Path) -> list[Event]:
    return read_events(run / "events.jsonl")[0]


def results_of(run: Path) -> dict[str, Any]:
    found = told_by(run)[-1].data["results"]
    assert isinstance(found, dict)
    return found


@pytest.mark.slow
def test_the_stage_writes_table_items_and_events(whole: Path) -> None:
    results, items = results_of(whole), lines(whole / "items.jsonl")
    assert len(items) == 22 * 12
    table = (whole / "base_model_000007.csv").read_text().splitlines()
    assert table[0] == "Task                               , Accuracy  , Centered  "
    assert len(table) == 24
    for line, number in zip(table[1:-1], range(22), strict=True):
        name, accuracy, centered = (part.strip() for part in line.split(", "))
        own = [item["correct"] for item in items if item["task"] == f"t{number}"]
        assert (name, float(accuracy)) == (f"t{number}", pytest.approx(sum(own) / 12, abs=1e-6))
        guess = [1 / 3, 0.5, 0][number % 3]
        assert float(centered) == pytest.approx((sum(own) / 12 - guess) / (1 - guess), abs=1e-5)
    assert table[-1] == f"{'CORE':<35}, {'':<10}, {results['core/core']:<10.6f}"
    told = [dict(event.data) for event in told_by(whole) if event.kind == "eval"]
    last = told[-1].pop(EVALUATION)
    assert told[-1] == {name: results[name] for name in ("core/core", "core/core_stderr")}
    assert (last["core"], last["complete"]) == (results["core/core"], True)
    document = json.loads((whole / "base_model_000007.json").read_text())
    assert document["core"] == results["core/core"]
    assert document["tasks"]["t3"]["items"] == 12


def test_a_record_holds_what_was_asked_and_is_read_back(base: Path, whole: Path) -> None:
    items = read_items(whole / "items.jsonl")
    assert items.notes == []
    assert None not in items.key
    rows = {task.label: task.rows() for task in read_bundle(base / "eval_bundle")}
    for number in range(22):
        row = items.row(f"t{number}", 3)
        assert row is not None
        found, asked, kind = items.record(row), rows[f"t{number}"][3], KINDS[number % 3]
        assert (found.version, found.problem, found.samples) == (2, "", ())
        assert found.prompt.count("\n\n") == 2 * (number % 2)
        if kind == "language_modeling":
            assert (found.choices, found.gold, found.margin) == ((), asked["continuation"], None)
            assert found.correct == (found.prediction == asked["continuation"])
            continue
        assert found.choices == tuple(asked["choices" if kind == "multiple_choice" else "context_options"])
        assert found.continuation == ("" if kind == "multiple_choice" else asked["continuation"])
        assert (found.gold_choice, found.predicted_choice) == (asked["gold"], found.prediction)
        assert items.margin[row] == found.margin
        assert found.margin is not None
        assert (found.margin > 0) == found.correct


def test_the_events_alone_make_the_document_of_the_result_file(base: Path, whole: Path) -> None:
    written = read_result(json.loads((whole / "base_model_000007.json").read_text()))
    assert written is not None
    assert written.mean is not None
    events = told_by(whole)
    (begun,) = [event for event in events if event.kind == "stage_start"]
    start, drafts = Start.read(whole.name, begun.data, {}), Drafts()
    begin(start, drafts, begun.t)
    for event in events:
        if event.kind == "eval":
            take(start, drafts, event)
    assert drafts.keys() == {("core", 7)}
    told = drafts["core", 7]
    assert told.complete
    document = Draft("core", 7, "base/d3", told.t, sizes=told.sizes, complete=True)
    take_result(document, replace(written, t=0.0))
    assert told == document
    assert (written.checkpoint, written.step, written.run, len(told.tasks)) == ("base/d3", 7, whole.name, 22)
    assert told.settings == {
        "max_per_task": -1, "tasks": "all", "dtype": "float32", "bundle": told.settings["bundle"],
    }  # fmt: skip
    assert base / told.items == whole / "core-items.jsonl"


@pytest.mark.slow
def test_an_interrupted_run_resumes_to_equal_results(base: Path, whole: Path, tmp_path: Path) -> None:
    """As a kill leaves it: some items scored, the first of them by an earlier release, the last line
    incomplete."""
    results = results_of(whole)
    new = (whole / "core-items.jsonl").read_text().splitlines(keepends=True)
    kept = [json.dumps(old_record(json.loads(line))) + "\n" for line in new[:40]] + new[40:101]
    again = base / "runs" / "again"
    again.mkdir()
    shutil.copy(whole / "core-setup.json", again)
    (again / "core-items.jsonl").write_text("".join(kept) + new[101][:40])
    items = tmp_path / "items.jsonl"
    second = evaluate(base, "--eval=core", f"--run-dir={again}", f"--items={items}")
    assert {k: v for k, v in second.items() if k.startswith("core/")} == {
        k: v for k, v in results.items() if k.startswith("core/")
    }
    assert (again / "core-items.jsonl").read_text().splitlines(keepends=True)[:101] == kept
    by_key = {(item["task"], item["index"]): item for item in lines(again / "core-items.jsonl")}
    assert by_key == {(item["task"], item["index"]): item for item in map(json.loads, [*kept, *new[101:]])}
    compared = compare(read_items(items), read_items(whole / "items.jsonl"))
    assert (len(compared.pairs), compared.by_index, compared.differing()) == (22 * 12, 40, [])
    assert [i for i, _ in compared.pairs] == [j for _, j in compared.pairs]
    third = evaluate(base, "--eval=core", "--max-per-task=5", f"--run-dir={again}")
    assert len(lines(again / "core-items.jsonl")) == 22 * 5, third


def test_a_part_of_the_tasks_is_no_core(base: Path) -> None:
    shutil.rmtree(base / "base_eval", ignore_errors=True)
    results = evaluate(base, "--eval=core", "--tasks=t4,t1", "--max-per-task=6")
    assert "core/core" not in results
    assert {"core/t1", "core/t4"} < set(results)
    table = (base / "base_eval/base_model_000007-partial.csv").read_text().splitlines()
    assert [line.split(",")[0].strip() for line in table] == ["Task", "t1", "t4"]


def test_prompts_beyond_the_positions_are_cropped_and_counted(base: Path, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", tasks=2)
    path = bundle / "eval_data/world/t0.jsonl"
    rows = lines(path)
    rows[0]["query"] = words(random.Random(1), 400)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluate(base, "--eval=core", f"--bundle={bundle}", f"--items={tmp_path / 'items.jsonl'}")
    cropped = [item for item in lines(tmp_path / "items.jsonl") if "cropped" in item]
    assert cropped[0]["prompt"].count(" ") > 390  # whole, whatever was cropped
    assert [item["task"] for item in cropped] == ["t0"]
    assert all(np.isfinite(cropped[0]["losses"]))
    assert any("1 cropped" in e.data["text"] for e in events(base) if e.kind == "log")


def test_several_processes_say_that_they_evaluate(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stop between two tasks only: a stop must not kill them meanwhile."""
    says = tmp_path / "activity.json"
    activity = Activity(says)
    for processes, doing in ((1, ""), (2, EVALUATING)):
        with activity.evaluating(processes):
            assert json.loads(says.read_text())["doing"] == doing
    activity.close()
    told: list[int] = []

    def evaluating(self: Activity, processes: int) -> contextlib.AbstractContextManager[None]:
        told.append(processes)
        return contextlib.nullcontext()

    monkeypatch.setattr(Activity, "evaluating", evaluating)
    evaluate(base, "--eval=core", "--tasks=t1", "--max-per-task=4")
    assert told == [1]


def test_all_three_evaluations_in_one_run(base: Path) -> None:
    results = evaluate(base, "--split-tokens=640", "--max-per-task=4")
    assert {"core/core", "train/bpb", "val/bpb"} < set(results)
    assert sum(event.kind == "sample" for event in events(base)) > 7


@pytest.mark.slow
def test_core_during_pretraining(tmp_path: Path) -> None:
    """At the steps asked for and at the end, the last as base_eval finds it; else a line."""
    base = make_base(tmp_path)
    words = ["base_train", f"--base-dir={base}", "--device-type=cpu", *TINY, "--num-iterations=5"]
    assert main([*words, "--model-tag=without"]) == 0
    without = events(base)
    assert not [e for e in without if e.kind == "eval" and "core/core" in e.data]
    assert any("no CORE during training" in e.data["text"] for e in without if e.kind == "log")
    make_bundle(base / "eval_bundle")
    assert main([*words, "--core-metric-every=3", "--core-metric-max-per-task=4"]) == 0
    found = events(base)
    told = {e.step: e.data["core/core"] for e in found if e.kind == "eval" and "core/core" in e.data}
    assert list(told) == [3, 5]
    losses = {e.step: e.data["train/loss"] for e in found if e.kind == "metric" and "train/loss" in e.data}
    assert losses == {e.step: e.data["train/loss"] for e in without if "train/loss" in e.data}
    part = next(e.data[EVALUATION] for e in found if e.step == 5 and "core/t21" in e.data)
    assert (part["checkpoint"], part["step"], part["settings"]["max_per_task"]) == ("base/d2", 5, 4)
    assert part["items"] == f"runs/{newest(base).name}/core/step_000005/core-items.jsonl"
    assert len(lines(base / part["items"])) == 22 * 4
    results = found[-1].data["results"]
    assert results["core/core"] == told[5]
    alone = evaluate(base, "--eval=core", "--max-per-task=4", "--model-tag=d2")
    assert alone["core/core"] == pytest.approx(told[5], abs=1e-6)


@pytest.mark.slow
def test_items_that_the_disk_does_not_take_end_no_pretraining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_base(tmp_path / "base")
    make_bundle(base / "eval_bundle", rows=4)
    run = base / "runs" / "full"
    run.mkdir(parents=True)
    (run / "core").write_text("no folder can be made here")
    monkeypatch.setenv("NANOCHAT_RUN_DIR", str(run))
    words = ["base_train", f"--base-dir={base}", "--device-type=cpu", *TINY, "--num-iterations=1"]
    assert main([*words, "--core-metric-every=1", "--eval-every=-1", "--sample-every=-1"]) == 0
    found = read_events(run / "events.jsonl")[0]
    [alert] = [e.data for e in found if e.kind == "alert"]
    assert alert["what"] == "items_not_stored"
    assert "core/core" in found[-1].data["results"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--bundle=/nowhere"], "no CORE bundle in /nowhere (fetch it: "),
        (["--tasks=t1,winogrand"], "--tasks: the bundle has no task 'winogrand'"),
        (["--max-per-task=2"], "t1: 2 examples are drawn from the other rows, and there are only 1"),
        (["--eval=core,bits"], "--eval: there is no 'bits'"),
        (["--hf-path=/nowhere"], "--hf-path: there is no folder /nowhere"),
    ],
)
def test_what_cannot_be_evaluated_ends_in_one_line(
    base: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    evaluate(base, *(options if "--eval" in options[0] else ["--eval=core", *options]), code=2)
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("eval_data/world/t0.jsonl", '{"query": "a", "choices": ["b"], "gold": 0}\n{"query', "line 2"),
        (
            "eval_data/world/t0.jsonl",
            '{"query": "a", "choices": ["b"], "gold": 1}\n',
            "gold 1 is not one of 1",
        ),
        ("eval_data/world/t1.jsonl", '{"continuation": "a", "gold": 0}\n', "'context_options' is missing"),
        ("eval_data/world/t1.jsonl", None, "the CORE bundle lacks"),
        ("core.yaml", "icl_tasks: [", "is damaged: "),
        ("eval_meta_data.csv", "Eval Task,Random baseline\nt0,25\n", "is damaged: KeyError: 't1'"),
        ("eval_meta_data.csv", "Eval Task,Random baseline\nt0,100\n", "a random baseline of 100 %"),
        ("eval_meta_data.csv", "Eval Task,Random baseline\nt0,nan\n", "a random baseline of nan %"),
        ("core.yaml", TASK.replace("[0]", "[-1]"), "num_fewshot of task t0 is no number of examples"),
        ("core.yaml", TASK.replace("label: t0", "label: [t0]"), "something other than text"),
    ],
)
def test_a_damaged_bundle_is_named(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str | None, says: str
) -> None:
    bundle = make_bundle(tmp_path / "bundle", tasks=3)
    if text is None:
        (bundle / name).unlink()
    else:
        (bundle / name).write_text(text)
    evaluate(base, "--eval=core", f"--bundle={bundle}", code=2)
    error = capsys.readouterr().err
    assert says in error
    assert "--dataset eval-bundle" in error
    assert error.count("\n") == 1


def test_the_shared_bundle_has_all_tasks(shared_data: Path) -> None:
    tasks = read_bundle(shared_data / "eval_bundle")
    assert len(tasks) == 22
    assert {task.kind for task in tasks} == set(KINDS)
    assert {t.label: t.baseline for t in tasks}["boolq"] == pytest.approx(0.62)


@pytest.mark.slow
def test_a_hugging_face_model_through_the_same_code(base: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: i for i, letter in enumerate([*letters, "<|endoftext|>"])}
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    folder = tmp_path / "gpt2-tiny"
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<|endoftext|>", eos_token="<|endoftext|>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(vocabulary), n_positions=96, n_embd=32, n_layer=2, n_head=2, initializer_range=0.3,
        bos_token_id=256, eos_token_id=256,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).eval()
    model.save_pretrained(folder)
    evaluate(base, f"--hf-path={folder}", f"--items={tmp_path / 'items.jsonl'}")
    assert (base / "base_eval/gpt2-tiny.csv").is_file()
    items = lines(tmp_path / "items.jsonl")
    assert len(items) == 22 * 12
    assert any("cropped" in item for item in items)
    checked = [item for item in items if item["task"] in ("t0", "t3")]
    rows = {t.label: t.rows() for t in read_bundle(base / "eval_bundle")}
    for item in checked:
        texts = [item["prompt"] + choice for choice in rows[item["task"]][item["index"]]["choices"]]
        sequences = [[256, *vocabulary_ids(vocabulary, inner, text)] for text in texts]
        start = next(i for i, column in enumerate(zip(*sequences, strict=False)) if len(set(column)) > 1)
        for ids, loss in zip(sequences, item["losses"], strict=True):
            kept = torch.tensor(ids[-96:])
            first = start - max(0, len(ids) - 96)
            with torch.no_grad():
                logits = model(kept[None]).logits[0, first - 1 : -1]
            assert loss == pytest.approx(F.cross_entropy(logits, kept[first:]).item(), abs=1e-4)


def vocabulary_ids(vocabulary: dict[str, int], inner: Any, text: str) -> list[int]:
    return [vocabulary[token] for token in inner.encode(text).tokens]
