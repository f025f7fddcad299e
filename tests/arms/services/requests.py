"""Requests and services for arms under test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jsonschema

from arms.contract import (
    ArmReply,
    ArmRequest,
    ArmServices,
    Capability,
    Recorded,
    StepBudget,
)
from octollm.ids import new_id
from octollm.resilience.deadline import StopToken
from octollm.types import JSONObject


class NoMeter:
    """The meter of arms that make no paid call: whatever is asked fails the test."""

    def replay(self, request_hash: str) -> Recorded:
        raise AssertionError("no model call was expected")

    def reserve(self, call: Any) -> UUID:
        raise AssertionError("no model call was expected")

    def settle(self, charge_id: UUID, usage: Any, reply: str) -> None:
        raise AssertionError("no model call was expected")

    def presume(self, charge_id: UUID) -> None:
        raise AssertionError("no model call was expected")

    def book_usage(self, request_id: UUID, usage: Any, *, arm: str, at: str) -> None:
        raise AssertionError("no usage was expected")

    def release(self, charge_id: UUID) -> None:
        raise AssertionError("no model call was expected")


def make_services(
    *, timeout_s: float = 60.0, knowledge_scope: UUID | None = None
) -> ArmServices:
    return ArmServices(
        meter=NoMeter(), stop=StopToken(timeout_s), knowledge_scope=knowledge_scope
    )


def make_request(capability: str, given: Any) -> ArmRequest:
    return ArmRequest(
        request_id=new_id(),
        task_id=new_id(),
        step_id="work",
        attempt=1,
        capability=capability,
        input=given,
        budget=StepBudget(deadline_at=datetime.now(UTC) + timedelta(minutes=1)),
    )


def output_of(arm: Any, capability: str, given: Any, **services: Any) -> Any:
    """Return only the output of ``run``."""
    return run(arm, capability, given, **services).output


def run(arm: Any, capability: str, given: Any, **services: Any) -> ArmReply:
    """Execute and check that the output is what the catalogue promises."""
    reply: ArmReply = arm.execute(
        make_request(capability, given), make_services(**services)
    )
    declared: Capability | None = arm.spec.capability(capability)
    assert declared is not None
    assert_fits(reply.output, declared.output_schema)
    return reply


def assert_fits(output: JSONObject, schema: Any) -> None:
    jsonschema.validate(output, schema)  # type: ignore[no-untyped-call]  # no stubs
    missing = set(schema["properties"]) - set(output)
    assert not missing, f"promised and not given: {missing}"
