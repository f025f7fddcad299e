"""Where a step's invocation went, kept at its attempt before it goes there.

A worker may die at any moment: whoever goes on with the step asks the instance that may
have begun it.
"""

from __future__ import annotations

from django.db import connection

from arms.registry import IN_PROCESS
from arms.routing import Route
from octollm.errors import CallCancelledError
from planner.grants import policy
from tasks_app.claim import Claim
from tasks_app.hints import Hints, send_hints
from tasks_app.models import Attempt

# Not under the task's lock: only the claim's own attempt, and only while it is one.
_NOTE = """
UPDATE attempts SET instance = %(instance)s, reason = %(reason)s
WHERE claim_id = %(claim_id)s AND outcome = 'running'
"""
# The first that waits for a place at the arm asks now, and not when its pause is over.
_WAKE = """
UPDATE steps SET run_after = clock_timestamp() WHERE id = (
    SELECT id FROM steps
    WHERE status = 'ready' AND (error -> 'code') = '"arm_busy"'::jsonb AND arm = %(arm)s
    AND run_after > clock_timestamp()
    ORDER BY priority_rank, owner_rank, id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
) RETURNING queue
"""


def note(claim: Claim, route: Route) -> None:
    """Note where the invocation is about to go.

    Raises:
        CallCancelledError: the claim is lost; nobody may go on.
    """
    claim.routes.append(route)
    if route.instance == IN_PROCESS:
        # What this process does ends with it: nobody need be asked. Written at the end.
        return
    with connection.cursor() as cursor:
        values = {"instance": route.instance, "reason": route.reason}
        cursor.execute(_NOTE, {**values, "claim_id": claim.claim_id})
        if not cursor.rowcount:
            raise CallCancelledError


def pinned(claim: Claim) -> str:
    """Return the location of the instance that may have begun the request; or nothing."""
    if claim.is_new_request:
        return ""
    before = Attempt.objects.filter(
        step=claim.step, request_id=claim.request_id
    ).exclude(instance__in=("", IN_PROCESS))
    return before.order_by("-id").values_list("instance", flat=True).first() or ""


def wake_waiting(arm: str) -> None:
    """Let the first step that waits for a place at this arm be looked at."""
    with connection.cursor() as cursor:
        cursor.execute(_WAKE, {"arm": arm})
        row = cursor.fetchone()
    if row is not None:
        send_hints(row[0], Hints(count=1))


def may_fall_back(claim: Claim, arm: str) -> bool:
    """Tell whether another arm may do the step: the caller pinned none, policy allows it."""
    return not claim.task.assigned_arm and policy().allows("arms", arm)
