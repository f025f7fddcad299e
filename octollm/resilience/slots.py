"""How many may do something at once, agreed among all processes.

A scope, such as ``owner:<id>``, has one row per place. Whoever begins takes a free row
and nobody waits for another (SKIP LOCKED; a counter in one row would cost three times
as much); whoever ends frees what it holds. A scope without rows has no limit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from uuid import UUID

from django.db import connection, transaction

from octollm.resilience.models import Slot

_TAKE = """
WITH taken AS (
    UPDATE slots SET holder = %(holder)s, taken_at = clock_timestamp()
    WHERE id = (
        SELECT id FROM slots WHERE scope = %(scope)s AND holder IS NULL
        ORDER BY n LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
    ) RETURNING id
)
SELECT EXISTS (SELECT 1 FROM taken)
       OR NOT EXISTS (SELECT 1 FROM slots WHERE scope = %(scope)s)
"""
# Several rows are always locked in the order of their ids, or two could wait for each
# other.
_FREE = """
UPDATE slots SET holder = NULL, taken_at = NULL WHERE id IN (
    SELECT id FROM slots WHERE holder = ANY(%s) ORDER BY id FOR NO KEY UPDATE
)
"""
_ADD = """
INSERT INTO slots (scope, n) SELECT %(scope)s, generate_series(1, %(count)s)
ON CONFLICT DO NOTHING
"""
_DROP = """
DELETE FROM slots WHERE id IN (
    SELECT id FROM slots WHERE scope = %(scope)s AND n > %(count)s
    ORDER BY id FOR UPDATE
)
"""


def resize(scope: str, count: int | None) -> None:
    """Let ``count`` of a scope begin at once; nothing lifts the limit.

    Whoever is under way ends undisturbed: until then, more than a lowered limit, or
    one that is new, may run.

    Raises:
        ValueError: the count is below 1.
    """
    if count is not None and count < 1:
        raise ValueError("a limit is at least 1")
    values: dict[str, str | int] = {"scope": scope, "count": count or 0}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_ADD, values)
        cursor.execute(_DROP, values)


def take(scope: str, holder: UUID) -> bool:
    """Take a place; false when none is free. Holds from the commit on."""
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, {"scope": scope, "holder": holder})
        (is_taken,) = cursor.fetchone() or (False,)
    return bool(is_taken)


def free(*holders: UUID) -> int:
    """Free what the holders have, in every scope; return how many places."""
    with connection.cursor() as cursor:
        cursor.execute(_FREE, [list(holders)])
        return int(cursor.rowcount)


def free_in(scope: str, holder: UUID) -> bool:
    """Free what a holder has in one scope; say whether there was something."""
    taken = Slot.objects.filter(scope=scope, holder=holder)
    return bool(taken.update(holder=None, taken_at=None))


def sweep(find_living: Callable[[Collection[UUID]], Collection[UUID]]) -> int:
    """Free what is held by nobody who lives; return how many places.

    ``find_living`` is given the holders and returns those of them that live. They are
    read before it is asked, so nobody who takes a place meanwhile is among them.
    """
    taken = Slot.objects.filter(holder__isnull=False).values_list("holder", flat=True)
    holders = {holder for holder in taken if holder is not None}
    lost = holders - set(find_living(holders)) if holders else set()
    return free(*lost) if lost else 0
