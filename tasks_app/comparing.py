"""Two tasks side by side: what they took, what was found, and where they differ."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from octollm.types import JSONObject, JSONValue
from reflex.vault import reveal
from tasks_app import presenting
from tasks_app.copied import copied_from
from tasks_app.models import Attempt, Charge, Plan, Step, Task, TaskResult

# Longer texts are cut; the results show them whole.
MAX_SHOWN = 500
# Members of a result that are shown elsewhere here, or are no finding of their own.
_NOT_COMPARED = frozenset(
    {
        *("outputs", "criteria", "constraints", "reservations", "missing_steps"),
        *("stopped", "unmet_criteria", "cost_to_finish", "confidence_reason"),
    }
)
_ABSENT = object()


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One of the two, as its owner may see it.

    Attributes:
        steps: of the current plan, by id, in its order.
        inputs: of these steps, revealed: the same value may have another
            placeholder in the other task.
        models: names of those that each step's calls asked.
        result: the latest one's data; empty when there is none yet.
        verdicts: by kind and criterion.
    """

    task: Task
    confidence: Decimal | None
    steps: Mapping[str, Step]
    inputs: Mapping[str, JSONValue]
    models: Mapping[str, tuple[str, ...]]
    result: JSONObject
    verdicts: Mapping[tuple[str, str], str]
    attempts: int


def compare(this: Task, other: Task) -> JSONObject:
    """Return two tasks of one owner side by side."""
    one, two = _side(this), _side(other)
    better, why = _better(one, two)
    return {
        "this": _summary(one),
        "other": _summary(two),
        "difference": {
            "cost_usd": f"{two.task.spent_usd - one.task.spent_usd:.9f}",
            "tokens": two.task.spent_tokens - one.task.spent_tokens,
            "seconds": round(two.task.seconds_run - one.task.seconds_run, 3),
        },
        "criteria": list(_criteria(one, two)),
        "steps": list(_steps(one, two)),
        "result_keys": list(_keys(one.result, two.result)),
        "better": better,
        "why": why,
    }


# One side ---------------------------------------------------------------------------
def _side(task: Task) -> _Side:
    plan = Plan.objects.filter(task=task, version=task.plan_version).first()
    order: list[UUID] = plan.step_ids if plan else []
    rows = Step.objects.filter(task=task).defer("output").in_bulk(order)
    steps = {rows[pk].step_id: rows[pk] for pk in order if pk in rows}
    inputs: dict[str, JSONValue] = {name: step.input for name, step in steps.items()}
    shown = reveal(inputs, scope_ids=(task.pk, task.owner_id), types=None)
    latest = TaskResult.objects.filter(task=task).order_by("-run").first()
    data = presenting.present_result_data(task, latest) if latest else {}
    result = data if isinstance(data, dict) else {}
    return _Side(
        task=task,
        confidence=latest.confidence if latest else None,
        steps=steps,
        inputs=shown if isinstance(shown, dict) else inputs,
        models=_models(task),
        result=result,
        verdicts=dict(_verdicts(result)),
        attempts=Attempt.objects.filter(step__task=task).count(),
    )


def _models(task: Task) -> dict[str, tuple[str, ...]]:
    asked: dict[str, set[str]] = defaultdict(set)
    charges = Charge.objects.filter(task=task)
    for step_id, model in charges.values_list("step__step_id", "model"):
        asked[step_id].add(model)
    return {step_id: tuple(sorted(names)) for step_id, names in asked.items()}


def _verdicts(result: JSONObject) -> Iterator[tuple[tuple[str, str], str]]:
    for kind, key in (("criterion", "criteria"), ("constraint", "constraints")):
        found = result.get(key)
        for item in found if isinstance(found, list) else ():
            if isinstance(item, dict):
                yield (kind, str(item.get("criterion"))), str(item.get("verdict"))


