"""What a served instance did under a request id, asked by a worker.

The workers and all instances that serve arms of ours share one database, so a worker
looks there: also when the instance is gone, and when the step goes on in process.
"""

from __future__ import annotations

import asyncio
from random import SystemRandom
from uuid import UUID

from arms.contract import ArmReply
from arms.served import store
from octollm.errors import ArmError
from octollm.resilience import outbound
from octollm.resilience.backoff import full_jitter
from octollm.resilience.deadline import StopToken

POLL_BASE_S = 0.1
POLL_CAP_S = 2.0

_random = SystemRandom()


def recall(
    request_id: UUID, *, arm_name: str, is_repeatable: bool, stop: StopToken
) -> ArmReply | None:
    """Return what was done under a request id; waits while an instance is at it.

    Nothing means that it may be done here and now.

    Raises:
        ArmError: it ended without a reply and must not be done again.
        DeadlineExceededError: the time is over.
        CallCancelledError: somebody asked to stop.
    """
    number = 0
    while found := store.find(request_id):
        if found.state == "done":
            return ArmReply.model_validate(found.outcome)
        if found.state == "lost" and is_repeatable:
            return None
        if found.state != "running":
            told = found.outcome.get("detail", store.LOST)
            raise ArmError(f"The arm {arm_name} failed: {told}", arm_name=arm_name)
        number += 1
        pause_s = full_jitter(
            number, base_s=POLL_BASE_S, cap_s=POLL_CAP_S, random=_random
        )
        outbound.run(asyncio.sleep(pause_s), stop=stop)
    return None
