"""Deletion: nothing of the task is left but a signed record that it was."""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection, connections
from django.test import Client
from rest_framework.test import APIClient

from arms.contract import CallPrice, ModelCall, ModelUsage
from octollm.access.keys import create_key
from octollm.access.models import ApiKey, Owner
from octollm.errors import CallCancelledError, IllegalStateError, VaultError
from octollm.resilience.deadline import StopToken
from reflex.vault import Concealable, open_vault
from tasks_app import audit, pipeline, services
from tasks_app.deletion import delete_task
from tasks_app.finish import close_cancelled
from tasks_app.ledger import TaskMeter
from tasks_app.models import Charge, Step, Task, Tombstone
from tasks_app.pipeline import run_step
from tasks_app.turn import Claim, task_turn
from tests.builders import (
    claim_of,
    conceal,
    make_ended_task,
    make_owner,
    make_planned_task,
    make_step,
    make_task,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db

ADDRESS = "eve@" + "corp.example"
TASKS = "/admin/tasks_app/task/"
USAGE = ModelUsage(input_tokens=5, output_tokens=5)


@pytest.fixture
def owner() -> Owner:
    return make_owner("caller")


@pytest.fixture
def client(owner: Owner) -> APIClient:
    _, token = create_key(owner_name=owner.name, name="tests")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def rows_that_name(text: str) -> set[str]:
    """Return the tables in which any row holds a text."""
    found = set()
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(
                f"SELECT count(*) FROM \"{table}\" t WHERE t::text LIKE '%%' || %s || '%%'",
                [text],
            )
            if cursor.fetchone()[0]:
                found.add(table)
    return found


def cancelled_with_a_call_out() -> tuple[Task, Claim, TaskMeter, Any]:
    """Return a task that was cancelled while a call of its step was out."""
    task = make_planned_task(make_step("a"))
    claim = claim_of(task, "a")
    price = CallPrice(
        input_per_million=Decimal(1), output_per_million=Decimal(1), source="t"
    )
    call = ModelCall(
        purpose="analysis",
        model="m",
        request_hash="h",
        input_tokens=10,
        output_tokens=10,
        price=price,
    )
    meter = TaskMeter(claim)
    charge_id = meter.reserve(call)
    with task_turn(task.pk) as turn:
        close_cancelled(turn)
    return task, claim, meter, charge_id


class TestRequest:
    def test_ended_task_is_gone_and_a_second_request_finds_nothing(self, client, owner):
        task = make_ended_task(owner=owner)

        first = client.delete(f"/tasks/{task.pk}")
        second = client.delete(f"/tasks/{task.pk}")

        assert (first.status_code, first.content) == (204, b"")
        assert second.status_code == 404
        for part in ("", "/results", "/plan", "/events"):
            assert client.get(f"/tasks/{task.pk}{part}").status_code == 404
        assert client.get("/tasks").json()["results"] == []

    def test_open_task_is_refused_and_kept(self, client, owner):
        task = make_planned_task(make_step("a"), owner=owner)

        answer = client.delete(f"/tasks/{task.pk}")

        assert (answer.status_code, answer.json()["code"]) == (409, "illegal_state")
        assert client.get(f"/tasks/{task.pk}").status_code == 200

    def test_task_of_another_owner_is_not_there(self, client):
        task = make_ended_task()

        assert client.delete(f"/tasks/{task.pk}").status_code == 404
        assert Task.objects.filter(pk=task.pk).exists()

    @pytest.mark.parametrize("more", [{"data": {"why": "x"}}, {"query": "?why=x"}])
    def test_what_it_does_not_take_is_refused(self, client, owner, more):
        task = make_ended_task(owner=owner)
        path = f"/tasks/{task.pk}{more.get('query', '')}"

        answer = client.delete(path, more.get("data"), format="json")

        assert (answer.status_code, answer.json()["code"]) == (400, "unknown_field")
        assert Task.objects.filter(pk=task.pk).exists()

    def test_idempotency_key_of_a_deleted_task_makes_a_new_one(self, client, owner):
        def submit() -> str:
            headers = {"HTTP_IDEMPOTENCY_KEY": "k"}
            answer = client.post("/submit", {"goal": "x"}, format="json", **headers)
            return str(answer.json()["task_id"])

        first = submit()
        services.cancel_task(owner, Task.objects.get(pk=first).pk)
        client.delete(f"/tasks/{first}")

        assert submit() != first


class TestWhatIsLeft:
    def test_tombstone_says_who_what_and_how_much(self, client, owner):
        task = make_ended_task(owner=owner)
        Task.objects.filter(pk=task.pk).update(spent_nano=700, spent_tokens=70)

        client.delete(f"/tasks/{task.pk}")

        left = Tombstone.objects.get()
        assert left.deleted_by == ApiKey.objects.get().prefix
        assert (left.task_id, left.owner_id) == (task.pk, owner.pk)
        assert (left.status, left.finished_at) == ("cancelled", task.finished_at)
        assert (left.seq, left.mac) == (task.event_seq, task.event_head)
        assert (left.spent_nano, left.spent_tokens) == (700, 70)
        assert left.is_genuine

    def test_no_row_but_the_tombstone_names_the_task_or_its_steps(self):
        task = make_ended_task(goal="a rare goal")
        conceal(task, ADDRESS)
        steps = [str(pk) for pk in Step.objects.values_list("pk", flat=True)]
        assert "vault_entries" in rows_that_name(str(task.pk))

        delete_task(task.pk, deleted_by="tests")

        assert rows_that_name(str(task.pk)) == {"tombstones"}
        assert rows_that_name("a rare goal") == set()
        assert [pk for pk in steps if rows_that_name(pk)] == []

    def test_every_table_that_refers_to_tasks_goes_with_them(self):
        # A plain DELETE is what removes them, so each foreign key has to cascade; that
        # of a fork to its origin is emptied.
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT conrelid::regclass::text, confdeltype FROM pg_constraint "
                "WHERE contype = 'f' AND confrelid IN "
                "('tasks'::regclass, 'steps'::regclass)"
            )
            kept = [table for table, action in cursor.fetchall() if action not in "cn"]

        assert kept == []

    def test_nothing_is_deleted_when_something_fails(self, monkeypatch):
        task = make_ended_task()
        conceal(task, ADDRESS)
        monkeypatch.setattr(Tombstone, "sign", lambda self: 1 / 0)

        with pytest.raises(ZeroDivisionError):
            delete_task(task.pk, deleted_by="tests")

        assert Task.objects.filter(pk=task.pk).exists()
        assert "vault_entries" in rows_that_name(str(task.pk))

    def test_call_that_is_still_out_counts_at_its_worst(self):
        task, *_ = cancelled_with_a_call_out()

        left = delete_task(task.pk, deleted_by="tests")

        assert (left.spent_nano, left.spent_tokens) == (20_000, 20)
        assert not Charge.objects.exists()
        tally = audit.Tally()
        assert list(audit.verify(tally, audit.Selection())) == []
        assert tally.tombstones == 1


