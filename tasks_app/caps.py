"""Owners' caps: what an owner's tasks of a month may take together.

A task reserves its whole budget when it is accepted; when it ends, that turns into
what it spent. A task's share follows from its row, so every turn carries over what it
changed, whatever that was. Lock order: task, then ``owner_months``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NoReturn

from django.db import connection

from octollm.errors import OwnerBudgetExceededError
from tasks_app.amounts import to_usd
from tasks_app.models import OwnerMonth, Task

# Two reservations at once: the second waits for the first's row and looks again.
_RESERVE = """
UPDATE owner_months m SET reserved_nano = m.reserved_nano + %(reserved)s,
                          spent_nano = m.spent_nano + %(spent)s
FROM owners o
WHERE m.owner_id = %(owner)s AND m.month = %(month)s AND o.id = m.owner_id
  AND (o.monthly_cap_usd IS NULL
       OR m.reserved_nano + m.spent_nano + %(reserved)s + %(spent)s
          <= o.monthly_cap_usd * 1000000000)
"""
_FIRST_OF_MONTH = """
INSERT INTO owner_months (owner_id, month) VALUES (%(owner)s, %(month)s)
ON CONFLICT DO NOTHING
"""
# What has happened is never refused, also not by a row that somebody else mended.
_CARRY = """
UPDATE owner_months SET reserved_nano = GREATEST(0, reserved_nano + %(reserved)s),
                        spent_nano = GREATEST(0, spent_nano + %(spent)s)
WHERE owner_id = %(owner)s AND month = %(month)s
"""


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a task takes of its owner's cap, in nano-dollars."""

    reserved: int = 0
    spent: int = 0


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How an owner stands in a month; the cap is ``None`` where it was lifted."""

    month: date
    cap_usd: Decimal | None
    reserved_usd: Decimal
    spent_usd: Decimal

    @property
    def left_usd(self) -> Decimal | None:
        """What further tasks may reserve."""
        if self.cap_usd is None:
            return None
        return max(Decimal(0), self.cap_usd - self.reserved_usd - self.spent_usd)


def note_month(task: Task) -> None:
    """Have a new task count against its owner's cap of this month, if there is one."""
    if task.owner.monthly_cap_usd is not None:
        task.cap_month = datetime.now(UTC).date().replace(day=1)


def share_of(task: Task) -> Share:
    """Return what a task takes of its owner's cap."""
    if task.cap_month is None:
        return Share()
    if task.is_terminal:
        # What its last calls hold may yet be spent.
        return Share(reserved=task.held_nano, spent=task.spent_nano)
    return Share(reserved=task.max_cost_nano)


def carry(task: Task, *, since: Share) -> None:
    """Bring the owner's month up to what a task takes now.

    A task that takes more because it begins, goes on or may cost more is refused if
    the cap does not allow it; what an ended one turned out to cost is not.

    Raises:
        OwnerBudgetExceededError: so much is not left of the cap.
    """
    now = share_of(task)
    if now == since:
        return
    change: dict[str, Any] = {
        "owner": task.owner_id,
        "month": task.cap_month,
        "reserved": now.reserved - since.reserved,
        "spent": now.spent - since.spent,
    }
    more = change["reserved"] + change["spent"]
    if task.is_terminal or more <= 0:
        _execute(_CARRY, change)
        return
    if _execute(_RESERVE, change):
        return
    _execute(_FIRST_OF_MONTH, change)
    if not _execute(_RESERVE, change):
        _refuse(task, more)


def standing_of(task: Task) -> Standing | None:
    """Return how the task's owner stands in its month; nothing without a cap."""
    if task.cap_month is None:
        return None
    row = OwnerMonth.objects.select_related("owner").get(
        owner_id=task.owner_id, month=task.cap_month
    )
    return Standing(
        month=row.month,
        cap_usd=row.owner.monthly_cap_usd,
        reserved_usd=to_usd(row.reserved_nano),
        spent_usd=to_usd(row.spent_nano),
    )


def _refuse(task: Task, nano: int) -> NoReturn:
    standing = standing_of(task)
    assert standing is not None  # noqa: S101  # its row was made at the latest now
    left_usd = standing.left_usd or Decimal(0)
    month = f"{standing.month:%Y-%m}"
    raise OwnerBudgetExceededError(
        f"This would reserve {to_usd(nano):.6f} USD; of the owner's cap of "
        f"{standing.cap_usd or 0:.6f} USD for {month}, {left_usd:.6f} are left.",
        left_usd=left_usd,
        month=month,
    )


def _execute(statement: str, values: dict[str, Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)
