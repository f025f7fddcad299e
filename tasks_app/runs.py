"""Another run of a task that stopped short: after a retry, or with a larger budget.

What is done stays done. What failed, died, was skipped or cancelled waits again, as
the same rows: what their calls were answered and paid for is replayed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from uuid import UUID

from django.db import transaction

from octollm.access.models import Owner
from octollm.access.owners import require_started
from octollm.errors import (
    BudgetLoweredError,
    BudgetUsedUpError,
    IllegalStateError,
    ModelError,
    NoNewPlanError,
)
from octollm.ids import new_id
from planner.planning import can_revise
from tasks_app import planning, replanning, rounds
from tasks_app.amounts import Amount, to_nano
from tasks_app.hints import Hints, send_hints
from tasks_app.ledger import presume_lost
from tasks_app.models import Approval, Plan, Step, Task
from tasks_app.partial import BUDGET_REASONS, CAPS, REMOVED
from tasks_app.results import Finding
from tasks_app.turn import Turn, task_turn


@dataclass(frozen=True, kw_only=True)
class Caps:
    """The caps of a budget that are to change; ``None`` leaves one as it is."""

    max_cost_usd: Decimal | None = None
    max_time_seconds: int | None = None
    max_tokens: int | None = None

    def wanted(self) -> dict[str, Decimal | int]:
        """Return those that are to change, by their column."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in named.items() if value is not None}


def raise_budget(task_id: UUID, caps: Caps, *, owner: Owner) -> None:
    """Raise caps of a task; one that they had stopped goes on where it stopped.

    An open task has them at once. One that failed for another reason has them for
    its retry.

    Raises:
        Task.DoesNotExist: the owner has no such task.
        IllegalStateError: it is completed or cancelled.
        BudgetLoweredError: a cap would be lower than it is.
        BudgetUsedUpError: the cap that stopped it would not let it go on.
        OwnerStoppedError: an operator has stopped the owner.
    """
    task = _task(task_id, owner)
    judging = _judging_cost(task)
    with task_turn(task_id) as turn:
        if turn.task.status in (Task.Status.COMPLETED, Task.Status.CANCELLED):
            raise IllegalStateError(f"The task is {turn.task.status} already.")
        _require_raised(turn.task, caps)
        stopped_by = CAPS.get(turn.task.stop_reason)
        if stopped_by is not None:
            _require_enough(turn.task, caps, stopped_by)
        _raise_caps(turn, caps)
        if stopped_by is not None:
            _go_on(turn, task, reason="budget", judging=judging)
        _hint_ready(turn)


def retry_task(task_id: UUID, *, owner: Owner | None = None) -> None:
    """Let a failed task go on from what failed; without an owner, an operator's.

    Raises:
        Task.DoesNotExist: the owner has no such task.
        IllegalStateError: it has not failed.
        BudgetUsedUpError: its dollars or tokens are used up.
        NoNewPlanError: nothing failed but criteria, and nobody can plan anew.
        OwnerStoppedError: an operator has stopped the owner.
    """
    task = _task(task_id, owner)
    judging = _judging_cost(task)
    with task_turn(task_id) as turn:
        if turn.task.status != Task.Status.FAILED:
            raise IllegalStateError(
                f"The task is {turn.task.status}; only a failed one is retried."
            )
        _require_budget_left(turn.task)
        _go_on(turn, task, reason="retry", judging=judging)
        _hint_ready(turn)


# What is refused ------------------------------------------------------------------
def _require_raised(task: Task, caps: Caps) -> None:
    for name, value in caps.wanted().items():
        if value < getattr(task, name):
            raise BudgetLoweredError(
                f"A budget can only be raised; {name} is {getattr(task, name)} already."
            )


def _require_enough(task: Task, caps: Caps, name: str) -> None:
    """Refuse caps with which the task would stop at once where it stopped."""
    spent: dict[str, Decimal | int] = {
        "max_cost_usd": task.spent_usd,
        "max_tokens": task.spent_tokens,
        "max_time_seconds": 0,
    }
    least = max(getattr(task, name), spent[name])
    if caps.wanted().get(name, 0) <= least:
        raise BudgetUsedUpError(
            f"The task stopped at {name}; to go on it takes more than {least}."
        )


def _require_budget_left(task: Task) -> None:
    """Refuse a retry for which there is no money; the clock is each run's own."""
    is_used_up = (
        task.stop_reason in BUDGET_REASONS
        or 0 < task.max_cost_nano <= task.spent_nano
        or task.max_tokens <= task.spent_tokens
    )
    if is_used_up:
        raise BudgetUsedUpError(
            f"The budget is used up: {task.spent_usd:.6f} of {task.max_cost_usd:.6f} "
            f"USD, {task.spent_tokens} of {task.max_tokens} tokens. POST /budget raises "
            "it."
        )


def _require_approved(task: Task) -> None:
    asked = Approval.objects.filter(task_id=task.pk, plan_version=task.plan_version)
    is_open = asked.exclude(state=Approval.State.APPROVED).exists()
    if is_open or task.stop_reason == "approval_lost":
        raise IllegalStateError("Its plan was never approved; fork the task.")


def _require_kept(task: Task) -> None:
    """Refuse to go on with steps whose outputs or values retention has taken."""
    if not REMOVED.isdisjoint(task.removed_parts):
        raise IllegalStateError(
            "Retention has removed what its steps left; fork it, or submit it anew."
        )


