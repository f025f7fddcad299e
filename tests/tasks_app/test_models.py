"""The handed-over tables: columns, database defaults, index names, cascades."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from octollm.ids import new_id
from tasks_app.models import Task, TaskResult
from tests.builders import make_owner, make_task

pytestmark = pytest.mark.django_db


def one(sql: str, *parameters: Any) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row = cursor.fetchone()
    assert row is not None
    return tuple(row)


def test_row_written_by_hand_gets_the_handed_over_defaults():
    task_id, owner = new_id(), make_owner()

    row = one(
        "INSERT INTO tasks (id, goal, owner_id) VALUES (%s, 'x', %s) RETURNING "
        "status, priority, constraints::text, context::text, "
        "acceptance_criteria::text, task_metadata::text, assigned_arm, "
        "max_cost_usd::text, max_time_seconds, max_tokens, "
        "created_at IS NOT NULL AND updated_at IS NOT NULL",
        task_id,
        owner.pk,
    )

    assert row == (
        *("pending", "medium", "[]", "{}", "[]", "{}", None),
        *("1.000000", 600, 10_000, True),
    )


@pytest.mark.parametrize(
    ("table", "index"),
    [
        ("tasks", "idx_tasks_status"),
        ("tasks", "idx_tasks_created_at"),
        ("task_results", "idx_task_results_task_id"),
    ],
)
def test_handed_over_index_is_there(table, index):
    assert one(
        "SELECT count(*) FROM pg_indexes WHERE tablename = %s AND indexname = %s",
        table,
        index,
    ) == (1,)


@pytest.mark.parametrize(
    "child",
    [
        *("task_results", "verdicts", "task_events", "plans"),
        *("steps", "charges", "attempts"),
    ],
)
def test_child_goes_with_its_parent_in_the_database(child):
    rules = one(
        "SELECT array_agg(confdeltype::text) FROM pg_constraint c "
        "WHERE contype = 'f' AND conrelid = %s::regclass "
        "AND confrelid::regclass::text IN ('tasks', 'steps')",
        child,
    )[0]

    assert set(rules) == {"c"}


@pytest.mark.parametrize("confidence", ["-0.01", "1.01"])
def test_impossible_confidence_is_refused(confidence):
    task = make_task()

    with pytest.raises(IntegrityError), transaction.atomic():
        TaskResult.objects.create(task=task, result_data={}, confidence=confidence)


def test_second_result_of_a_run_is_refused():
    task = make_task()
    TaskResult.objects.create(task=task, result_data={})

    with pytest.raises(IntegrityError), transaction.atomic():
        TaskResult.objects.create(task=task, result_data={})


def test_idempotency_key_is_unique_with_its_owner_and_absent_is_no_key():
    owner = make_owner()
    for mac in (None, None, "a"):
        make_task(owner=owner, idempotency_mac=mac)

    with pytest.raises(IntegrityError), transaction.atomic():
        make_task(owner=owner, idempotency_mac="a")


def test_small_costs_are_not_rounded_to_nothing():
    task = make_task(max_cost_usd="0.001")

    assert Task.objects.get(pk=task.pk).max_cost_nano == 1_000_000


def test_keys_are_uuids_of_version_7_in_the_order_made():
    ids = [new_id() for _ in range(1000)]

    assert {key.version for key in ids} == {7}
    assert ids == sorted(ids)
