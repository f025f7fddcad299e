"""Whether a person must allow a plan, and what their answer does.

A question belongs to one plan version and to the digest of what that version would
do; an answer to anything else is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from octollm.access.models import Owner
from octollm.errors import (
    ApprovalChangedError,
    IllegalStateError,
    OperatorNeededError,
    TaskRejectedError,
)
from octollm.types import JSONObject
from planner.grants import Grants, policy
from planner.plan import Plan, PlanningContract
from reflex.screening import Checkpoint, Screened, screen
from reflex.vault import open_vault
from tasks_app import planning
from tasks_app.amounts import Amount
from tasks_app.finish import close_unapproved
from tasks_app.hints import Hints, send_hints
from tasks_app.models import Approval, Step, Task
from tasks_app.models import Plan as PlanRow
from tasks_app.plan_edits import edit_of
from tasks_app.planning import NEVER
from tasks_app.steps_read import plan_digest
from tasks_app.turn import Turn, task_turn

ALWAYS = "always"
ABOVE = "above:"
# An account that has it answers for every owner's tasks, and for the policy.
PERMISSION = "tasks_app.change_approval"
_MICRO = Decimal("0.000001")

Reason = Approval.Reason
State = Approval.State


@dataclass(frozen=True, kw_only=True)
class Decider:
    """Who answers.

    Attributes:
        name: as the record and the event name them.
        owner: whose tasks they may answer for; not needed of an operator.
        is_operator: answers for everybody's, and may allow more than the policy.
    """

    name: str
    owner: Owner | None = None
    is_operator: bool = False

    @classmethod
    def operator(cls, account: str, *, owner: Owner | None = None) -> Decider:
        """Return an account that has ``PERMISSION``; owners may be called alike."""
        return cls(name=f"{account} (operator)", owner=owner, is_operator=True)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What somebody says to a plan; its texts are not concealed yet.

    Attributes:
        plan_version: the version that is answered; ``None``: whichever waits.
        digest: what was shown of it; ``None``: not looked at.
        plan: to run in its place, as with ``POST /submit``.
    """

    plan_version: int | None = None
    digest: str | None = None
    comment: str = ""
    plan: JSONObject | None = None


# Asking ---------------------------------------------------------------------------
def normalised(wish: str) -> str:
    """Return ``never``, ``always`` or ``above:`` with the amount in its short form."""
    if not wish.startswith(ABOVE):
        return wish
    return f"{ABOVE}{Decimal(wish.removeprefix(ABOVE)).normalize():f}"


def question(task: Task, made: Plan, *, steps: Sequence[Step]) -> Approval | None:
    """Return what a person must be asked before a plan may run, or nothing.

    Args:
        task: how its caller wants plans approved.
        made: the plan; what it wants beyond its ceilings is always asked.
        steps: those that have yet to run, the judge's included: their cost is what
            ``above:`` is compared with.
    """
    estimate = sum((step.estimated_cost for step in steps), Decimal())
    reason = _reason(task, made, estimate)
    return None if reason is None else _asked(reason, made, estimate)


def _reason(task: Task, made: Plan, estimate: Decimal) -> Reason | None:
    if task.approval == NEVER:
        return None
    if made.beyond:
        allowed = policy().joined(planning.approved_of(task))
        is_allowed = Grants.of_pairs(made.beyond).within(allowed)
        return Reason.TASK_GRANTS if is_allowed else Reason.GRANTS
    if task.approval == ALWAYS:
        return Reason.ASKED
    limit = Decimal(task.approval.removeprefix(ABOVE))
    return Reason.ABOVE if estimate > limit else None


def _asked(reason: Reason, made: Plan, estimate: Decimal) -> Approval:
    lifetime = timedelta(seconds=settings.OCTOLLM_APPROVAL_TTL_S)
    return Approval(
        reason=reason,
        beyond=[[*pair] for pair in made.beyond],
        # Upwards: what is above an amount is also shown above it.
        estimated_cost=estimate.quantize(_MICRO, rounding=ROUND_CEILING),
        expires_at=datetime.now(UTC) + lifetime,
    )


# Answering ------------------------------------------------------------------------
def approve(task_id: UUID, decider: Decider, answer: Answer) -> None:
    """Let the plan that waits run, or another in its place.

    An edited plan becomes the next version. Whoever may approve it approves it by
    sending it; otherwise it waits for an operator.

    Raises:
        Task.DoesNotExist: not a task that the decider may answer for.
        IllegalStateError: no plan waits for an answer.
        ApprovalChangedError: another plan than the one that was answered waits.
        OperatorNeededError: it wants more than the policy allows.
        TaskRejectedError: the reflex blocked the comment or the plan.
        InvalidPlanError: the plan breaks rules; nothing was changed.
    """
    task = _task_of(task_id, decider)
    _current(task_id, answer)
    screened, made = _concealed(task, answer)
    judging = planning.judging_cost(task) if made else Amount()
    with task_turn(task_id) as turn:
        approval = _current(task_id, answer)
        screened.save(scope_id=task_id)
        told = {"by": decider.name, "comment": str(screened.document["comment"])}
        if made is None:
            _require_untouched(approval)
            _require_may_approve(decider, approval)
        else:
            turn.end_approval(approval, State.REPLACED, **told)
            approval = _ask_about(turn, task, made, judging=judging)
        if _may_approve(decider, approval):
            turn.end_approval(approval, State.APPROVED, **told)
            _let_run(turn)


