"""What a served arm answers and leaves in its store, without a socket."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError

from arms.contract import ArmReply, ArmRequest, ArmServices, Health
from arms.registry_models import ServedExecution
from arms.served import service, store
from arms.served.service import Answer, Caller, Service
from octollm.types import JSONObject
from tests.gate import GateArm
from tests.served_arm import request_of

pytestmark = pytest.mark.django_db

SECRET = "eve@" + "corp.example"
Work = Callable[[ArmRequest, ArmServices], JSONObject]


class ScriptedArm:
    """Does what a test says."""

    def __init__(self, work: Work, *, is_repeatable: bool = True) -> None:
        self.spec = replace(GateArm.spec, is_repeatable=is_repeatable)
        self.work = work
        self.health = Health(is_healthy=True)
        self.count = 0

    def execute(self, request: ArmRequest, services: ArmServices) -> ArmReply:
        self.count += 1
        return ArmReply(output=self.work(request, services))

    def check(self) -> Health:
        return self.health


def echo(request: ArmRequest, services: ArmServices) -> JSONObject:
    return {"value": request.input.get("value")}


def served(work: Work = echo, **options: Any) -> Service:
    return Service(ScriptedArm(work, **options), token="t", places=2)


def post(to: Service, body: dict[str, Any], caller: Caller | None = None) -> Answer:
    return to.execute(json.dumps(body).encode(), caller or Caller())


def leave_running(request_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a killed process's claim on a request, whose lease is over."""
    store.begin(
        UUID(request_id),
        arm="gate",
        scope_id=uuid4(),
        life=uuid4(),
        takes_over=False,
    )
    monkeypatch.setattr(store, "LEASE_S", 0.0)


def test_what_a_dead_process_left_is_done_again_where_that_does_no_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to, body = served(), request_of(value=1)
    leave_running(body["request_id"], monkeypatch)

    assert to.execution(body["request_id"]).body["state"] == "unknown"
    assert post(to, body).body["output"] == {"value": 1}


def test_what_a_dead_process_left_is_failed_where_it_might_do_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to, body = served(is_repeatable=False), request_of(value=1)
    leave_running(body["request_id"], monkeypatch)

    looked, asked = to.execution(body["request_id"]), post(to, body)

    assert (looked.status, looked.body["state"]) == (200, "failed")
    assert (asked.status, asked.body["state"]) == (500, "failed")
    assert isinstance(to.arm, ScriptedArm)
    assert to.arm.count == 0


@pytest.mark.parametrize(("is_repeatable", "state"), [(True, 404), (False, 200)])
def test_work_that_was_stopped_is_undone_only_where_a_repetition_does_no_harm(
    is_repeatable: bool, state: int
) -> None:
    def stopped(request: ArmRequest, services: ArmServices) -> JSONObject:
        to.stop_all()
        services.stop.check()
        return {}

    to, body = served(stopped, is_repeatable=is_repeatable), request_of()

    answer = post(to, body)

    assert to.execution(body["request_id"]).status == state
    assert (answer.body["code"] == "not_accepted") == is_repeatable


def test_only_who_is_abandoned_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "GRACE_S", 0.0)
    seen: list[bool] = []

    def tended(request: ArmRequest, services: ArmServices) -> JSONObject:
        to.tend()
        seen.append(services.stop.is_cancelled)
        caller.leave()
        to.tend()
        seen.append(services.stop.is_cancelled)
        return {}

    to, caller = served(tended), Caller()
    post(to, request_of(), caller)

    assert seen == [False, True]


def test_work_that_may_not_be_repeated_is_not_stopped_when_the_caller_hangs_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "GRACE_S", 0.0)

    def tended(request: ArmRequest, services: ArmServices) -> JSONObject:
        caller.leave()
        to.tend()
        return {"is_cancelled": services.stop.is_cancelled}

    to, caller = served(tended, is_repeatable=False), Caller()

    assert post(to, request_of(), caller).body["output"] == {"is_cancelled": False}


def test_a_request_within_itself_is_told_that_it_runs() -> None:
    def nested(request: ArmRequest, services: ArmServices) -> JSONObject:
        return {"status": post(to, body).status}

    to, body = served(nested), request_of()

    assert post(to, body).body["output"] == {"status": 202}


def test_a_reply_that_is_too_long_fails_for_good(settings: Any) -> None:
    settings.OCTOLLM_MAX_OUTPUT_BYTES = 1_000
    to, body = served(lambda *_: {"value": "x" * 1_000}), request_of()

    answer = post(to, body)

    assert (answer.status, answer.body["code"]) == (500, "output_too_large")
    assert to.execution(body["request_id"]).body["state"] == "failed"


def test_a_database_that_is_away_while_it_works_is_told_as_that() -> None:
    def away(request: ArmRequest, services: ArmServices) -> JSONObject:
        raise OperationalError("the server closed the connection")

    to, body = served(away), request_of()

    answer = post(to, body)

    assert (answer.status, answer.body["code"]) == (503, "database_unavailable")
    assert not ServedExecution.objects.exists()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"request_id": ', 400),
        (b"[]", 422),
        (json.dumps({"input": {"value": SECRET}}).encode(), 422),
        (json.dumps(request_of() | {"attempt": SECRET}).encode(), 422),
        (json.dumps(request_of("nothing", value=SECRET)).encode(), 422),
    ],
)
def test_what_is_no_request_is_refused_without_repeating_it(
    body: bytes, status: int
) -> None:
    to = served()

    answer = to.execute(body, Caller())

    assert answer.status == status
    assert SECRET not in str(answer.body)
    assert isinstance(to.arm, ScriptedArm)
    assert to.arm.count == 0


def test_a_deadline_without_a_zone_is_utc_and_one_that_is_over_begins_nothing() -> None:
    body = request_of()
    body["budget"]["deadline_at"] = "2020-01-01T00:00:00"
    to = served()

    answer = post(to, body)

    assert (answer.status, answer.body["code"]) == (503, "not_accepted")
    assert not ServedExecution.objects.exists()


def test_places_are_counted_and_a_draining_arm_has_none() -> None:
    to = served()

    assert [to.take_place() is None for _ in range(3)] == [True, True, False]
    to.leave_place()
    assert to.take_place() is None
    to.leave_place()
    to.drain()
    refusal = to.take_place()
    assert refusal is not None
    assert refusal.body["code"] == "not_accepted"


def test_a_self_check_is_told_and_kept_for_a_while() -> None:
    to = served()
    assert isinstance(to.arm, ScriptedArm)
    assert (to.health().status, to.health().body["status"]) == (200, "healthy")

    to.arm.health = Health(is_healthy=False, detail="It is ill.")

    assert to.health().status == 200
    later = served()
    assert isinstance(later.arm, ScriptedArm)
    later.arm.health = to.arm.health
    assert (later.health().status, later.health().body["detail"]) == (503, "It is ill.")


@pytest.mark.parametrize(
    ("shown", "is_known"),
    [("Bearer t", True), ("Bearer tt", False), ("", False), ("Bearer \udcff", False)],
)
def test_only_the_token_lets_in(shown: str, is_known: bool) -> None:
    assert served().is_known(shown) is is_known
