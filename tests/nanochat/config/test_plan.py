"""Plans: what a file says, what it may not say, and what --set changes."""

import dataclasses
from pathlib import Path

import pytest

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.config.plan import builtin_plans, load_plan, override, parse_plan

VERSION_0_1_0 = Path(__file__).resolve().parents[2] / "version_0_1_0"
TWO = """
name = "two"
[[stage]]
stage = "base_train"
id = "train"
needs = ["tok"]
options = { depth = 4 }
[[stage]]
stage = "tok_train"
id = "tok"
needs = []
"""


@pytest.mark.parametrize("name", builtin_plans())
def test_every_plan_that_comes_with_the_package_is_valid(name, layout: Layout):
    plan = load_plan(name, layout)
    assert plan.stages
    assert plan.description


def test_a_plan_of_version_0_1_0_still_opens(layout: Layout):
    plan = load_plan(str(VERSION_0_1_0 / "pipeline.toml"), layout, ["chat_rl.train_end=false"])
    options = {stage.id: stage.options for stage in plan.stages}
    assert len(options) == 10
    assert options["base_eval"].skip_missing_core  # core_optional then
    assert not options["chat_rl"].train_eos  # train_end then
    assert options["tok_train"].vocab_size == 4096


def test_stages_come_after_what_they_need():
    plan = parse_plan(TWO, "two.toml")
    assert [stage.id for stage in plan.stages] == ["tok", "train"]


def test_a_stage_needs_the_one_before_it_by_default():
    plan = parse_plan('[[stage]]\nstage="tok_train"\n[[stage]]\nstage="base_train"\n', "x.toml")
    assert plan.stages[1].needs == ("tok_train",)
    assert plan.name == "x"


def test_a_plan_names_variables_to_pass_on():
    assert parse_plan(TWO, "two.toml").pass_env == ()
    plan = parse_plan('pass_env = ["HF_TOKEN", "A", "HF_TOKEN"]\n' + TWO, "two.toml")
    assert plan.pass_env == ("HF_TOKEN", "A")
    assert override(plan, ["train.num-iterations=7"]).pass_env == plan.pass_env


def test_set_changes_one_option_and_keeps_the_others():
    plan = override(parse_plan(TWO, "two.toml"), ["train.num-iterations=7", "train.model_tag=a=b"])
    options = plan.stages[1].options
    assert dataclasses.asdict(options) | {
        "num_iterations": 7,
        "model_tag": "a=b",
        "depth": 4,
    } == dataclasses.asdict(options)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = ", "is not TOML"),
        ("name = 'empty'", "has no stages"),
        ("[[stage]]\nstage = 'base_trian'", "did you mean 'base_train'"),
        ("[[stage]]\nstage = 'tok_train'\noptions = { vocabsize = 1 }", "did you mean 'vocab_size'"),
        ("[[stage]]\nstage = 'tok_train'\noptions = { vocab_size = 'big' }", "is not a whole number"),
        ("[[stage]]\nstage = 'tok_train'\nneed = []", "did you mean 'needs'"),
        ("[[stage]]\nstage = 'tok_train'\nneeds = ['x']", "needs 'x', which is not in the plan"),
        ("[[stage]]\nstage = 'tok_train'\n[[stage]]\nstage = 'tok_train'", "is taken"),
        (
            "[[stage]]\nstage='tok_train'\nneeds=['b']\n[[stage]]\nstage='base_train'\nid='b'",
            "needs form a cycle",
        ),
        ("stages = 3", "unknown key 'stages'"),
        ("stage = 3", "has no stages"),
        ("pass_env = 'HF_TOKEN'\n[[stage]]\nstage = 'tok_train'", "pass_env is not a list of names"),
        ("pass_env = [3]\n[[stage]]\nstage = 'tok_train'", "pass_env is not a list of names"),
        ("pass_env = ['A=b']\n[[stage]]\nstage = 'tok_train'", "not the name of an environment variable"),
        ("pass_env = ['PATH']\n[[stage]]\nstage = 'tok_train'", "PATH is not passed on"),
        ("pass-env = []\n[[stage]]\nstage = 'tok_train'", "did you mean 'pass_env'"),
    ],
)
def test_a_wrong_plan_is_answered_on_one_line(text, says):
    with pytest.raises(UserError) as caught:
        parse_plan(text, "bad.toml")
    assert says in str(caught.value)
    assert "bad.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("item", "says"),
    [("train.depht=3", "depth"), ("trian.depth=3", "did you mean 'train'"), ("depth", "stage.option=value")],
)
def test_a_wrong_set_names_the_nearest(item, says):
    with pytest.raises(UserError, match=says):
        override(parse_plan(TWO, "two.toml"), [item])


def test_no_such_plan_offers_the_nearest(layout: Layout):
    with pytest.raises(UserError, match="did you mean 'demo'"):
        load_plan("demmo", layout)


def test_the_users_own_plan_goes_before_a_built_in_one(layout: Layout):
    layout.plans.mkdir()
    (layout.plans / "demo.toml").write_text(TWO)
    assert load_plan("demo", layout).name == "two"


def test_a_folder_is_no_plan(layout: Layout, tmp_path):
    with pytest.raises(UserError, match="cannot read the plan"):
        load_plan(f"{tmp_path}/", layout)


def test_a_plan_of_several_stages_ends_with_a_report_unless_it_says_otherwise():
    one = '[[stage]]\nstage = "base_train"\n'
    assert parse_plan(TWO, "two.toml").wants_report and not parse_plan(one, "one.toml").wants_report
    assert not parse_plan(f"report = false\n{TWO}", "two.toml").wants_report
    assert parse_plan(f"report = true\n{one}", "one.toml").wants_report
    with pytest.raises(UserError, match=r"two\.toml: report is neither true nor false"):
        parse_plan(f'report = "yes"\n{TWO}', "two.toml")
