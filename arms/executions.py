"""What in-process arms did under a request id, so that nothing is done twice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from uuid import UUID

from django.db import connection
from django.db.models.functions import Now

from arms.contract import ArmReply
from arms.registry_models import Execution

# The useless update makes the row that was there come back.
_BEGIN = """
INSERT INTO executions (request_id, scope_id, arm, state, taint)
VALUES (%s, %s, %s, 'running', '[]')
ON CONFLICT (request_id) DO UPDATE SET arm = executions.arm
RETURNING state, reply::text, taint::text
"""


@dataclass(frozen=True, kw_only=True)
class ScreenedReply:
    """A reply that is concealed, with the marks of what its text tried."""

    reply: ArmReply
    taint: tuple[str, ...] = ()


def begin(request_id: UUID, *, arm: str, scope_id: UUID) -> ScreenedReply | None:
    """Note that a call starts; return the stored reply when it was done before.

    A row that still says ``running`` was left by a process that died with the call;
    the arm in it is gone, so the call is made again.
    """
    with connection.cursor() as cursor:
        cursor.execute(_BEGIN, [request_id, scope_id, arm])
        state, reply, taint = cursor.fetchone()
    if state != Execution.State.DONE:
        return None
    return ScreenedReply(
        reply=ArmReply.model_validate_json(reply), taint=tuple(json.loads(taint))
    )


def complete(request_id: UUID, screened: ScreenedReply) -> None:
    """Store a concealed reply; the first one stays."""
    Execution.objects.filter(
        request_id=request_id, state=Execution.State.RUNNING
    ).update(
        state=Execution.State.DONE,
        reply=screened.reply.model_dump(mode="json"),
        taint=list(screened.taint),
        finished_at=Now(),
    )
