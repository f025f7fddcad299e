"""A task whose vault key is lost says so; everything else goes on."""

from __future__ import annotations

from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from rest_framework.test import APIClient

from octollm.access.keys import create_key
from reflex.models import VaultKey

pytestmark = pytest.mark.django_db
GOAL = "Summarise what ann@corp.example wrote: it works."


@pytest.fixture
def api() -> APIClient:
    _, token = create_key(owner_name="ann", name="t")
    return APIClient(headers={"Authorization": f"Bearer {token}"})


def submit(api: APIClient) -> UUID:
    answer = api.post("/submit", {"goal": GOAL}, format="json")
    return UUID(answer.json()["task_id"])


def lose_key(task_id: UUID) -> None:
    stranger = Fernet(Fernet.generate_key())
    wrapped = stranger.encrypt(Fernet.generate_key()).decode()
    assert VaultKey.objects.filter(pk=task_id).update(wrapped_key=wrapped) == 1


def test_its_task_answers_with_a_code_and_no_value(api):
    task_id = submit(api)
    assert api.get(f"/tasks/{task_id}").json()["goal"] == GOAL

    lose_key(task_id)

    answer = api.get(f"/tasks/{task_id}")
    assert (answer.status_code, answer.json()["code"]) == (500, "vault_key")
    assert "OCTOLLM_VAULT_KEYS" in answer.json()["detail"]


def test_other_tasks_and_the_list_go_on(api):
    lost, other = submit(api), submit(api)

    lose_key(lost)

    assert api.get(f"/tasks/{other}").json()["goal"] == GOAL
    listed = api.get("/tasks")
    assert listed.status_code == 200
    rows = {row["task_id"]: row for row in listed.json()["results"]}
    assert rows[str(other)]["goal"] == GOAL
    assert "[EMAIL_1]" in rows[str(lost)]["goal"]
    assert rows[str(lost)]["removed_parts"] == ["vault_key"]


def test_it_can_be_cancelled_and_deleted(api):
    task_id = submit(api)

    lose_key(task_id)

    cancelled = api.post(f"/tasks/{task_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    assert api.delete(f"/tasks/{task_id}").status_code in (200, 204)
