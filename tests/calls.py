"""Model calls and what they use, for tests of the ledger."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db.models import Sum

from arms.contract import CallPrice, ModelCall, ModelUsage
from tasks_app.ledger import TaskMeter
from tasks_app.models import Charge, Step, Task
from tasks_app.turn import Claim, task_turn
from tests.builders import claim_of, make_task

# A call of 1,000 tokens in and 500 out costs 7,000,000 nano-dollars at most.
PRICE = CallPrice(
    input_per_million=Decimal("2"), output_per_million=Decimal("10"), source="tests"
)


def call(input_tokens: int = 1000, output_tokens: int = 500, **over: Any) -> ModelCall:
    """Return a call that costs 7,000,000 nano-dollars and 1,500 tokens at most."""
    fields: dict[str, Any] = {
        "purpose": "planning",
        "model": "m",
        "request_hash": "h",
        "price": PRICE,
    }
    return ModelCall(
        input_tokens=input_tokens, output_tokens=output_tokens, **(fields | over)
    )


def usage(input_tokens: int = 100, output_tokens: int = 50, **over: Any) -> ModelUsage:
    """Return a usage that costs 700,000 nano-dollars and 150 tokens."""
    return ModelUsage(input_tokens=input_tokens, output_tokens=output_tokens, **over)


def claimed(**overrides: Any) -> tuple[Task, Claim, TaskMeter]:
    """Return a task whose plan step is claimed, and the meter of that attempt."""
    task = make_task(**overrides)
    claim = claim_of(task, "plan")
    return task, claim, TaskMeter(claim)


def books(task: Task) -> tuple[int, int, int, int]:
    """Return nano-dollars spent and held, and tokens spent and held."""
    task.refresh_from_db()
    return task.spent_nano, task.held_nano, task.spent_tokens, task.held_tokens


def sums(task: Task) -> tuple[int, int, int, int]:
    """Return what the books should say, by the charges and the envelopes."""
    charges = Charge.objects.filter(task=task)
    held = charges.filter(state="held")
    steps = Step.objects.filter(task=task)

    def total(rows: Any, *fields: str) -> int:
        found = rows.aggregate(**{field: Sum(field) for field in fields})
        return sum(value or 0 for value in found.values())

    return (
        total(charges, "settled_nano"),
        total(held, "held_nano") + total(steps, "envelope_nano"),
        total(charges, "input_tokens", "output_tokens"),
        total(held, "held_tokens") + total(steps, "envelope_tokens"),
    )


def lose(claim: Claim) -> None:
    """Take a step away from its worker."""
    with task_turn(claim.step.task_id) as turn:
        turn.lose_attempt(Step.objects.get(pk=claim.step.pk))
