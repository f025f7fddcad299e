"""Where the money of a reservation comes from, and why there may be none.

First the step's own envelope, then what is free (a top-up), and at last, when nobody
at work can give anything back, what idle steps have set aside. The judge's envelope
is nobody else's. Called inside a turn, so nothing comes or goes meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connection

from octollm.errors import BudgetBusyError, BudgetExceededError
from tasks_app.amounts import Amount, to_usd
from tasks_app.models import Step, Task
from tasks_app.turn import Turn

# What the judge keeps, and whether anybody may give back what is lacking: a call
# under way, or a step that works, or is about to, and was not refused itself.
_OTHERS = """
SELECT COALESCE(sum(envelope_nano) FILTER (WHERE kind = 'judge'), 0),
       COALESCE(sum(envelope_tokens) FILTER (WHERE kind = 'judge'), 0),
       COALESCE(bool_or(
           status <> 'waiting' AND id <> ALL(%(waiters)s)
           AND (%(lacks_nano)s AND envelope_nano > 0
                OR %(lacks_tokens)s AND envelope_tokens > 0)), false)
       OR EXISTS (
           SELECT 1 FROM charges WHERE task_id = %(task)s AND state = 'held'
           AND (%(lacks_nano)s AND held_nano > 0
                OR %(lacks_tokens)s AND held_tokens > 0))
FROM steps
WHERE task_id = %(task)s AND id <> %(step)s
  AND status IN ('waiting', 'ready', 'running')
"""
_OPEN = (Step.Status.WAITING, Step.Status.READY, Step.Status.RUNNING)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Where a reservation was taken from.

    Attributes:
        top_up: what the step's own envelope did not hold.
        lenders: the steps whose envelopes gave to it.
    """

    top_up: Amount
    lenders: tuple[str, ...] = ()


def take(turn: Turn, step: Step, need: Amount) -> Sources:
    """Hold what a call of a step may cost at most.

    Raises:
        BudgetBusyError: others hold what is needed, and may give it back. The step
            is noted as a waiter of the task's, which is to be committed.
        BudgetExceededError: it can never fit.
    """
    own = need.within(Amount(nano=step.envelope_nano, tokens=step.envelope_tokens))
    top_up = need - own
    lacking = _lacking(turn.task, top_up)
    lenders = _borrow(turn, step, need, lacking) if lacking else ()
    turn.draw(step, nano=own.nano, tokens=own.tokens)
    turn.hold(nano=need.nano, tokens=need.tokens)
    _note_waiter(turn, step, waits=False)
    return Sources(top_up=top_up, lenders=lenders)


def _lacking(task: Task, top_up: Amount) -> Amount:
    """Return how much of a top-up is not free."""
    free_nano = task.max_cost_nano - task.spent_nano - task.held_nano
    free_tokens = task.max_tokens - task.spent_tokens - task.held_tokens
    # Where nothing is needed nothing is lacking, however much was overrun.
    return Amount(
        nano=max(0, top_up.nano - free_nano) if top_up.nano else 0,
        tokens=max(0, top_up.tokens - free_tokens) if top_up.tokens else 0,
    )


def _borrow(turn: Turn, step: Step, need: Amount, lacking: Amount) -> tuple[str, ...]:
    """Take what is lacking from the envelopes of idle steps; return their ids."""
    kept, is_awaited = _others(turn, step, lacking)
    _require_possible(turn.task, need, lacking, kept=kept)
    if is_awaited:
        _note_waiter(turn, step, waits=True)
        raise BudgetBusyError(limit="cost" if lacking.nano else "tokens")
    lenders = []
    idle = Step.objects.filter(task=turn.task, status__in=_OPEN).only(
        "step_id", "envelope_nano", "envelope_tokens"
    )
    # Those that come last in the plan lend first.
    for lender in idle.exclude(pk=step.pk).exclude(kind="judge").order_by("-id"):
        lent = lacking.within(
            Amount(nano=lender.envelope_nano, tokens=lender.envelope_tokens)
        )
        if lent:
            turn.draw(lender, nano=lent.nano, tokens=lent.tokens)
            lacking -= lent
            lenders.append(lender.step_id)
    return tuple(lenders)


def _others(turn: Turn, step: Step, lacking: Amount) -> tuple[Amount, bool]:
    """Return what the judge keeps, and whether anybody may give back what is lacking."""
    values: dict[str, Any] = {
        "task": turn.task.pk,
        "step": step.pk,
        "waiters": turn.task.budget_waiters,
        "lacks_nano": lacking.nano > 0,
        "lacks_tokens": lacking.tokens > 0,
    }
    with connection.cursor() as cursor:
        cursor.execute(_OTHERS, values)
        nano, tokens, is_awaited = cursor.fetchone() or (0, 0, False)
    return Amount(nano=int(nano), tokens=int(tokens)), bool(is_awaited)


def _require_possible(
    task: Task, need: Amount, lacking: Amount, *, kept: Amount
) -> None:
    """Refuse what would not fit if all others gave back all that they hold."""
    room = Amount(
        nano=max(0, task.max_cost_nano - task.spent_nano - kept.nano),
        tokens=max(0, task.max_tokens - task.spent_tokens - kept.tokens),
    )
    beside = " beside what judging keeps" if kept else ""
    for limit, is_over, told in (
        (
            "cost",
            lacking.nano and need.nano > room.nano,
            f"{to_usd(need.nano):.6f} USD; {to_usd(room.nano):.6f} of "
            f"{task.max_cost_usd:.6f}",
        ),
        (
            "tokens",
            lacking.tokens and need.tokens > room.tokens,
            f"{need.tokens} tokens; {room.tokens} of {task.max_tokens}",
        ),
    ):
        if is_over:
            raise BudgetExceededError(
                f"The next call may take {told} are left{beside}.",
                limit=limit,
                room_usd=to_usd(room.nano),
                room_tokens=room.tokens,
            )


def _note_waiter(turn: Turn, step: Step, *, waits: bool) -> None:
    waiters = [each for each in turn.task.budget_waiters if each != step.pk]
    wanted = [*waiters, step.pk] if waits else waiters
    if wanted != turn.task.budget_waiters:
        turn.set(budget_waiters=wanted)
