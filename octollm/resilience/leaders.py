"""Who carries out a duty that one process at a time should."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import connection

from octollm.resilience.models import Leader

# Taken when it is free or its holder's time is over, kept by who has it.
_TAKE = """
INSERT INTO leaders (name, holder, until)
VALUES (%(name)s, %(holder)s, clock_timestamp() + %(ttl)s)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE leaders.holder = excluded.holder OR leaders.until < clock_timestamp()
RETURNING holder
"""


def lead(name: str, *, holder: str, ttl_s: float) -> bool:
    """Take or keep a duty for ``ttl_s`` seconds; say whether ``holder`` has it now."""
    ttl: Any = timedelta(seconds=ttl_s)  # the stubs do not know that it is taken
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, {"name": name, "holder": holder, "ttl": ttl})
        return cursor.fetchone() is not None


def resign(name: str, *, holder: str) -> None:
    """Leave a duty, so that another need not wait for the time to run out."""
    Leader.objects.filter(name=name, holder=holder).delete()
