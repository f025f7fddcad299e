"""The ledger: what may be spent, what is held, what was spent.

Only a reservation can be refused. A settlement never is: what a call really cost is
booked even when it is more than was held, and even after its claim was lost.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from uuid import UUID

from django.db import connection
from django.db.models import F, Q, QuerySet

from arms.contract import CallPrice, ModelCall, ModelUsage, Recorded, Usage
from octollm import metrics
from octollm.errors import BudgetBusyError, CallCancelledError, IllegalStateError
from tasks_app import funds
from tasks_app.amounts import Amount, cost_nano, to_nano, worst_case
from tasks_app.booking import Figures, book, charges, note_price
from tasks_app.models import NANO_PER_USD, Charge, Step, Task
from tasks_app.turn import Claim, Turn, task_turn

logger = logging.getLogger(__name__)

# No call has more tokens than this; the highest price times so many fits the columns.
MAX_TOKENS = 100_000_000
# What an operator may say that a call cost, and how long the reason may be.
MAX_CORRECTION_USD = Decimal(1_000_000)
MAX_REASON = 200

_ENVELOPE = ("envelope_nano", "envelope_tokens", "step_id", "arm", "task")
# An arm says what it cost, and not by the token.
_REPORTED = CallPrice(
    input_per_million=Decimal(0), output_per_million=Decimal(0), source="arm"
)

# In one statement, so that a reply that is taken is counted.
_REPLAY = """
UPDATE charges SET replay_count = replay_count + 1
WHERE step_id = %s AND request_hash = %s AND nth = %s AND reply IS NOT NULL
RETURNING reply
"""


class TaskMeter:
    """The ``Meter`` of one attempt: its calls are charged to the task."""

    def __init__(self, claim: Claim) -> None:
        """Belong to one claim."""
        self._claim = claim
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def replay(self, request_hash: str) -> Recorded:
        """Number a call, and return what the step was answered to it before."""
        with self._lock:
            nth = self._asked[request_hash]
            self._asked[request_hash] += 1
        with connection.cursor() as cursor:
            cursor.execute(_REPLAY, [self._claim.step.pk, request_hash, nth])
            row = cursor.fetchone()
        return Recorded(nth=nth, reply=row[0] if row else None)

    def reserve(self, call: ModelCall) -> UUID:
        """Hold the worst case: from the step's envelope first, then from the rest."""
        claim, need = self._claim, worst_case(call)
        with _cancelled_when_deleted(), task_turn(claim.step.task_id) as turn:
            mine = Step.objects.filter(pk=claim.step.pk, claim_id=claim.claim_id)
            step = mine.defer("input", "output", "evidence").first()
            if step is None:
                raise CallCancelledError
            try:
                sources = funds.take(turn, step, need)
            except BudgetBusyError as busy:
                # Raised behind the commit, which keeps that the step waits.
                refusal = busy
            else:
                return _hold(turn, call, claim, need, sources)
        raise refusal

    def settle(self, charge_id: UUID, usage: ModelUsage, reply: str) -> None:
        """Book what was used; the reply is kept for a resumed step."""
        task_id = self._claim.step.task_id
        with _noted_when_deleted(task_id, usage):
            with task_turn(task_id) as turn:
                charge = charges().get(pk=charge_id)
                is_booked = book(turn, charge, "settle", _used(charge, usage, reply))
            if is_booked:
                _report(charge, usage.latency_s)

    def presume(self, charge_id: UUID) -> None:
        """Book the worst case of a call whose reply was lost."""
        task_id = self._claim.step.task_id
        with _noted_when_deleted(task_id), task_turn(task_id) as turn:
            charge = charges().get(pk=charge_id)
            book(turn, charge, "presume", _worst(charge))

    def release(self, charge_id: UUID) -> None:
        """Give back the hold of a call that never left, or what was presumed of it."""
        task_id = self._claim.step.task_id
        with _noted_when_deleted(task_id), task_turn(task_id) as turn:
            book(turn, charges().get(pk=charge_id), "release", Figures())

    def book_usage(self, request_id: UUID, usage: Usage, *, arm: str, at: str) -> None:
        """Book what an arm says that it used: from the step's envelope, then beyond."""
        if not (usage.cost_usd or usage.input_tokens or usage.output_tokens):
            return
        claim, task_id = self._claim, self._claim.step.task_id
        with _noted_when_deleted(task_id), task_turn(task_id) as turn:
            request_hash = f"arm:{request_id.hex}"
            mine = charges().filter(step=claim.step, request_hash=request_hash)
            if mine.exists():
                # Its store was asked again: it is in the books.
                return
            figures = _reported(usage)
            step = Step.objects.only(*_ENVELOPE).get(pk=claim.step.pk)
            own = _covered(step, figures)
            turn.draw(step, nano=own.nano, tokens=own.tokens)
            turn.hold(nano=own.nano, tokens=own.tokens)
            charge = Charge(
                task_id=task_id,
                step=claim.step,
                attempt=claim.attempt,
                purpose="arm",
                provider=at,
                model=(usage.model or arm)[:MAX_REASON],
                request_hash=request_hash,
                nth=0,
                held_nano=own.nano,
                held_tokens=own.tokens,
            )
            note_price(charge, _REPORTED)
            charge.save(force_insert=True)
            book(turn, charge, "settle", figures)


def _reported(usage: Usage) -> Figures:
    """Return an arm's own figures, cut where the columns end."""
    return Figures(
        nano=to_nano(min(usage.cost_usd, MAX_CORRECTION_USD)),
        input_tokens=min(usage.input_tokens, MAX_TOKENS),
        output_tokens=min(usage.output_tokens, MAX_TOKENS),
    )


