"""Plans: a TOML file that lists stages with their options and what each needs.

```toml
name = "demo"
description = "One line for lists."
pass_env = ["WANDB_API_KEY"]  # variables of your shell that every stage gets; names alone
report = false  # no report at the end; default: one for plans of several stages

[[stage]]
stage = "tok_train"          # which stage
id = "tokenizer"             # how `needs` and --set call it; default: the stage's name
needs = ["data_build"]       # ids that must succeed first; default: the stage before it
options = { vocab_size = 4096 }
```
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from nanochat.common.errors import UserError, nearest
from nanochat.common.fields import parse_toml
from nanochat.common.files import regular_text
from nanochat.common.paths import Layout, expanded
from nanochat.config.options import Options, changed, from_mapping
from nanochat.config.pass_env import check_names
from nanochat.config.stages import stage_spec

PLAN_KEYS = ("name", "description", "pass_env", "report", "stage")
STAGE_KEYS = ("stage", "id", "needs", "options")


@dataclass(frozen=True)
class PlanStage:
    """One stage of a plan. `needs` are ids of stages before it."""

    id: str
    stage: str
    options: Options
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Stages in an order in which each comes after all it needs.

    `pass_env` names the variables of the starting shell that all of them get (`nanochat.config.pass_env`).
    `report` says whether a report is written at its end; None leaves that to the number of stages.
    """

    name: str
    description: str
    stages: tuple[PlanStage, ...] = ()
    pass_env: tuple[str, ...] = ()
    report: bool | None = None

    @property
    def wants_report(self) -> bool:
        """Whether a report is written at the end: of several stages unless it says otherwise."""
        return len(self.stages) > 1 if self.report is None else self.report


def builtin_plans() -> dict[str, str]:
    """The text of every plan that comes with the package, by name."""
    folder = resources.files("nanochat.config") / "plans"
    return {
        item.name.removesuffix(".toml"): item.read_text(encoding="utf-8")
        for item in sorted(folder.iterdir(), key=lambda item: item.name)
        if item.name.endswith(".toml")
    }


def load_plan(name_or_path: str, layout: Layout, sets: Iterable[str] = ()) -> Plan:
    """The plan from a file, the base directory's `plans/`, or the built-in ones, with `sets` applied.

    A name that contains a slash, or names a file in the working directory, is a path. Raises `UserError`
    for a plan that is missing, is not TOML, names an unknown stage or option, or has wrong needs.
    """
    return override(parse_plan(*_read(name_or_path, layout)), sets)


def _read(name_or_path: str, layout: Layout) -> tuple[str, str]:
    path = expanded(name_or_path)
    name = path.name.removesuffix(".toml")
    builtin = builtin_plans()
    own = layout.plans / f"{name}.toml"
    if path.is_file() or "/" in name_or_path:
        source = path
    elif own.is_file():
        source = own
    elif name in builtin:
        return builtin[name], f"{name}.toml"
    else:
        known = [*builtin, *(item.stem for item in layout.plans.glob("*.toml"))]
        raise UserError(f"no plan is called '{name_or_path}'", nearest(name, known))
    try:
        return regular_text(source), str(source)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"cannot read the plan {source}: {reason}", nearest(name, builtin)) from error


def parse_plan(text: str, where: str) -> Plan:
    """The plan in `text`; `where` names it in errors."""
    try:
        document = parse_toml(text)
    except ValueError as error:
        raise UserError(f"{where} is not TOML: {error}") from error
    _only_known(document, PLAN_KEYS, where)
    entries = document.get("stage", [])
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{where} has no stages", "list each under its own [[stage]]")
    stages: list[PlanStage] = []
    for entry in entries:
        stages.append(_parse_stage(entry, stages, f"{where}, stage {len(stages) + 1}"))
    names = document.get("pass_env", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{where}: pass_env is not a list of names", 'for example pass_env = ["HF_TOKEN"]')
    report = document.get("report")
    if report is not None and not isinstance(report, bool):
        raise UserError(f"{where}: report is neither true nor false", "for example report = false")
    return Plan(
        report=report,
        name=str(document.get("name", Path(where).stem)),
        description=str(document.get("description", "")),
        stages=_ordered(stages, where),
        pass_env=check_names(names, f"{where}, pass_env"),
    )


def _parse_stage(entry: Mapping[str, object], before: list[PlanStage], where: str) -> PlanStage:
    _only_known(entry, STAGE_KEYS, where)
    try:
        spec = stage_spec(str(entry.get("stage", "")))
    except UserError as error:
        raise UserError(f"{where}: {error.message}", error.hint) from error
    identity = str(entry.get("id", spec.name))
    if any(stage.id == identity for stage in before):
        raise UserError(f"{where}: the id '{identity}' is taken", "give each use of a stage its own id")
    needs = entry.get("needs", [before[-1].id] if before else [])
    if not isinstance(needs, list):
        raise UserError(f"{where}: needs is not a list", 'for example needs = ["tok_train"]')
    options = entry.get("options", {})
    if not isinstance(options, dict):
        raise UserError(f"{where}: options is not a table", "for example options = { depth = 4 }")
    return PlanStage(identity, spec.name, from_mapping(spec.options, options, where), tuple(map(str, needs)))


def _only_known(table: Mapping[str, object], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise UserError(f"{where}: unknown key '{key}'", nearest(key, known))


def _ordered(stages: list[PlanStage], where: str) -> tuple[PlanStage, ...]:
    """`stages` in an order in which each comes after its needs, otherwise as written."""
    ids = [stage.id for stage in stages]
    for stage in stages:
        for need in stage.needs:
            if need not in ids:
                raise UserError(
                    f"{where}: '{stage.id}' needs '{need}', which is not in the plan", nearest(need, ids)
                )
    ordered: list[PlanStage] = []
    waiting = list(stages)
    while waiting:
        done = {stage.id for stage in ordered}
        ready = next((stage for stage in waiting if done.issuperset(stage.needs)), None)
        if ready is None:
            raise UserError(f"{where}: needs form a cycle", " → ".join(stage.id for stage in waiting))
        waiting.remove(ready)
        ordered.append(ready)
    return tuple(ordered)


def override(plan: Plan, sets: Iterable[str]) -> Plan:
    """`plan` with each `id.option=value` of `sets` applied."""
    stages = {stage.id: stage for stage in plan.stages}
    for item in sets:
        address, equals, value = item.partition("=")
        identity, dot, name = address.partition(".")
        if not equals or not dot:
            raise UserError(
                f"--set {item}: not of the form stage.option=value", "for example --set base_train.depth=4"
            )
        if identity not in stages:
            raise UserError(f"--set {item}: the plan has no stage '{identity}'", nearest(identity, stages))
        stage = stages[identity]
        chosen: dict[str, object] = dict(changed(stage.options))
        options = from_mapping(
            type(stage.options), {**chosen, name.replace("-", "_"): value}, f"--set {item}"
        )
        stages[identity] = replace(stage, options=options)
    return replace(plan, stages=tuple(stages[stage.id] for stage in plan.stages))