def _summary(side: _Side) -> JSONObject:
    task = side.task
    shown = presenting.present_task(task, confidence=side.confidence)
    work = [step for step in side.steps.values() if step.kind == Step.Kind.WORK]
    done = [step for step in work if step.status == Step.Status.DONE]
    copied = [step for step in done if copied_from(step)]
    names = (
        *("task_id", "status", "stop_reason", "confidence", "run", "plan_version"),
        *("forked_from", "forked_step", "model", "spent"),
    )
    return {
        **{name: shown[name] for name in names},
        "steps_run": len(done) - len(copied),
        "steps_copied": len(copied),
        "attempts": side.attempts,
        "verdicts": dict(Counter(side.verdicts.values())),
    }


# Side by side -----------------------------------------------------------------------
def _criteria(one: _Side, two: _Side) -> Iterator[JSONObject]:
    for kind, criterion in dict.fromkeys((*one.verdicts, *two.verdicts)):
        yield {
            "kind": kind,
            "criterion": criterion,
            "this": one.verdicts.get((kind, criterion)),
            "other": two.verdicts.get((kind, criterion)),
        }


def _steps(one: _Side, two: _Side) -> Iterator[JSONObject]:
    for step_id in dict.fromkeys((*one.steps, *two.steps)):
        differs = list(_differences(step_id, one, two))
        if differs:
            yield {
                "step_id": step_id,
                "differs": list[JSONValue](differs),
                "this": _step(step_id, one),
                "other": _step(step_id, two),
            }


def _differences(step_id: str, one: _Side, two: _Side) -> Iterator[str]:
    here, there = one.steps.get(step_id), two.steps.get(step_id)
    if here is None or there is None:
        yield "presence"
        return
    if one.inputs[step_id] != two.inputs[step_id]:
        yield "input"
    for name in ("arm", "capability", "status"):
        if getattr(here, name) != getattr(there, name):
            yield name
    # A step that was taken over asked nobody here.
    is_run = not (copied_from(here) or copied_from(there))
    if is_run and one.models.get(step_id) != two.models.get(step_id):
        yield "model"


def _step(step_id: str, side: _Side) -> JSONObject | None:
    step = side.steps.get(step_id)
    if step is None:
        return None
    return {
        "arm": step.arm,
        "capability": step.capability,
        "status": step.status,
        "models": list[JSONValue](side.models.get(step_id, ())),
        "copied_from": copied_from(step),
    }


def _keys(one: JSONObject, two: JSONObject) -> Iterator[JSONObject]:
    for key in dict.fromkeys((*one, *two)):
        here, there = one.get(key, _ABSENT), two.get(key, _ABSENT)
        if key in _NOT_COMPARED or here == there:
            continue
        shown: JSONObject = {"key": key}
        if not any(isinstance(value, dict | list) for value in (here, there)):
            shown |= {"this": _scalar(here), "other": _scalar(there)}
        yield shown


def _scalar(value: object) -> JSONValue:
    if isinstance(value, str):
        return value if len(value) <= MAX_SHOWN else f"{value[:MAX_SHOWN]}…"
    return value if isinstance(value, int | float) else None


def _better(one: _Side, two: _Side) -> tuple[str | None, str]:
    """Return which side's verdicts are better, and why; by what both were judged on."""
    common = one.verdicts.keys() & two.verdicts.keys()
    if (one.verdicts or two.verdicts) and not common:
        return None, "They share no criterion."
    here, there = _standing(one, common), _standing(two, common)
    if here == there:
        return None, "Their verdicts are alike."
    is_this = here > there
    best, rest = (here, there) if is_this else (there, here)
    if best[:2] != rest[:2]:
        why = (
            f"Of {len(common)} shared criteria {-best[0]} against {-rest[0]} are not "
            f"met, and {best[1]} against {rest[1]} are met."
        )
    else:
        why = "Their verdicts are alike; only this one is completed."
    return ("this" if is_this else "other"), why


def _standing(side: _Side, common: set[tuple[str, str]]) -> tuple[int, int, bool]:
    """Return what a side is measured by: fewer not met, then more met, then its end."""
    found = Counter(side.verdicts[key] for key in common)
    is_completed = side.task.status == Task.Status.COMPLETED
    return -found["not_met"], found["met"], is_completed
