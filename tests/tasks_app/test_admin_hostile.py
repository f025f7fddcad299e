"""Hostile text on the operator's pages is text."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.test import Client
from django.urls import reverse

from tasks_app.claims import claim_next
from tasks_app.models import Task
from tasks_app.pipeline import run_step
from tests.builders import make_planned_task, make_step

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>"
SHOWN = ("task", "plan", "step", "attempt", "taskresult", "verdict")


@pytest.fixture
def ended() -> Task:
    """Return a task that ran to its end and left hostile text everywhere."""
    task = make_planned_task(
        make_step("a", input={"value": HOSTILE}, description=HOSTILE),
        make_step("b", capability="fail", description=HOSTILE),
        acceptance_criteria=[f"mentions {HOSTILE}"],
        context={HOSTILE: HOSTILE},
        priority="high",
    )
    Task.objects.filter(pk=task.pk).update(goal=HOSTILE)
    while (claim := claim_next(("default",), worker=HOSTILE)) is not None:
        run_step(claim)
    return task


@pytest.mark.parametrize("model", SHOWN)
def test_hostile_text_is_escaped(admin_client: Client, ended: Task, model: str):
    row: Any = apps.get_model("tasks_app", model).objects.first()

    for name, args in ((f"{model}_changelist", []), (f"{model}_change", [row.pk])):
        answer = admin_client.get(reverse(f"admin:tasks_app_{name}", args=args))
        assert answer.status_code == 200
        assert HOSTILE not in answer.content.decode()


@pytest.mark.parametrize("model", SHOWN)
def test_nobody_adds_changes_or_deletes(admin_client: Client, ended: Task, model: str):
    row: Any = apps.get_model("tasks_app", model).objects.first()

    for name, args in (
        (f"{model}_add", []),
        (f"{model}_change", [row.pk]),
        (f"{model}_delete", [row.pk]),
    ):
        answer = admin_client.post(reverse(f"admin:tasks_app_{name}", args=args))
        assert answer.status_code == 403
