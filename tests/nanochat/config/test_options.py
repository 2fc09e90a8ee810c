"""Options: one dataclass is the command line, the form, the plan and the metadata."""

import argparse
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.config.command_parser import Parser, add_arguments, collect, normalise
from nanochat.config.data_options import DataBuildOptions
from nanochat.config.options import (
    OptionField,
    Options,
    changed,
    from_mapping,
    option_fields,
    parse_value,
    to_argv,
)
from nanochat.config.stages import STAGES
from nanochat.config.train_options import BaseTrainOptions
from nanochat.tokenizer.special_tokens import MIN_VOCAB


def parse(cls: type[Options], argv: Sequence[str]) -> Options:
    parser = Parser(prog="nanochat test")
    add_arguments(parser, cls)
    return collect(cls, parser.parse_args(normalise(argv)))


def value_of(field: OptionField) -> st.SearchStrategy[object]:
    low, high = field.minimum, field.maximum
    if field.choices:
        return st.sampled_from(field.choices)
    if field.type is bool:
        return st.sampled_from((None, False, True)) if field.default is None else st.booleans()
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


@pytest.mark.slow
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


OLD_SPELLINGS = [
    ("base_train", ["--data-split", "row-groups"], {"shard_by": "row-groups"}),
    ("base_train", ["--data_split=row-groups"], {"shard_by": "row-groups"}),
    ("base_eval", ["--core-optional"], {"skip_missing_core": True}),
    ("base_eval", ["--skip-missing-core", "--no-core-optional"], {}),
    ("chat_rl", ["--no-train-end"], {"train_eos": False}),
    ("chat_sft", ["--load-optimizer", "1"], {"load_optimizer": True}),
    ("chat_sft", ["--load-optimizer=0"], {"load_optimizer": False}),
    ("mid_train", ["--load-optimizer=auto"], {}),
]


@pytest.mark.parametrize(("stage", "argv", "means"), OLD_SPELLINGS)
def test_old_spellings_are_read_on_the_command_line(stage, argv, means):
    assert changed(parse(STAGES[stage].options, argv)) == means


@pytest.mark.parametrize(
    ("stage", "old", "means"),
    [
        ("base_train", {"data_split": "row-groups"}, {"shard_by": "row-groups"}),
        ("base_eval", {"core_optional": True}, {"skip_missing_core": True}),
        ("chat_rl", {"train_end": False}, {"train_eos": False}),
        ("chat_sft", {"load_optimizer": "1"}, {"load_optimizer": True}),
        ("chat_sft", {"load_optimizer": "0"}, {"load_optimizer": False}),
        ("chat_sft", {"load_optimizer": "auto"}, {}),
    ],
)
def test_old_spellings_are_read_in_plans_and_old_runs(stage, old, means):
    assert changed(from_mapping(STAGES[stage].options, old)) == means


def test_a_switch_left_unset_is_not_a_switch_turned_off():
    options = STAGES["chat_sft"].options
    assert changed(parse(options, [])) == {}
    assert changed(parse(options, ["--no-load-optimizer"])) == {"load_optimizer": False}
    assert changed(parse(options, ["--load-optimizer", "--seed=3"])) == {"load_optimizer": True, "seed": 3}
    with pytest.raises(UserError, match="--load-optimizer: 'maybe' is not true or false"):
        parse(options, ["--load-optimizer", "maybe"])
    with pytest.raises(UserError, match="--no-load-optimizer takes no value"):
        parse(options, ["--no-load-optimizer=1"])


@pytest.mark.parametrize("stage", ["base_train", "base_eval", "chat_rl", "chat_sft"])
def test_old_spellings_are_shown_nowhere(stage):
    options = STAGES[stage].options
    parser = Parser(prog="nanochat test")
    add_arguments(parser, options)
    aliases = [alias for field in option_fields(options) for alias in field.aliases]
    shown = parser.format_help()
    for alias in aliases:
        assert alias.replace("_", "-") not in shown
        with pytest.raises(UserError) as caught:
            parse(options, [f"--{alias.replace('_', '-')}x"])
        assert f"did you mean '--{alias.replace('_', '-')}'" not in str(caught.value)
    assert "--load-optimizer, --no-load-optimizer" in shown or stage != "chat_sft"


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


def test_the_smallest_vocabulary_offered_is_the_smallest_there_is() -> None:
    field = next(f for f in option_fields(STAGES["tok_train"].options) if f.name == "vocab_size")
    assert field.minimum == MIN_VOCAB
