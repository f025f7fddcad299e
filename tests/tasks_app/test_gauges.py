"""What a scrape tells of the work that is open."""

from __future__ import annotations

import dramatiq
import pytest
from rest_framework.test import APIClient

from tasks_app import actors  # noqa: F401  # declares the queues
from tasks_app.hints import Hints, send_hints
from tasks_app.pipeline import run_step
from tests.builders import claim_of, make_planned_task, make_step, make_task

pytestmark = pytest.mark.django_db


@pytest.fixture
def scraped(engines):
    """Return a function that gives the lines of one scrape."""

    def scrape() -> list[str]:
        answer = APIClient().get("/metrics", REMOTE_ADDR="127.0.0.1")
        assert answer.status_code == 200
        return str(answer.content.decode()).splitlines()

    return scrape


def test_open_steps_are_counted_by_queue(scraped):
    make_task()
    claim_of(make_task(), "plan")

    lines = scraped()

    assert 'octollm_steps_ready{queue="default"} 1.0' in lines
    assert 'octollm_steps_running{queue="default"} 1.0' in lines
    assert 'octollm_collector_up{collector="tasks"} 1.0' in lines


def test_messages_in_the_queue_are_counted(scraped):
    dramatiq.get_broker().flush_all()
    send_hints("default", Hints(count=2))

    assert 'octollm_queue_messages{queue="default"} 2.0' in scraped()
    dramatiq.get_broker().flush_all()


def test_attempts_are_counted_and_timed_by_arm(scraped):
    def value() -> float:
        name = 'octollm_step_duration_seconds_count{arm="gate"}'
        found = [line for line in scraped() if line.startswith(name)]
        return float(found[0].split()[-1]) if found else 0.0

    before = value()
    run_step(claim_of(make_planned_task(make_step("a")), "a"))

    assert value() == before + 1


def test_metrics_carry_no_id_of_a_task(scraped):
    task = make_planned_task(make_step("a"))
    run_step(claim_of(task, "a"))

    assert str(task.pk) not in "\n".join(scraped())