def _covered(step: Step, figures: Figures) -> Amount:
    """Return how much of it the step's envelope holds."""
    tokens = figures.input_tokens + figures.output_tokens
    held = Amount(nano=step.envelope_nano, tokens=step.envelope_tokens)
    return Amount(nano=figures.nano, tokens=tokens).within(held)


@contextmanager
def _cancelled_when_deleted() -> Iterator[None]:
    """Let no further call start for a task that is gone."""
    try:
        yield
    except Task.DoesNotExist:
        raise CallCancelledError from None


@contextmanager
def _noted_when_deleted(
    task_id: UUID, usage: ModelUsage | None = None
) -> Iterator[None]:
    """Log a booking whose task is gone: its worst case stands in the tombstone."""
    try:
        yield
    except Task.DoesNotExist:
        tokens = usage.input_tokens + usage.output_tokens if usage else "unknown"
        logger.warning(
            "a charge came after its task was deleted; tokens: %s",
            tokens,
            extra={"task_id": str(task_id)},
        )


def lost_charges() -> QuerySet[Charge]:
    """Return the held charges whose attempt is over."""
    over = ~Q(step__status=Step.Status.RUNNING) | Q(
        attempt__lt=F("step__attempt_count")
    )
    return charges().filter(over, state=Charge.State.HELD)


def presume_lost(turn: Turn) -> int:
    """Book a task's lost charges at worst case; return how many."""
    lost = list(lost_charges().filter(task=turn.task))
    for charge in lost:
        book(turn, charge, "presume", _worst(charge))
    return len(lost)


def correct_charge(charge_id: UUID, *, cost_usd: Decimal, reason: str) -> Charge:
    """Book a charge anew at what an operator says it cost; its task may have ended.

    The tokens stay as they are: it was the price that was wrong.

    Raises:
        Charge.DoesNotExist: there is no such charge.
        IllegalStateError: its call is under way.
        ValueError: the cost or the reason is not one.
    """
    reason = reason.strip()
    if not (0 < len(reason) <= MAX_REASON and reason.isprintable()):
        raise ValueError(f"the reason must be 1 to {MAX_REASON} printable characters")
    if not (cost_usd.is_finite() and 0 <= cost_usd <= MAX_CORRECTION_USD):
        raise ValueError(f"the cost must be from 0 to {MAX_CORRECTION_USD} USD")
    task_id = Charge.objects.values_list("task_id", flat=True).get(pk=charge_id)
    with task_turn(task_id) as turn:
        charge = charges().get(pk=charge_id)
        if charge.state == Charge.State.HELD:
            raise IllegalStateError("The call is under way; what it costs comes yet.")
        figures = Figures(
            nano=to_nano(cost_usd),
            input_tokens=charge.input_tokens,
            output_tokens=charge.output_tokens,
            cached_tokens=charge.cached_tokens,
            is_estimated=charge.is_estimated,
        )
        book(turn, charge, "correct", figures, reason=reason)
    return charge


def _hold(
    turn: Turn, call: ModelCall, claim: Claim, need: Amount, sources: funds.Sources
) -> UUID:
    """Write the charge of a reservation, and where it was taken from."""
    charge = Charge(
        task_id=claim.step.task_id,
        step=claim.step,
        attempt=claim.attempt,
        purpose=call.purpose,
        provider=call.provider,
        model=call.model,
        rung=call.rung,
        request_hash=call.request_hash,
        nth=call.nth,
        held_nano=need.nano,
        held_tokens=need.tokens,
    )
    note_price(charge, call.price)
    charge.save(force_insert=True)
    lent = {"lent_by": list(sources.lenders)} if sources.lenders else {}
    turn.event(
        "charge.held",
        charge_id=str(charge.pk),
        nano=need.nano,
        tokens=need.tokens,
        top_up_nano=sources.top_up.nano,
        top_up_tokens=sources.top_up.tokens,
        **lent,
    )
    return charge.pk


def _used(charge: Charge, usage: ModelUsage, reply: str) -> Figures:
    """Return what a call used and what that costs."""
    if not _is_believable(usage):
        return _worst(charge, latency_s=usage.latency_s, reply=reply)
    price = usage.price or _held_price(charge)
    cached = min(usage.cached_tokens, usage.input_tokens)
    return Figures(
        nano=cost_nano(
            price,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=cached,
        ),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=cached,
        is_estimated=usage.is_estimated,
        price=price,
        latency_s=usage.latency_s,
        reply=reply,
    )


def _is_believable(usage: ModelUsage) -> bool:
    """Tell whether the columns hold such counts; the reader should have seen to it."""
    counts = (usage.input_tokens, usage.output_tokens, usage.cached_tokens)
    return all(0 <= count <= MAX_TOKENS for count in counts)


def _worst(
    charge: Charge, *, latency_s: float | None = None, reply: str | None = None
) -> Figures:
    return Figures(
        nano=charge.held_nano,
        input_tokens=charge.held_tokens,
        is_estimated=True,
        latency_s=latency_s,
        reply=reply,
    )


def _held_price(charge: Charge) -> CallPrice:
    return CallPrice(
        input_per_million=charge.price_input,
        output_per_million=charge.price_output,
        cached_per_million=charge.price_cached,
        source=charge.price_source,
        version=charge.price_version,
    )


def _report(charge: Charge, latency_s: float) -> None:
    """Count an answered call in the metrics."""
    metrics.LLM_TOKENS.labels(charge.model, "input").inc(charge.input_tokens)
    metrics.LLM_TOKENS.labels(charge.model, "output").inc(charge.output_tokens)
    metrics.LLM_COST.labels(charge.model).inc(charge.settled_nano / NANO_PER_USD)
    labels = (charge.provider, charge.model, charge.purpose)
    metrics.LLM_DURATION.labels(*labels).observe(latency_s)
