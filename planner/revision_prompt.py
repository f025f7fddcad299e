"""What a model is told beside the rest when it makes a later version of a plan."""

from __future__ import annotations

import json

from octollm.types import JSONObject, JSONValue
from planner.plan import reference_path
from planner.revision import EarlierStep, Revision
from planner.rules import MAX_STEPS, MIN_STEPS

RULES = f"""
A version of this plan has run. It stands between <plan> and </plan> with what came of
each step, and so does what is wanting: "unmet" are acceptance criteria by their number
("constraint": constraints, by theirs) with the verdict, how it was found and a score
from 0 to 1; "failures" are steps that failed, with the error's code.
- Answer with {{"steps": [...], "replaces": [...]}}. steps are the new ones only; with
  those that stay they are {MIN_STEPS} to {MAX_STEPS}.
- Steps whose status is "done" stay and do not run again. Refer to their outputs as to
  those of earlier steps, "steps.ID.OUTPUT". Do not do the same with the same input.
- replaces lists ids of done steps whose output is not good enough: it no longer counts,
  nor does what was made from it.
- Steps with another status are gone. Do what they were for in another way.
- Name new steps "n1", "n2", ...
- Do what mends the unmet criteria, and nothing else.
"""
_MAX_LITERAL = 300


def revision_block(revision: Revision) -> str:
    """Return the version before and what is wanting, as JSON."""
    told: JSONObject = {
        "version": revision.version - 1,
        "why_again": revision.reason,
        "steps": [_step(step) for step in revision.steps],
        "unmet": list[JSONValue](revision.unmet),
        "failures": list[JSONValue](revision.failures),
    }
    return json.dumps(told, ensure_ascii=False)


def _step(step: EarlierStep) -> JSONValue:
    told: JSONObject = {
        "step_id": step.step_id,
        "description": step.description,
        "arm": step.arm,
        "capability": step.capability,
        "depends_on": list(step.depends_on),
        "inputs": [_input(name, value) for name, value in step.input.items()],
        "criteria": list(step.criteria),
        "status": step.status,
    }
    if step.error:
        told["error"] = step.error
    if step.is_done:
        told["output"] = step.output
    return told


def _input(name: str, value: JSONValue) -> JSONValue:
    """Return an input in the form of the answer; a long literal is cut."""
    path = reference_path(value)
    written = "" if path else json.dumps(value, ensure_ascii=False)[:_MAX_LITERAL]
    return {"name": name, "from": path or "", "value": written}
