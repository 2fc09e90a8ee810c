"""Results that upstream nanochat has written, of both eras, read from files as it writes them."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from nanochat.common.errors import UserError
from nanochat.evals.upstream_tables import read_csv, read_report


def section(title: str, *parts: str | Mapping[str, object]) -> str:
    """A section as upstream's report has it: floats with four digits, large integers grouped."""
    lines = [f"## {title}", "timestamp: 2026-01-02 03:04:05", ""]
    for part in parts:
        for name, value in part.items() if isinstance(part, Mapping) else ():
            shown = f"{value:.4f}" if isinstance(value, float) else value
            lines.append(
                f"- {name}: {f'{value:,.0f}' if isinstance(value, int) and value >= 10_000 else shown}"
            )
        lines += [part] if isinstance(part, str) else []
    return "\n".join([*lines, ""])


ARGUMENTS = {
    "source": "sft", "task_name": None, "dtype": "bfloat16", "temperature": 0.0, "max_new_tokens": 512,
    "num_samples": 1, "top_k": 50, "batch_size": 8, "model_tag": "d20", "step": 650, "max_problems": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("size", "core"), [("", 0.113891), ("-medium", 0.184747), ("-large", 0.214538), ("-xl", 0.256453)]
)
def test_the_published_tables_of_gpt2_hold_22_tasks_and_core(
    shared_data: Path, size: str, core: float
) -> None:
    name = f"openai-community-gpt2{size}.csv"
    table = read_csv((shared_data / "eval_bundle" / name).read_text(encoding="utf-8"), name)
    assert (table.kind, table.model, table.source, table.step) == ("core", f"gpt2{size}", "", None)
    assert len(table.accuracy) == len(table.centered) == 22
    assert table.mean == pytest.approx(core, abs=5e-4)
    assert table.mean == pytest.approx(math.fsum(table.centered.values()) / 22, abs=2e-6)


def test_a_csv_of_base_eval_tells_source_and_step_by_its_name() -> None:
    text = (
        "Task                               , Accuracy  , Centered  \n"
        "copa                               , 0.600000  , 0.200000  \n"
        "boolq                              , 0.552294  , -0.178175 \n"
        "CORE                               ,           , 0.010913  \n"
    )
    table = read_csv(text, "base_eval/base_model_021400.csv")
    assert (table.source, table.tag, table.step, table.mean) == ("base", "", 21400, 0.010913)
    assert table.accuracy == {"copa": 0.6, "boolq": 0.552294}
    assert table.centered == {"copa": 0.2, "boolq": -0.178175}


