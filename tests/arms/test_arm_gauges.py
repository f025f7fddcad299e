"""What a scrape says of arms and their instances."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rest_framework.test import APIClient

from arms import gauges, operating, registration
from arms.registry_models import ArmInstance
from tests.engines import TestEngines
from tests.instances import (
    HOSTILE,
    TOKEN,
    make_arm,
    make_instance,
    open_breaker,
    take_places,
)

pytestmark = pytest.mark.django_db

State = ArmInstance.State
URL = "http://billing-1.internal:8090"


def sample(name: str, **labels: str) -> float | None:
    """Return the value of a sample that a scrape would show."""
    for family in gauges.collect():
        for each in family.samples:
            if each.name == f"octollm_arm_{name}" and each.labels == labels:
                return float(each.value)
    return None


@pytest.mark.parametrize(
    ("state", "is_up"),
    [
        (State.HEALTHY, 1.0),
        (State.DEGRADED, 1.0),
        (State.STARTING, 0.0),
        (State.DOWN, 0.0),
        (State.DRAINING, 0.0),
        (State.DISABLED, 0.0),
    ],
)
def test_an_instance_is_up_while_it_takes_steps(state, is_up):
    make_instance(URL, state=state)

    assert sample("up", arm="billing", instance=URL) == is_up
    assert sample("instance_state", arm="billing", instance=URL, state=state) == 1.0


def test_one_state_holds_and_the_others_are_there_with_0():
    make_instance(URL, state=State.DOWN)

    values = [
        sample("instance_state", arm="billing", instance=URL, state=state)
        for state in State.values
    ]

    assert sorted(value or 0.0 for value in values) == [0, 0, 0, 0, 0, 1]
    assert None not in values


def test_the_latency_of_checks_is_in_seconds_and_missing_before_the_first():
    make_instance(URL, latency_ms=250.0)
    make_instance("http://other:8090")

    assert sample("probe_seconds", arm="billing", instance=URL) == 0.25
    other = sample("probe_seconds", arm="billing", instance="http://other:8090")
    assert other is None


def test_an_open_breaker_is_seen():
    open_breaker(make_instance(URL))
    make_instance("http://other:8090")

    assert sample("breaker_open", arm="billing", instance=URL) == 1.0
    other = sample("breaker_open", arm="billing", instance="http://other:8090")
    assert other == 0.0


def test_places_of_an_arm_are_added_up_over_its_instances():
    make_arm(concurrency=4)
    first, second = make_instance(URL), make_instance("http://other:8090")
    take_places(first, 3)
    take_places(second, 1)

    assert sample("places_taken", arm="billing") == 4.0
    assert sample("places_free", arm="billing") == 4.0


def test_free_places_of_an_instance_that_is_away_are_nobodys():
    make_arm(concurrency=4)
    make_instance(URL)
    drained = make_instance("http://other:8090")
    take_places(drained, 1)

    operating.drain(drained.pk, by="ada")

    assert sample("places_taken", arm="billing") == 1.0
    assert sample("places_free", arm="billing") == 4.0


def test_an_arm_without_a_limit_has_no_places():
    make_instance(URL)

    assert sample("places_free", arm="billing") is None


def test_a_scrape_asks_three_times_however_many_there_are(django_assert_num_queries):
    for number in range(12):
        make_instance(f"http://host-{number}:8090", arm=f"arm_{number % 3}")

    with django_assert_num_queries(3):
        gauges.collect()


def test_the_page_of_metrics_holds_it_and_stays_readable_whatever_a_place_is_called():
    registration.announce(
        registration.Announcement(
            arm="billing",
            url=f"http://host/{HOSTILE}\n",
            source=ArmInstance.Source.ANNOUNCED,
            token=TOKEN,
        )
    )

    text = APIClient().get("/metrics").content.decode()

    families = {each.name: each for each in text_string_to_metric_families(text)}
    (up,) = families["octollm_arm_up"].samples
    assert up.labels["instance"] == f"http://host/{HOSTILE}\n"
    assert TOKEN not in text
    answered = families["octollm_collector_up"].samples
    assert {each.labels["collector"]: each.value for each in answered}["arms"] == 1.0


_SCRAPE = """
import django
from django.test import RequestFactory
django.setup()
from octollm import metrics
print(metrics.export(RequestFactory().get("/metrics")).content.decode())
"""


@pytest.mark.django_db(transaction=True)
def test_with_several_processes_each_tells_the_whole_truth_once(
    engines: TestEngines, tmp_path: Path
) -> None:
    make_instance(URL)
    environment = engines.environment(PROMETHEUS_MULTIPROC_DIR=str(tmp_path))

    pages = [
        subprocess.run(  # our own interpreter
            [sys.executable, "-W", "ignore", "-c", _SCRAPE],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for _ in range(2)
    ]

    for page in pages:
        lines = [each for each in page.splitlines() if "octollm_arm_up{" in each]
        assert lines == [f'octollm_arm_up{{arm="billing",instance="{URL}"}} 1.0']
