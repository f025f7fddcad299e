"""Asking for another plan version: when, and what the planner is told of why.

A planner that reads what steps produced could be told by a document or a model which
arm to use. So it is told where to look in numbers and codes: which criteria, which
verdicts, which steps, which errors.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from django.conf import settings

from arms.registry import away, catalogue
from octollm.errors import ModelError
from octollm.types import JSONObject, JSONValue
from planner.model_planning import documents_note, least_call
from planner.planning import can_revise
from tasks_app import planning, revisions
from tasks_app.amounts import Amount, worst_case
from tasks_app.models import Plan, Step, Task
from tasks_app.results import Finding
from tasks_app.steps_read import Draft
from tasks_app.task_row import Stage, Status
from tasks_app.turn import Turn

logger = logging.getLogger(__name__)

# A worker that knows first plans only must not run a step of a later one.
STEP_VERSION = 2
#: Why no further version is worth its price.
SAME_STEPS: JSONObject = {
    "code": "no_progress",
    "message": "Another plan was made, of steps that had all been run before.",
}
SAME_RESULT: JSONObject = {
    "code": "no_progress",
    "message": "Another plan gave the result that an earlier one had given.",
}
# How the judge says that it found something out. What else stands there is a text.
METHODS = (
    *("range", "count", "text search", "RE2 pattern", "equality", "presence"),
    *("JSON parser", "reflex rules", "model"),
)
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_STEP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def ask_for_new_plan(
    turn: Turn,
    *,
    reason: str,
    unmet: Sequence[JSONObject] = (),
    failures: Sequence[JSONObject] = (),
) -> None:
    """Add a step that makes the next plan version; the caller advances.

    Its input says what that version is to mend. Whatever is no number or code of ours
    is left out, so a caller can hand over what it has.

    Args:
        turn: the task's.
        reason: a code, such as ``criteria_not_met`` or ``retry``.
        unmet: per criterion ``criterion`` (its index), ``kind``, ``verdict``,
            ``method`` and ``score``.
        failures: per step that will not be done ``step_id`` and ``error`` (a code).
    """
    version = turn.task.plan_version + 1
    wanted = _wanted(turn.task, reason=reason, unmet=unmet, failures=failures)
    turn.add_steps(
        [
            Step(
                step_id=free_id(turn, f"plan-{version}"),
                kind=Step.Kind.PLAN,
                description=f"Make version {version} of the plan",
                arm="planner",
                capability="planning",
                input=wanted,
                version=STEP_VERSION,
            )
        ]
    )
    turn.set(replan_count=turn.task.replan_count + 1)


def free_id(turn: Turn, wanted: str) -> str:
    """Return the id, numbered on when the task has a step of that name already."""
    taken = set(
        Step.objects.filter(
            task_id=turn.task.pk, step_id__startswith=wanted
        ).values_list("step_id", flat=True)
    )
    step_id, count = wanted, 1
    while step_id in taken:
        count += 1
        step_id = f"{wanted}-{count}"
    return step_id


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What another version is to mend, and what asking for it may cost.

    Attributes:
        reason: a code.
        counts: how many findings there are of each verdict.
        is_judged_by_model: whether judging again will ask one.
        needed: planning's smallest question at its worst, and judging once more.
    """

    reason: str
    unmet: tuple[JSONObject, ...]
    failures: tuple[JSONObject, ...]
    counts: Mapping[str, int]
    is_judged_by_model: bool
    needed: Amount = field(default_factory=Amount)


def wish_for(task: Task, draft: Draft, findings: Sequence[Finding]) -> Wish | None:
    """Return what another version should mend; nothing when there is to be none.

    None when nothing is wanting, or only what could not be checked; when no model may
    plan, since recipes would say what they said; when the rounds are used up; and
    after the caller's own plan, which is not overruled.
    """
    unmet = tuple(unmet_of(findings))
    if draft.is_whole and not unmet:
        return None
    if task.replan_count >= settings.OCTOLLM_MAX_REPLANS or not can_revise(
        task.constraints, task.model
    ):
        return None
    current = Plan.objects.get(task_id=task.pk, version=task.plan_version)
    if current.source == "caller":
        return None
    wish = Wish(
        reason="criteria_not_met" if unmet else "work_failed",
        unmet=unmet,
        failures=tuple(_failures(draft)),
        counts={
            verdict: sum(f.verdict == verdict for f in findings)
            for verdict in ("met", "not_met", "not_checked")
        },
        is_judged_by_model=any(
            f.verdict == "not_checked" or f.method.startswith("model") for f in findings
        ),
    )
    try:
        return replace(wish, needed=_needed(task, wish))
    except ModelError as error:
        logger.warning("no other plan is asked for: %s", error.code)
        return None


