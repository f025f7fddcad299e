"""Find what should not be, and mend it: ``octollm repair``.

Nothing of this happens while the code has no fault and nobody writes to the tables by
hand; each rule is what the invariants say, asked of the rows. What is mended is mended
in a turn, under the task's lock, by legal changes and with an event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

from django.db import connection

from octollm.types import JSONObject
from tasks_app.finish import close_stopped
from tasks_app.ledger import presume_lost
from tasks_app.turn import Turn, task_turn


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One thing that should not be.

    Attributes:
        finds: SQL whose first column is the id of a task, once each.
        mend: makes it right within a turn on that task.
    """

    name: str
    says: str
    finds: str
    mend: Callable[[Turn], object]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What was found of a rule at one task, and whether it was mended."""

    rule: Rule
    task_id: UUID
    is_mended: bool


def repair(*, dry_run: bool) -> Iterator[Fault]:
    """Yield what is found, mended unless it is a dry run.

    A fault is mended after the lock is taken and only if it is still there. Rules come
    in the order in which one's mending may bring out what the next one finds.
    """
    for rule in RULES:
        for task_id in _found(rule):
            if dry_run:
                yield Fault(rule=rule, task_id=task_id, is_mended=False)
            elif _mended(rule, task_id):
                yield Fault(rule=rule, task_id=task_id, is_mended=True)


def _found(rule: Rule) -> list[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(rule.finds)
        return [row[0] for row in cursor.fetchall()]


def _is_there(rule: Rule, task_id: UUID) -> bool:
    one = f"SELECT 1 FROM ({rule.finds}) found (id) WHERE id = %s"  # noqa: S608  # ours
    with connection.cursor() as cursor:
        cursor.execute(one, [task_id])
        return cursor.fetchone() is not None


def _mended(rule: Rule, task_id: UUID) -> bool:
    """Mend one task; say whether there still was something to mend."""
    with task_turn(task_id) as turn:
        if not _is_there(rule, task_id):
            return False
        turn.event("task.repaired", rule=rule.name)
        rule.mend(turn)
    return True


def _end_stuck(turn: Turn) -> None:
    """Let the task go on if it can, or end it with what it has."""
    turn.skip_dependants()
    if not turn.advance():
        _end(turn, "stuck", "Nothing of the task could go on; a repair ended it.")


def _end_unasked(turn: Turn) -> None:
    """End a task that must not run without the yes that nobody can give."""
    _end(turn, "approval_lost", "The question to approve was lost; a repair ended it.")


def _end(turn: Turn, code: str, message: str) -> None:
    error: JSONObject = {"code": code, "message": message}
    close_stopped(turn, error, stop_reason=code)


RULES = (
    Rule(
        name="open_step_of_an_ended_task",
        says="The task has ended and a step of it is open.",
        finds="""
            SELECT DISTINCT t.id FROM tasks t JOIN steps s ON s.task_id = t.id
            WHERE t.finished_at IS NOT NULL
            AND s.status IN ('waiting', 'ready', 'running')
        """,
        mend=Turn.cancel_steps,
    ),
    Rule(
        name="attempt_without_a_claim",
        says="An attempt runs by its own word, and no step is claimed for it.",
        finds="""
            SELECT DISTINCT s.task_id FROM attempts a JOIN steps s ON s.id = a.step_id
            WHERE a.outcome = 'running' AND s.claim_id IS DISTINCT FROM a.claim_id
        """,
        mend=Turn.end_orphans,
    ),
    Rule(
        name="lost_charge",
        says="A call is held on the ledger whose attempt ended long ago.",
        finds="""
            SELECT DISTINCT c.task_id FROM charges c JOIN steps s ON s.id = c.step_id
            WHERE c.state = 'held' AND c.created_at < clock_timestamp() - interval '5 min'
            AND (s.status <> 'running' OR c.attempt < s.attempt_count)
        """,
        mend=presume_lost,
    ),
    Rule(
        name="missed_readiness",
        says="A step waits although all it depends on is done.",
        finds="""
            SELECT DISTINCT t.id FROM tasks t JOIN steps c ON c.task_id = t.id
            WHERE t.status = 'processing' AND t.stage <> 'awaiting_approval'
            AND c.status = 'waiting' AND CASE c.kind
                WHEN 'judge' THEN NOT EXISTS (
                    SELECT 1 FROM steps p WHERE p.task_id = c.task_id
                    AND p.kind = 'work' AND p.status IN ('waiting', 'ready', 'running'))
                ELSE NOT EXISTS (
                    SELECT 1 FROM steps p WHERE p.task_id = c.task_id
                    AND p.step_id = ANY(c.depends_on) AND p.status <> 'done')
                END
        """,
        mend=Turn.advance,
    ),
    Rule(
        name="stuck",
        says="The task is open, nothing of it runs or is ready, and nobody is asked.",
        finds="""
            SELECT t.id FROM tasks t
            WHERE t.finished_at IS NULL AND t.stage <> 'awaiting_approval'
            AND NOT EXISTS (SELECT 1 FROM steps s WHERE s.task_id = t.id
                            AND s.status IN ('ready', 'running'))
        """,
        mend=_end_stuck,
    ),
    Rule(
        name="approval_without_a_question",
        says="The task waits for an approval that nobody is asked for.",
        finds="""
            SELECT t.id FROM tasks t WHERE t.stage = 'awaiting_approval'
            AND NOT EXISTS (SELECT 1 FROM approvals a WHERE a.task_id = t.id
                            AND a.state = 'pending')
        """,
        mend=_end_unasked,
    ),
    Rule(
        name="clock_stands",
        says="The task's clock stands although nobody is asked for an approval.",
        finds="""
            SELECT id FROM tasks WHERE clock_stopped_at IS NOT NULL
            AND finished_at IS NULL AND stage <> 'awaiting_approval'
        """,
        mend=Turn.start_clock,
    ),
    Rule(
        name="ledger",
        says="What the task says is spent or held is not the sum of its rows.",
        finds="""
            SELECT t.id FROM tasks t, LATERAL (
                SELECT COALESCE(sum(envelope_nano), 0) AS nano,
                       COALESCE(sum(envelope_tokens), 0) AS tokens
                FROM steps WHERE task_id = t.id
            ) e, LATERAL (
                SELECT COALESCE(sum(held_nano) FILTER (WHERE state = 'held'), 0) AS nano,
                       COALESCE(sum(held_tokens) FILTER (WHERE state = 'held'), 0)
                           AS tokens,
                       COALESCE(sum(settled_nano), 0) AS spent_nano,
                       COALESCE(sum(input_tokens + output_tokens), 0) AS spent_tokens
                FROM charges WHERE task_id = t.id
            ) c
            WHERE (t.held_nano, t.held_tokens, t.spent_nano, t.spent_tokens) IS DISTINCT
            FROM (e.nano + c.nano, e.tokens + c.tokens, c.spent_nano, c.spent_tokens)
        """,
        mend=Turn.sum_up,
    ),
)