def reject(task_id: UUID, decider: Decider, answer: Answer) -> None:
    """End the task: the plan that waits is not to run.

    Raises:
        Task.DoesNotExist: not a task that the decider may answer for.
        IllegalStateError: no plan waits for an answer.
        ApprovalChangedError: another plan than the one that was answered waits.
        TaskRejectedError: the reflex blocked the comment.
    """
    task = _task_of(task_id, decider)
    _current(task_id, answer)
    screened, _ = _concealed(task, answer)
    with task_turn(task_id) as turn:
        approval = _current(task_id, answer)
        screened.save(scope_id=task_id)
        comment = str(screened.document["comment"])
        turn.end_approval(approval, State.REJECTED, by=decider.name, comment=comment)
        close_unapproved(turn, stop_reason="approval_rejected")


def _task_of(task_id: UUID, decider: Decider) -> Task:
    if decider.is_operator:
        return Task.objects.get(pk=task_id)
    return Task.objects.get(pk=task_id, owner=decider.owner)


def _concealed(task: Task, answer: Answer) -> tuple[Screened, Plan | None]:
    """Screen what somebody says, and compile the plan in it; outside any turn.

    What a plan that breaks rules would have put into the vault is undone.
    """
    said: JSONObject = {"comment": answer.comment, "plan": answer.plan}
    made = None
    with open_vault(task.pk) as vault:
        screened = screen(said, checkpoint=Checkpoint.REQUEST, vault=vault)
        given = screened.document.get("plan")
        if isinstance(given, dict):
            made = planning.compile_draft(given, contract=_contract_of_edit(task))
    if screened.is_blocked:
        screened.save(scope_id=task.pk)
        raise TaskRejectedError(rule_ids=screened.rule_ids)
    return screened, made


def _contract_of_edit(task: Task) -> PlanningContract:
    """Return what an edited plan must keep to.

    It is a person's, who may grant what an earlier plan did not have. What its
    finished steps took is spent already.
    """
    contract = planning.contract_of(task)
    finished = Step.objects.filter(
        task_id=task.pk, kind=Step.Kind.WORK, status=Step.Status.DONE
    )
    done_usd = sum(finished.values_list("estimated_cost", flat=True), Decimal())
    max_cost_usd = contract.max_cost_usd + done_usd
    return replace(contract, grants=None, max_cost_usd=max_cost_usd)


def _current(task_id: UUID, answer: Answer) -> Approval:
    """Return the question that waits, if it is the one that was answered.

    Asked twice: before anything is screened, and again under the task's lock.
    """
    waiting = Approval.objects.filter(task_id=task_id, state=State.PENDING).first()
    if waiting is None:
        raise IllegalStateError("No plan of this task waits for an approval.")
    if waiting.expires_at <= datetime.now(UTC):
        raise IllegalStateError("The time to approve the plan is over.")
    is_version = answer.plan_version in (None, waiting.plan_version)
    if not is_version or answer.digest not in (None, waiting.digest):
        raise ApprovalChangedError
    return waiting


def _require_untouched(approval: Approval) -> None:
    """Refuse a plan whose rows are not those that were asked about."""
    if approval.digest != plan_digest(approval.task_id, approval.plan_version):
        raise ApprovalChangedError


def _may_approve(decider: Decider, approval: Approval) -> bool:
    return decider.is_operator or not approval.needs_operator


def _require_may_approve(decider: Decider, approval: Approval) -> None:
    if not _may_approve(decider, approval):
        raise OperatorNeededError


def _ask_about(turn: Turn, task: Task, made: Plan, *, judging: Amount) -> Approval:
    """Make an edited plan the next version, with a question of its own."""
    edit = edit_of(turn, made, judging=judging)
    steps = edit.to_run
    asked = question(task, made, steps=steps) or _asked(
        Reason.ASKED, made, sum((step.estimated_cost for step in steps), Decimal())
    )
    turn.add_plan(
        edit.row,
        edit.steps,
        kept=[step.pk for step in edit.kept],
        grants=made.grants.to_json(),
        approval=asked,
    )
    return asked


def _let_run(turn: Turn) -> None:
    """Give the task what its plan was approved with, and start the plan."""
    task = turn.task
    plan = PlanRow.objects.get(task_id=task.pk, version=task.plan_version)
    granted = Grants.from_json(task.grants).joined(Grants.from_json(plan.grants))
    turn.set(grants=granted.to_json())
    ready = turn.advance()
    transaction.on_commit(lambda: send_hints("default", Hints(count=ready)))


# Nobody answers --------------------------------------------------------------------
def overdue() -> QuerySet[Approval, UUID]:
    """Return the tasks whose plan has waited too long, by id."""
    late = Approval.objects.filter(state=State.PENDING, expires_at__lte=Now())
    return late.values_list("task_id", flat=True)


def expire(turn: Turn) -> None:
    """End a task whose plan has waited too long; one that was answered stays."""
    late = Approval.objects.filter(
        task_id=turn.task.pk, state=State.PENDING, expires_at__lte=Now()
    )
    for approval in late:
        turn.end_approval(approval, State.EXPIRED)
        close_unapproved(turn, stop_reason="approval_expired")
