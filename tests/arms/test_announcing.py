"""``POST /arm-instances``: who may announce an instance, and what becomes of it."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from arms import registration, registry
from arms.registration import Announcement
from arms.registry_models import ArmInstance, RegisteredArm
from octollm.access.keys import create_key

pytestmark = pytest.mark.django_db

URL = "http://10.0.0.7:8090"
SECRET = "sesame-42"
State: TypeAlias = ArmInstance.State
Source: TypeAlias = ArmInstance.Source


def client_with(*scopes: str) -> APIClient:
    _, token = create_key(owner_name="acme", name="arms", scopes=scopes)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


@pytest.fixture
def arms() -> APIClient:
    return client_with("arms")


def announce(client: APIClient, **body: Any) -> Any:
    given = {"arm": "billing", "url": URL} | body
    return client.post("/arm-instances", given, format="json")


def only() -> ArmInstance:
    return ArmInstance.objects.get(arm_id="billing")


def set_state(state: State, **others: Any) -> None:
    ArmInstance.objects.update(state=state, **others)


# Who may ------------------------------------------------------------------------------
def test_a_full_key_of_an_owner_announces_nothing() -> None:
    answer = announce(client_with())

    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert not RegisteredArm.objects.filter(pk="billing").exists()


@pytest.mark.parametrize("scopes", [("metrics",), ("arm:billing2",), ("arm:bill",)])
def test_a_key_of_another_scope_announces_nothing(scopes: tuple[str, ...]) -> None:
    answer = announce(client_with(*scopes))

    assert answer.status_code == 403
    assert not ArmInstance.objects.filter(arm_id="billing").exists()


@pytest.mark.parametrize("scopes", [("arms",), ("arm:billing",), ("arm:x", "arms")])
def test_a_key_of_the_scope_announces(scopes: tuple[str, ...]) -> None:
    answer = announce(client_with(*scopes))

    assert answer.status_code == 200
    assert only().location == URL


def test_a_key_that_may_announce_may_nothing_else(arms: APIClient) -> None:
    assert arms.get("/arms").status_code == 403
    assert arms.post("/submit", {"goal": "g"}, format="json").status_code == 403


def test_nobody_announces_without_a_key() -> None:
    assert announce(APIClient()).status_code == 401


def test_staff_may_announce_and_other_accounts_may_not() -> None:
    staff, other = APIClient(), APIClient()
    staff.force_login(User.objects.create_user("ada", password="x", is_staff=True))
    other.force_login(User.objects.create_user("eve", password="x"))

    assert announce(staff).status_code == 200
    assert announce(other).status_code == 401


# What it may say ----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"arm": "Billing!"}, "arm"),
        ({"arm": "b" * 65}, "arm"),
        ({"url": "ftp://host/"}, "url"),
        ({"url": "billing:8090"}, "url"),
        ({"url": "http://ada:pw@host"}, "url"),
        ({"url": "http://host/?a=1"}, "url"),
        ({"url": "http://host:0"}, "url"),
        ({"url": "http://" + "h" * 500}, "url"),
        ({"token": "two words"}, "token"),
        ({"token": "t" * 501}, "token"),
        ({"weight": 0}, "weight"),
        ({"weight": 101}, "weight"),
        ({"state": "healthy"}, "state"),
        ({"is_admin": True}, "is_admin"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(
    arms: APIClient, body: dict[str, Any], field: str
) -> None:
    answer = announce(arms, **body)

    assert answer.status_code == 400
    assert [each["pointer"] for each in answer.json()["errors"]] == [f"#/{field}"]
    assert not ArmInstance.objects.filter(arm_id="billing").exists()


def test_an_error_does_not_repeat_the_token(arms: APIClient) -> None:
    answer = announce(arms, token=f"{SECRET} {SECRET}")

    assert SECRET not in json.dumps(answer.json())


# What becomes of it -------------------------------------------------------------------
def test_a_new_instance_starts_and_its_token_is_kept_encrypted(arms: APIClient) -> None:
    answer = announce(arms, token=SECRET, weight=30)

    row = only()
    assert answer.json() == {
        "instance_id": str(row.pk),
        "state": "starting",
        "heartbeat_s": 10.0,
    }
    assert (row.source, row.weight) == (Source.ANNOUNCED, 30)
    assert row.heartbeat_at is not None
    assert SECRET not in row.token
    assert registration.decrypted(row.token) == SECRET


def test_a_heartbeat_changes_nothing_but_its_time(arms: APIClient) -> None:
    first = announce(arms, token=SECRET, weight=30).json()
    set_state(State.HEALTHY, rises=2)
    before = only()

    second = announce(arms, token=SECRET, url=f"{URL}/").json()

    after = only()
    assert second == first | {"state": "healthy"}
    assert (after.token, after.weight, after.rises) == (before.token, 30, 2)
    assert before.heartbeat_at is not None
    assert after.heartbeat_at is not None
    assert after.heartbeat_at >= before.heartbeat_at


def test_an_arm_of_this_process_may_have_instances_elsewhere(arms: APIClient) -> None:
    announce(arms, arm="judge")
    registry.forget()

    places = {each.location for each in registry.instances_of("judge")}
    assert places == {"in-process", URL}


def test_a_draining_instance_gets_nothing_and_comes_back_by_itself(
    arms: APIClient,
) -> None:
    announce(arms)
    set_state(State.HEALTHY)

    assert announce(arms, state="draining").json()["state"] == "draining"
    assert announce(arms, state="draining").json()["state"] == "draining"
    registry.forget()
    (place,) = registry.instances_of("billing")
    assert (place.takes_steps, place.answers) == (False, True)

    assert announce(arms).json()["state"] == "starting"
    assert (only().drains_itself, only().detail) == (False, "")


@pytest.mark.parametrize("state", [State.DRAINING, State.DISABLED])
def test_what_an_operator_said_stays(arms: APIClient, state: State) -> None:
    announce(arms)
    set_state(state)

    for said in ("serving", "draining", "serving", "gone", "serving"):
        assert announce(arms, state=said).json()["state"] == state, said
    assert not only().drains_itself


def test_an_operators_drain_stays_where_it_drained_itself_before(
    arms: APIClient,
) -> None:
    announce(arms, state="draining")
    set_state(State.DISABLED)
    announce(arms)
    # Enabled and drained again, by an operator.
    set_state(State.DRAINING)

    assert announce(arms).json()["state"] == "draining"


def test_a_gone_instance_is_taken_out_once_and_for_all(arms: APIClient) -> None:
    announce(arms)
    announce(arms, state="draining")

    for _ in range(2):
        answer = announce(arms, state="gone").json()
        assert (answer["instance_id"], answer["state"]) == (None, "gone")
    assert not ArmInstance.objects.filter(arm_id="billing").exists()
    assert announce(arms).json()["state"] == "starting"


def test_an_unknown_instance_that_is_gone_leaves_no_trace(arms: APIClient) -> None:
    assert announce(arms, state="gone").status_code == 200
    assert not RegisteredArm.objects.filter(pk="billing").exists()


def test_a_place_of_an_operator_stays_one(arms: APIClient) -> None:
    registration.announce(
        Announcement(arm="billing", url=URL, source=Source.OPERATOR, weight=7)
    )

    announce(arms, token=SECRET)
    announce(arms, state="gone")

    row = only()
    assert (row.source, row.weight) == (Source.OPERATOR, 7)
    assert registration.decrypted(row.token) == SECRET


def test_a_place_of_the_settings_is_not_announced(
    arms: APIClient, settings: Any
) -> None:
    settings.OCTOLLM_REMOTE_ARMS = [{"name": "billing", "url": URL}]
    registration.announce(Announcement(arm="billing", url=URL, source=Source.SETTINGS))

    for state in ("serving", "gone"):
        answer = announce(arms, state=state)
        assert (answer.status_code, answer.json()["code"]) == (409, "place_named")
    assert only().source == Source.SETTINGS


def test_the_schema_describes_it(arms: APIClient) -> None:
    schema = client_with().get("/schema").json()

    operation = schema["paths"]["/arm-instances"]["post"]
    assert "200" in operation["responses"]