def is_affordable(task: Task, wish: Wish) -> bool:
    """Tell whether dollars, tokens and time are left for planning and judging again.

    Time: as long as planning may take (``OCTOLLM_PLAN_TIMEOUT_S``). What the steps
    then take is the compiler's and the ledger's affair.
    """
    deadline_at = task.deadline_at
    longest = timedelta(seconds=settings.OCTOLLM_PLAN_TIMEOUT_S)
    return (
        wish.needed.nano <= task.free_nano
        and wish.needed.tokens <= task.free_tokens
        and (deadline_at is None or datetime.now(UTC) + longest <= deadline_at)
    )


def replan(turn: Turn, wish: Wish) -> int:
    """Send a judged task back to planning; return how many steps became ready."""
    turn.event(
        "task.replanning",
        version=turn.task.plan_version,
        round=turn.task.replan_count + 1,
        reason=wish.reason,
        **wish.counts,
        unmet=[[item["kind"], item["criterion"]] for item in wish.unmet],
        failed=[item["step_id"] for item in wish.failures],
    )
    ask_for_new_plan(turn, reason=wish.reason, unmet=wish.unmet, failures=wish.failures)
    turn.move(Status.PROCESSING, Stage.PLANNING)
    return turn.advance()


def _wanted(
    task: Task,
    *,
    reason: str,
    unmet: Sequence[JSONObject],
    failures: Sequence[JSONObject],
) -> JSONObject:
    """Return the input of a step that plans again; also what was used by now.

    A resumed step has to ask what it asked before, to be answered from what was paid
    for, so it does not look at what was used when it runs.
    """
    used_s = 0.0
    if task.deadline_at is not None:
        left_s = (task.deadline_at - datetime.now(UTC)).total_seconds()
        used_s = max(0.0, task.max_time_seconds - left_s)
    return {
        "reason": reason,
        "unmet": [dict(_plain(item)) for item in unmet],
        "failures": [dict(_plain(item)) for item in failures],
        "run": task.run,
        "used": {
            "nano": task.spent_nano,
            "tokens": task.spent_tokens,
            "seconds": round(used_s),
        },
    }


def _needed(task: Task, wish: Wish) -> Amount:
    wanted = _wanted(task, reason=wish.reason, unmet=wish.unmet, failures=wish.failures)
    contract = replace(revisions.contract_for(task, wanted), away=away())
    call = least_call(contract, catalogue(), documents=documents_note(contract))
    judging = planning.judging_cost(task) if wish.is_judged_by_model else Amount()
    worst = worst_case(call)
    return Amount(nano=worst.nano + judging.nano, tokens=worst.tokens + judging.tokens)


def unmet_of(findings: Sequence[Finding]) -> Iterator[JSONObject]:
    """Yield what is not met, each by its place among those of its kind."""
    places: Counter[str] = Counter()
    for finding in findings:
        if finding.verdict == "not_met":
            yield {
                "criterion": places[finding.kind],
                "kind": finding.kind,
                "verdict": finding.verdict,
                "method": finding.method,
                "score": finding.score,
            }
        places[finding.kind] += 1


def _failures(draft: Draft) -> Iterator[JSONObject]:
    for step in draft.steps:
        if step.error is not None and step.output is None:
            yield {"step_id": step.step_id, "error": step.error.get("code")}


def _plain(item: Mapping[str, JSONValue]) -> Iterator[tuple[str, JSONValue]]:
    """Yield the members that are numbers and codes."""
    for name in ("criterion", "score"):
        value = item.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value
    for name, code in (
        *(("kind", _CODE), ("verdict", _CODE), ("error", _CODE)),
        ("step_id", _STEP_ID),
    ):
        value = item.get(name)
        if isinstance(value, str) and code.fullmatch(value):
            yield name, value
    method = item.get("method")
    if isinstance(method, str):
        yield "method", _known_method(method)


def _known_method(method: str) -> str:
    return next((known for known in METHODS if method.startswith(known)), "other")
