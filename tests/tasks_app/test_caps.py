"""Owners' caps: reserved with the task, turned into what was spent, never exceeded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from octollm.access.keys import create_key
from octollm.access.models import Owner
from octollm.errors import OwnerBudgetExceededError
from reflex.models import Screening
from tasks_app import caps
from tasks_app.ledger import TaskMeter, correct_charge
from tasks_app.models import OwnerMonth, Task
from tasks_app.services import Submission, submit_task
from tasks_app.turn import task_turn
from tests.builders import claim_of, make_owner, make_task
from tests.calls import call, usage

pytestmark = pytest.mark.django_db

CALL = 7_000_000


def capped(usd: str) -> Owner:
    owner = make_owner()
    owner.monthly_cap_usd = Decimal(usd)
    owner.save()
    return owner


def month(owner: Owner) -> tuple[int, int]:
    """Return what the owner's month reserves and has spent."""
    row = OwnerMonth.objects.get(owner=owner)
    return row.reserved_nano, row.spent_nano


def shares(owner: Owner) -> tuple[int, int]:
    """Return what the month should say, by the owner's tasks."""
    found = [caps.share_of(task) for task in Task.objects.filter(owner=owner)]
    return sum(each.reserved for each in found), sum(each.spent for each in found)


def close(task: Task) -> None:
    with task_turn(task.pk) as turn:
        turn.close(Task.Status.CANCELLED, result={})


def raise_budget(task: Task, usd: str) -> None:
    with task_turn(task.pk) as turn:
        turn.set(max_cost_usd=Decimal(usd))
        turn.event("budget.raised")


def submission(**overrides: Any) -> Submission:
    texts = {"goal": "Count the words", "context": {}, "task_metadata": {}}
    lists: dict[str, Any] = {"constraints": [], "acceptance_criteria": [], "plan": None}
    fields: dict[str, Any] = {
        "texts": texts | lists,
        "priority": "medium",
        "max_cost_usd": Decimal(1),
        "max_time_seconds": 600,
        "max_tokens": 10_000,
        "assigned_arm": None,
        "idempotency_key": None,
    }
    return Submission(**(fields | overrides))


@pytest.fixture
def client() -> APIClient:
    _, token = create_key(owner_name="caller", name="tests")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


class TestAdmission:
    def test_a_task_reserves_its_whole_budget(self):
        owner = capped("2.5")

        task = make_task(owner=owner, max_cost_usd=Decimal("1.25"))

        assert month(owner) == (1_250_000_000, 0)
        assert task.cap_month == datetime.now(UTC).date().replace(day=1)

    def test_what_is_left_is_enough_to_the_last_cent_and_not_beyond(self):
        owner = capped("2.000001")
        make_task(owner=owner)
        make_task(owner=owner)

        with pytest.raises(OwnerBudgetExceededError) as caught:
            make_task(owner=owner, max_cost_usd=Decimal("0.000002"))
        make_task(owner=owner, max_cost_usd=Decimal("0.000001"))

        assert caught.value.left_usd == Decimal("0.000001")
        assert month(owner) == (2_000_001_000, 0)

    def test_refusal_is_a_problem_that_says_what_is_left_and_stores_nothing(
        self, client: APIClient
    ):
        Owner.objects.filter(name="caller").update(monthly_cap_usd=Decimal("1.5"))
        assert client.post("/submit", {"goal": "One"}, format="json").status_code == 200
        screenings = Screening.objects.count()

        answer = client.post("/submit", {"goal": "Two"}, format="json")

        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (402, "owner_budget_exceeded")
        assert answer["Content-Type"] == "application/problem+json"
        assert "Retry-After" not in answer
        assert problem["left_usd"] == "0.500000000"
        assert problem["month"] == f"{datetime.now(UTC):%Y-%m}"
        assert "0.500000 are left" in problem["detail"]
        assert (Task.objects.count(), Screening.objects.count()) == (1, screenings)

    def test_an_owner_without_a_cap_costs_no_query(self, client: APIClient):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.post("/submit", {"goal": "One"}, format="json")
            close(Task.objects.get())

        assert [q for q in queries if "owner_months" in q["sql"]] == []
        assert not OwnerMonth.objects.exists()

    def test_a_cap_costs_one_statement(self):
        owner = capped("9")
        make_task(owner=owner)

        with CaptureQueriesContext(connection) as queries:
            make_task(owner=owner)

        assert len([q for q in queries if "owner_months" in q["sql"]]) == 1

    def test_a_repeated_request_reserves_nothing(self):
        owner = capped("1")
        first = submit_task(owner, submission(idempotency_key="k"))

        again = submit_task(owner, submission(idempotency_key="k"))

        assert (again.task_id, again.is_replay) == (first.task_id, True)
        assert month(owner) == (1_000_000_000, 0)

    def test_a_cap_of_nothing_admits_only_what_costs_nothing(self):
        owner = capped("0")

        with pytest.raises(OwnerBudgetExceededError):
            make_task(owner=owner)

        assert make_task(owner=owner, max_cost_usd=Decimal(0)).status == "pending"

    def test_a_cap_that_was_lifted_or_lowered_counts_as_it_is_now(self):
        owner = capped("1")
        make_task(owner=owner)

        # The owner as read before the cap was changed decides nothing.
        Owner.objects.filter(pk=owner.pk).update(monthly_cap_usd=None)
        make_task(owner=owner)
        Owner.objects.filter(pk=owner.pk).update(monthly_cap_usd=Decimal("0.5"))
        with pytest.raises(OwnerBudgetExceededError) as caught:
            make_task(owner=owner, max_cost_usd=Decimal("0.1"))

        assert caught.value.left_usd == 0
        assert month(owner) == (2_000_000_000, 0)


