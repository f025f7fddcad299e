"""``octollm steps dead``, ``octollm tasks retry`` and ``octollm tasks show``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone
from typer.testing import CliRunner, Result

from octollm.cli import application
from octollm.errors import IllegalStateError
from octollm.log import configure
from tasks_app import reaper
from tasks_app.models import Step, Task
from tests.builders import claim_of, make_planned_task, make_step, statuses

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _joined(monkeypatch: pytest.MonkeyPatch, settings) -> Iterator[None]:
    """Have the commands find a system: the tests' own, which Django knows already."""
    monkeypatch.setenv("OCTOLLM_DATABASE_URL", "postgresql:///tests")
    yield
    # The command set up logging to the stream that its runner caught and closed.
    configure(settings.LOGGING)


@pytest.fixture
def dead(settings) -> Task:
    """Return a task that failed because its one step lost its last worker."""
    settings.OCTOLLM_MAX_ATTEMPTS = 1
    task = make_planned_task(make_step("a"))
    claim_of(task, "a")
    past = timezone.now() - timedelta(seconds=1)
    Step.objects.filter(task=task, step_id="a").update(lease_until=past)
    reaper.take_back_lost_steps()
    return task


def run(*words: str) -> Result:
    return CliRunner().invoke(application(), list(words))


def test_dead_steps_are_listed_with_their_reason(dead: Task) -> None:
    (found,) = json.loads(run("steps", "dead", "--json").stdout)

    assert (found["task_id"], found["step_id"]) == (str(dead.pk), "a")
    assert (found["arm"], found["attempts"]) == ("gate", 1)
    assert found["error_code"] == "worker_lost"
    assert "lost in each of 1 attempts" in found["error_message"]
    assert found["at"]


def test_for_a_person_each_is_a_line(dead: Task) -> None:
    result = run("steps", "dead")

    (line,) = result.stdout.splitlines()
    assert str(dead.pk) in line
    assert "worker_lost" in line
    assert "1 dead" in result.stderr


def test_no_more_than_wanted_are_listed(dead: Task) -> None:
    again = make_planned_task(make_step("a"))
    Step.objects.filter(task=again, step_id="a").update(
        status="dead", finished_at=timezone.now()
    )

    (found,) = json.loads(run("steps", "dead", "--json", "--limit", "1").stdout)

    assert found["task_id"] == str(again.pk)


def test_retry_lets_the_task_go_on(dead: Task) -> None:
    result = run("tasks", "retry", str(dead.pk))

    assert result.exit_code == 0
    assert statuses(dead)["a"] == "ready"
    assert json.loads(run("steps", "dead", "--json").stdout) == []


def test_retry_that_is_not_legal_says_why(dead: Task) -> None:
    run("tasks", "retry", str(dead.pk))

    result = run("tasks", "retry", str(dead.pk))

    assert isinstance(result.exception, IllegalStateError)
    assert "processing" in result.exception.message


def test_task_is_shown_with_every_attempt_also_after_a_retry(dead: Task) -> None:
    run("tasks", "retry", str(dead.pk))
    claim_of(dead, "a")

    shown = json.loads(run("tasks", "show", str(dead.pk)).stdout)

    steps = {step["step_id"]: step for step in shown["steps"]}
    first, second = steps["a"]["attempts"]
    assert (shown["status"], shown["run"]) == ("processing", 2)
    assert (first["outcome"], first["error_code"]) == ("lost", "worker_lost")
    assert second["outcome"] == "running"


@pytest.mark.parametrize("command", ["retry", "show"])
def test_unknown_task_is_an_error(command: str) -> None:
    result = run("tasks", command, str(uuid4()))

    assert result.exit_code == 1
    assert "no such task" in result.stderr


@pytest.mark.parametrize("command", ["retry", "show"])
def test_what_is_no_id_is_a_usage_error(command: str) -> None:
    assert run("tasks", command, "x").exit_code == 2


def test_the_module_can_be_read_without_django() -> None:
    code = "import sys, tasks_app.commands; print('django' in sys.modules)"

    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "False"
