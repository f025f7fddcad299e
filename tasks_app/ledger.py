"""The ledger: what may be spent, what is held, what was spent.

Only a reservation can be refused. A settlement never is: what a call really cost is
booked even when it is more than was held, and even after its claim was lost.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

from django.db.models import F, Q, QuerySet

from arms.contract import CallPrice, ModelCall, ModelUsage
from octollm import metrics
from octollm.errors import BudgetBusyError, BudgetExceededError, CallCancelledError
from tasks_app.models import NANO_PER_USD, Charge, Step, Task
from tasks_app.turn import Claim, Turn, task_turn

logger = logging.getLogger(__name__)

# One dollar per million tokens is 1,000 nano-dollars per token.
_NANO_PER_TOKEN = 1_000
# No call has more tokens than this; the highest price times so many fits the columns.
MAX_TOKENS = 100_000_000


def cost_nano(
    price: CallPrice, *, input_tokens: int, output_tokens: int, cached_tokens: int = 0
) -> int:
    """Return what tokens cost in nano-dollars, rounded up.

    ``cached_tokens`` are those of ``input_tokens`` that the provider had in its cache.
    """
    per_cached = price.cached_per_million
    if per_cached is None:
        per_cached = price.input_per_million
    exact = (
        price.input_per_million * (input_tokens - cached_tokens)
        + per_cached * cached_tokens
        + price.output_per_million * output_tokens
    ) * _NANO_PER_TOKEN
    return math.ceil(exact)


class TaskMeter:
    """The ``Meter`` of one attempt: its calls are charged to the task."""

    def __init__(self, claim: Claim) -> None:
        """Belong to one claim."""
        self._claim = claim
        self._asked: Counter[str] = Counter()
        self._lock = threading.Lock()

    def replay(self, request_hash: str) -> str | None:
        """Return what the step was answered to its nth call of this kind before."""
        with self._lock:
            nth = self._asked[request_hash]
            self._asked[request_hash] += 1
        replies = (
            Charge.objects.filter(
                step=self._claim.step,
                request_hash=request_hash,
                state=Charge.State.SETTLED,
            )
            .order_by("created_at", "id")
            .values_list("reply", flat=True)
        )
        return replies[nth : nth + 1].first()

    def reserve(self, call: ModelCall) -> UUID:
        """Hold the worst case: from the step's envelope first, then from the rest."""
        nano = _worst_nano(call)
        tokens = call.input_tokens + call.output_tokens
        claim = self._claim
        with _cancelled_when_deleted(), task_turn(claim.step.task_id) as turn:
            step = Step.objects.filter(
                pk=claim.step.pk, claim_id=claim.claim_id
            ).first()
            if step is None:
                raise CallCancelledError
            own_nano = min(nano, step.envelope_nano)
            own_tokens = min(tokens, step.envelope_tokens)
            _require_free(turn, nano=nano - own_nano, tokens=tokens - own_tokens)
            turn.draw(step, nano=own_nano, tokens=own_tokens)
            turn.hold(nano=nano, tokens=tokens)
            charge = _held(call, claim, nano=nano, tokens=tokens)
            charge.save(force_insert=True)
            turn.event(
                "charge.held", charge_id=str(charge.pk), nano=nano, tokens=tokens
            )
        return charge.pk

    def settle(self, charge_id: UUID, usage: ModelUsage, reply: str) -> None:
        """Book what was used; the reply is kept for a resumed step."""
        task_id = self._claim.step.task_id
        with _noted_when_deleted(task_id, usage):
            with task_turn(task_id) as turn:
                charge = Charge.objects.get(pk=charge_id)
                if charge.state == Charge.State.PRESUMED:
                    _unbook(turn, charge)
                _measure(charge, usage)
                charge.reply = reply
                _book(turn, charge, Charge.State.SETTLED)
            _report(charge, usage.latency_s)

    def presume(self, charge_id: UUID) -> None:
        """Book the worst case of a call whose reply was lost."""
        task_id = self._claim.step.task_id
        with _noted_when_deleted(task_id), task_turn(task_id) as turn:
            charge = _open_charge(charge_id)
            if charge is not None:
                _presume(turn, charge)

    def release(self, charge_id: UUID) -> None:
        """Give back the hold of a call that never left."""
        task_id = self._claim.step.task_id
        with _noted_when_deleted(task_id), task_turn(task_id) as turn:
            charge = _open_charge(charge_id)
            if charge is not None:
                _book(turn, charge, Charge.State.RELEASED)


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
    return Charge.objects.filter(over, state=Charge.State.HELD)


def presume_lost(turn: Turn) -> int:
    """Book a task's lost charges at worst case; return how many."""
    lost = list(lost_charges().filter(task=turn.task))
    for charge in lost:
        _presume(turn, charge)
    return len(lost)


