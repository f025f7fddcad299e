"""An invocation's way to the instances of its arm, against real arms on sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from arms import boundary, dispatch, registration, registry
from arms.contract import ArmReply, ArmRequest, StepBudget
from arms.dispatch import Invocation, invoke
from arms.entries import read_entry
from arms.load import loads
from arms.registry_models import ArmInstance, RegisteredArm
from arms.retry_budget import budgets
from arms.routing import Route
from octollm.embedded.up import free_port
from octollm.errors import (
    ArmAwayError,
    ArmBusyError,
    ArmInputError,
    ArmUnavailableError,
    CallCancelledError,
)
from octollm.resilience import breakers, slots
from octollm.resilience.models import Breaker, Slot
from tests.arm_server import ArmServer, Ways
from tests.arm_store import effects, rows
from tests.ledgers import make_services
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

State = ArmInstance.State


@pytest.fixture(autouse=True)
def _nothing_seen_before() -> Iterator[None]:
    for each in (registry.forget, loads.reset, budgets.reset, breakers._cache.forget):
        each()
    yield
    registry.forget()
    breakers._cache.forget()


@dataclass
class Rig:
    """Instances of one arm, and what was asked of them."""

    directory: Path
    servers: list[ArmServer] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    freed: list[str] = field(default_factory=list)

    def add(self, *, state: str = State.HEALTHY, **ways: Any) -> ArmInstance:
        """Start an instance and enter it."""
        server = ArmServer(
            self.directory / f"{len(self.servers)}.sqlite", ways=Ways(**ways)
        )
        self.servers.append(server.__enter__())
        return self.enter(server.url, state=state, **ways)

    def add_dead(self, **ways: Any) -> ArmInstance:
        """Enter an instance where nobody listens."""
        return self.enter(f"http://127.0.0.1:{free_port('127.0.0.1', 0)}", **ways)

    def enter(
        self, url: str, *, state: str = State.HEALTHY, **ways: Any
    ) -> ArmInstance:
        described = Ways(**ways)
        instance = registration.announce(
            registration.Announcement(
                arm=described.name, url=url, source=ArmInstance.Source.OPERATOR
            )
        )
        entry = read_entry(json_of(described), name=described.name)
        registration.write_entry(instance, entry)
        ArmInstance.objects.filter(pk=instance.pk).update(state=state)
        registry.forget()
        instance.refresh_from_db()
        return instance

    def invoke(self, does: Any = "answer", **given: Any) -> boundary.ScreenedReply:
        return invoke(self.invocation(does, **given))

    def invocation(self, does: Any = "answer", **given: Any) -> Invocation:
        fields: dict[str, Any] = {
            "request": request_of(does, **given.pop("inputs", {})),
            "arm": "remote",
            "services": make_services(timeout_s=10.0),
            "scopes": boundary.Scopes(task=uuid4(), knowledge=uuid4()),
            "is_new": True,
            "is_retry": False,
            "holder": uuid4(),
            "may_fall_back": lambda _: True,
            "note": self.routes.append,
            "freed": self.freed.append,
        }
        return Invocation(**(fields | given))

    def effect_counts(self) -> list[int]:
        return [sum(effects(server.store._path).values()) for server in self.servers]

    def call_count(self) -> int:
        return sum(len(rows(server.store._path, "calls")) for server in self.servers)


def json_of(ways: Ways) -> bytes:
    import json

    return json.dumps(ways.entry()).encode()


def request_of(does: Any, **inputs: Any) -> ArmRequest:
    return ArmRequest(
        request_id=uuid4(),
        task_id=uuid4(),
        step_id="a",
        attempt=1,
        capability="work",
        input={"does": does, "value": "v", **inputs},
        budget=StepBudget(deadline_at=datetime.now(UTC) + timedelta(minutes=1)),
    )


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    for server in made.servers:
        server.__exit__()


def breaker(instance: ArmInstance) -> Breaker | None:
    return Breaker.objects.filter(name=f"arm:remote:{instance.pk}").first()


class TestChoice:
    def test_reply_and_route_of_the_only_instance(self, rig: Rig):
        instance = rig.add()

        reply = rig.invoke().reply

        assert reply.output["value"] == "v"
        assert [(r.instance, r.reason) for r in rig.routes] == [
            (instance.location, "the only instance")
        ]

    def test_dead_instance_is_left_for_the_next_at_once(self, rig: Rig):
        dead, _ = rig.add_dead(), rig.add()

        for _ in range(12):
            rig.invoke()

        assert rig.effect_counts() == [12]
        assert {route.instance for route in rig.routes} > {dead.location}

    def test_dead_instance_gets_no_more_calls_once_its_breaker_is_open(self, rig: Rig):
        dead, _ = rig.add_dead(), rig.add()
        for _ in range(40):
            rig.invoke()
        rig.routes.clear()

        for _ in range(20):
            rig.invoke()

        assert (breaker(dead) or Breaker()).state == "open"
        assert dead.location not in {route.instance for route in rig.routes}

    @pytest.mark.parametrize(
        "state", [State.STARTING, State.DOWN, State.DRAINING, State.DISABLED]
    )
    def test_instance_that_takes_no_steps_gets_none(self, rig: Rig, state: str):
        rig.add(state=state)

        with pytest.raises(ArmAwayError) as caught:
            rig.invoke()

        assert caught.value.is_unstarted
        assert rig.call_count() == 0

    def test_all_refuse_connections(self, rig: Rig):
        rig.add_dead(), rig.add_dead()

        with pytest.raises(ArmAwayError, match="remote") as caught:
            rig.invoke()

        assert caught.value.is_unstarted
        assert len(rig.routes) == 2

    def test_instance_that_takes_nothing_on_is_left_for_the_next(self, rig: Rig):
        rig.add(does="decline"), rig.add()

        for _ in range(5):
            rig.invoke(None)

        assert rig.effect_counts() == [0, 5]

    def test_wish_to_be_left_alone_is_heeded_by_all(self, rig: Rig):
        instance = rig.add(does="hold_off")
        with pytest.raises(ArmAwayError):
            rig.invoke(None)

        with pytest.raises(ArmAwayError) as caught:
            rig.invoke(None)

        row = breaker(instance)
        assert row is not None
        assert row.state == "closed"
        assert row.retry_at is not None
        assert row.retry_at > timezone.now() + timedelta(seconds=25)
        assert caught.value.wait_s > 25
        assert rig.call_count() == 1

    def test_arm_in_this_process_that_an_operator_disabled_is_away(self):
        registration.write_local(registry.local_catalogue())
        ArmInstance.objects.filter(arm_id="gate").update(state=State.DISABLED)
        registry.forget()

        assert "gate" in registry.away()

    def test_lost_claim_sends_nothing(self, rig: Rig):
        rig.add(concurrency=1)

        def refuse(_: Route) -> None:
            raise CallCancelledError

        with pytest.raises(CallCancelledError):
            rig.invoke(note=refuse)

        assert rig.call_count() == 0
        assert not Slot.objects.filter(holder__isnull=False).exists()


class TestPins:
    def lost(self, rig: Rig, instance: ArmInstance, **given: Any) -> Invocation:
        """Return an invocation that was sent to an instance, whose reply was lost."""
        return rig.invocation(
            **{"pinned": instance.location, "is_new": False, "is_retry": True, **given}
        )

    def test_only_who_may_have_begun_it_is_asked(self, rig: Rig):
        rig.add(), rig.add()
        request = request_of("answer")
        rig.invoke(request=request)
        at = rig.routes[0].instance
        pinned = next(i for i in ArmInstance.objects.all() if i.location == at)
        before = rig.effect_counts()

        for _ in range(8):
            invoke(self.lost(rig, pinned, request=request))

        assert rig.effect_counts() == before
        assert {route.instance for route in rig.routes} == {at}
        assert rig.routes[-1].reason == "the only instance; its store was asked first"

    def test_it_waits_for_that_one_whoever_else_is_well(self, rig: Rig):
        gone, _ = rig.add(state=State.DOWN), rig.add()

        with pytest.raises(ArmAwayError, match="Only") as caught:
            invoke(self.lost(rig, gone))

        assert not caught.value.is_unstarted
        assert rig.call_count() == 0

    def test_one_that_gets_nothing_new_still_answers(self, rig: Rig):
        draining = rig.add(state=State.DRAINING)

        invoke(self.lost(rig, draining))

        assert rig.routes[-1].instance == draining.location

    def test_any_can_answer_where_all_share_a_store(self, rig: Rig):
        gone, well = rig.add_dead(shares_store=True), rig.add(shares_store=True)
        ArmInstance.objects.filter(pk=gone.pk).update(state=State.DOWN)
        registry.forget()

        invoke(self.lost(rig, gone))

        assert rig.routes[-1].instance == well.location

    @pytest.mark.parametrize("ways", [{"is_repeatable": True}, {"has_store": False}])
    def test_any_is_asked_where_once_more_does_no_harm_or_nobody_can_tell(
        self, rig: Rig, ways: dict[str, Any]
    ):
        gone, well = rig.add(state=State.DOWN, **ways), rig.add(**ways)

        invoke(self.lost(rig, gone))

        assert rig.routes[-1].instance == well.location

    def test_reply_that_nobody_knows_of_stays_with_its_instance(self, rig: Rig):
        rig.add(has_store=False), rig.add(has_store=False)

        with pytest.raises(ArmUnavailableError) as caught:
            rig.invoke(["lose_request", "answer"])

        assert not caught.value.is_unstarted
        assert len(rig.routes) == 1


class TestBreakers:
    def test_five_failures_open_it_and_the_next_sends_nothing(self, rig: Rig):
        instance = rig.add()
        for _ in range(5):
            with pytest.raises(ArmUnavailableError):
                rig.invoke("fail")
        before = rig.call_count()

        with pytest.raises(ArmAwayError) as caught:
            rig.invoke("answer")

        assert (breaker(instance) or Breaker()).state == "open"
        assert 40 < caught.value.wait_s < 70
        assert rig.call_count() == before

    def test_one_call_finds_out_and_closes_it(self, rig: Rig):
        instance = rig.add()
        for _ in range(5):
            with pytest.raises(ArmUnavailableError):
                rig.invoke("fail")
        breakers.may_probe(f"arm:remote:{instance.pk}")

        rig.invoke("answer")

        assert (breaker(instance) or Breaker()).state == "closed"

    @pytest.mark.parametrize("does", ["refuse"])
    def test_refusals_leave_it_closed(self, rig: Rig, does: str):
        instance = rig.add()

        for _ in range(30):
            with pytest.raises(ArmInputError):
                rig.invoke(does)

        assert breaker(instance) is None

    @pytest.mark.parametrize("does", ["babble", "flood"])
    def test_rubbish_and_floods_are_the_arms_making(self, rig: Rig, does: str):
        instance = rig.add(has_store=False)

        with pytest.raises(Exception, match="remote"):
            rig.invoke(does)

        assert (breaker(instance) or Breaker()).failures == 1

    def test_arm_that_is_silent_to_the_end_is_to_blame(self, rig: Rig, monkeypatch):
        monkeypatch.setattr(dispatch, "FAIR_TIME_S", 0.2)
        instance = rig.add(has_store=False)

        with pytest.raises(Exception, match="ran out"):
            rig.invoke("hang_before", services=make_services(timeout_s=0.5))

        assert (breaker(instance) or Breaker()).failures == 1


class TestPlaces:
    def test_full_instance_is_passed_over(self, rig: Rig):
        full, free = rig.add(concurrency=1), rig.add(concurrency=1)
        assert slots.take(registration.scope_of(full.pk), uuid4())

        for _ in range(4):
            rig.invoke()

        assert {route.instance for route in rig.routes} == {free.location}
        assert rig.freed == ["remote"] * 4

    def test_all_full(self, rig: Rig):
        full = rig.add(concurrency=2)
        scope = registration.scope_of(full.pk)
        for _ in range(2):
            assert slots.take(scope, uuid4())

        with pytest.raises(ArmBusyError) as caught:
            rig.invoke()

        assert caught.value.code == "arm_busy"
        assert rig.call_count() == 0

    def test_place_is_free_again_however_the_call_ends(self, rig: Rig):
        rig.add(concurrency=1)

        for does in ("answer", "refuse", "fail"):
            holder: UUID = uuid4()
            with suppress(ArmInputError, ArmUnavailableError):
                rig.invoke(does, holder=holder)
            assert not Slot.objects.filter(holder=holder).exists()

    def test_operators_limit_counts_before_the_arms_own(self, rig: Rig):
        instance = rig.add(concurrency=5)
        RegisteredArm.objects.update(limit=1)
        registration.resize("remote")

        assert (
            Slot.objects.filter(scope=registration.scope_of(instance.pk)).count() == 1
        )


class TestFallback:
    def test_other_arm_is_taken_and_said_so(self, rig: Rig):
        rig.add(state=State.DOWN, fallback="spare")
        spare = rig.add(name="spare")

        rig.invoke()

        route = rig.routes[-1]
        assert (route.arm, route.instance) == ("spare", spare.location)
        assert route.reason == "remote is away; its fallback spare: the only instance"

    def test_not_when_the_caller_or_the_policy_says_no(self, rig: Rig):
        rig.add(state=State.DOWN, fallback="spare")
        rig.add(name="spare")

        with pytest.raises(ArmAwayError):
            rig.invoke(may_fall_back=lambda _: False)

    def test_not_for_a_request_that_somebody_may_have_begun(self, rig: Rig):
        gone = rig.add(state=State.DOWN, fallback="spare")
        rig.add(name="spare")

        with pytest.raises(ArmAwayError):
            rig.invoke(pinned=gone.location, is_new=False)

    def test_not_one_that_lacks_the_capability(self, rig: Rig):
        rig.add(state=State.DOWN, fallback="judge")

        with pytest.raises(ArmAwayError):
            rig.invoke()

    def test_not_while_the_arm_is_only_busy(self, rig: Rig):
        full = rig.add(concurrency=1, fallback="spare")
        rig.add(name="spare")
        assert slots.take(registration.scope_of(full.pk), uuid4())

        with pytest.raises(ArmBusyError):
            rig.invoke()


class TestRetries:
    def test_no_more_than_a_fifth_beside_the_reserve(self, rig: Rig):
        rig.add()
        sent = 0
        for _ in range(60):
            with suppress(ArmAwayError):
                try:
                    rig.invoke("refuse", is_retry=True)
                except ArmInputError:
                    sent += 1

        assert sent == 10

    def test_first_requests_are_never_held_back(self, rig: Rig):
        rig.add()
        while budgets.spend("remote"):
            pass

        assert isinstance(rig.invoke().reply, ArmReply)


def test_call_ends_when_its_instance_is_found_down(rig: Rig, tmp_path: Path):
    instance = rig.add()
    found: list[Exception] = []

    def work() -> None:
        try:
            rig.invoke("hang_before", inputs={"gate": str(tmp_path / "gate")})
        except ArmAwayError as error:
            found.append(error)

    thread = in_thread(work)
    wait_until(rig.call_count)
    ArmInstance.objects.filter(pk=instance.pk).update(state=State.DOWN)
    wait_until(lambda: registry.catalogue() and found, timeout_s=10)
    thread.join()

    (error,) = found
    assert isinstance(error, ArmAwayError)
    assert not error.is_unstarted


def in_thread(work: Callable[[], object]) -> Any:
    from threading import Thread

    from django.db import connections

    def run() -> None:
        try:
            work()
        finally:
            connections.close_all()

    thread = Thread(target=run)
    thread.start()
    return thread