class TestLife:
    def test_the_end_turns_the_reservation_into_what_was_spent(self):
        owner = capped("1")
        task = make_task(owner=owner)
        meter = TaskMeter(claim_of(task, "plan"))
        meter.settle(meter.reserve(call()), usage(), "reply")
        assert month(owner) == (1_000_000_000, 0)

        close(task)

        assert month(owner) == (0, 700_000)
        make_task(owner=owner, max_cost_usd=Decimal("0.9993"))

    def test_what_calls_still_hold_at_the_end_stays_reserved_until_they_settle(self):
        owner = capped("1")
        task = make_task(owner=owner)
        meter = TaskMeter(claim_of(task, "plan"))
        charge_id = meter.reserve(call())
        close(task)
        assert month(owner) == (CALL, 0)

        meter.settle(charge_id, usage(), "reply")

        assert month(owner) == (0, 700_000)

    def test_a_late_overrun_counts_though_it_exceeds_the_cap(self):
        owner = capped("1")
        task = make_task(owner=owner)
        meter = TaskMeter(claim_of(task, "plan"))
        charge_id = meter.reserve(call())
        close(task)

        meter.settle(charge_id, usage(0, 200_000), "reply")

        assert month(owner) == (0, 2_000_000_000)
        with pytest.raises(OwnerBudgetExceededError):
            make_task(owner=owner, max_cost_usd=Decimal("0.01"))

    def test_an_operators_correction_counts(self):
        owner = capped("1")
        task = make_task(owner=owner)
        meter = TaskMeter(claim_of(task, "plan"))
        charge_id = meter.reserve(call())
        meter.settle(charge_id, usage(), "reply")
        close(task)

        correct_charge(charge_id, cost_usd=Decimal("0.25"), reason="It was dearer.")

        assert month(owner) == (0, 250_000_000)

    def test_a_raised_budget_reserves_the_difference(self):
        owner = capped("3")
        task = make_task(owner=owner)

        raise_budget(task, "3")

        assert month(owner) == (3_000_000_000, 0)

    def test_a_raise_beyond_the_cap_is_refused_and_changes_nothing(self):
        owner = capped("3")
        task = make_task(owner=owner)

        with pytest.raises(OwnerBudgetExceededError):
            raise_budget(task, "3.000001")

        task.refresh_from_db()
        assert task.max_cost_usd == 1
        assert not task.events.filter(type="budget.raised").exists()
        assert month(owner) == (1_000_000_000, 0)

    @pytest.mark.parametrize(("budget", "is_allowed"), [("2", True), ("2.1", False)])
    def test_a_task_that_goes_on_reserves_its_budget_again(
        self, budget: str, is_allowed: bool
    ):
        owner = capped("2")
        task = make_task(owner=owner)
        meter = TaskMeter(claim_of(task, "plan"))
        meter.settle(meter.reserve(call()), usage(), "reply")
        close(task)
        task.refresh_from_db()
        ended = caps.share_of(task)
        task.status, task.max_cost_usd = Task.Status.PROCESSING, Decimal(budget)

        if is_allowed:
            caps.carry(task, since=ended)
            assert month(owner) == (2_000_000_000, 0)
        else:
            with pytest.raises(OwnerBudgetExceededError):
                caps.carry(task, since=ended)
            assert month(owner) == (0, 700_000)

    def test_a_task_counts_in_the_month_it_was_submitted_in(self):
        owner = capped("1")
        task = make_task(owner=owner)
        before = date(2001, 2, 1)
        OwnerMonth.objects.filter(owner=owner).update(month=before)
        Task.objects.filter(pk=task.pk).update(cap_month=before)

        make_task(owner=owner)
        close(task)

        rows = OwnerMonth.objects.filter(owner=owner).order_by("month")
        assert [row.reserved_nano for row in rows] == [0, 1_000_000_000]
        assert str(rows[0]) == "2001-02"


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_sixteen_submitters_never_reserve_more_than_the_cap(self):
        owner = capped("5.5")

        def submit(number: int) -> bool:
            try:
                submit_task(owner, submission(idempotency_key=str(number % 12)))
                return True
            except OwnerBudgetExceededError:
                return False
            finally:
                connections.close_all()

        with ThreadPoolExecutor(16) as pool:
            accepted = sum(pool.map(submit, range(16)))

        # Twelve keys; a repeated one is accepted too and takes nothing.
        assert Task.objects.filter(owner=owner).count() == 5
        assert 5 <= accepted <= 9
        assert month(owner) == shares(owner) == (5_000_000_000, 0)

    def test_tasks_begin_and_end_at_once_and_the_month_adds_up(self):
        owner = capped("4")

        def live(number: int) -> int:
            """Submit, spend and end a few tasks; return how many were admitted."""
            admitted = 0
            try:
                for _ in range(4):
                    try:
                        task = make_task(owner=owner)
                    except OwnerBudgetExceededError:
                        continue
                    admitted += 1
                    meter = TaskMeter(claim_of(task, "plan"))
                    charge_id = meter.reserve(call())
                    close(task)
                    meter.settle(charge_id, usage(number, number), "reply")
            finally:
                connections.close_all()
            return admitted

        with ThreadPoolExecutor(8) as pool:
            admitted = sum(pool.map(live, range(8)))

        reserved, spent = month(owner)
        assert admitted >= 4
        assert (reserved, spent) == shares(owner)
        assert reserved == 0