def _measure(charge: Charge, usage: ModelUsage) -> None:
    """Note on a charge what its call used, and what that costs."""
    charge.latency_s = usage.latency_s
    if not _is_believable(usage):
        _assume_worst(charge)
        return
    price = usage.price or _held_price(charge)
    cached = min(usage.cached_tokens, usage.input_tokens)
    charge.settled_nano = cost_nano(
        price,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=cached,
    )
    charge.input_tokens = usage.input_tokens
    charge.output_tokens = usage.output_tokens
    charge.cached_tokens = cached
    charge.is_estimated = usage.is_estimated
    _note_price(charge, price)


def _is_believable(usage: ModelUsage) -> bool:
    """Tell whether the columns hold such counts; the reader should have seen to it."""
    counts = (usage.input_tokens, usage.output_tokens, usage.cached_tokens)
    return all(0 <= count <= MAX_TOKENS for count in counts)


def _assume_worst(charge: Charge) -> None:
    charge.settled_nano = charge.held_nano
    charge.input_tokens = charge.held_tokens
    charge.output_tokens = 0
    charge.is_estimated = True


def _held_price(charge: Charge) -> CallPrice:
    return CallPrice(
        input_per_million=charge.price_input,
        output_per_million=charge.price_output,
        cached_per_million=charge.price_cached,
        source=charge.price_source,
        version=charge.price_version,
    )


def _note_price(charge: Charge, price: CallPrice) -> None:
    charge.price_input = price.input_per_million
    charge.price_output = price.output_per_million
    charge.price_cached = price.cached_per_million
    charge.price_source = price.source
    charge.price_version = price.version


def _report(charge: Charge, latency_s: float) -> None:
    """Count a settled call in the metrics."""
    metrics.LLM_TOKENS.labels(charge.model, "input").inc(charge.input_tokens)
    metrics.LLM_TOKENS.labels(charge.model, "output").inc(charge.output_tokens)
    metrics.LLM_COST.labels(charge.model).inc(charge.settled_nano / NANO_PER_USD)
    labels = (charge.provider, charge.model, charge.purpose)
    metrics.LLM_DURATION.labels(*labels).observe(latency_s)


def _presume(turn: Turn, charge: Charge) -> None:
    _assume_worst(charge)
    _book(turn, charge, Charge.State.PRESUMED)


def _require_free(turn: Turn, *, nano: int, tokens: int) -> None:
    task = turn.task
    for limit, need, cap, spent, held in (
        ("cost", nano, task.max_cost_nano, task.spent_nano, task.held_nano),
        ("tokens", tokens, task.max_tokens, task.spent_tokens, task.held_tokens),
    ):
        if need and spent + need > cap:
            raise BudgetExceededError(
                f"The budget's {limit} do not suffice for the next call.", limit=limit
            )
        if need and spent + held + need > cap:
            raise BudgetBusyError(limit=limit)


def _worst_nano(call: ModelCall) -> int:
    """Return the most that a call may cost: cached input may be the dearer one."""
    return max(
        cost_nano(
            call.price,
            input_tokens=call.input_tokens,
            output_tokens=call.output_tokens,
            cached_tokens=cached_tokens,
        )
        for cached_tokens in (0, call.input_tokens)
    )


def _held(call: ModelCall, claim: Claim, *, nano: int, tokens: int) -> Charge:
    charge = Charge(
        task_id=claim.step.task_id,
        step=claim.step,
        attempt=claim.attempt,
        purpose=call.purpose,
        provider=call.provider,
        model=call.model,
        rung=call.rung,
        request_hash=call.request_hash,
        held_nano=nano,
        held_tokens=tokens,
    )
    _note_price(charge, call.price)
    return charge


def _open_charge(charge_id: UUID) -> Charge | None:
    return Charge.objects.filter(pk=charge_id, state=Charge.State.HELD).first()


def _unbook(turn: Turn, charge: Charge) -> None:
    """Take a presumed booking back, because the true figure came after all."""
    tokens = charge.input_tokens + charge.output_tokens
    turn.spend(nano=-charge.settled_nano, tokens=-tokens)
    turn.hold(nano=charge.held_nano, tokens=charge.held_tokens)


def _book(turn: Turn, charge: Charge, state: Charge.State) -> None:
    """Turn a hold into what was spent, under the task's lock."""
    tokens = charge.input_tokens + charge.output_tokens
    metrics.LLM_CALLS.labels(charge.model, state).inc()
    charge.state = state
    charge.settled_at = datetime.now(UTC)
    charge.save(force_update=True)
    turn.hold(nano=-charge.held_nano, tokens=-charge.held_tokens)
    turn.spend(nano=charge.settled_nano, tokens=tokens)
    turn.event(
        f"charge.{state}",
        charge_id=str(charge.pk),
        nano=charge.settled_nano,
        tokens=tokens,
    )
    if charge.settled_nano > charge.held_nano or tokens > charge.held_tokens:
        turn.event(
            "charge.overrun",
            charge_id=str(charge.pk),
            nano=charge.settled_nano - charge.held_nano,
            tokens=tokens - charge.held_tokens,
        )
