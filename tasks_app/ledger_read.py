"""A task's ledger as its owner and operators read it; nothing here writes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from arms.pricing import UNPRICED
from octollm.types import JSONObject, JSONValue
from tasks_app import caps
from tasks_app.amounts import to_usd
from tasks_app.models import Charge, Task

# One statement, so that all sums are of the same moment; the task's own totals too.
_SUMS = """
WITH mine AS (
    SELECT step_id, provider, model, state, settled_nano,
           input_tokens + output_tokens AS used_tokens,
           CASE WHEN state = 'held' THEN held_nano ELSE 0 END AS open_nano,
           CASE WHEN state = 'held' THEN held_tokens ELSE 0 END AS open_tokens,
           GREATEST(0, settled_nano - held_nano) AS over_nano,
           GREATEST(0, input_tokens + output_tokens - held_tokens) AS over_tokens,
           replay_count, price_source = %(unpriced)s AS is_unpriced
    FROM charges WHERE task_id = %(task)s
), by_step AS (
    SELECT s.id, s.step_id, s.kind, s.arm, s.envelope_nano, s.envelope_tokens,
           COALESCE(sum(settled_nano), 0) AS spent_nano,
           COALESCE(sum(used_tokens), 0) AS spent_tokens,
           COALESCE(sum(open_nano), 0) AS held_nano,
           COALESCE(sum(open_tokens), 0) AS held_tokens,
           count(mine.step_id) AS charges,
           COALESCE(sum(replay_count), 0) AS replays
    FROM steps s LEFT JOIN mine ON mine.step_id = s.id
    WHERE s.task_id = %(task)s GROUP BY s.id
), by_model AS (
    SELECT provider, model, sum(settled_nano) AS spent_nano,
           sum(used_tokens) AS spent_tokens, sum(open_nano) AS held_nano,
           sum(open_tokens) AS held_tokens, count(*) AS charges,
           sum(replay_count) AS replays
    FROM mine GROUP BY provider, model
)
SELECT t.spent_nano, t.spent_tokens, t.held_nano, t.held_tokens,
       (SELECT COALESCE(json_agg(b ORDER BY b.id), '[]') FROM by_step b),
       (SELECT COALESCE(json_agg(b ORDER BY b.provider, b.model), '[]')
        FROM by_model b),
       (SELECT json_build_object(
           'count', count(*) FILTER (WHERE over_nano > 0 OR over_tokens > 0),
           'nano', COALESCE(sum(over_nano), 0),
           'tokens', COALESCE(sum(over_tokens), 0)) FROM mine),
       (SELECT count(*) FROM mine WHERE is_unpriced)
FROM tasks t WHERE t.id = %(task)s
"""


def charges_of(task: Task) -> QuerySet[Charge]:
    """Return a task's charges with the names of their steps, without their replies."""
    return (
        Charge.objects.filter(task=task)
        .select_related("step")
        .only(*_CHARGE_FIELDS, "step__step_id")
    )


def sums_of(task: Task) -> JSONObject:
    """Return what is allowed, spent, held and free, by step and by model.

    Money is a decimal string in dollars. The sums over steps, and those over models,
    are the task's totals; what is held is held by charges or set aside in envelopes.
    """
    values: dict[str, Any] = {"task": task.pk, "unpriced": UNPRICED}
    with connection.cursor() as cursor:
        cursor.execute(_SUMS, values)
        row = cursor.fetchone()
    assert row is not None  # noqa: S101  # the task is there
    spent_nano, spent_tokens, held_nano, held_tokens, *rest = row
    by_step, by_model, overruns, unpriced = rest
    free_nano = max(0, task.max_cost_nano - spent_nano - held_nano)
    free_tokens = max(0, task.max_tokens - spent_tokens - held_tokens)
    return {
        "budget": _amount(task.max_cost_nano, task.max_tokens),
        "spent": _amount(spent_nano, spent_tokens),
        "held": _amount(held_nano, held_tokens),
        "free": _amount(free_nano, free_tokens),
        "overruns": {
            "count": overruns["count"],
            **_amount(overruns["nano"], overruns["tokens"]),
        },
        "unpriced_count": unpriced,
        "owner_cap": _cap(task),
        "by_step": [_of_step(step) for step in by_step],
        "by_model": [_of_model(model) for model in by_model],
    }


def present_charges(charges: Sequence[Charge]) -> list[JSONValue]:
    """Return the public shape of charges."""
    return [_charge(charge) for charge in charges]


_CHARGE_FIELDS = tuple(
    field.name for field in Charge._meta.concrete_fields if field.name != "reply"
)


def _charge(charge: Charge) -> JSONObject:
    cached = charge.price_cached
    return {
        "charge_id": str(charge.pk),
        "step_id": charge.step.step_id,
        "attempt": charge.attempt,
        "nth": charge.nth,
        "purpose": charge.purpose,
        "provider": charge.provider,
        "model": charge.model,
        "rung": charge.rung,
        "state": charge.state,
        "held": _amount(charge.held_nano, charge.held_tokens),
        "settled": _amount(charge.settled_nano, charge.used_tokens),
        "input_tokens": charge.input_tokens,
        "output_tokens": charge.output_tokens,
        "cached_tokens": charge.cached_tokens,
        "price": {
            "input": f"{charge.price_input:.6f}",
            "output": f"{charge.price_output:.6f}",
            "cached": None if cached is None else f"{cached:.6f}",
            "source": charge.price_source,
            "version": charge.price_version,
        },
        "is_estimated": charge.is_estimated,
        "is_unpriced": charge.price_source == UNPRICED,
        "is_overrun": charge.is_overrun,
        "latency_seconds": charge.latency_s,
        "replay_count": charge.replay_count,
        "created_at": _iso(charge.created_at),
        "settled_at": _iso(charge.settled_at),
    }


def _of_step(row: dict[str, Any]) -> JSONObject:
    return {
        "step_id": row["step_id"],
        "kind": row["kind"],
        "arm": row["arm"],
        "envelope": _amount(row["envelope_nano"], row["envelope_tokens"]),
        **_counted(row),
    }


def _of_model(row: dict[str, Any]) -> JSONObject:
    return {"provider": row["provider"], "model": row["model"], **_counted(row)}


def _counted(row: dict[str, Any]) -> dict[str, JSONValue]:
    return {
        "spent": _amount(row["spent_nano"], row["spent_tokens"]),
        "held": _amount(row["held_nano"], row["held_tokens"]),
        "charges": row["charges"],
        "replays": row["replays"],
    }


def _cap(task: Task) -> JSONObject | None:
    standing = caps.standing_of(task)
    if standing is None:
        return None
    return {
        "month": f"{standing.month:%Y-%m}",
        "cap_usd": _money(standing.cap_usd),
        "reserved_usd": _money(standing.reserved_usd),
        "spent_usd": _money(standing.spent_usd),
        "left_usd": _money(standing.left_usd),
    }


def _amount(nano: int, tokens: int) -> dict[str, JSONValue]:
    return {"cost_usd": _money(to_usd(int(nano))), "tokens": int(tokens)}


def _money(usd: Any) -> str | None:
    return None if usd is None else f"{usd:.9f}"


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
