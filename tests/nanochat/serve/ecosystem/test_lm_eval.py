"""lm-evaluation-harness against the server, on tasks of JSON lines of our own, without a network.

Multiple choice through `/v1/completions` (echo and log-probabilities) scores every choice as our own code
does under the harness' rule: the context alone is encoded, and the continuation is what the ids of both
together have beyond that many (0.4.13, `TemplateLM._encode_pair`; white space at the context's end goes to
the continuation). Where a token spans the border, what is scored is no longer the whole text.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import evaluate, task
from served import BASE, CHAT, KEY, Served, exported

from nanochat.evals.batches import plan_batches, score
from nanochat.evals.icl import Item
from nanochat.evals.nanochat_lm import NanochatLM

pytestmark = pytest.mark.slow

pytest.importorskip("lm_eval", reason="needs lm_eval: pip install '.[test]'")
pytest.importorskip("tenacity", reason="needs lm_eval's models behind an API: pip install '.[test]'")

WORDS = ["a model", "the rows", "tokens in text", "rows of words and tokens", "to the", "in", "1 2 3"]
CONTEXTS = ["read", "the model learns ", "tokens: ", "rows in t", "in th", "Q: words?\nA:", "é ", "to\n"]


def questions() -> list[dict[str, Any]]:
    """Contexts that end in white space, at a token's border and within a token, each with some choices."""
    found = []
    for number, context in enumerate(CONTEXTS * 3):
        choices = [WORDS[(number + 2 * step) % len(WORDS)] for step in range(2 + number % 3)]
        if context.endswith("t"):
            choices[0] = "he model"  # "t" + "he" is one token: nothing of "the" is scored
        if context.endswith(("A:", "read")):
            choices = [f" {choice}" for choice in choices]
        found.append({"query": context, "choices": choices, "gold": number % len(choices)})
    return found


@pytest.fixture(scope="module")
def tokenizer_folder(server: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(server.base, tmp_path_factory.mktemp("export") / "hf")


def harness_pair(model: NanochatLM, context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Ids of the context with bos, and of what is scored, by the harness' rule."""
    kept = context.rstrip()
    continuation, context = context[len(kept) :] + continuation, kept
    whole, first = model.encode(context + continuation), model.encode(context)
    return [model.bos, *first], whole[len(first) :]


def own_scores(model: NanochatLM, rows: list[dict[str, Any]]) -> list[list[float]]:
    """Log-likelihoods of every choice of every row, by the code that computes CORE."""
    items = []
    for index, row in enumerate(rows):
        item = Item(index, row["query"], row["gold"])
        for choice in row["choices"]:
            context, scored = harness_pair(model, row["query"], choice)
            item.sequences.append(np.array([*context, *scored], dtype=np.int64))
            item.spans.append((len(context), len(context) + len(scored)))
        items.append(item)
    found = {}
    for batch in plan_batches(items, model, budget=512):
        for item, scores in zip(batch.items, score(model, batch), strict=True):
            lengths = [end - start for start, end in item.spans]
            found[item.index] = [
                -one.loss * length if length else 0.0 for one, length in zip(scores, lengths, strict=True)
            ]
    return [found[index] for index in range(len(rows))]


@pytest.mark.parametrize("concurrent", [1, 4])
def test_multiple_choice_is_scored_as_by_our_own_code(
    server: Served, tokenizer_folder: Path, tmp_path: Path, concurrent: int
) -> None:
    rows = questions()
    results, samples = evaluate(
        "local-completions",
        KEY,
        {
            "model": BASE,
            "base_url": f"{server.api}/completions",
            "tokenizer_backend": "huggingface",
            "tokenizer": str(tokenizer_folder),
            "add_bos_token": True,  # ours is a model of documents: without bos it has never seen a beginning
            "num_concurrent": concurrent,
        },
        task(
            tmp_path, rows, output_type="multiple_choice", doc_to_text="{{query}}", doc_to_choice="choices",
            doc_to_target="gold", target_delimiter="",
            metric_list=[{"metric": "acc"}, {"metric": "acc_norm"}],
        ),
    )  # fmt: skip
    model = NanochatLM(server.models[BASE], server.tokenizer)
    own = own_scores(model, rows)
    theirs = [[float(pair[0]) for pair in sample["filtered_resps"]] for sample in samples]
    assert len(theirs) == len(rows)
    for row, ours, harness in zip(rows, own, theirs, strict=True):
        assert harness == pytest.approx(ours, abs=2e-4), row
    right = [int(np.argmax(ours)) == row["gold"] for row, ours in zip(rows, own, strict=True)]
    by_length = [
        int(np.argmax(np.array(ours) / [len(choice) for choice in row["choices"]])) == row["gold"]
        for row, ours in zip(rows, own, strict=True)
    ]
    assert results["acc,none"] == pytest.approx(np.mean(right))
    assert results["acc_norm,none"] == pytest.approx(np.mean(by_length))
    assert 0 < sum(right) < len(rows)  # neither all nor none: the comparison says something
    across = [
        choice
        for row in rows
        for choice in row["choices"]
        if server.tokenizer.decode(harness_pair(model, row["query"], choice)[1]).strip() != choice.strip()
    ]
    assert across  # the rule made a difference


def test_generation_through_completions_and_chat(
    server: Served, tokenizer_folder: Path, tmp_path: Path
) -> None:
    """Greedy answers, cut at the harness' stop strings, are the engine's."""
    rows = [{"query": text} for text in ("the model reads", "rows of", "a text in words")]
    prompts = {
        "local-completions": [server.tokenizer.encode(row["query"], bos=True) for row in rows],
        "local-chat-completions": [
            server.conversation({"role": "user", "content": row["query"]}) for row in rows
        ],
    }
    asked = task(
        tmp_path, [{**row, "answer": "none"} for row in rows], output_type="generate_until",
        doc_to_text="{{query}}", doc_to_target="answer",
        generation_kwargs={"until": ["e"], "max_gen_toks": 12, "temperature": 0},
        metric_list=[{"metric": "exact_match"}],
    )  # fmt: skip
    for kind, name in (("local-completions", BASE), ("local-chat-completions", CHAT)):
        chat = kind == "local-chat-completions"
        arguments: dict[str, Any] = {
            "model": name,
            "base_url": f"{server.api}/{'chat/' if chat else ''}completions",
        }
        if not chat:
            arguments |= {
                "tokenizer_backend": "huggingface", "tokenizer": str(tokenizer_folder), "add_bos_token": True
            }  # fmt: skip
        _, samples = evaluate(kind, KEY, arguments, asked, apply_chat_template=chat)
        said = [sample["filtered_resps"][0] for sample in samples]
        own = [server.texts(name, prompt, 12)[0].partition("e")[0] for prompt in prompts[kind]]
        assert said == own
