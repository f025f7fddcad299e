"""A worker process: its row, its heartbeat, its duties, and how it leaves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from arms.registry_models import ArmInstance
from octollm.resilience.deadline import StopToken
from octollm.resilience.models import Leader, Worker
from tasks_app.claims import held_claims
from tasks_app.models import Step
from tasks_app.worker import ThisWorker
from tests.builders import claim_of, make_task
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def worker(settings):
    """A worker whose duties come round quickly; it leaves with the test."""
    settings.OCTOLLM_LEASE_RENEW_S = 0.05
    settings.OCTOLLM_CANCEL_POLL_S = 0.05
    settings.OCTOLLM_REAPER_INTERVAL_S = 0.05
    settings.OCTOLLM_SHUTDOWN_S = 0.1
    running = ThisWorker()
    running.start(queues=["default"], threads=4)
    yield running
    running.stop()
    running.leave()


def row_of(worker: ThisWorker) -> Any:
    return wait_until(lambda: Worker.objects.filter(pk=worker.id).first())


def test_worker_announces_itself(worker):
    row = row_of(worker)

    assert (row.queues, row.threads) == (["default"], 4)
    assert row.stopping_at is None


def test_heartbeat_goes_on(worker):
    first = row_of(worker).heartbeat_at

    assert wait_until(lambda: row_of(worker).heartbeat_at > first)


def test_row_that_was_forgotten_is_written_again(worker):
    first = row_of(worker)
    first.delete()

    assert row_of(worker).started_at > first.started_at


def test_held_claims_are_renewed(worker):
    claim = claim_of(make_task(), "plan")
    soon = timezone.now() + timedelta(seconds=5)
    Step.objects.update(lease_until=soon)

    with held_claims.hold(claim, StopToken(60)):
        assert wait_until(lambda: Step.objects.filter(lease_until__gt=soon).exists())


def test_work_whose_claim_was_lost_is_stopped(worker):
    claim, stop = claim_of(make_task(), "plan"), StopToken(60)

    with held_claims.hold(claim, stop):
        Step.objects.update(status="ready", claim_id=None, lease_until=None)
        assert wait_until(lambda: stop.is_cancelled)


def test_one_worker_leads_and_checks_the_arms(worker):
    assert wait_until(lambda: Leader.objects.filter(holder=worker.id).exists())
    assert wait_until(
        lambda: ArmInstance.objects.filter(arm_id="gate", state="healthy").exists()
    )


def test_expired_lease_is_taken_back_by_the_leader(worker):
    task = make_task()
    claim_of(task, "plan")
    Step.objects.update(lease_until=timezone.now() - timedelta(seconds=1))

    assert wait_until(lambda: Step.objects.get(task=task).status == "ready")


def test_stopping_worker_says_so_and_stops_what_takes_too_long(worker):
    claim, stop = claim_of(make_task(), "plan"), StopToken(60)
    row_of(worker)

    with held_claims.hold(claim, stop):
        worker.stop()

        assert worker.is_stopping
        assert row_of(worker).stopping_at is not None
        assert wait_until(lambda: stop.is_cancelled)


def test_worker_that_left_leaves_no_row_and_no_duty(worker):
    wait_until(lambda: Leader.objects.filter(holder=worker.id).exists())

    worker.leave()

    assert not Worker.objects.filter(pk=worker.id).exists()
    assert not Leader.objects.filter(holder=worker.id).exists()


def test_duty_that_fails_is_logged_and_done_again(worker, caplog):
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise ZeroDivisionError

    worker._every(0.01, fail)

    assert wait_until(lambda: len(calls) >= 3)
    assert "a duty of the worker failed: fail" in caplog.text
