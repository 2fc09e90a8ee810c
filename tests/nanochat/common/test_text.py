"""Text from logs is safe to print, and numbers are short."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.text import (
    LINE_CAP,
    UNSAFE,
    amount,
    clean_text,
    clock,
    duration,
    number,
    percent,
    sanitize,
    short,
    size_bytes,
)


@given(st.text(max_size=400))
def test_no_line_of_a_log_can_command_the_terminal(text: str) -> None:
    assert not UNSAFE.search(sanitize(text))


@given(st.binary(max_size=400))
def test_bytes_of_any_kind_are_shown_without_control_characters(raw: bytes) -> None:
    shown = sanitize(raw.decode("utf-8", "surrogateescape"))
    shown.encode("utf-8")
    assert not UNSAFE.search(shown)


def test_colours_are_dropped_and_other_sequences_become_visible() -> None:
    assert sanitize("\x1b[1;31mloss\x1b[0m 2.5") == "loss 2.5"
    assert sanitize("\x1b]0;owned\x07") == "␛]0;owned␇"
    assert sanitize("\x1b[2J") == "␛[2J"
    assert sanitize("a\u202eb") == "a⟨202e⟩b"


def test_a_redrawn_line_shows_its_last_state() -> None:
    assert sanitize("  0%|\r 50%|\r100%|done\n") == "100%|done"


def test_a_very_long_line_is_cut_and_says_by_how_much() -> None:
    shown = sanitize("x" * (LINE_CAP + 1_234))
    assert shown == "x" * LINE_CAP + " … +1,234 characters"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (59.4, "59s"),
        (192, "3m12s"),
        (8040, "2h14m"),
        (273600, "3d04h"),
        (None, ""),
        (math.inf, ""),
    ],
)
def test_durations(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.82137, "0.8214"), (2.7312, "2.731"), (14210, "14,210"), (98.07, "98.07"),
        (3611.7, "3,612"), (0, "0"), (5.000000000000001, "5"), (-0.9999999999999999, "-1"),
        (3e-5, "3.00e-05"), (2.5e9, "2.50G"), (math.nan, "NaN"), (-math.inf, "-∞"), ("NaN", "NaN"),
        (None, ""),
    ],
)  # fmt: skip
def test_metrics_show_four_significant_digits(value: float | str | None, shown: str) -> None:
    assert number(value) == shown


@given(st.floats(min_value=1e-3, max_value=1e16))
def test_magnitudes_stay_short(value: float) -> None:
    assert len(short(value)) <= 6


def test_sizes_shares_and_times(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [size_bytes(n) for n in (0, 512, 71.2 * 2**30, 1000 * 2**20)] == ["0B", "512B", "71.2G", "1.0G"]
    assert [percent(part) for part in (None, 0.0, 0.664)] == ["", "0%", "66%"]
    assert clock(None) == ""


@pytest.mark.parametrize(
    "character",
    ["\u200b", "\u200c", "\u200d", "\u2060", "\u00ad", "\u180e", "\u3164", "\ufeff", "\U000e0041"],
)
def test_characters_of_no_width_are_made_visible(character: str) -> None:
    shown = f"a⟨{ord(character):04x}⟩b"
    assert sanitize(f"a{character}b") == shown
    assert clean_text(f"a{character}b\n") == shown + "\n"
    assert sanitize("e\u0301 ☕️ नि") == "e\u0301 ☕️ नि"  # accents and vowel signs stay


@pytest.mark.parametrize(
    ("count", "unit", "told"),
    [
        (1, "item", "1 item"),
        (0, "item", "0 items"),
        (1024, "row", "1,024 rows"),
        (844, "bytes", "844 bytes"),
        (1, "match", "1 match"),
        (3, "match", "3 matches"),
        (2, "batch", "2 batches"),
        (2, "pass", "2 passes"),
        (2, "box", "2 boxes"),
        (2, "epoch", "2 epochs"),
    ],
)
def test_amounts_have_their_plural(count: int, unit: str, told: str) -> None:
    assert amount(count, unit) == told
