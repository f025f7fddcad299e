"""One owner's thousand tasks beside another's one, with a real worker."""

from __future__ import annotations

import sys

import pytest
from django.db import connection

from octollm.embedded.processes import kill_group
from tasks_app.models import Attempt, Task
from tests.backlog import fill
from tests.builders import make_owner
from tests.flow.conftest import System, gate_step
from tests.waiting import wait_until

PLAN = {"steps": [gate_step("a"), gate_step("b", "a"), gate_step("c", "b")]}
COUNT = 1_000


@pytest.fixture
def busy():
    """An owner with a thousand tasks of five steps; they go with the test."""
    owner = make_owner()
    fill(owner, COUNT, plan=PLAN)
    yield owner
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM tasks WHERE owner_id = %s", [owner.pk])


def test_thousand_tasks_of_one_owner_do_not_starve_the_one_of_another(
    busy, system: System, capsys
):
    worker = system.start_worker()
    completed = Task.objects.filter(owner=busy, status="completed")
    wait_until(lambda: completed.count() >= 5, timeout_s=60)

    task_id = system.submit(plan=PLAN)
    assert system.wait(task_id)["status"] == "completed"
    kill_group(worker)

    single = Task.objects.get(pk=task_id)
    assert single.started_at is not None
    of_busy = Attempt.objects.filter(step__owner=busy, started_at__gt=single.created_at)
    before = of_busy.filter(started_at__lt=single.started_at).count()
    beside = of_busy.filter(started_at__lt=single.finished_at).count()
    begun = Task.objects.filter(owner=busy, status="processing").count()
    with capsys.disabled():
        sys.stdout.write(
            f"\n1,000 tasks beside 1, four threads: {before} steps of the others start "
            f"before its first, {beside} until its 5 have ended; {begun} of the others "
            f"are under way, {completed.count()} have ended\n"
        )
    # Each thread takes one more at the most before it sees the single one.
    assert before <= 8
    assert beside <= 8 + 5 * 8
    assert begun <= 16
    assert completed.count() < COUNT / 2
