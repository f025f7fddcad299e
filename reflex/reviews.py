"""What people say of findings: whether a rule was right in a screening."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django.db import connection

from reflex.models import Screening

# One statement, so that two people's words on two rules of a row both stay.
_MARK = """
UPDATE screenings
SET reviews = reviews || (
    SELECT coalesce(jsonb_object_agg(rule.id, %(review)s::text), '{}')
    FROM jsonb_array_elements_text(rule_ids) AS rule(id)
    WHERE %(rule_id)s::text = '' OR rule.id = %(rule_id)s::text
)
WHERE id = ANY(%(ids)s)
"""


def mark(ids: Collection[UUID], *, review: Screening.Review, rule_id: str = "") -> int:
    """Say of screenings whether that rule, or every rule of them, was right.

    Returns:
        how many screenings there are of those.
    """
    values: dict[str, Any] = {
        "ids": list(ids),
        "review": review.value,
        "rule_id": rule_id,
    }
    with connection.cursor() as cursor:
        cursor.execute(_MARK, values)
        return int(cursor.rowcount)
