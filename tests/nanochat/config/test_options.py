"""Options: one dataclass is the command line, the form, the plan and the metadata."""

import argparse
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.config.data_options import DataBuildOptions
from nanochat.config.options import (
    OptionField,
    Options,
    Parser,
    add_arguments,
    collect,
    from_mapping,
    normalise,
    option_fields,
    parse_value,
    to_argv,
)
from nanochat.config.stages import STAGES
from nanochat.config.train_options import BaseTrainOptions


def parse(cls: type[Options], argv: Sequence[str]) -> Options:
    parser = Parser(prog="nanochat test")
    add_arguments(parser, cls)
    return collect(cls, parser.parse_args(normalise(argv)))


def value_of(field: OptionField) -> st.SearchStrategy[object]:
    low, high = field.minimum, field.maximum
    if field.choices:
        return st.sampled_from(field.choices)
    if field.type is bool:
        return st.booleans()
    if field.type is int:
        return st.integers(int(low) if low is not None else -5, int(high) if high is not None else 2**40)
    if field.type is float:
        return st.floats(low if low is not None else -1, high if high is not None else 1e20, allow_nan=False)
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
    if field.type is tuple and not field.positional:
        # Written as A,B: words without commas, and white space around the list is not kept.
        words = st.text(st.characters(codec="utf-8", exclude_characters="\0,"), max_size=8)
        return st.lists(words.filter(lambda item: item and item == item.strip()), max_size=3).map(tuple)
    if field.type is tuple:
        return st.lists(text.filter(lambda item: item and not item.startswith("-")), max_size=3).map(tuple)
    return text.filter(lambda value: value != "--")  # which argparse takes out even after an equals sign


@pytest.mark.parametrize("name", STAGES)
@given(data=st.data())
def test_any_options_survive_their_own_command_line(name, data):
    cls = STAGES[name].options
    options = cls(**{field.name: data.draw(value_of(field), field.name) for field in option_fields(cls)})
    assert parse(cls, to_argv(options)) == options


def test_the_default_command_line_is_empty():
    assert to_argv(BaseTrainOptions()) == []


def test_underscores_stand_for_dashes_and_for_digit_groups():
    options = parse(
        BaseTrainOptions, ["--num_iterations=10_000", "--model-tag", "a_b", "--eval_tokens", "2e6"]
    )
    assert (options.num_iterations, options.model_tag, options.eval_tokens) == (10_000, "a_b", 2_000_000)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--dpeth", "3"], "did you mean '--depth'"),
        (["--depth", "three"], "--depth: 'three' is not a whole number"),
        (["--depth", "2.5"], "not a whole number"),
        (["--depth", "0"], "at least 1"),
        (["--depth", "nan"], "not a whole number"),
        (["--dtype", "bflot16"], "did you mean 'bfloat16'"),
        (["--dep", "3"], "did you mean '--depth'"),
        (["--depth"], "expected one argument"),
        (["stray"], "unexpected argument 'stray'"),
    ],
)
def test_a_bad_option_is_answered_on_one_line(argv, says):
    with pytest.raises(UserError) as caught:
        parse(BaseTrainOptions, argv)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mapping_names_where_it_is_wrong():
    with pytest.raises(UserError, match=r"demo\.toml, stage 2: unknown option 'vocab' \(did you mean"):
        from_mapping(STAGES["tok_train"].options, {"vocab": 3}, "demo.toml, stage 2")


def test_paths_are_positional_and_may_look_like_options():
    options = DataBuildOptions(paths=("-odd", "b c"), out="x")
    assert to_argv(options) == ["--out=x", "--", "-odd", "b c"]
    assert parse(DataBuildOptions, to_argv(options)) == options


@given(number=st.integers(-(2**70), 2**70))
def test_whole_numbers_of_any_size_are_exact(number):
    field = OptionField("n", int, 0, "", "")
    assert parse_value(field, f"{number:_}") == number


def test_help_shows_every_option_with_its_default(capsys: pytest.CaptureFixture[str]):
    parser = argparse.ArgumentParser()
    add_arguments(parser, BaseTrainOptions)
    shown = parser.format_help()
    for field in option_fields(BaseTrainOptions):
        assert field.flag in shown
    assert "[0.65]" in shown


@pytest.mark.parametrize("name", STAGES)
def test_minus_one_is_the_only_number_below_the_minimum_that_an_option_takes(name: str) -> None:
    for field in option_fields(STAGES[name].options):
        if field.type not in (int, float) or field.minimum is None:
            continue
        assert field.minus_one or field.default >= field.minimum
        below = -2 if field.minus_one else field.minimum - 1
        with pytest.raises(UserError, match=f"{field.flag}: .* is too small"):
            parse_value(field, str(below))
        if field.minus_one:
            assert parse_value(field, "-1") == -1
        if field.minus_one and field.minimum == 1:
            with pytest.raises(UserError, match=r"at least 1, or -1"):
                parse_value(field, "0")
