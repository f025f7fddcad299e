"""A step whose arm cannot take it waits, and where an invocation went is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from arms import registration, registry
from arms.registry_models import ArmInstance
from arms.routing import Route
from octollm.errors import ArmAwayError, ArmBusyError, CallCancelledError
from tasks_app import endings, routes
from tasks_app.claim import Claim
from tasks_app.models import Attempt, Step, Task
from tasks_app.pipeline import run_step
from tasks_app.turn import task_turn
from tests.builders import claim_of, make_planned_task, make_step

pytestmark = pytest.mark.django_db

FAR = Route(arm="gate", instance="http://far:1", reason="drawn of 2 by weight")


def step_of(task: Task, step_id: str = "a") -> Step:
    return Step.objects.get(task=task, step_id=step_id)


def code_of(step: Step) -> Any:
    return (step.error or {}).get("code")


def settle(claim: Claim, error: ArmAwayError) -> Any:
    return endings.settle_error(claim, error)


class TestWaiting:
    def test_no_attempt_is_used_up(self):
        task = make_planned_task(make_step("a"))

        for _ in range(5):
            settle(claim_of(task, "a"), ArmAwayError("None can be had."))

        step = step_of(task)
        assert (step.status, step.attempt_count) == ("ready", 0)
        assert step.error == {"code": "arm_away", "message": "None can be had."}
        outcomes = Attempt.objects.filter(step=step).values_list("outcome", flat=True)
        assert set(outcomes) == {"released"}

    def test_pause_grows_with_the_tasks_age_up_to_ten_seconds(self):
        task = make_planned_task(make_step("a"))
        claim = claim_of(task, "a")
        pauses = []
        for age_s in (0, 20, 300):
            claim.task.started_at = datetime.now(UTC) - timedelta(seconds=age_s)
            pauses.append(endings._arm_pause_s(claim, ArmAwayError(wait_s=1.0)))

        assert 0.5 <= pauses[0] <= 1.0
        assert 2.0 <= pauses[1] <= 4.1
        assert 5.0 <= pauses[2] <= 10.0

    def test_at_the_deadline_the_step_fails_and_says_why(self):
        task = make_planned_task(make_step("a"))
        claim = claim_of(task, "a")
        claim.task.started_at = datetime.now(UTC) - timedelta(seconds=500)
        late = Claim(
            **{
                **{name: getattr(claim, name) for name in claim.__dataclass_fields__},
                "deadline_at": datetime.now(UTC) + timedelta(seconds=2),
            }
        )

        settle(late, ArmAwayError("None can be had."))

        task.refresh_from_db()
        assert step_of(task).status == "failed"
        assert code_of(step_of(task)) == "arm_unavailable"
        assert task.status == "failed"

    @pytest.mark.parametrize(
        ("is_unstarted", "is_kept"), [(True, False), (False, True)]
    )
    def test_request_that_may_have_begun_keeps_its_id(self, is_unstarted, is_kept):
        task = make_planned_task(make_step("a"))
        claim = claim_of(task, "a")

        settle(claim, ArmAwayError("Down.", is_unstarted=is_unstarted))

        assert (step_of(task).request_id == claim.request_id) is is_kept

    def test_step_of_an_arm_that_is_disabled_waits_for_it(self):
        registration.write_local(registry.local_catalogue())
        ArmInstance.objects.filter(arm_id="gate").update(state="disabled")
        registry.forget()
        task = make_planned_task(make_step("a", arm="gate", capability="echo"))

        run_step(claim_of(task, "a"))
        waiting = step_of(task)
        ArmInstance.objects.filter(arm_id="gate").update(state="healthy")
        registry.forget()
        run_step(claim_of(task, "a"))

        assert (waiting.status, code_of(waiting)) == ("ready", "arm_away")
        assert step_of(task).status == "done"

    def test_busy_is_told_apart_from_away(self):
        task = make_planned_task(make_step("a"))

        settle(claim_of(task, "a"), ArmBusyError("All do as much as they take."))

        assert code_of(step_of(task)) == "arm_busy"


class TestWaking:
    def waiting(self, arm: str = "gate", *, priority: str = "medium") -> Step:
        task = make_planned_task(make_step("a", arm=arm), priority=priority)
        settle(claim_of(task, "a"), ArmBusyError("Busy.", wait_s=9.0))
        return step_of(task)

    def test_the_most_urgent_one_that_waits_for_the_arm_is_due_at_once(self):
        first, urgent = self.waiting(), self.waiting(priority="critical")
        other = self.waiting("analyst")

        routes.wake_waiting("gate")

        now = timezone.now()
        for step in (first, urgent, other):
            step.refresh_from_db()
        assert urgent.run_after <= now
        assert first.run_after > now
        assert other.run_after > now

    def test_nobody_waits(self):
        routes.wake_waiting("gate")

    def test_the_index_finds_them(self):
        self.waiting()
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN {routes._WAKE}", {"arm": "gate"})
            plan = "\n".join(row[0] for row in cursor.fetchall())

        assert "idx_steps_arm_busy" in plan


class TestWhereItWent:
    def test_route_elsewhere_is_kept_before_the_call(self):
        task = make_planned_task(make_step("a"))
        claim = claim_of(task, "a")

        routes.note(claim, FAR)

        attempt = Attempt.objects.get(claim_id=claim.claim_id)
        assert (attempt.instance, attempt.reason) == (FAR.instance, FAR.reason)

    def test_lost_claim_may_not_go_on(self):
        task = make_planned_task(make_step("a"))
        claim = claim_of(task, "a")
        with task_turn(task.pk) as turn:
            turn.lose_attempt(step_of(task))

        with pytest.raises(CallCancelledError):
            routes.note(claim, FAR)

    def test_whoever_goes_on_knows_where(self):
        task = make_planned_task(make_step("a"))
        routes.note(claim_of(task, "a"), FAR)
        with task_turn(task.pk) as turn:
            turn.lose_attempt(step_of(task))

        again = claim_of(task, "a")

        assert not again.is_new_request
        assert routes.pinned(again) == FAR.instance
        lost = Attempt.objects.filter(step=step_of(task), outcome="lost").get()
        assert lost.instance == FAR.instance

    def test_new_request_goes_anywhere(self):
        task = make_planned_task(make_step("a"))

        assert routes.pinned(claim_of(task, "a")) == ""

    def test_other_request_of_the_step_pins_nothing(self):
        task = make_planned_task(make_step("a"))
        routes.note(claim_of(task, "a"), FAR)
        with task_turn(task.pk) as turn:
            turn.lose_attempt(step_of(task))
        Step.objects.filter(task=task, step_id="a").update(request_id=uuid4())

        assert routes.pinned(claim_of(task, "a")) == ""

    def test_owner_sees_where_why_and_how_long_it_waited(self):
        task = make_planned_task(make_step("a", arm="gate", capability="echo"))
        run_step(claim_of(task, "a"))

        attempt = Attempt.objects.get(step=step_of(task))

        assert (attempt.instance, attempt.reason) == ("in-process", "the only instance")
        assert attempt.queued_s is not None
        assert attempt.queued_s >= 0


@pytest.mark.parametrize(
    ("assigned", "policy", "may"),
    [("", "", True), ("gate", "", False), ("", '{"arms": ["gate"]}', False)],
)
def test_fallback_needs_the_callers_and_the_operators_leave(
    settings, assigned, policy, may
):
    settings.OCTOLLM_PLAN_POLICY = policy
    task = make_planned_task(make_step("a"), assigned_arm=assigned)

    assert routes.may_fall_back(claim_of(task, "a"), "spare") is may