# What happens ----------------------------------------------------------------------
def _raise_caps(turn: Turn, caps: Caps) -> None:
    """Set the caps, and let steps that wait for budget ask again."""
    wanted = caps.wanted()
    more_s = wanted.get("max_time_seconds", 0) - turn.task.max_time_seconds
    if more_s > 0 and turn.task.deadline_at is not None:
        turn.set(deadline_at=turn.task.deadline_at + timedelta(seconds=int(more_s)))
    turn.set(**wanted)
    turn.wake()
    turn.event(
        "task.budget_raised", **{name: str(value) for name, value in wanted.items()}
    )


def _go_on(turn: Turn, task: Task, *, reason: str, judging: Amount) -> None:
    """Begin another run with what the last one left undone."""
    _require_approved(turn.task)
    _require_kept(turn.task)
    judged = rounds.judged(turn.task)
    turn.reopen(reason=reason)
    # Whoever made these calls was stopped; if one settles after all, it is corrected.
    presume_lost(turn)
    turn.set(budget_waiters=[])
    left = _undone(turn.task)
    if not left:
        _plan_anew(turn, task, judged[-1].findings if judged else ())
    else:
        _hold_envelopes(left, free=planning.free_of(turn.task), judging=judging)
        turn.reopen_steps(left)
        _judge_anew(turn, left, judging=judging, reason=reason)
    turn.advance()


def _undone(task: Task) -> list[Step]:
    """Return the step that should have planned, or those of the plan, in its order."""
    steps = Step.objects.filter(task_id=task.pk).defer("output", "evidence")
    last = steps.filter(kind=Step.Kind.PLAN).order_by("-id")[0]
    if last.status != Step.Status.DONE:
        return [last]
    plan = Plan.objects.get(task_id=task.pk, version=task.plan_version)
    by_id = {step.pk: step for step in steps if step.status != Step.Status.DONE}
    return [by_id[pk] for pk in plan.step_ids if pk in by_id]


def _hold_envelopes(steps: Sequence[Step], *, free: Amount, judging: Amount) -> None:
    """Give each step its envelope again, as a plan's steps get theirs."""
    third = Amount(nano=free.nano // 3, tokens=free.tokens // 3)
    kept = judging.within(third)
    left = free.nano - kept.nano
    for step in steps:
        if step.kind == Step.Kind.JUDGE:
            step.envelope_nano, step.envelope_tokens = kept.nano, kept.tokens
        else:
            cost = to_nano(step.estimated_cost)
            step.envelope_nano, step.envelope_tokens = min(left, cost), 0
            left -= step.envelope_nano


def _judge_anew(
    turn: Turn, left: Sequence[Step], *, judging: Amount, reason: str
) -> None:
    """Add another judge where the last one has judged what was not whole.

    It comes with a plan version of its own, that keeps all other steps.
    """
    if left[0].kind == Step.Kind.PLAN:
        return
    plan = Plan.objects.get(task_id=turn.task.pk, version=turn.task.plan_version)
    steps = Step.objects.defer("output", "evidence").in_bulk(plan.step_ids)
    last = next(s for s in steps.values() if s.kind == Step.Kind.JUDGE)
    if last.status != Step.Status.DONE:
        return
    another = copy(plan)
    another.pk, another.reason, another.created_at = new_id(), reason, datetime.now(UTC)
    another._state.adding = True
    judge = Step(
        step_id=replanning.free_id(turn, f"judge-{plan.version + 1}"),
        kind=last.kind,
        description=last.description,
        arm=last.arm,
        capability=last.capability,
        queue=last.queue,
        depends_on=last.depends_on,
        estimated_cost=last.estimated_cost,
    )
    _hold_envelopes([judge], free=planning.free_of(turn.task), judging=judging)
    kept = [pk for pk in plan.step_ids if pk != last.pk]
    turn.add_plan(another, [judge], kept=kept, grants=plan.grants)


def _plan_anew(turn: Turn, task: Task, findings: Sequence[Finding]) -> None:
    """Ask for a plan version that mends what the last run left unmet."""
    plan = Plan.objects.get(task_id=task.pk, version=turn.task.plan_version)
    if plan.source == "caller" or not can_revise(task.constraints, task.model):
        raise NoNewPlanError(
            "Every step is done and criteria are not met. Another plan takes a model, "
            "and none may be asked here; fork the task with what should be different."
        )
    unmet = tuple(replanning.unmet_of(findings))
    replanning.ask_for_new_plan(turn, reason="retry", unmet=unmet)


# Helpers ---------------------------------------------------------------------------
def _task(task_id: UUID, owner: Owner | None) -> Task:
    if owner is not None:
        require_started(owner)
    tasks = Task.objects.all() if owner is None else Task.objects.filter(owner=owner)
    return tasks.get(pk=task_id)


def _judging_cost(task: Task) -> Amount:
    """Return what judging may cost; reads prices, so call it outside a turn."""
    try:
        return planning.judging_cost(task)
    except ModelError:
        # Nothing can be set aside; the judge says what is wrong when it runs.
        return Amount()


def _hint_ready(turn: Turn) -> None:
    """Hint for every step that may be claimed now, once this turn is committed."""
    ready = Step.objects.filter(task_id=turn.task.pk, status=Step.Status.READY)
    for queue, count in Counter(ready.values_list("queue", flat=True)).items():
        transaction.on_commit(partial(send_hints, queue, Hints(count=count)))
