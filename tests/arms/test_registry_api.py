"""The catalogue of arms over HTTP."""

from __future__ import annotations

from datetime import datetime

import pytest
from rest_framework.test import APIClient

from arms import health, registration, registry
from arms.contract import Health
from octollm.access.keys import create_key
from tests.gate import GateArm

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_checked_before(monkeypatch):
    monkeypatch.setattr(health, "_checked", {})


@pytest.fixture
def client() -> APIClient:
    _, token = create_key(owner_name="caller", name="tests")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def test_arms_are_listed_by_name_in_a_bare_array(client):
    names = [arm["name"] for arm in client.get("/arms").json()]

    assert names == sorted(names)
    assert {"planner", "retriever", "analyst", "judge"} <= set(names)


def test_arm_has_the_public_shape(client):
    arm = client.get("/arms/analyst").json()

    assert arm.keys() >= {
        *("name", "version", "description", "capabilities", "health", "instances")
    }
    assert "sentiment" in arm["capabilities"]
    assert arm["health"].keys() >= {"state", "source", "checked_at"}
    assert datetime.fromisoformat(arm["health"]["checked_at"]).tzinfo is not None


@pytest.mark.parametrize(("is_healthy", "state"), [(True, "healthy"), (False, "down")])
def test_health_is_what_the_arms_own_check_says(client, monkeypatch, is_healthy, state):
    found = Health(is_healthy=is_healthy, detail="As scripted.")
    monkeypatch.setattr(GateArm, "check", lambda self: found)

    shown = client.get("/arms/gate").json()["health"]

    assert (shown["state"], shown["source"]) == (state, "self-check")


def test_broken_self_check_breaks_no_page(client, monkeypatch):
    def broken(self: GateArm) -> Health:
        raise RuntimeError

    monkeypatch.setattr(GateArm, "check", broken)

    states = {arm["name"]: arm["health"]["state"] for arm in client.get("/arms").json()}

    assert (states["gate"], states["judge"]) == ("down", "healthy")


def test_instances_show_what_workers_found(client):
    registration.write_local(registry.local_catalogue())
    for _ in range(2):
        health.check_arms()

    (instance,) = client.get("/arms/gate").json()["instances"]

    assert (instance["location"], instance["state"]) == ("in-process", "healthy")


def test_arm_that_nobody_knows_is_not_found(client):
    answer = client.get("/arms/nobody")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("is_healthy", "status", "word"),
    [(True, 200, "healthy"), (False, 503, "unhealthy")],
)
def test_probe_is_answered_by_status_and_without_a_key(
    monkeypatch, is_healthy, status, word
):
    found = Health(is_healthy=is_healthy, detail="As scripted.")
    monkeypatch.setattr(GateArm, "check", lambda self: found)

    answer = APIClient().get("/arms/gate/health")

    assert (answer.status_code, answer.json()["status"]) == (status, word)
    # Why is for callers with a key.
    assert "scripted" not in answer.content.decode()


def test_every_arm_of_the_catalogue_can_be_probed(client):
    for arm in client.get("/arms").json():
        assert APIClient().get(f"/arms/{arm['name']}/health").status_code == 200


def test_probe_of_an_arm_that_nobody_knows_is_not_found():
    assert APIClient().get("/arms/nobody/health").status_code == 404


def test_catalogue_is_for_callers_with_a_key():
    assert APIClient().get("/arms").status_code == 401
