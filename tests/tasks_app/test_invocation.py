"""Claim is not invocation: which failures let a retry be another request."""

from __future__ import annotations

from typing import Any

import pytest

from arms import boundary
from octollm.errors import (
    ArmUnavailableError,
    ModelUnavailableError,
    ScreeningUnavailableError,
)
from octollm.resilience.deadline import StopToken
from tasks_app import pipeline
from tasks_app.hints import Hints
from tasks_app.models import Attempt, Step
from tasks_app.pipeline import run_step
from tasks_app.turn import Claim, task_turn
from tests.builders import claim_of, make_planned_task, make_step

pytestmark = pytest.mark.django_db

UNSTARTED = ArmUnavailableError("Nobody listens.", is_unstarted=True)


def step_of(task: Any) -> Step:
    return Step.objects.get(task=task, step_id="a")


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(claim: Claim, stop: StopToken) -> Hints:
        raise error

    monkeypatch.setattr(pipeline, "work", fail)


@pytest.mark.parametrize(
    "error",
    [
        ArmUnavailableError("It broke the connection."),
        ModelUnavailableError(),
        ScreeningUnavailableError(),
        ZeroDivisionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_retry_asks_for_the_same_invocation_when_it_may_have_begun(monkeypatch, error):
    failing(monkeypatch, error)
    task = make_planned_task(make_step("a"))
    claim = claim_of(task, "a")

    run_step(claim)

    assert step_of(task).status == "ready"
    assert step_of(task).request_id == claim.request_id
    assert claim_of(task, "a").is_new_request is False


def test_retry_is_a_new_invocation_when_none_started(monkeypatch):
    failing(monkeypatch, UNSTARTED)
    task = make_planned_task(make_step("a"))
    claim = claim_of(task, "a")

    run_step(claim)

    assert step_of(task).request_id is None
    assert claim_of(task, "a").is_new_request is True


def test_invocation_that_an_attempt_before_may_have_begun_is_kept(monkeypatch):
    failing(monkeypatch, UNSTARTED)
    task = make_planned_task(make_step("a"))
    first = claim_of(task, "a")
    with task_turn(task.pk) as turn:
        turn.lose_attempt(step_of(task))

    run_step(claim_of(task, "a"))

    assert step_of(task).request_id == first.request_id


def test_failed_attempt_says_where_it_went(monkeypatch):
    def fail(*_: Any, **__: Any) -> None:
        raise ArmUnavailableError("It broke the connection.")

    monkeypatch.setattr(boundary, "call", fail)
    task = make_planned_task(make_step("a"))

    run_step(claim_of(task, "a"))

    attempt = Attempt.objects.get(step=step_of(task))
    assert (attempt.instance, attempt.reason) == ("in-process", "the only instance")