class TestLateWriters:
    """Workers that still had a step of the task when it was cancelled and deleted."""

    def test_charge_that_settles_late_is_logged(self, caplog):
        task, _, meter, charge_id = cancelled_with_a_call_out()
        delete_task(task.pk, deleted_by="tests")

        meter.settle(charge_id, USAGE, "the reply")
        meter.presume(charge_id)
        meter.release(charge_id)

        assert caplog.text.count("a charge came after its task was deleted") == 3
        assert rows_that_name("the reply") == set()

    def test_no_further_call_starts(self):
        task, claim, _, _ = cancelled_with_a_call_out()
        delete_task(task.pk, deleted_by="tests")
        call = ModelCall(
            purpose="analysis",
            model="m",
            request_hash="h",
            input_tokens=1,
            output_tokens=1,
            price=CallPrice(
                input_per_million=Decimal(1), output_per_million=Decimal(1), source="t"
            ),
        )

        with pytest.raises(CallCancelledError):
            TaskMeter(claim).reserve(call)

    def test_value_that_is_found_late_is_not_kept(self):
        task = make_ended_task()
        delete_task(task.pk, deleted_by="tests")

        with pytest.raises(VaultError):
            conceal(task, ADDRESS)

        assert "vault_keys" not in rows_that_name(str(task.pk))

    @pytest.mark.parametrize("stage", ["plan", "work"])
    def test_step_that_ends_late_is_an_outcome_to_log(self, stage, caplog, monkeypatch):
        task = make_task() if stage == "plan" else make_planned_task(make_step("a"))
        claim = claim_of(task, "plan" if stage == "plan" else "a")
        with task_turn(task.pk) as turn:
            close_cancelled(turn)
        original = getattr(pipeline, stage)

        def deleted_meanwhile(late: Claim, stop: StopToken) -> Any:
            delete_task(late.task.pk, deleted_by="tests")
            return original(late, stop)

        monkeypatch.setattr(pipeline, stage, deleted_meanwhile)

        hints = run_step(claim)

        assert hints.count == 0
        assert "a step's attempt ended as late" in caplog.text
        assert "unexpectedly" not in caplog.text
        assert rows_that_name(str(task.pk)) == {"tombstones"}

    @pytest.mark.django_db(transaction=True)
    def test_deletion_waits_for_a_value_that_is_being_put_away(self):
        task = make_ended_task()

        def delete() -> None:
            delete_task(task.pk, deleted_by="tests")
            connections.close_all()

        deleter = threading.Thread(target=delete)
        with open_vault(task.pk) as vault:
            vault.conceal([Concealable(type="EMAIL", text=ADDRESS)])
            deleter.start()
            wait_until(is_anybody_waiting_for_a_lock)
        deleter.join(timeout=30)

        assert rows_that_name(str(task.pk)) == {"tombstones"}

    @pytest.mark.django_db(transaction=True)
    def test_value_that_comes_during_the_deletion_is_not_kept(self, monkeypatch):
        task, found = make_ended_task(), []
        original = Tombstone.sign

        def conceal_late() -> None:
            try:
                conceal(task, ADDRESS)
            except VaultError as error:
                found.append(error)
            connections.close_all()

        late = threading.Thread(target=conceal_late)

        def sign_while_one_waits(tombstone: Tombstone) -> None:
            # The vault is shredded, and the task is not gone yet.
            late.start()
            wait_until(is_anybody_waiting_for_a_lock)
            original(tombstone)

        monkeypatch.setattr(Tombstone, "sign", sign_while_one_waits)

        delete_task(task.pk, deleted_by="tests")
        late.join(timeout=30)

        assert len(found) == 1
        assert rows_that_name(str(task.pk)) == {"tombstones"}


