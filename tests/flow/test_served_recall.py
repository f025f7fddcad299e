"""Workers and instances that serve arms of ours share one store, through the boundary."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connections

from arms import boundary, registry
from arms.boundary import Scopes
from arms.client import RemoteArm
from arms.contract import ArmRequest, Usage
from arms.knowledge import documents
from arms.knowledge.documents import NewDocument
from arms.places import Place
from arms.registry_models import Execution, ServedExecution
from arms.served import store
from octollm.access.keys import get_or_create_owner
from octollm.errors import ArmError
from tests.engines import TestEngines
from tests.flow.conftest import Gate
from tests.ledgers import MemoryMeter, make_services
from tests.served_arm import TOKEN, ServedArm, request_of, serving


class BookingMeter(MemoryMeter):
    """Keeps what arms elsewhere say that they used."""

    booked: dict[UUID, Usage]

    def __init__(self) -> None:
        super().__init__()
        self.booked = {}

    def book_usage(self, request_id: UUID, usage: Usage, *, arm: str, at: str) -> None:
        self.booked[request_id] = usage


@pytest.fixture(scope="module")
def served(
    engines: TestEngines, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedArm]:
    with serving(engines, tmp_path_factory.mktemp("served")) as arm:
        yield arm


def remote(arm: ServedArm, name: str = "gate") -> RemoteArm:
    spec = registry.spec_of(name)
    return RemoteArm(spec, Place(name=name, url=arm.url, token=TOKEN))


def asked(*words: str, **given: Any) -> ArmRequest:
    return ArmRequest.model_validate(request_of(*words, **given))


def call(request: ArmRequest, arm: Any, **options: Any) -> boundary.ScreenedReply:
    services = options.pop("services", None) or make_services(**options.pop("own", {}))
    scopes = Scopes(task=request.task_id, knowledge=uuid4())
    return boundary.call(request, arm=arm, services=services, scopes=scopes, **options)


def call_from_thread(request: ArmRequest) -> boundary.ScreenedReply:
    try:
        return call(request, registry.get_arm("gate"), own={"timeout_s": 30.0})
    finally:
        connections.close_all()


def test_a_step_done_elsewhere_is_not_done_again_in_process(
    served: ServedArm, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    request = asked("wait", gate=str(gate))
    done = served.execute(request.model_dump(mode="json")).json()
    meter = BookingMeter()

    screened = call(request, registry.get_arm("gate"), services=make_services(meter))

    assert screened.reply.output == done["output"]
    assert list(meter.booked) == [request.request_id]
    # The mark of the process that served it, and no other.
    assert len(list(tmp_path.glob("gate.a.*"))) == 1


def test_a_step_under_way_elsewhere_is_waited_for(
    served: ServedArm, gate: Gate
) -> None:
    request = asked("wait", gate=str(gate.path))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(served.execute, request.model_dump(mode="json"))
        gate.wait_for("a")
        second = pool.submit(call_from_thread, request)
        gate.open()
        answers = first.result().json()["output"], second.result().reply.output

    assert answers[0] == answers[1]
    assert len(gate.entries("a")) == 1


def test_a_step_that_failed_elsewhere_fails(served: ServedArm) -> None:
    request = asked("fail")
    served.execute(request.model_dump(mode="json"))

    with pytest.raises(ArmError, match="It failed for good"):
        call(request, registry.get_arm("gate"))


def test_a_lost_step_of_an_arm_that_is_not_repeatable_is_not_done_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request_id = uuid4()
    store.begin(
        request_id, arm="gate", scope_id=uuid4(), life=uuid4(), takes_over=False
    )
    monkeypatch.setattr(store, "LEASE_S", 0.0)

    assert store.find(request_id) == store.Found(state="lost")

    def begin_again(*, takes_over: bool) -> bool:
        return store.begin(
            request_id,
            arm="gate",
            scope_id=uuid4(),
            life=uuid4(),
            takes_over=takes_over,
        )

    assert not begin_again(takes_over=False)
    assert begin_again(takes_over=True)


def test_whoever_lost_a_request_cannot_end_it() -> None:
    request_id, mine, other = uuid4(), uuid4(), uuid4()
    store.begin(request_id, arm="gate", scope_id=uuid4(), life=mine, takes_over=True)

    assert not store.finish(request_id, {"output": {"by": "other"}}, life=other)
    store.forget(request_id, life=other)
    assert store.finish(request_id, {"output": {"by": "mine"}}, life=mine)
    assert not store.finish(request_id, {"output": {"by": "late"}}, life=mine)

    found = store.find(request_id)
    assert found is not None
    assert found.outcome == {"output": {"by": "mine"}}


def test_what_an_arm_elsewhere_saw_is_concealed_before_it_is_kept_here(
    served: ServedArm,
) -> None:
    secret = "eve@" + "corp.example"
    request = asked(value=secret)

    screened = call(request, remote(served), is_new=True)
    screened.record()

    kept = Execution.objects.get(pk=request.request_id)
    assert secret not in str(kept.reply)
    assert "[EMAIL" in str(screened.reply.output["value"])
    assert secret not in ServedExecution.objects.get(pk=request.request_id).outcome


def test_the_owners_documents_are_found_by_a_retriever_elsewhere(
    engines: TestEngines, tmp_path: Path
) -> None:
    owner = get_or_create_owner(f"reader-{uuid4().hex[:8]}").pk
    text = "The submarine dives below the harbour."
    documents.ingest_all(owner, [NewDocument(collection="sea", title="s", text=text)])
    request = asked("search", query="submarine")
    with serving(engines, tmp_path, name="retriever") as arm:
        screened = call(
            request,
            remote(arm, "retriever"),
            own={"knowledge_scope": owner},
            is_new=True,
        )

    assert screened.reply.output["count"] == 1
