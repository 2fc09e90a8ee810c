"""lm-evaluation-harness on a task of JSON lines of our own, without a network."""

import json
import os
from pathlib import Path
from typing import Any

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
NAME = "own_rows"


def task(folder: Path, rows: list[dict[str, Any]], **settings: Any) -> dict[str, Any]:
    """A task over a file of JSON lines."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {
        "task": NAME,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(path)}, "cache_dir": str(folder / "cache")},
        "test_split": "test",
        "num_fewshot": 0,
        **settings,
    }


def evaluate(
    model: str, key: str, arguments: dict[str, Any], task: dict[str, Any], **settings: Any
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The task's metrics, and its samples in the order of the rows."""
    os.environ |= OFFLINE | {"OPENAI_API_KEY": key}  # read when it is imported, and when it asks
    import lm_eval  # type: ignore[import-untyped]
    from lm_eval.tasks import TaskManager  # type: ignore[import-untyped]

    found = lm_eval.simple_evaluate(
        model=model,
        model_args={"num_concurrent": 1, "max_retries": 1, **arguments},
        tasks=[task],
        bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False),
        **settings,
    )
    assert found is not None
    samples = sorted(found["samples"][NAME], key=lambda sample: int(sample["doc_id"]))
    return found["results"][NAME], samples
