"""What a caller may do with tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction

from arms.registry import catalogue
from octollm import metrics
from octollm.access.models import Owner
from octollm.access.owners import require_started
from octollm.errors import (
    IdempotencyMismatchError,
    InvalidIdempotencyKeyError,
    TaskRejectedError,
    UnknownArmError,
)
from octollm.ids import new_id
from octollm.types import JSONObject
from reflex.fingerprints import fingerprint
from reflex.screening import Checkpoint, Screened, screen
from reflex.vault import Vault
from tasks_app import planning
from tasks_app.finish import close_cancelled
from tasks_app.hints import Hints, send_hints
from tasks_app.models import Step, Task
from tasks_app.planning import NEVER
from tasks_app.turn import open_task, task_turn

MAX_KEY_LENGTH = 255
# What is screened and concealed of a request.
TEXTS = (
    *("goal", "constraints", "acceptance_criteria", "context", "task_metadata"),
    "plan",
)


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A validated request; its texts are not concealed yet.

    Attributes:
        texts: goal, constraints, acceptance_criteria, context, task_metadata and the
            caller's own plan, which may be ``None``.
        plan_only: nothing is to be run.
        approval: ``never``, ``always`` or ``above:`` and dollars.
        idempotency_key: as sent, or ``None``.
    """

    texts: JSONObject
    priority: str
    max_cost_usd: Decimal
    max_time_seconds: int
    max_tokens: int
    assigned_arm: str | None
    plan_only: bool = False
    approval: str = NEVER
    idempotency_key: str | None

    def fingerprint(self) -> str:
        """Return what tells this request from another under the same key."""
        return fingerprint(
            {
                "texts": self.texts,
                "priority": self.priority,
                "budget": [
                    str(self.max_cost_usd.normalize()),
                    self.max_time_seconds,
                    self.max_tokens,
                ],
                "assigned_arm": self.assigned_arm,
                "plan_only": self.plan_only,
                # Left out where it always was, so that earlier keys are known again.
                **({"approval": self.approval} if self.approval != NEVER else {}),
            },
            purpose="request",
        )


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The answer to a submission; ``is_replay`` when the task was there before."""

    task_id: UUID
    is_replay: bool = False


@dataclass(frozen=True, kw_only=True)
class RequestMark:
    """By what a request that comes again is known; the key's MAC is of its owner."""

    owner: Owner
    key_mac: str | None
    request_mac: str

    @classmethod
    def of(cls, owner: Owner, *, key: str | None, request_mac: str) -> RequestMark:
        """Return the mark of a request that came with an idempotency key, or none."""
        return cls(owner=owner, key_mac=_key_mac(owner, key), request_mac=request_mac)

    def earlier(self) -> Accepted | None:
        """Return the answer that the same request got before, or nothing.

        Raises:
            IdempotencyMismatchError: the key came before with another request.
        """
        if self.key_mac is None:
            return None
        task = (
            Task.objects.filter(owner=self.owner, idempotency_mac=self.key_mac)
            .only("pk", "request_mac")
            .first()
        )
        if task is None:
            return None
        if task.request_mac != self.request_mac:
            raise IdempotencyMismatchError
        return Accepted(task_id=task.pk, is_replay=True)


def submit_task(owner: Owner, submission: Submission) -> Accepted:
    """Screen a request and accept it as a task with its first step.

    The hint is sent after the commit; if that fails the task is accepted all the
    same, and the reaper hints again.

    Raises:
        TaskRejectedError: the reflex blocked it; only the screening is stored.
        ScreeningUnavailableError: it cannot be screened; nothing is stored.
        IdempotencyMismatchError: the key came before with another request.
        UnknownArmError: ``assigned_arm`` names no arm.
        InvalidPlanError: the caller's plan breaks rules; nothing is stored.
        OwnerBudgetExceededError: the owner's cap does not allow it; nothing is stored.
        OwnerStoppedError: an operator has stopped the owner; nothing is stored.
    """
    require_started(owner)
    _require_known_arm(submission.assigned_arm)
    mark = RequestMark.of(
        owner, key=submission.idempotency_key, request_mac=submission.fingerprint()
    )
    if earlier := mark.earlier():
        return earlier
    task_id = new_id()
    screened = screen_request(submission.texts, vault=Vault.new(task_id))
    task = _task(task_id, owner, submission, screened.document)
    if task.given_plan is not None:
        planning.compile_given(task)
    return accept_task(task, screened, mark)


