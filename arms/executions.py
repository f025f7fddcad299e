"""What in-process arms did under a request id, so that nothing is done twice.

Arms of ours that run as services have a store of their own: ``served/store.py``.
"""

from __future__ import annotations

from uuid import UUID

from arms.contract import ArmReply
from arms.registry_models import Execution
from octollm.rows import RowWriter

_EXECUTIONS = RowWriter(
    Execution,
    *("request_id", "scope_id", "arm", "reply", "taint"),
    ignores_conflicts=True,
)


def find(request_id: UUID) -> tuple[ArmReply, tuple[str, ...]] | None:
    """Return the reply that is stored under this request id, with its taint.

    A call that its process did not outlive left nothing, and may be made again: the
    arm that ran in that process is gone with it.
    """
    row = Execution.objects.filter(request_id=request_id).first()
    if row is None:
        return None
    return ArmReply.model_validate(row.reply), tuple(row.taint)


def store(
    request_id: UUID,
    reply: ArmReply,
    *,
    taint: tuple[str, ...],
    arm: str,
    scope_id: UUID,
) -> None:
    """Store a concealed reply; the first one stays."""
    _EXECUTIONS.write(
        request_id=request_id,
        scope_id=scope_id,
        arm=arm,
        reply=reply.model_dump(mode="json"),
        taint=list(taint),
    )
