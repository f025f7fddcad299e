"""What served arms did under a request id; all instances share it.

An instance claims a request id before it works, in one statement, and says every now
and then that it is still at it. One that was killed says nothing more; then the
request is lost, and somebody else may take it over if that does no harm.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal
from uuid import UUID

from django.db import connection
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.db.models.functions import Now

from arms.registry_models import ServedExecution
from octollm.types import JSONObject
from reflex.vault import settings_fernet

# How long a process that says nothing is believed to be at its work, and how often it
# says so.
LEASE_S = 10.0
RENEW_S = 2.0
LOST = "Its process ended, and what came of it is not known."

State = Literal["running", "lost", "done", "failed"]
_State = ServedExecution.State
_BOOL = BooleanField()
# A row of a process that is silent for too long is taken over.
_BEGIN = """
INSERT INTO served_executions AS row (request_id, scope_id, arm, life, state)
VALUES (%(request_id)s, %(scope_id)s, %(arm)s, %(life)s, 'running')
ON CONFLICT (request_id) DO UPDATE
SET life = excluded.life, renewed_at = statement_timestamp()
WHERE row.state = 'running' AND %(takes_over)s
  AND row.renewed_at < statement_timestamp() - make_interval(secs => %(lease_s)s)
RETURNING 1
"""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is known of a request id; with the reply or the reason when it ended."""

    state: State
    outcome: JSONObject = field(default_factory=dict)


def begin(
    request_id: UUID, *, arm: str, scope_id: UUID, life: UUID, takes_over: bool
) -> bool:
    """Claim a request; say whether it is ours, or somebody has it or had it.

    One that is lost is ours only if we take it over.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _BEGIN,
            {
                "request_id": request_id,
                "scope_id": scope_id,
                "arm": arm,
                "life": life,
                "lease_s": LEASE_S,
                "takes_over": takes_over,
            },
        )
        return cursor.fetchone() is not None


def find(request_id: UUID) -> Found | None:
    """Return what is known of a request, or nothing if nobody began it."""
    is_lost = Q(state=_State.RUNNING, renewed_at__lt=Now() - timedelta(seconds=LEASE_S))
    rows = ServedExecution.objects.annotate(is_lost=ExpressionWrapper(is_lost, _BOOL))
    row = rows.filter(pk=request_id).values("state", "outcome", "is_lost").first()
    if row is None:
        return None
    if row["state"] == _State.RUNNING:
        return Found(state="lost" if row["is_lost"] else "running")
    outcome = json.loads(settings_fernet().decrypt(row["outcome"]))
    state: State = "done" if row["state"] == _State.DONE else "failed"
    return Found(state=state, outcome=outcome)


def finish(
    request_id: UUID, outcome: JSONObject, *, life: UUID, is_done: bool = True
) -> bool:
    """Store how a request ended; say whether it was still ours."""
    text = json.dumps(outcome).encode()
    return bool(
        _mine(request_id, life).update(
            state=_State.DONE if is_done else _State.FAILED,
            outcome=settings_fernet().encrypt(text).decode(),
            renewed_at=Now(),
        )
    )


def forget(request_id: UUID, *, life: UUID) -> None:
    """Let a request that had no effect be unknown, so that it can be made again."""
    _mine(request_id, life).delete()


def renew(request_ids: Collection[UUID], *, life: UUID) -> None:
    """Say that these are still being done."""
    if request_ids:
        ServedExecution.objects.filter(
            pk__in=list(request_ids), life=life, state=_State.RUNNING
        ).update(renewed_at=Now())


def _mine(request_id: UUID, life: UUID) -> QuerySet[ServedExecution]:
    return ServedExecution.objects.filter(
        pk=request_id, life=life, state=_State.RUNNING
    )
