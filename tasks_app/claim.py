"""A worker's hold on a step, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from arms.routing import Route
from octollm.types import JSONObject
from tasks_app.models import Step, Task


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A worker's hold on a step, fenced by ``claim_id``.

    ``request_id`` belongs to the invocation and outlives a lost claim; unless
    ``is_new_request`` an attempt before used it. ``has_slot`` says that the owner's
    running steps are limited, and one more may start when this one ends. ``step`` and
    ``task`` are as they were at the claim. ``routes`` are those its invocation took.
    """

    claim_id: UUID
    request_id: UUID
    is_new_request: bool
    attempt: int
    worker: str
    run: int
    deadline_at: datetime
    has_slot: bool = False
    step: Step = field(compare=False)
    task: Task = field(compare=False)
    routes: list[Route] = field(default_factory=list, compare=False)

    @property
    def route(self) -> Route:
        """The last one, or an empty one."""
        return self.routes[-1] if self.routes else Route()


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an attempt ended, and what that makes of its step.

    Attributes:
        status: the step's new status; ``ready`` for a retry.
        outcome: the attempt's.
        delay_s: how long a retry waits.
        keeps_request: the invocation's outcome is unknown, so its id stays.
        is_counted: whether it counts against the limit of attempts.
    """

    status: str
    outcome: str
    output: JSONObject | None = None
    evidence: Sequence[JSONObject] = ()
    confidence: float | None = None
    confidence_reason: str = ""
    taint: tuple[str, ...] = ()
    error: JSONObject | None = None
    log: str = ""
    instance: str = ""
    reason: str = ""
    delay_s: float = 0.0
    keeps_request: bool = False
    is_counted: bool = True

    @property
    def is_final(self) -> bool:
        """Whether the step has ended with it."""
        return self.status != Step.Status.READY
