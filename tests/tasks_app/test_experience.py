"""What past tasks teach the planner: bounded, the owner's own, and fit to be reused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from planner import memory, observed
from planner.plan import from_json
from tasks_app.experience import (
    _OBSERVED,
    _REMEMBERED,
    observations,
    remembered_plans,
)
from tasks_app.finish import close_judged
from tasks_app.models import Attempt, Charge, Plan, Step, Task
from tasks_app.steps_read import draft_result
from tasks_app.turn import task_turn
from tests.builders import finish_step, make_owner, make_planned_task, make_step

pytestmark = pytest.mark.django_db


def took(task: Task, step_id: str, *, seconds: float, usd: str = "0") -> None:
    """Have a step's attempt taken so long, and its calls cost so much."""
    step = Step.objects.get(task=task, step_id=step_id)
    began = datetime.now(UTC) - timedelta(hours=1)
    Attempt.objects.filter(step=step).update(
        started_at=began, finished_at=began + timedelta(seconds=seconds)
    )
    Charge.objects.create(
        task=task,
        step=step,
        attempt=1,
        purpose="coding",
        model="m",
        request_hash=uuid4().hex,
        state="settled",
        held_nano=0,
        held_tokens=0,
        settled_nano=int(Decimal(usd) * 10**9),
        input_tokens=30,
        output_tokens=12,
        price_input=0,
        price_output=0,
        price_source="setting",
        settled_at=began,
    )


def ran(*seconds: float, usd: str = "0", capability: str = "echo") -> Task:
    """Return a task whose steps took so long."""
    ids = [f"s{i}" for i in range(len(seconds))]
    task = make_planned_task(*(make_step(i, capability=capability) for i in ids))
    for step_id, took_s in zip(ids, seconds, strict=True):
        finish_step(task, step_id)
        took(task, step_id, seconds=took_s, usd=usd)
    return task


class TestObservations:
    def test_times_and_costs_are_told_by_arm_and_capability(self):
        ran(1, 2, 3, 4, 5, usd="0.5")
        ran(9, capability="wait")

        found = observations()

        echo = found["gate", "echo"]
        assert (echo.count, echo.p50_s) == (5, 3)
        assert echo.p90_s == pytest.approx(4.6)
        assert echo.p50_cost_usd == echo.p90_cost_usd == Decimal("0.5")
        assert echo.p50_tokens == 42
        assert found["gate", "wait"].p50_s == 9

    def test_only_done_work_of_the_last_days_counts(self):
        old, failed = ran(1), ran(1)
        days_ago = datetime.now(UTC) - timedelta(days=8)
        Task.objects.filter(pk=old.pk).update(created_at=days_ago)
        Step.objects.filter(task=failed, kind="work").update(status="failed")

        assert observations() == {}

    def test_planner_asks_for_it(self):
        ran(2)

        assert observed.observations()["gate", "echo"].p50_s == 2


def served(
    goal: str = "Do it", *, source: str = "model", verdict: str = "met", **over: Any
) -> Task:
    """Return a completed task with one criterion, and the plan that served it."""
    task = make_planned_task(
        make_step("a", description="First", **over.pop("step", {})),
        make_step("b", depends_on=("a",)),
        acceptance_criteria=["n >= 1"],
        context={"texts": [], "reviews": []},
        **over,
    )
    Plan.objects.filter(task=task).update(
        source=source, result={"value": {"$from": "steps.b.value"}}
    )
    Task.objects.filter(pk=task.pk).update(goal=goal)
    for step_id in ("a", "b"):
        finish_step(task, step_id)
    task.refresh_from_db()
    with task_turn(task.pk) as turn:
        judged: Any = {"verdicts": [{"criterion": "n >= 1", "verdict": verdict}]}
        close_judged(turn, draft_result(task), judged, task=task)
    return task


class TestMemory:
    def test_plan_comes_back_as_the_planner_writes_it(self):
        task = served("Count the words")

        (found,) = remembered_plans(task.owner_id)

        plan = from_json(found.plan)
        assert (found.goal, found.context_keys) == (
            "Count the words",
            ("reviews", "texts"),
        )
        assert [step.step_id for step in plan.steps] == ["a", "b"]
        assert plan.steps[1].depends_on == ("a",)
        assert plan.result == {"value": {"$from": "steps.b.value"}}

    def test_latest_comes_first_and_others_are_not_told(self):
        owner = make_owner()
        for goal in ("first", "second"):
            served(goal, owner=owner)
        served("of another")

        assert [each.goal for each in remembered_plans(owner.pk)] == ["second", "first"]

    @pytest.mark.parametrize(
        "fields",
        [
            {"source": "recipe"},
            {"source": "cache"},
            {"verdict": "not_met"},
            {"verdict": "not_checked"},
            {"plan_only": True},
            {"goal": "Write to [EMAIL_1]"},
            {"step": {"input": {"to": "[PHONE_K2]"}}},
        ],
        ids=lambda fields: str(fields),
    )
    def test_what_cannot_serve_again_is_not_remembered(self, fields):
        task = served(**fields)

        assert remembered_plans(task.owner_id) == []

    def test_planner_asks_for_it(self):
        task = served("Count the words")

        (found,) = memory.remembered_plans(task.owner_id)

        assert found.goal == "Count the words"


@pytest.mark.parametrize(
    ("sql", "parameters", "index"),
    [
        (_OBSERVED, {"days": 7, "tasks": 3, "steps": 5}, "idx_tasks_created_at"),
        (
            _REMEMBERED,
            {"owner": uuid4(), "tasks": 3, "plans": 2},
            "idx_tasks_owner_created",
        ),
    ],
    ids=["observed", "remembered"],
)
def test_an_index_leads_to_the_tasks(sql: str, parameters: Any, index: str):
    with connection.cursor() as cursor:
        # Tables as small as a test's are scanned otherwise.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {sql}", parameters)
        plan = "\n".join(row[0] for row in cursor.fetchall())

    assert index in plan
    assert "Seq Scan" not in plan