@pytest.mark.parametrize("cut", ["boolq    , 0.55", "boo", "CORE    ,    , "])
def test_a_csv_cut_short_keeps_its_whole_rows_and_has_no_mean(cut: str) -> None:
    table = read_csv(f"Task, Accuracy, Centered\ncopa , 0.6, 0.2\n{cut}", "base_model_000100.csv")
    assert table.accuracy == {"copa": 0.6} and table.mean is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not a table of CORE"),
        ("Eval Task,Task Category,Random baseline\ncopa,x,50\n", "not a table of CORE"),
        ("Task, Accuracy, Centered\ncopa, high, 0.2\nboolq, 0.5, 0.1\n", "row 2: not a task"),
        ("Task, Accuracy, Centered\ncopa, 5.0, 0.2\nboolq, 0.5, 0.1\n", "row 2: not a task"),
        ("Task, Accuracy, Centered\ncopa, 0.5\nboolq, 0.5, 0.1\n", "row 2: not a task"),
        (f"Task, Accuracy, Centered\n{'x' * 200_000}, 0.5, 0.2\n", "not a csv table: field larger than"),
    ],
)
def test_what_is_no_table_is_told_in_a_line(text: str, told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        read_csv(text, "base_eval/x\x1b[31m.csv")
    assert "\x1b" not in str(error.value)


def test_the_classic_report_has_core_and_bits_per_byte_in_two_sections() -> None:
    text = section(
        "Base model evaluation", {"Model": "base_model (step 21400)", "CORE metric": 0.20839}, {"copa": 0.4}
    ) + section(
        "Base model loss",
        {"train bpb": 0.81477, "val bpb": 0.81399},
        {"sample 0": "<|bos|>The capital\n- val bpb: 9.9999"},
    )
    core, bits = read_report(text, "report/report.md")
    assert (core.kind, core.source, core.step, core.mean) == ("core", "base", 21400, 0.2084)
    assert core.centered == {"copa": 0.4} and not core.accuracy
    assert (bits.kind, bits.step, bits.values) == ("bpb", None, {"train": 0.8148, "val": 0.814})


def test_the_modern_report_has_both_in_one_and_samples_are_no_figures() -> None:
    text = section(
        "Base model evaluation",
        {"model": "base_model (step 12000)", "CORE metric": 0.25, "train bpb": 0.7461, "val bpb": 0.7444},
        {"copa": 0.3, "squad": 0.12},
        {"sample 0": "The capital of France is\n- piqa: 1.0000"},
        {"unconditioned 0": "x"},
    )
    core, bits = read_report(text, "report/base-model-evaluation.md")
    assert core.centered == {"copa": 0.3, "squad": 0.12} and core.mean == 0.25
    assert (bits.kind, bits.step, bits.values) == ("bpb", 12000, {"train": 0.7461, "val": 0.7444})


@pytest.mark.parametrize("title", ["Chat evaluation sft", "Chat evaluation rl", "Chat evaluation mid"])
def test_a_chat_section_tells_checkpoint_settings_and_tasks(title: str) -> None:
    scores = {"ARC-Easy": 0.4611, "MMLU": 0.3242, "GSM8K": 0.0455}
    source = title.rpartition(" ")[2]
    text = section(title, {**ARGUMENTS, "source": source}, scores, {"ChatCORE metric": 0.1234})
    (chat,) = read_report(text, "report/x.md")
    assert (chat.kind, chat.source, chat.tag, chat.step) == ("chat", source, "d20", 650)
    assert chat.accuracy == scores and chat.mean == 0.1234
    assert chat.settings["temperature"] == "0.0000" and chat.settings["top_k"] == "50"
    assert set(chat.settings) == {"dtype", "temperature", "max_new_tokens", "num_samples", "top_k"}


def test_a_chat_section_without_tag_step_and_mean_says_so() -> None:
    text = section(
        "Chat evaluation rl", {**ARGUMENTS, "source": "rl", "model_tag": None, "step": None}, {"GSM8K": 0.1}
    )
    (chat,) = read_report(text, "report/chat-evaluation-rl.md")
    assert (chat.tag, chat.step, chat.mean) == ("", None, None)


def test_the_tokenizer_section_gives_the_figures_of_each_text() -> None:
    table = (
        "### Comparison with GPT-2\n\n"
        "| Text Type | Bytes | GPT-2 Tokens | GPT-2 Ratio | Ours Tokens | Ours Ratio | Relative Diff % |\n"
        "|-----------|-------|--------------|--------------|-------------|------------|-----------------|\n"
        "| news | 1819 | 404 | 4.50 | 375 | 4.85 | +7.2% |\n"
        "| korean | 893 | 745 | 1.20 | 712 | 1.25 | -4.4% |\n"
    )
    (found,) = read_report(section("Tokenizer evaluation", table), "report/tokenizer-evaluation.md")
    assert found.kind == "tokenizer" and found.values["news/bytes_per_token"] == 4.85
    assert found.values["news/fewer_than_gpt2_percent"] == 7.2
    assert found.values["korean/fewer_than_gpt2_percent"] == -4.4
    assert found.values["korean/tokens"] == 712


def test_other_sections_are_passed_over_and_empty_ones_told() -> None:
    assert read_report(section("Base model training", {"depth": 20, "val bpb": 0.8}), "x.md") == []
    with pytest.raises(UserError, match="'Base model evaluation' has no figures"):
        read_report(section("Base model evaluation", {"model": "base_model (step 1)"}), "report/x.md")
