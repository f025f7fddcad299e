"""What is wrong with one instance is its own, and what an operator says stays."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection
from django.db.models.functions import Now
from django.utils import timezone

from arms import health, probing, registration, registry
from arms.contract import Health
from arms.entries import read_entry
from arms.health import Finding
from arms.probing import Prober
from arms.registration import Announcement
from arms.registry_models import ArmInstance, HealthCheck, RegisteredArm
from octollm.errors import ArmError
from octollm.resilience import outbound
from octollm.resilience.deadline import StopToken
from octollm.resilience.models import Slot
from tests.arm_server import ArmServer, Ways
from tests.probes import probe

pytestmark = pytest.mark.django_db(transaction=True)

State, Source = ArmInstance.State, ArmInstance.Source
PROBE = HealthCheck.Source.PROBE
Start = Callable[..., tuple[ArmServer, ArmInstance]]


@pytest.fixture(autouse=True)
def _nothing_known_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(health, "_failed", set())
    monkeypatch.setattr(health, "_calmed_at", {})
    registry.forget()
    yield
    registry.forget()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def started(
            source: ArmInstance.Source = Source.OPERATOR, **ways: Any
        ) -> tuple[ArmServer, ArmInstance]:
            store = tmp_path / f"{time.monotonic_ns()}.sqlite"
            server = stack.enter_context(ArmServer(store, ways=Ways(**ways)))
            return server, enter(server.url, source=source)

        yield started


def enter(url: str, *, source: ArmInstance.Source = Source.OPERATOR) -> ArmInstance:
    return registration.announce(Announcement(arm="remote", url=url, source=source))


def state_of(instance: ArmInstance) -> str:
    instance.refresh_from_db()
    return instance.state


def silence(instance: ArmInstance, *, for_s: float) -> None:
    ArmInstance.objects.filter(pk=instance.pk).update(
        heartbeat_at=Now() - timedelta(seconds=for_s)
    )


class TestOneOfMany:
    def test_token_of_another_key_takes_down_its_own_instance_only(self, start: Start):
        _, sealed = start()
        _, well = start()
        ArmInstance.objects.filter(pk=sealed.pk).update(token="of-another-key")

        probe(times=3)

        assert (state_of(sealed), state_of(well)) == ("down", "healthy")
        assert "OCTOLLM_VAULT_KEYS" in sealed.detail

    def test_entry_that_no_row_can_hold_takes_down_its_own_instance_only(
        self, start: Start
    ):
        _, hostile = start(description="a\x00b")
        _, well = start()

        probe(times=3)

        assert (state_of(hostile), state_of(well)) == ("down", "healthy")
        assert "NUL" in hostile.detail
        assert RegisteredArm.objects.get(pk="remote").description == Ways.description

    @pytest.mark.parametrize("value", ["NaN", "Infinity", r'"\u0000"', "1e999"])
    def test_schema_that_no_row_can_hold_is_refused(self, value: str):
        entry = (
            '{"name": "remote", "version": "1", "description": "", "capabilities": ['
            '{"name": "work", "description": "", "output_schema": {},'
            f' "input_schema": {{"default": {value}}}}}]}}'
        )

        with pytest.raises(ArmError):
            read_entry(entry.encode(), name="remote")

    def test_one_that_cannot_be_noted_keeps_nobody_else(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ):
        _, odd = start()
        _, well = start()
        real = health.note

        def note(instance_id: Any, found: Finding, **more: Any) -> None:
            if instance_id == odd.pk:
                raise ValueError("unforeseen")
            real(instance_id, found, **more)

        monkeypatch.setattr(health, "note", note)
        probe(times=2)

        assert (state_of(odd), state_of(well)) == ("starting", "healthy")

    def test_words_that_an_arm_chose_are_kept_without_signs_that_none_can_see(
        self, start: Start
    ):
        _, instance = start()

        health.note(
            instance.pk, Finding(is_well=False, detail="a\x00\n\ud800b"), source=PROBE
        )

        instance.refresh_from_db()
        assert instance.detail == "a\N{REPLACEMENT CHARACTER}" + (
            "\N{REPLACEMENT CHARACTER}" * 2 + "b"
        )


class TestTime:
    @pytest.mark.parametrize("health", ["drip", "flood"])
    def test_answer_without_end_is_cut(self, start: Start, health: str):
        _, instance = start(health=health)
        _, well = start()
        began = time.monotonic()

        probe(times=2)

        took_s = time.monotonic() - began
        instance.refresh_from_db()
        assert (instance.falls, state_of(well)) == (2, "healthy")
        assert took_s < 8

    def test_who_stood_still_blames_nobody(self, start: Start):
        server, silent = start(health="silent")

        async def stand_still() -> None:
            # What holds up the loop, as a paused process would.
            time.sleep(probing.TIMEOUT_S + 0.5)

        def stand_still_once_it_is_asked() -> None:
            assert server.was_asked.wait(10)
            outbound.run(stand_still(), stop=StopToken(30))

        prober = Prober()
        standing = threading.Thread(target=stand_still_once_it_is_asked)
        standing.start()
        probe(prober)
        standing.join()
        blamed = silent.checks.count()
        probe(prober)

        assert (blamed, silent.checks.count()) == (0, 1)


class TestPace:
    def due_in_s(self, instance: ArmInstance) -> float:
        instance.refresh_from_db()
        return (instance.probe_at - timezone.now()).total_seconds()

    def test_one_that_begins_to_be_well_is_asked_again_at_once(self, start: Start):
        server, instance = start(health="500")
        probe(times=3)
        server.ways = replace(server.ways, health="healthy")

        probe()
        soon_s = self.due_in_s(instance)
        probe()

        assert soon_s < 1.1
        assert state_of(instance) == "healthy"
        assert self.due_in_s(instance) > 7

    def test_one_that_is_down_is_not_asked_each_second(self, start: Start):
        _, instance = start(health="500")

        probe(times=4)

        assert state_of(instance) == "down"
        assert self.due_in_s(instance) > 7


class TestSilence:
    def test_it_is_noticed_at_the_next_tick(self, start: Start):
        _, instance = start(source=Source.ANNOUNCED)
        prober = Prober()
        probe(prober, times=2)
        silence(instance, for_s=31)

        prober.tick()

        assert state_of(instance) == "down"

    @pytest.mark.parametrize("state", [State.DRAINING, State.DISABLED])
    def test_what_an_operator_set_aside_stays_so_when_it_comes_back(
        self, start: Start, state: ArmInstance.State
    ):
        _, instance = start(source=Source.ANNOUNCED)
        ArmInstance.objects.update(state=state)
        silence(instance, for_s=31)
        probe()
        enter(instance.location, source=Source.ANNOUNCED)

        probe(times=3)

        assert state_of(instance) == state

    def test_disabled_one_is_remembered_for_longer_than_a_day(self, start: Start):
        _, instance = start(source=Source.ANNOUNCED)
        ArmInstance.objects.update(state=State.DISABLED)
        silence(instance, for_s=2 * 86_400)

        probe()

        assert state_of(instance) == "disabled"

    @pytest.mark.parametrize("source", [Source.OPERATOR, Source.SETTINGS])
    def test_place_that_somebody_else_names_now_is_probed_without_a_heartbeat(
        self, start: Start, settings: Any, source: ArmInstance.Source
    ):
        server, instance = start(source=Source.ANNOUNCED)
        probe(times=2)
        settings.OCTOLLM_REMOTE_ARMS = [{"name": "remote", "url": server.url}]
        enter(server.url, source=source)
        silence(instance, for_s=100)
        server.ways = replace(server.ways, health="500")

        probe(times=3)

        assert state_of(instance) == "down"
        assert instance.detail == "It answered with status 500."


class TestGoodCalls:
    def seen(self, instance: ArmInstance) -> registry.Instance:
        registry.forget()
        (found,) = registry.instances_of("remote")
        assert found.id == instance.pk
        return found

    def test_failures_among_good_calls_take_nobody_down(self, start: Start):
        _, instance = start()
        probe(times=2)

        for _ in range(5):
            health.note_failure(instance.pk, "It broke the connection.")
            health.note_success(self.seen(instance))

        assert state_of(instance) == "degraded"
        probe(times=2)
        assert state_of(instance) == "healthy"

    def test_good_call_elsewhere_counts_against_failures_here(self, start: Start):
        _, instance = start()
        probe(times=2)
        health.note_failure(instance.pk, "It broke the connection.")
        # As if the failure were another process's.
        health._failed.clear()

        health.note_success(self.seen(instance))

        instance.refresh_from_db()
        assert (instance.state, instance.falls) == ("degraded", 0)

    def test_good_calls_do_not_outweigh_what_probes_find(self, start: Start):
        server, instance = start()
        probe(times=2)
        server.ways = replace(server.ways, health="500")

        for _ in range(3):
            probe()
            health._calmed_at.clear()
            health.note_success(self.seen(instance))

        assert state_of(instance) == "down"

    def test_good_call_of_a_calm_instance_asks_nothing(
        self, start: Start, django_assert_num_queries: Any
    ):
        _, instance = start()
        probe(times=2)
        seen = self.seen(instance)

        with django_assert_num_queries(0):
            for _ in range(100):
                health.note_success(seen)

    def test_degraded_one_costs_a_statement_a_second(
        self, start: Start, django_assert_num_queries: Any
    ):
        _, instance = start(health="degraded")
        probe(times=2)
        seen = self.seen(instance)

        with django_assert_num_queries(1):
            for _ in range(100):
                health.note_success(seen)

    def test_database_that_is_away_is_survived(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ):
        _, instance = start()
        seen = self.seen(instance)
        health.note_failure(instance.pk, "It broke the connection.")

        def away() -> None:
            raise OperationalError("gone")

        monkeypatch.setattr(connection, "cursor", away)

        health.note_success(seen)


class TestHistory:
    def test_zero_days_keep_it_for_ever(self, start: Start, settings: Any):
        settings.OCTOLLM_RETAIN_HEALTH_CHECKS_DAYS = 0
        _, instance = start()
        probe()
        HealthCheck.objects.update(at=Now() - timedelta(days=400))

        Prober().tick()

        assert HealthCheck.objects.filter(instance=instance).exists()

    def test_database_that_is_away_ends_the_look(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ):
        start()

        def away(*_: Any, **__: Any) -> None:
            raise InterfaceError("gone")

        monkeypatch.setattr(health, "note", away)

        with pytest.raises(InterfaceError):
            probe()


class TestSelfCheckThatHangs:
    def test_it_takes_down_its_own_arm_and_holds_up_no_probe(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ):
        registration.write_local(registry.local_catalogue())
        ArmInstance.objects.exclude(arm_id="gate").delete()
        _, elsewhere = start()
        is_over, has_begun = threading.Event(), threading.Event()

        def hang(_: object) -> Health:
            has_begun.set()
            is_over.wait(60)
            return Health(is_healthy=True)

        monkeypatch.setattr("tests.gate.GateArm.check", hang)
        monkeypatch.setattr(probing, "TIMEOUT_S", 0.5)
        prober = Prober()

        probe(prober, times=4)

        here = ArmInstance.objects.get(arm_id="gate")
        began = has_begun.is_set()
        is_over.set()
        checks = prober._self_checks._thread
        assert checks is not None
        checks.join(30)
        assert began
        assert (here.state, here.detail) == ("down", "Its self-check does not end.")
        assert state_of(elsewhere) == "healthy"


class TestPlaces:
    def places(self) -> list[int]:
        scopes = [
            registration.scope_of(pk)
            for pk in ArmInstance.objects.values_list("pk", flat=True)
        ]
        return [Slot.objects.filter(scope=scope).count() for scope in scopes]

    def test_each_instance_has_them_also_one_that_comes_later(self, start: Start):
        start(concurrency=3)
        start(concurrency=3)
        probe()
        before = self.places()

        start(concurrency=3)
        after = self.places()
        probe()

        assert (before, after, self.places()) == ([3, 3], [3, 3, 3], [3, 3, 3])

    def test_entry_that_says_nothing_new_of_the_arm_resizes_no_other(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ):
        start(concurrency=3)
        probe()
        resized: list[str] = []
        monkeypatch.setattr(
            registration, "resize", lambda arm, **_: resized.append(arm)
        )

        start(concurrency=3)
        at_announcing = list(resized)
        probe()

        assert (at_announcing, resized) == (["remote"], ["remote"])
