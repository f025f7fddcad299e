"""A task is deleted: what it concealed cannot be opened, and workers live on."""

from __future__ import annotations

import subprocess
import sys

import pytest
from cryptography.fernet import Fernet, InvalidToken
from django.db import connection

from reflex.models import VaultEntry, VaultKey
from reflex.vault import settings_fernet
from tasks_app.models import Tombstone
from tests.fakes import FakeModel, hang
from tests.flow.conftest import Gate, System, gate_step
from tests.waiting import wait_until

ADDRESS = "rare.name@" + "corp.example"


# The worker notices a cancelled step so late that its task is gone by then.
LATE = {"OCTOLLM_CANCEL_POLL_S": "3"}


@pytest.fixture
def working(system: System, model_settings: dict[str, str]) -> System:
    """Return the system with a worker that plans by the fake model."""
    system.start_worker(**model_settings, **LATE)
    return system


def stored_rows() -> dict[str, str]:
    """Return all rows of each table as one text."""
    with connection.cursor() as cursor:
        found = {}
        for table in connection.introspection.table_names():
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            found[table] = "\n".join(row[0] for row in cursor.fetchall())
    return found


def tables_with(text: str) -> set[str]:
    return {table for table, rows in stored_rows().items() if text in rows}


def is_still_served(working: System) -> bool:
    """Say whether the worker brings another task to its end."""
    plan = {"steps": [gate_step("a"), gate_step("b"), gate_step("c")]}
    task = working.wait(working.submit(plan=plan))
    return bool(task["status"] == "completed")


def test_what_a_deleted_task_concealed_can_be_opened_by_nobody(
    working: System, model: FakeModel
):
    step = gate_step("a") | {"input": {"value": {"$from": "context.address"}}}
    task_id = working.submit(
        f"Write to {ADDRESS}", context={"address": ADDRESS}, plan={"steps": [step]}
    )
    task = working.wait(task_id)
    assert task["result"]["outputs"]["a"]["value"] == ADDRESS
    entry = VaultEntry.objects.get(scope_id=task_id)
    key = VaultKey.objects.get(scope_id=task_id)
    opened = Fernet(settings_fernet().decrypt(key.wrapped_key)).decrypt(
        entry.ciphertext
    )
    assert opened.decode() == ADDRESS
    steps = {"steps", "screenings", "executions", "vault_keys", "vault_entries"}
    assert steps <= tables_with(task_id)

    answer = working.client.delete(f"/tasks/{task_id}")

    assert answer.status_code == 204
    # Neither the value, nor its ciphertext, nor the key, nor any row of its scope; not
    # even who had the row of the ciphertext could open it by a key that is left.
    for text in (ADDRESS, entry.ciphertext, key.wrapped_key, entry.value_mac):
        assert tables_with(text) == set()
    assert tables_with(task_id) <= {"tombstones", "audit_seals"}
    keys = [settings_fernet().decrypt(each.wrapped_key) for each in _keys()]
    for left in keys:
        with pytest.raises(InvalidToken):
            Fernet(left).decrypt(entry.ciphertext)
    assert working.client.get(f"/tasks/{task_id}").status_code == 404
    assert working.client.delete(f"/tasks/{task_id}").status_code == 404
    verified = audit(working, "verify", "--task", task_id)
    assert (verified.returncode, "1 tombstones" in verified.stdout) == (0, True)
    assert "deleted by octo_" in audit(working, "show", task_id).stdout


def audit(working: System, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``octollm audit`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "octollm", "audit", *words],
        env=working.environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _keys() -> list[VaultKey]:
    return list(VaultKey.objects.all())


def test_worker_that_still_had_a_step_logs_it_and_goes_on(
    working: System, model: FakeModel, gate: Gate
):
    waiting = gate_step("a", capability="wait", gate=str(gate.path))
    task_id = working.submit(plan={"steps": [waiting]})
    gate.wait_for("a")

    assert working.client.delete(f"/tasks/{task_id}").json()["code"] == "illegal_state"
    working.client.post(f"/tasks/{task_id}/cancel")
    assert working.client.delete(f"/tasks/{task_id}").status_code == 204

    ended = wait_until(lambda: _lines(working, task_id, "task_deleted"))
    assert '"a step\'s attempt ended as late"' in ended[0]
    assert "Traceback" not in working.log_text()
    assert is_still_served(working)
    assert tables_with(task_id) <= {"tombstones", "audit_seals"}


def test_model_call_that_ends_after_the_deletion_is_spent_and_logged(
    working: System, model: FakeModel
):
    model.will(hang())
    task_id = working.submit()
    wait_until(lambda: model.requests, timeout_s=40)

    working.client.post(f"/tasks/{task_id}/cancel")
    assert working.client.delete(f"/tasks/{task_id}").status_code == 204

    wait_until(lambda: model.closed, timeout_s=10)
    wait_until(lambda: _lines(working, "a charge came after its task"))
    assert Tombstone.objects.get(pk=task_id).spent_tokens > 0
    assert "Traceback" not in working.log_text()
    assert is_still_served(working)
    assert tables_with(task_id) <= {"tombstones", "audit_seals"}


def _lines(working: System, *words: str) -> list[str]:
    """Return the lines of the worker's log that hold all the words."""
    lines = working.log_text().splitlines()
    return [line for line in lines if all(word in line for word in words)]
