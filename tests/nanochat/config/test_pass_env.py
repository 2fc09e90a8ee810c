"""Names of variables to pass on: which may be, what is read for them, and that no value is ever told."""

import pytest

from nanochat.common.errors import UserError
from nanochat.config.pass_env import check_names, collect, missing_line, split_names


def test_names_come_back_once_each_in_order():
    assert split_names(" HF_TOKEN,WANDB_API_KEY  a1 ,") == ["HF_TOKEN", "WANDB_API_KEY", "a1"]
    assert check_names(["B", "A", "B"], "x") == ("B", "A")
    assert check_names([], "x") == ()


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=hush-hush", "sk-hush-hush", "Ä", "A\n"])
def test_what_is_no_name_is_refused_without_being_repeated(name):
    with pytest.raises(UserError, match="not the name of an environment variable") as caught:
        check_names(["OK", name], "plan.toml, pass_env")
    assert str(caught.value).startswith("plan.toml, pass_env: ")
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        *("NANOCHAT_BASE_DIR", "NANOCHAT_X", "PATH", "HOME", "LD_PRELOAD", "DYLD_INSERT_LIBRARIES"),
        *("PYTHONPATH", "PYTHONUNBUFFERED", "BASH_ENV", "SSH_AUTH_SOCK", "WORLD_SIZE", "RANK", "MASTER_PORT"),
    ],
)
def test_what_belongs_to_a_machine_a_process_or_to_us_is_refused(name):
    with pytest.raises(UserError, match=f"{name} is not passed on"):
        check_names([name], "--pass-env")


@pytest.mark.parametrize(
    "name", ["WANDB_API_KEY", "HF_TOKEN", "HF_HOME", "CUDA_VISIBLE_DEVICES", "MYPATH", "_"]
)
def test_ordinary_names_may_be_passed_on(name):
    assert check_names([name], "x") == (name,)


def test_values_are_read_and_missing_names_told():
    passed = collect(["A", "B", "EMPTY", "A", "C"], {"A": "hush", "EMPTY": "", "D": "other"})
    assert passed.values == {"A": "hush", "EMPTY": ""}
    assert passed.missing == ("B", "C")
    assert "hush" not in repr(passed)
    assert missing_line(passed.missing) == (
        "B, C are listed in pass_env but not set here: they are not passed on"
    )
    assert missing_line(["B"]) == "B is listed in pass_env but not set here: it is not passed on"


def test_a_value_that_is_no_text_is_refused_without_being_repeated():
    with pytest.raises(UserError, match="the value of A is no UTF-8 text") as caught:
        collect(["A"], {"A": "hush\udcff"})
    assert "hush" not in str(caught.value)
