"""Keys of rows: UUIDs of version 7, made here and not in the database.

PostgreSQL 15 has no ``uuidv7()``. The time in front keeps new rows together in
an index. Source: RFC 9562, section 5.7.
"""

from __future__ import annotations

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Return a new key; later ones sort after earlier ones within a process."""
    return uuid7()
