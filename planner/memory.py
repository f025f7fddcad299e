"""Plans that served an owner before; whoever keeps tasks hands them in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.utils.module_loading import import_string

from octollm.types import JSONObject

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RememberedPlan:
    """A plan whose task was completed.

    Attributes:
        goal: concealed; its placeholders mean nothing outside its task.
        plan: the form of ``planner.plan.to_json``.
        context_keys: the keys that its task's context had, sorted.
    """

    goal: str
    plan: JSONObject
    context_keys: tuple[str, ...] = ()


_sources: list[str] = []


def register(path: str) -> None:
    """Name the function that returns an owner's plans, the latest first.

    It takes the knowledge scope of a contract, which is the owner's id.
    """
    _sources[:] = [path]


def remembered_plans(scope: UUID | None) -> Sequence[RememberedPlan]:
    """Return the plans that served this owner before; none when nobody can tell."""
    if scope is None or not _sources:
        return ()
    source: Callable[[UUID], Sequence[RememberedPlan]] = import_string(_sources[0])
    try:
        return source(scope)
    except Exception:
        # Planning goes on without a memory.
        logger.exception("the owner's earlier plans could not be read")
        return ()
