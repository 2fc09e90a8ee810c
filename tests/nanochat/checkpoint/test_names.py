"""Names of checkpoints: one form, read back as written, and what is said when there is no such checkpoint."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.checkpoint.files import META
from nanochat.checkpoint.names import (
    SOURCES,
    CheckpointName,
    known_names,
    newest_name,
    parse_name,
    resolve_name,
)
from nanochat.checkpoint.write import save_checkpoint
from nanochat.common.errors import UserError
from nanochat.common.paths import Layout

TAGS = st.text(st.characters(blacklist_characters="/@\0\n", blacklist_categories=["Cs"]), min_size=1).filter(
    lambda tag: not tag.startswith(".") and tag == tag.strip()
)


def save(layout: Layout, source: str, tag: str, step: int, at: float) -> None:
    saved = save_checkpoint(layout.checkpoints(source) / tag, step, {}, {"model_config": {}})
    (saved.path / META).write_text(json.dumps({**saved.meta, "saved_at": at}), encoding="utf-8")


@given(st.sampled_from(SOURCES), TAGS, st.none() | st.integers(0, 10**9))
def test_a_name_is_read_back_as_it_is_written(source: str, tag: str, step: int | None) -> None:
    name = CheckpointName(source, tag, step)
    assert parse_name(str(name)) == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("d20", "'d20' is not a checkpoint's name (write SOURCE/TAG"),
        ("", "'' is not a checkpoint's name"),
        ("stf/d20", "no stage 'stf' writes checkpoints (did you mean 'sft'"),
        ("sft/", "'sft/' names no checkpoint folder"),
        ("sft/../../etc", "names no checkpoint folder"),
        ("sft/a/b", "names no checkpoint folder"),
        ("sft/.hidden", "names no checkpoint folder"),
        ("sft/d20@", "the step '' is not a whole number"),
        ("sft/d20@last", "the step 'last' is not a whole number"),
        ("sft/d20@-1", "the step '-1' is not a whole number"),
        ("sft/d20@٣", "the step '٣' is not a whole number"),
        ("sft/d20@" + "9" * 5000, "is not a whole number"),
    ],
)
def test_what_is_no_name_is_told_in_one_line(text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        parse_name(text)
    assert said in str(error.value)
    assert len(str(error.value)) < 500


def test_a_name_without_a_step_is_the_last_saved(layout: Layout) -> None:
    save(layout, "sft", "d4", 20, at=100.0)
    save(layout, "sft", "d4", 10, at=200.0)
    assert resolve_name(layout, parse_name("sft/d4")).step == 10
    assert resolve_name(layout, parse_name("sft/d4@20")).step == 20


def test_the_nearest_names_and_the_steps_there_are_are_told(layout: Layout) -> None:
    with pytest.raises(UserError, match=r"no checkpoint 'sft/d4' in .* \(train one first\)"):
        resolve_name(layout, parse_name("sft/d4"))
    save(layout, "sft", "d20", 650, at=100.0)
    save(layout, "base", "d20", 700, at=100.0)
    assert [str(name) for name in known_names(layout)] == ["base/d20", "sft/d20"]
    with pytest.raises(UserError, match=r"no checkpoint 'sft/d02'.* \(did you mean 'sft/d20'"):
        resolve_name(layout, parse_name("sft/d02"))
    with pytest.raises(UserError, match=r"no checkpoint of step 5 in .*d20 \(there are: 650\)"):
        resolve_name(layout, parse_name("sft/d20@5"))


def test_the_newest_is_the_last_saved_of_the_furthest_stage(layout: Layout) -> None:
    with pytest.raises(UserError, match="no checkpoints in"):
        newest_name(layout)
    save(layout, "base", "d20", 7, at=900.0)
    save(layout, "mid", "old", 5, at=300.0)
    save(layout, "mid", "new", 3, at=400.0)
    (layout.checkpoints("sft") / "empty").mkdir(parents=True)
    assert str(newest_name(layout)) == "mid/new"


def test_upstreams_checkpoints_have_names_too(shared_reference: Path) -> None:
    layout = Layout(shared_reference / "checkpoints" / "classic")
    name = newest_name(layout)
    found = resolve_name(layout, name)
    assert found.is_upstream and found.path.parent.name == name.tag


def test_reading_a_name_loads_no_torch() -> None:
    code = "import sys, nanochat.checkpoint.names as n; n.parse_name('sft/d4'); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True, env=os.environ
    )
    assert done.stdout.strip() == "False"
