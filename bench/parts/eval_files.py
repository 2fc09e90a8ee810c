"""Items files of CORE as large as the published bundle's, made without a model: two models, one bundle."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nanochat.common.fields import json_text
from nanochat.config.known_tasks import baseline
from nanochat.evals.item_record import item_key, item_line

ITEMS = {
    "hellaswag_zeroshot": 10_042, "jeopardy": 2_117, "bigbench_qa_wikidata": 20_321, "arc_easy": 2_376,
    "arc_challenge": 1_172, "copa": 100, "commonsense_qa": 1_221, "piqa": 1_838, "openbook_qa": 500,
    "lambada_openai": 5_153, "hellaswag": 10_042, "winograd": 273, "winogrande": 1_267,
    "bigbench_dyck_languages": 1_000, "agi_eval_lsat_ar": 230, "bigbench_cs_algorithms": 1_320,
    "bigbench_operators": 210, "bigbench_repeat_copy_logic": 32, "squad": 10_570, "coqa": 7_983,
    "boolq": 3_270, "bigbench_language_identification": 10_000,
}  # fmt: skip
"""Of each task, in the published bundle: 91,037 in all."""
WORDS = 400
"""Of a prompt with its examples, about 2,300 bytes, as the published ones have on average."""
_WORDS = "the of question answer which is a with people then model water because from city river where name"
VOCABULARY = _WORDS.split()


def write_pair(folder: Path, share: float = 1.0, seed: int = 0) -> tuple[Path, Path]:
    """Two files of the same items: the second model is right a little more often."""
    paths = folder / "a.jsonl", folder / "b.jsonl"
    for path, better in zip(paths, (0.0, 0.02), strict=True):
        with path.open("w", encoding="utf-8") as file:
            for record in _records(share, seed, better):
                file.write(json_text(record, None) + "\n")
    return paths


def _records(share: float, seed: int, better: float) -> Iterator[dict[str, Any]]:
    asked, judged = random.Random(seed), random.Random(f"{seed} {better}")
    for task, count in ITEMS.items():
        guess = baseline(task) or 0.0
        options = round(1 / guess) if 0 < guess <= 0.5 else 2 if guess else 0
        for index in range(max(1, round(count * share))):
            prompt = " ".join(asked.choices(VOCABULARY, k=WORDS))
            choices = [" ".join(asked.choices(VOCABULARY, k=6)) for _ in range(options)]
            gold = asked.randrange(options) if options else " ".join(asked.choices(VOCABULARY, k=2))
            is_right = judged.random() < guess + 0.2 + better
            losses = [judged.uniform(1, 5) for _ in range(max(1, options))]
            wrong = (int(gold) + 1) % options if isinstance(gold, int) else "another"
            yield item_line(
                task=task,
                index=index,
                key=item_key([prompt], choices, gold),
                correct=is_right,
                losses=losses,
                prediction=gold if is_right else wrong,
                gold=gold,
                near_tie=False,
                choices=choices,
                prompt=prompt,
            )
