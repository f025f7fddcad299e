"""The catalogue over HTTP for arms elsewhere: from the registry's rows, asking nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from arms import health, operating, registration, registry
from arms.contract import Health
from arms.overview import aggregate
from arms.registry_models import ArmInstance
from octollm.access.keys import create_key
from tests.gate import GateArm
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


@pytest.fixture(autouse=True)
def _nothing_known_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(health, "_checked", {})
    registry.forget()
    yield
    registry.forget()


@pytest.fixture
def client() -> APIClient:
    _, token = create_key(owner_name="caller", name="tests")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def shown(client: APIClient, name: str = "billing") -> dict[str, Any]:
    registry.forget()
    answer = client.get(f"/arms/{name}")
    assert answer.status_code == 200
    return dict(answer.json())


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([State.HEALTHY], "healthy"),
        ([State.HEALTHY, State.STARTING], "healthy"),
        ([State.HEALTHY, State.DRAINING, State.DISABLED], "healthy"),
        ([State.HEALTHY, State.DOWN], "degraded"),
        ([State.DEGRADED], "degraded"),
        ([State.DEGRADED, State.DOWN], "degraded"),
        ([State.STARTING], "starting"),
        ([State.STARTING, State.DOWN], "starting"),
        ([State.DOWN], "down"),
        ([State.DRAINING], "down"),
        ([State.DISABLED, State.DRAINING], "down"),
        ([], "down"),
    ],
)
def test_an_arm_is_as_well_as_those_of_its_instances_that_count(states, expected):
    assert aggregate(states) == expected


def test_an_arm_elsewhere_is_shown_as_its_rows_say(client):
    checked = timezone.now() - timedelta(seconds=4)
    make_arm(concurrency=4, shares_store=True, fallback="invoices")
    instance = make_instance(
        version="1.2.1", weight=20, latency_ms=17.5, checked_at=checked, detail="fine"
    )
    registration.resize("billing")
    take_places(instance, 3)

    arm = shown(client)

    assert arm["concurrency"] == 4
    assert (arm["shares_store"], arm["fallback"]) == (True, "invoices")
    assert arm["health"]["state"] == "healthy"
    assert arm["health"]["source"] == "probe"
    assert datetime.fromisoformat(arm["health"]["checked_at"]) == checked
    (place,) = arm["instances"]
    assert datetime.fromisoformat(place.pop("checked_at")) == checked
    assert datetime.fromisoformat(place.pop("since")) == instance.since
    assert place == {
        "id": str(instance.pk),
        "location": "http://billing-1.internal:8090",
        "source": "operator",
        "state": "healthy",
        "detail": "fine",
        "weight": 20,
        "version": "1.2.1",
        "latency_ms": 17.5,
        "taken": 3,
        "breaker": {"state": "closed", "until": None},
        "heartbeat_at": None,
    }


def test_the_operators_limit_is_the_concurrency_that_holds(client):
    make_arm(concurrency=4)
    make_instance()
    operating.set_limit("billing", 2, by="ada")

    assert shown(client)["concurrency"] == 2


def test_nobody_elsewhere_is_asked(client, monkeypatch):
    make_instance(state=State.DOWN, detail="connection refused")

    def asked(*_: Any, **__: Any) -> None:
        raise AssertionError("somebody was asked")

    monkeypatch.setattr("arms.client.RemoteArm.check", asked)
    monkeypatch.setattr("arms.client.fetch_entry", asked)

    found = shown(client)["health"]

    assert (found["state"], found["detail"]) == ("down", "connection refused")
    assert APIClient().get("/arms/billing/health").status_code == 503


def test_a_list_of_many_costs_the_queries_of_one(client):
    def counted() -> int:
        registry.forget()
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get("/arms").status_code == 200
        return len(queries)

    make_instance()
    counted()  # Self-checks are made, and kept for a while.
    few = counted()
    for arm in range(10):
        for number in range(5):
            make_instance(f"http://host-{number}:8090", arm=f"arm_{arm}")

    assert counted() == few


def test_an_open_breaker_makes_an_instance_count_as_down(client):
    open_breaker(make_instance())

    arm = shown(client)

    assert arm["health"]["state"] == "down"
    assert "breaker is open" in arm["health"]["detail"]
    (place,) = arm["instances"]
    assert (place["state"], place["breaker"]["state"]) == ("healthy", "open")
    assert datetime.fromisoformat(place["breaker"]["until"]) > timezone.now()


def test_a_breaker_whose_time_is_over_lets_the_next_call_find_out(client):
    open_breaker(make_instance(), seconds=-1)

    arm = shown(client)

    assert arm["health"]["state"] == "degraded"
    assert arm["instances"][0]["breaker"] == {"state": "open", "until": None}


def test_no_answer_holds_a_token(client):
    instance = make_instance()
    assert instance.token

    for path in ("/arms", "/arms/billing", "/arms/billing/health"):
        text = client.get(path).content.decode()
        assert "billing" in text
        assert TOKEN not in text
        assert instance.token not in text


def test_an_instance_that_an_operator_set_aside_says_so(client):
    operating.drain(make_instance().pk, by="ada")

    arm = shown(client)

    assert arm["health"]["state"] == "down"
    assert arm["health"]["detail"] == "An operator drains it."
    assert arm["instances"][0]["state"] == "draining"


def test_an_arm_of_this_process_that_an_operator_disabled_is_down(client):
    registration.write_local(registry.local_catalogue())
    here = ArmInstance.objects.get(arm_id="gate")
    operating.disable(here.pk, by="ada")

    assert shown(client, "gate")["health"]["state"] == "down"
    assert APIClient().get("/arms/gate/health").status_code == 503


def test_a_well_service_keeps_an_arm_going_whose_own_check_fails(client, monkeypatch):
    found = Health(is_healthy=False, detail="As scripted.")
    monkeypatch.setattr(GateArm, "check", lambda self: found)
    registration.write_local(registry.local_catalogue())
    make_instance("http://gate-1:8090", arm="gate")

    arm = shown(client, "gate")

    assert arm["health"]["state"] == "degraded"
    assert arm["health"]["detail"] == "As scripted."


def test_probe_tells_strangers_the_state_and_no_place(client):
    make_instance()
    make_instance("http://billing-2.internal:8090", state=State.DOWN, detail="refused")

    answer = APIClient().get("/arms/billing/health")

    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["state"]) == ("healthy", "degraded")
    assert "internal" not in answer.content.decode()
    assert "refused" not in answer.content.decode()


def test_an_arm_that_has_not_begun_is_not_well_yet():
    make_instance(state=State.STARTING)

    answer = APIClient().get("/arms/billing/health")

    assert (answer.status_code, answer.json()["state"]) == (503, "starting")


def test_what_a_hostile_arm_says_is_data(client):
    make_instance(state=State.DOWN, detail=HOSTILE)

    answer = client.get("/arms/billing")

    assert answer.headers["Content-Type"].startswith("application/json")
    assert json.loads(answer.content)["health"]["detail"] == HOSTILE


def test_the_browsable_page_shows_hostile_text_as_text(client):
    make_instance(state=State.DOWN, detail=HOSTILE)

    page = client.get("/arms/billing", HTTP_ACCEPT="text/html").content.decode()

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
