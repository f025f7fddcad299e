"""What may become of a charge, and how that is booked: once, whatever comes late.

An act that is not in ``CHANGES`` comes too late: it is logged, counted, and changes
nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal

from django.db.models import Case, Exists, QuerySet, TextField, Value, When

from arms.contract import CallPrice
from octollm import metrics
from tasks_app.models import Charge
from tasks_app.turn import Turn

logger = logging.getLogger(__name__)

Act = Literal["settle", "presume", "release", "correct"]
_HELD, _SETTLED = Charge.State.HELD, Charge.State.SETTLED
_PRESUMED, _RELEASED = Charge.State.PRESUMED, Charge.State.RELEASED
_CORRECTED = Charge.State.CORRECTED

#: What an act makes of a charge in a state. A presumed charge may turn out to have
#: cost something else, or nothing; a settled one only by an operator's word.
CHANGES: Mapping[tuple[Act, str], Charge.State] = MappingProxyType(
    {
        ("settle", _HELD): _SETTLED,
        ("settle", _PRESUMED): _CORRECTED,
        ("settle", _RELEASED): _CORRECTED,
        ("presume", _HELD): _PRESUMED,
        ("release", _HELD): _RELEASED,
        ("release", _PRESUMED): _CORRECTED,
        ("correct", _SETTLED): _CORRECTED,
        ("correct", _PRESUMED): _CORRECTED,
        ("correct", _RELEASED): _CORRECTED,
        ("correct", _CORRECTED): _CORRECTED,
    }
)
_BOOKED = (
    *("state", "settled_nano", "settled_at", "reply", "latency_s", "is_estimated"),
    *("input_tokens", "output_tokens", "cached_tokens"),
    *("price_input", "price_output", "price_cached", "price_source", "price_version"),
)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a charge is booked at.

    Attributes:
        price: what the usage was priced at; that of the reservation when unset.
        latency_s: seconds until the answer was there, if there was one.
        reply: what was answered, in the form that is kept.
    """

    nano: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    is_estimated: bool = False
    price: CallPrice | None = None
    latency_s: float | None = None
    reply: str | None = None


def charges() -> QuerySet[Charge]:
    """Return charges with their steps, without what these carry along."""
    heavy = ("step__input", "step__output", "step__evidence")
    return Charge.objects.select_related("step").defer(*heavy)


def book(
    turn: Turn, charge: Charge, act: Act, figures: Figures, *, reason: str = ""
) -> bool:
    """Carry out an act on a charge that was read under the task's lock.

    What was booked before is replaced. Returns false, and changes nothing, when the
    act comes too late.
    """
    state = CHANGES.get((act, charge.state))
    if state is None:
        _note_late(charge, act)
        return False
    if charge.state == Charge.State.HELD:
        turn.hold(nano=-charge.held_nano, tokens=-charge.held_tokens)
    was_nano, was_tokens = charge.settled_nano, charge.used_tokens
    _write(charge, state, figures)
    tokens = charge.used_tokens
    turn.spend(nano=charge.settled_nano - was_nano, tokens=tokens - was_tokens)
    facts = {"charge_id": str(charge.pk), "nano": charge.settled_nano, "tokens": tokens}
    if state == Charge.State.CORRECTED:
        facts |= {"was_nano": was_nano, "was_tokens": was_tokens}
    turn.event(f"charge.{state}", **facts, **({"reason": reason} if reason else {}))
    metrics.LLM_CALLS.labels(charge.model, state).inc()
    _name_overrun(turn, charge)
    turn.wake()
    return True


def note_price(charge: Charge, price: CallPrice) -> None:
    """Write a price on a charge."""
    charge.price_input = price.input_per_million
    charge.price_output = price.output_per_million
    charge.price_cached = price.cached_per_million
    charge.price_source = price.source
    charge.price_version = price.version


def _write(charge: Charge, state: Charge.State, figures: Figures) -> None:
    charge.state = state
    charge.settled_at = datetime.now(UTC)
    charge.settled_nano = figures.nano
    charge.input_tokens = figures.input_tokens
    charge.output_tokens = figures.output_tokens
    charge.cached_tokens = figures.cached_tokens
    charge.is_estimated = figures.is_estimated
    if figures.price is not None:
        note_price(charge, figures.price)
    if figures.latency_s is not None:
        charge.latency_s = figures.latency_s
    if figures.reply is not None:
        charge.reply = _unless_answered(charge, figures.reply)
    charge.save(force_update=True, update_fields=_BOOKED)


def _unless_answered(charge: Charge, reply: str) -> Case:
    """Return the reply to keep: none where this call of the step has one already.

    A call that was taken for lost is asked again; both answers may come then.
    """
    same = Charge.objects.filter(
        step_id=charge.step_id, request_hash=charge.request_hash, nth=charge.nth
    )
    return Case(
        When(Exists(same.filter(reply__isnull=False)), then=Value(None)),
        default=Value(reply),
        output_field=TextField(),
    )


def _name_overrun(turn: Turn, charge: Charge) -> None:
    """Say who used more than was held for it; the books have it already."""
    if not charge.is_overrun:
        return
    step = charge.step
    turn.event(
        "charge.overrun",
        charge_id=str(charge.pk),
        step_id=step.step_id,
        arm=step.arm,
        provider=charge.provider,
        model=charge.model,
        nano=max(0, charge.settled_nano - charge.held_nano),
        tokens=max(0, charge.used_tokens - charge.held_tokens),
    )
    metrics.LLM_OVERRUNS.labels(step.arm, charge.model).inc()


def _note_late(charge: Charge, act: Act) -> None:
    logger.warning(
        "a charge had ended before it was to %s",
        act,
        extra={
            "task_id": str(charge.task_id),
            "charge_id": str(charge.pk),
            "state": charge.state,
        },
    )
    metrics.LATE_BOOKINGS.labels(act, charge.state).inc()
