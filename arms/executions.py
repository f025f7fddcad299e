"""What in-process arms did under a request id, so that nothing is done twice."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from arms.contract import ArmReply
from arms.registry_models import Execution


@dataclass(frozen=True, kw_only=True)
class ScreenedReply:
    """A reply that is concealed, with the marks of what its text tried."""

    reply: ArmReply
    taint: tuple[str, ...] = ()


def find(request_id: UUID) -> ScreenedReply | None:
    """Return the reply that is stored under this request id, if there is one.

    A call that its process did not outlive left nothing, and may be made again: the
    arm that ran in that process is gone with it.
    """
    row = Execution.objects.filter(request_id=request_id).first()
    if row is None:
        return None
    return ScreenedReply(
        reply=ArmReply.model_validate(row.reply), taint=tuple(row.taint)
    )


def store(
    request_id: UUID, screened: ScreenedReply, *, arm: str, scope_id: UUID
) -> None:
    """Store a concealed reply; the first one stays."""
    row = Execution(
        request_id=request_id,
        scope_id=scope_id,
        arm=arm,
        reply=screened.reply.model_dump(mode="json"),
        taint=list(screened.taint),
    )
    Execution.objects.bulk_create([row], ignore_conflicts=True)
