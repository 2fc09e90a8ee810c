"""From requests or a plan to one submission: what the host's agent is asked to run, in order.

The whole plan goes over at once, so it runs to its end whatever becomes of the app.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanochat import __version__
from nanochat.common.errors import UserError
from nanochat.config.options import absolute_paths, changed, from_mapping, to_argv
from nanochat.config.plan import Plan
from nanochat.config.stages import stage_spec
from nanochat.run.run_directory import code_sha, new_run_id
from remote.runs import PlanRef, RunRequest

Json = dict[str, Any]


@dataclass(frozen=True)
class Submission:
    """What `submit` is sent, and the ids of its runs in order."""

    run_ids: tuple[str, ...]
    document: Json

    def fingerprint(self, plan: str | None) -> str:
        """Equal for two submissions that ask for the same stages, options, needs, plan and interpreter."""
        position = {run_id: index for index, run_id in enumerate(self.run_ids)}
        runs = [
            {**run, "run_id": position[run["run_id"]], "needs": [position[need] for need in run["needs"]]}
            for run in self.document["runs"]
        ]
        return json.dumps([plan, self.document["python"], runs], sort_keys=True, default=str)


def plan_ref(name: str) -> PlanRef:
    """A new run of the plan called `name`."""
    return PlanRef(f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}", name)


def plan_requests(plan: Plan) -> list[RunRequest]:
    """A plan's stages as requests; needs by position."""
    position = {stage.id: index for index, stage in enumerate(plan.stages)}
    return [
        RunRequest(
            stage=stage.stage,
            options=changed(stage.options),
            name=stage.id,
            needs=tuple(position[need] for need in stage.needs),
        )
        for stage in plan.stages
    ]


def submission(
    requests: Sequence[RunRequest],
    python: str,
    plan: PlanRef | None,
    folder: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Submission:
    """The requests as one document for the agent; `env` are variables that every stage gets.

    Stages run in the host's base directory. On this machine a person means the working directory by a
    relative path: `folder` makes it absolute.
    Raises `UserError` for an unknown stage or option, a bad value, or a need that is not an earlier request.
    """
    if not requests:
        raise UserError("nothing to run")
    run_ids: list[str] = []
    runs: list[Json] = []
    code = {"version": __version__, "sha": code_sha()}
    for index, request in enumerate(requests):
        spec = stage_spec(request.stage)
        options = from_mapping(spec.options, request.options, spec.name)
        if folder is not None:
            options = absolute_paths(options, folder)
        if any(not 0 <= need < index for need in request.needs):
            raise UserError(f"{request.name or spec.name}: needs a run that does not come before it")
        run_ids.append(new_run_id(spec.name))
        runs.append(
            {
                "run_id": run_ids[-1],
                "name": request.name or spec.name,
                "stage": spec.name,
                "options": changed(options),
                "argv": ["-m", spec.module, *to_argv(options)],
                "needs": [run_ids[need] for need in request.needs],
                "code": code,
            }
        )
    group = None if plan is None else {"id": plan.id, "name": plan.name}
    document = {"plan": group, "python": python, "env": dict(env or {}), "runs": runs}
    return Submission(tuple(run_ids), document)
