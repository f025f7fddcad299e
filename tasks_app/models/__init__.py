"""The rows of a task's life. Import them from here."""

from tasks_app.models.approvals import Approval
from tasks_app.models.audit import EventCheckpoint, RetentionCursor, Seal, Tombstone
from tasks_app.models.caps import OwnerMonth
from tasks_app.models.charges import Charge
from tasks_app.models.steps import Attempt, Plan, Step
from tasks_app.models.tasks import NANO_PER_USD, Task, TaskEvent, TaskResult, Verdict

__all__ = [
    "NANO_PER_USD",
    "Approval",
    "Attempt",
    "Charge",
    "EventCheckpoint",
    "OwnerMonth",
    "Plan",
    "RetentionCursor",
    "Seal",
    "Step",
    "Task",
    "TaskEvent",
    "TaskResult",
    "Tombstone",
    "Verdict",
]