def screen_request(texts: JSONObject, *, vault: Vault) -> Screened:
    """Return what a new task keeps of its caller's texts.

    Raises:
        TaskRejectedError: the reflex blocked them; only the screening is stored.
        ScreeningUnavailableError: they cannot be screened.
    """
    screened = screen(texts, checkpoint=Checkpoint.REQUEST, vault=vault)
    if screened.is_blocked:
        screened.save(scope_id=vault.scope_id)
        raise TaskRejectedError(rule_ids=screened.rule_ids)
    return screened


def accept_task(
    task: Task, screened: Screened, mark: RequestMark, *, copied: Sequence[Step] = ()
) -> Accepted:
    """Store a task with its first step, and hint after the commit.

    If the hint fails the task is accepted all the same, and the reaper hints again.
    ``copied`` are done steps of the task that it was forked from.
    """
    task.idempotency_mac, task.request_mac = mark.key_mac, mark.request_mac
    task.taint = list(screened.taint)
    try:
        _store(task, screened, copied)
    except IntegrityError:
        # Two requests with one key at the same moment: the other was first.
        earlier = mark.earlier()
        if earlier is None:
            raise
        return earlier
    return Accepted(task_id=task.pk)


def cancel_task(owner: Owner, task_id: UUID) -> None:
    """End an open task on its caller's wish; what runs is stopped and fenced off.

    Raises:
        Task.DoesNotExist: the owner has no such task.
        IllegalStateError: it has ended.
    """
    if not Task.objects.filter(pk=task_id, owner=owner).exists():
        raise Task.DoesNotExist
    with task_turn(task_id) as turn:
        turn.require_open()
        turn.event("task.cancel_requested")
        turn.set(
            cancel_requested_at=datetime.now(UTC),
            cancel_spent_nano=turn.task.spent_nano,
            cancel_spent_tokens=turn.task.spent_tokens,
        )
        close_cancelled(turn)


def _store(task: Task, screened: Screened, copied: Sequence[Step]) -> None:
    with transaction.atomic():
        screened.save(scope_id=task.pk)
        open_task(task, copied=copied)
        transaction.on_commit(lambda: send_hints("default", Hints(count=1)))
    metrics.TASKS.labels(task.status).inc()


def _task(
    task_id: UUID, owner: Owner, submission: Submission, texts: Mapping[str, Any]
) -> Task:
    return Task(
        id=task_id,
        owner=owner,
        goal=texts["goal"],
        constraints=texts["constraints"],
        acceptance_criteria=texts["acceptance_criteria"],
        context=texts["context"],
        task_metadata=texts["task_metadata"],
        priority=submission.priority,
        max_cost_usd=submission.max_cost_usd,
        max_time_seconds=submission.max_time_seconds,
        max_tokens=submission.max_tokens,
        assigned_arm=submission.assigned_arm,
        plan_only=submission.plan_only,
        approval=submission.approval,
        given_plan=texts["plan"],
    )


def _require_known_arm(name: str | None) -> None:
    known = [spec.name for spec in catalogue()]
    if name is not None and name not in known:
        raise UnknownArmError(f"assigned_arm must be one of: {', '.join(known)}.")


def _key_mac(owner: Owner, key: str | None) -> str | None:
    if key is None:
        return None
    if not (0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        raise InvalidIdempotencyKeyError
    return fingerprint(f"{owner.pk}:{key}", purpose="idempotency")