def is_anybody_waiting_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])


def test_two_deletions_leave_one_tombstone():
    task = make_ended_task()
    delete_task(task.pk, deleted_by="first")

    with pytest.raises(Task.DoesNotExist):
        delete_task(task.pk, deleted_by="second")

    assert Tombstone.objects.get().deleted_by == "first"


def test_open_task_is_not_deleted_for_anybody():
    task = make_planned_task(make_step("a"))

    with pytest.raises(IllegalStateError):
        delete_task(task.pk, deleted_by="tests")


class TestAdmin:
    def choose(self, *tasks: Task, **more: str) -> dict[str, Any]:
        ids = [str(task.pk) for task in tasks]
        return {"action": "delete_for_good", "_selected_action": ids, **more}

    def test_tasks_are_deleted_after_a_second_question(
        self, admin_client: Client, admin_user: User
    ):
        ended, still_open = make_ended_task(), make_planned_task(make_step("a"))
        chosen = self.choose(ended, still_open)

        question = admin_client.post(TASKS, chosen)
        assert b"cannot be undone" in question.content
        assert Task.objects.count() == 2

        admin_client.post(TASKS, {**chosen, "confirmed": "1"})
        assert [task.pk for task in Task.objects.all()] == [still_open.pk]
        assert Tombstone.objects.get().deleted_by == admin_user.get_username()

    def test_who_may_only_view_tasks_deletes_none(self):
        task = make_ended_task()
        viewer = User.objects.create_user("viewer", is_staff=True)
        may_view = Permission.objects.get(
            codename="view_task", content_type__app_label="tasks_app"
        )
        viewer.user_permissions.add(may_view)
        client = Client()
        client.force_login(viewer)

        client.post(TASKS, self.choose(task, confirmed="1"))

        assert Task.objects.filter(pk=task.pk).exists()

    def test_link_alone_deletes_nothing(self, admin_client: Client):
        task = make_ended_task()

        admin_client.get(TASKS, self.choose(task, confirmed="1"))

        assert Task.objects.filter(pk=task.pk).exists()

    def test_page_of_the_tombstone_shows_what_was_spent(self, admin_client: Client):
        task = make_ended_task()
        Task.objects.filter(pk=task.pk).update(spent_nano=1_500_000_000)
        delete_task(task.pk, deleted_by="carol")

        page = admin_client.get(f"/admin/tasks_app/tombstone/{task.pk}/change/")

        content = page.content.decode()
        assert "carol" in content
        assert "$1.500000000" in content
