"""`nanochat bench infer`: the table, its last line, and what it refuses."""

import json

import pytest

from nanochat.cli import main
from nanochat.common.paths import Layout
from nanochat.model.architecture import CLASSIC, MODERN, ModelConfig, decode_bytes, prefill_flops

SHAPE = [
    "--depth",
    "2",
    "--head-dim",
    "16",
    "--aspect-ratio",
    "16",
    "--vocab-size",
    "300",
    "--device-type",
    "cpu",
]


def test_an_untrained_shape_is_measured_and_the_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--max-seq-len", "64", "--decode-tokens", "8", "--batch-sizes", "1,3", "--dtype", "float32"]
    assert main(["bench", "infer", *SHAPE, *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    result = json.loads(lines[-1])
    assert "cut to 56 tokens" in lines[0]
    assert result["prompt_tokens"] == 56
    assert [row["batch_size"] for row in result["sweep"]] == [1, 3]
    for row in result["sweep"]:
        assert row["decode_steps"] == 7
        assert row["tok_per_sec"] > 0
        assert row["mbu_percent"] == pytest.approx(
            100 * row["bytes_per_sec"] / result["copy_bandwidth_bytes_per_sec"]
        )
    assert result["prefill"]["mfu_percent"] is None


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--batch-sizes", "1,x", *SHAPE], "is not a list of numbers"),
        (["--batch-sizes", "0", *SHAPE], "is not a list of numbers"),
        (["-g", "d9"], "no checkpoints in"),
        (["--prompt-token", "5"], "did you mean '--prompt-tokens'"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    words: list[str], says: str, layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "infer", *words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("parts", [MODERN, CLASSIC])
def test_work_of_a_prompt_and_a_step_is_counted_key_by_key(parts: object) -> None:
    config = ModelConfig(10, 50, 3, 4, 2, 32, "SL", parts)  # type: ignore[arg-type]
    seen = [[min(t + 1, t + 1 if w is None else w + 1) for t in range(30)] for w in config.windows]
    scores = 4 * 32 * sum(map(sum, seen))
    one = prefill_flops(config, 30) - scores
    assert one == prefill_flops(config, 1) * 30 - 30 * 4 * 32 * 3 - 29 * 2 * config.padded_vocab * 32
    step = decode_bytes(config, 2, 30, 4) - decode_bytes(config, 0, 30, 4)
    assert step == 4 * 2 * 2 * config.kv_dim * sum(layer[-1] for layer in seen)
