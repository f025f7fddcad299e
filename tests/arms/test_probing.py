"""What probes, self-checks and calls make of instances, against real arms."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import InterfaceError
from django.db.models.functions import Now
from django.utils import timezone

from arms import health, registration, registry
from arms.contract import Health
from arms.health import Finding
from arms.probing import Prober, finding_in
from arms.registration import Announcement
from arms.registry_models import ArmInstance, HealthCheck, RegisteredArm
from octollm.embedded.up import free_port
from octollm.resilience import leaders
from octollm.resilience.models import Breaker
from tests.arm_server import ArmServer, Ways
from tests.probes import probe

pytestmark = pytest.mark.django_db(transaction=True)

State, Source = ArmInstance.State, ArmInstance.Source
Start = Callable[..., tuple[ArmServer, ArmInstance]]


@pytest.fixture(autouse=True)
def _nothing_known_before() -> Iterator[None]:
    registry.forget()
    yield
    registry.forget()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def started(**ways: Any) -> tuple[ArmServer, ArmInstance]:
            store = tmp_path / f"{time.monotonic_ns()}.sqlite"
            server = stack.enter_context(ArmServer(store, ways=Ways(**ways)))
            return server, enter(server.url)

        yield started


def enter(url: str, **more: Any) -> ArmInstance:
    told = {"arm": "remote", "source": Source.OPERATOR, **more}
    return registration.announce(Announcement(url=url, **told))


def state_of(instance: ArmInstance) -> str:
    instance.refresh_from_db()
    return instance.state


class TestRiseAndFall:
    def test_new_instance_is_well_after_two_good_probes(self, start: Start):
        _, instance = start()

        probe()
        first = state_of(instance)
        probe()

        assert (first, state_of(instance)) == ("starting", "healthy")
        assert registry.away() == {}

    def test_one_that_fails_is_degraded_and_then_down(self, start: Start):
        server, instance = start()
        probe(times=2)
        server.ways = replace(server.ways, health="500")

        states = []
        for _ in range(3):
            probe()
            states.append(state_of(instance))

        assert states == ["degraded", "degraded", "down"]
        assert instance.detail == "It answered with status 500."
        assert not registry.instances_of("remote")[0].takes_steps
        assert instance.since > timezone.now() - timedelta(seconds=30)

    def test_it_comes_back_after_two_good_probes(self, start: Start):
        server, instance = start(health="500")
        probe(times=3)
        server.ways = replace(server.ways, health="healthy")

        probe()
        first = state_of(instance)
        probe()

        assert (first, state_of(instance)) == ("down", "healthy")
        assert instance.detail == ""

    def test_one_bad_probe_among_good_ones_takes_nobody_down(self, start: Start):
        server, instance = start()
        probe(times=2)

        for word in ("500", "healthy") * 4:
            server.ways = replace(server.ways, health=word)
            probe()
            assert state_of(instance) != "down"

    def test_where_nobody_listens(self):
        instance = enter(f"http://127.0.0.1:{free_port('127.0.0.1', 0)}")

        probe(times=3)

        assert state_of(instance) == "down"
        assert "could not be reached" in instance.detail

    def test_one_that_never_answers_holds_up_no_other(self, start: Start):
        _, silent = start(health="silent")
        _, well = start()

        began = time.monotonic()
        probe(times=3)

        assert state_of(silent) == "down"
        assert "within 2 s" in silent.detail
        assert state_of(well) == "healthy"
        assert time.monotonic() - began < 10

    @pytest.mark.parametrize("state", [State.DRAINING, State.DISABLED])
    def test_what_an_operator_wants_no_probe_changes(self, start: Start, state: str):
        _, instance = start()
        ArmInstance.objects.update(state=state)

        probe(times=4)

        assert state_of(instance) == state

    def test_draining_one_still_has_a_history_and_a_disabled_one_none(
        self, start: Start
    ):
        _, draining = start()
        _, disabled = start()
        ArmInstance.objects.filter(pk=draining.pk).update(state=State.DRAINING)
        ArmInstance.objects.filter(pk=disabled.pk).update(state=State.DISABLED)

        probe()

        assert draining.checks.count() == 1
        assert disabled.checks.count() == 0


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (b"", (True, False)),
            (b"OK", (True, False)),
            (b"{}", (True, False)),
            (b"[1]", (True, False)),
            (b'{"status": "OK"}', (True, False)),
            (b'{"status": "degraded"}', (True, True)),
            (b'{"status": "unhealthy"}', (False, False)),
            (b'{"status": 7}', (True, False)),
            (b'{"status": "a\\u0000b"}', (False, False)),
            (b" " * 70_000, (False, False)),
            (b"[" * 50_000, (True, False)),
        ],
    )
    def test_status_in_the_body_counts(self, body: bytes, expected: tuple[bool, bool]):
        found = finding_in(body)

        assert (found.is_well, found.is_degraded) == expected
        assert found.detail.isprintable()

    def test_instance_that_says_so_is_degraded(self, start: Start):
        _, instance = start(health="degraded")

        probe(times=2)

        assert state_of(instance) == "degraded"
        assert instance.detail == "It says: degraded."


class TestEntries:
    def test_other_arm_at_the_address_is_not_taken(self, start: Start):
        server, instance = start(name="other")

        probe(times=3)

        assert state_of(instance) == "down"
        assert "is one named other" in instance.detail
        assert registry.instances_of("remote")[0].state == "down"
        assert server.ways.name == "other"

    def test_newest_of_two_versions_is_in_the_catalogue_and_stays(self, start: Start):
        start(version="1"), start(version="2")
        prober = Prober()

        probe(prober, times=3)
        first = RegisteredArm.objects.get(pk="remote")
        prober._entries_at.clear()
        probe(prober, times=3)

        again = RegisteredArm.objects.get(pk="remote")
        assert again.updated_at == first.updated_at
        versions = ArmInstance.objects.values_list("version", flat=True)
        assert sorted(versions) == ["1", "2"]

    def test_token_goes_along(self, start: Start):
        server, _ = start(token="s3cret")
        instance = enter(server.url, token="s3cret")

        probe(times=2)

        assert state_of(instance) == "healthy"
        assert "s3cret" not in instance.token


class TestHeartbeats:
    def announced(self, start: Start, *, age_s: float) -> ArmInstance:
        server, _ = start()
        instance = enter(server.url, source=Source.ANNOUNCED)
        probe(times=2)
        ArmInstance.objects.filter(pk=instance.pk).update(
            heartbeat_at=Now() - timedelta(seconds=age_s)
        )
        probe()
        return instance

    def test_silent_one_is_down_whatever_it_answers(self, start: Start):
        instance = self.announced(start, age_s=31)

        assert state_of(instance) == "down"
        assert instance.detail == "No heartbeat came."

    def test_it_comes_back_with_its_heartbeat(self, start: Start):
        instance = self.announced(start, age_s=31)

        enter(instance.location, source=Source.ANNOUNCED)
        probe(times=2)

        assert state_of(instance) == "healthy"

    def test_one_that_is_heard_stays(self, start: Start):
        assert state_of(self.announced(start, age_s=20)) == "healthy"

    def test_one_that_was_silent_for_a_day_is_forgotten(self, start: Start):
        instance = self.announced(start, age_s=86_500)

        assert not ArmInstance.objects.filter(pk=instance.pk).exists()


class TestCalls:
    def test_failed_calls_take_it_down_as_probes_do(self, start: Start):
        _, instance = start()
        probe(times=2)

        states = []
        for _ in range(3):
            health.note_failure(instance.pk, "It broke the connection.")
            states.append(state_of(instance))

        assert states == ["degraded", "degraded", "down"]
        assert instance.checks.filter(source="call").count() == 3

    def test_database_that_is_away_is_survived(self, monkeypatch, start: Start):
        _, instance = start()

        def away(*_: Any, **__: Any) -> None:
            raise InterfaceError("gone")

        monkeypatch.setattr(health, "note", away)

        health.note_failure(instance.pk, "It broke the connection.")

    def test_breaker_lets_a_call_go_when_it_is_back(self, start: Start):
        server, instance = start(health="500")
        probe(times=3)
        name = f"arm:remote:{instance.pk}"
        Breaker.objects.create(
            name=name, state="open", open_until=timezone.now() + timedelta(minutes=1)
        )
        server.ways = replace(server.ways, health="healthy")

        probe(times=2)

        open_until = Breaker.objects.get(pk=name).open_until
        assert open_until is not None
        assert open_until <= timezone.now()

    def test_instance_that_is_gone_is_nobody(self):
        health.note(enter("http://127.0.0.1:9").pk, Finding(is_well=True), source=PROBE)
        ArmInstance.objects.all().delete()

        health.note(ArmInstance().pk, Finding(is_well=False), source=PROBE)

        assert not HealthCheck.objects.exists()


PROBE = HealthCheck.Source.PROBE


class TestSelfChecks:
    def check(self, monkeypatch: pytest.MonkeyPatch, outcome: Any) -> ArmInstance:
        registration.write_local(registry.local_catalogue())

        def checked(_: object) -> Health:
            if isinstance(outcome, Exception):
                raise outcome
            return Health(is_healthy=bool(outcome), detail="" if outcome else "No.")

        monkeypatch.setattr("tests.gate.GateArm.check", checked)
        health.check_arms(["gate"])
        return ArmInstance.objects.get(arm_id="gate")

    def test_database_that_is_away_says_nothing_of_the_arm(self, monkeypatch):
        instance = self.check(monkeypatch, InterfaceError("gone"))

        assert (instance.state, instance.falls) == ("starting", 0)

    def test_check_that_raises_is_a_bad_one(self, monkeypatch):
        assert self.check(monkeypatch, ZeroDivisionError()).falls == 1

    def test_good_one_leaves_no_row_of_history(self, monkeypatch):
        instance = self.check(monkeypatch, outcome=True)

        assert instance.rises == 1
        assert not HealthCheck.objects.exists()


class TestDuty:
    def test_each_is_probed_at_its_own_time(self, start: Start):
        _, instance = start()
        prober = Prober()
        prober.tick()
        ArmInstance.objects.update(state=State.HEALTHY)
        probe(prober)

        prober.tick()

        instance.refresh_from_db()
        wait_s = (instance.probe_at - timezone.now()).total_seconds()
        assert 7 < wait_s < 12.1
        assert instance.checks.count() == 2

    def test_history_is_trimmed(self, start: Start, settings: Any):
        _, instance = start()
        for days in (0, 1, 3, 4):
            check = HealthCheck.objects.create(
                instance=instance, source=PROBE, is_healthy=True
            )
            HealthCheck.objects.filter(pk=check.pk).update(
                at=Now() - timedelta(days=days)
            )

        Prober().tick()

        ages = [(timezone.now() - each.at).days for each in HealthCheck.objects.all()]
        assert sorted(ages) == [0, 0, 1]

    def test_places_that_the_settings_name_no_more_are_taken_out(
        self, start: Start, settings: Any
    ):
        server, _ = start(name="other")
        settings.OCTOLLM_REMOTE_ARMS = [{"name": "named", "url": server.url}]
        Prober().tick()
        named = ArmInstance.objects.filter(source=Source.SETTINGS).count()
        settings.OCTOLLM_REMOTE_ARMS = []

        Prober().tick()

        assert named == 1
        assert not ArmInstance.objects.filter(source=Source.SETTINGS).exists()

    def test_one_worker_leads_and_another_when_it_is_gone(self):
        first = leaders.lead("prober", holder="a", ttl_s=10)
        second = leaders.lead("prober", holder="b", ttl_s=10)
        leaders.resign("prober", holder="a")

        assert (first, second) == (True, False)
        assert leaders.lead("prober", holder="b", ttl_s=10)
