"""What past tasks teach the planner: what steps took, and which plans served.

Registered in ``apps.py``; the planner knows no tasks. Both ask for a bounded number
of rows that an index leads to, however many tasks there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from uuid import UUID

from django.db import connection

from octollm.types import JSONObject
from planner.memory import RememberedPlan
from planner.observed import Observations, Observed
from reflex.placeholders import has_placeholder

OBSERVED_DAYS = 7
OBSERVED_TASKS = 300
OBSERVED_STEPS = 500
REMEMBERED_TASKS = 1_000
REMEMBERED_PLANS = 200

# The done attempt's time, without its waits; the charges of all its step's attempts.
# OFFSET 0 keeps the planner from scanning all steps: the newest few hundred will do.
_OBSERVED = """
WITH recent AS (
    SELECT id FROM tasks
    WHERE created_at > clock_timestamp() - make_interval(days => %(days)s)
    ORDER BY created_at DESC LIMIT %(tasks)s
), done AS (
    SELECT s.arm, s.capability,
           extract(epoch FROM a.finished_at - a.started_at)::float8 AS seconds,
           paid.usd, paid.tokens
    FROM recent
    CROSS JOIN LATERAL (
        SELECT id, arm, capability FROM steps
        WHERE task_id = recent.id AND kind = 'work' AND status = 'done' OFFSET 0
    ) s
    CROSS JOIN LATERAL (
        SELECT started_at, finished_at FROM attempts
        WHERE step_id = s.id AND outcome = 'done' OFFSET 0
    ) a
    CROSS JOIN LATERAL (
        SELECT COALESCE(sum(settled_nano), 0)::float8 / 1e9 AS usd,
               COALESCE(sum(input_tokens + output_tokens), 0)::float8 AS tokens
        FROM charges WHERE step_id = s.id
    ) paid
    LIMIT %(steps)s
)
SELECT arm, capability, count(*),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds),
       percentile_cont(0.9) WITHIN GROUP (ORDER BY seconds),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY usd),
       percentile_cont(0.9) WITHIN GROUP (ORDER BY usd),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY tokens)
FROM done GROUP BY arm, capability
"""

# A recipe's plan needs no memory, and what the cache gave is some model's plan.
_REMEMBERED = """
SELECT t.goal, ARRAY(SELECT jsonb_object_keys(t.context) ORDER BY 1),
       json_build_object(
           'source', p.source, 'recipe', NULLIF(p.recipe, ''),
           'model', NULLIF(p.model, ''), 'prompt_version', NULLIF(p.prompt_version, ''),
           'result', p.result, 'repairs', p.repairs, 'unserved', p.unserved,
           'total_estimated_cost', p.total_estimated_cost::text,
           'total_estimated_time', p.total_estimated_time,
           'sum_estimated_time', p.sum_estimated_time,
           'steps', (
               SELECT json_agg(json_build_object(
                   'step_id', s.step_id, 'description', s.description, 'arm', s.arm,
                   'capability', s.capability, 'depends_on', s.depends_on,
                   'input', s.input, 'criteria', s.criteria,
                   'estimated_cost', s.estimated_cost::text,
                   'estimated_time', s.estimated_time,
                   'estimated_time_p90', s.estimated_time_p90) ORDER BY place.number)
               FROM unnest(p.step_ids) WITH ORDINALITY AS place (id, number)
               JOIN steps s ON s.id = place.id AND s.kind = 'work'))::text
FROM (
    SELECT id, goal, context, status, plan_only, plan_version, run, created_at
    FROM tasks WHERE owner_id = %(owner)s
    ORDER BY created_at DESC, id DESC LIMIT %(tasks)s
) t
JOIN plans p ON p.task_id = t.id AND p.version = t.plan_version
WHERE t.status = 'completed' AND NOT t.plan_only AND p.source IN ('model', 'caller')
  AND NOT EXISTS (
      SELECT 1 FROM verdicts v
      WHERE v.task_id = t.id AND v.run = t.run AND v.plan_version = t.plan_version
      AND v.verdict <> 'met')
ORDER BY t.created_at DESC, t.id DESC LIMIT %(plans)s
"""


def observations() -> Observations:
    """Return what the latest done steps took, by arm and capability."""
    with connection.cursor() as cursor:
        cursor.execute(
            _OBSERVED,
            {
                "days": OBSERVED_DAYS,
                "tasks": OBSERVED_TASKS,
                "steps": OBSERVED_STEPS,
            },
        )
        return {
            (arm, capability): Observed(
                count=count,
                p50_s=p50_s,
                p90_s=p90_s,
                p50_cost_usd=_usd(p50_usd),
                p90_cost_usd=_usd(p90_usd),
                p50_tokens=round(p50_tokens),
            )
            for arm, capability, count, p50_s, p90_s, p50_usd, p90_usd, p50_tokens in (
                cursor
            )
        }


def remembered_plans(owner_id: UUID) -> list[RememberedPlan]:
    """Return the plans that served an owner, the latest first.

    Only those of a model or of the owner, of tasks whose every criterion was met, and
    without placeholders: outside their task these mean nothing.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _REMEMBERED,
            {
                "owner": owner_id,
                "tasks": REMEMBERED_TASKS,
                "plans": REMEMBERED_PLANS,
            },
        )
        return list(_plans(cursor.fetchall()))


def _plans(rows: list[tuple[str, list[str], str]]) -> Iterator[RememberedPlan]:
    for goal, context_keys, text in rows:
        if has_placeholder(goal) or has_placeholder(text):
            continue
        plan: JSONObject = json.loads(text)
        yield RememberedPlan(goal=goal, plan=plan, context_keys=tuple(context_keys))


def _usd(value: float) -> Decimal:
    return Decimal(f"{value:.9f}")
