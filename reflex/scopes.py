"""Which scopes take no more values; whoever makes scopes is asked.

A worker may hand in a value when its task has just been deleted. Kept, it would
outlive the task, and under a scope that was shredded and goes on, the numbers of its
placeholders would start again and mean other values.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.utils.module_loading import import_string


class _Asked:
    """Where to ask."""

    def __init__(self) -> None:
        self.path = ""


_asked = _Asked()


def register(path: str) -> None:
    """Name the function that tells whether a scope is open, by its dotted path.

    It is called in a transaction and must keep the scope from being closed until
    that ends.
    """
    _asked.path = path


def is_open(scope_id: UUID) -> bool:
    """Say whether a scope takes values, from now to the end of the transaction."""
    if not _asked.path:
        return True
    ask: Callable[[UUID], bool] = import_string(_asked.path)
    return ask(scope_id)
