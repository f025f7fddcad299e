"""The client of an arm elsewhere, against a real arm on a socket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from arms import client
from arms.client import RemoteArm, fetch_entry
from arms.contract import ArmReply, ArmRequest, StepBudget
from arms.entries import read_entry
from arms.places import Place
from octollm.embedded.up import free_port
from octollm.errors import (
    ArmError,
    ArmInputError,
    ArmOutputTooLargeError,
    ArmUnavailableError,
    CallCancelledError,
    DeadlineExceededError,
    OctoLLMError,
)
from octollm.resilience.deadline import StopToken
from tests.arm_server import ArmServer, Ways
from tests.arm_store import Store, effects, rows
from tests.ledgers import make_services
from tests.waiting import wait_until

TOKEN = "t0ken-" + "of-tests"


class Arm:
    """An arm on a socket, its client, and what it did."""

    def __init__(self, server: ArmServer, store: Path) -> None:
        ways = server.ways
        place = Place(name=ways.name, url=server.url, token=ways.token)
        spec = read_entry(fetch_entry(place), name=ways.name).to_spec(may_see=())
        self.client = RemoteArm(spec, place)
        self.store = store

    def execute(
        self, request: ArmRequest, *, is_repeat: bool = False, timeout_s: float = 10.0
    ) -> ArmReply:
        services = make_services(timeout_s=timeout_s, is_repeat=is_repeat)
        return self.client.execute(request, services)

    @property
    def effect_count(self) -> int:
        return sum(effects(self.store).values())

    @property
    def call_count(self) -> int:
        return len(rows(self.store, "calls"))


MakeArm = Callable[..., Arm]


@pytest.fixture
def make_arm(tmp_path: Path) -> Iterator[MakeArm]:
    servers: list[ArmServer] = []

    def make(**ways: Any) -> Arm:
        store = tmp_path / f"{len(servers)}.sqlite"
        servers.append(ArmServer(store, ways=Ways(**ways)).__enter__())
        return Arm(servers[-1], store)

    yield make
    for server in servers:
        server.__exit__()


@pytest.fixture
def arm(make_arm: MakeArm) -> Arm:
    return make_arm()


def request_of(does: Any = "answer", **inputs: Any) -> ArmRequest:
    return ArmRequest(
        request_id=uuid4(),
        task_id=uuid4(),
        step_id="a",
        attempt=1,
        capability="work",
        input={"does": does, "value": "é", **inputs},
        budget=StepBudget(deadline_at=datetime.now(UTC) + timedelta(minutes=1)),
    )


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


class TestReplies:
    def test_reply_is_the_contracts_value(self, arm: Arm):
        request = request_of()

        reply = arm.execute(request)

        assert reply.output == {"value": "é", "request_id": str(request.request_id)}
        assert reply.confidence == 1.0

    def test_same_request_id_is_done_once(self, arm: Arm):
        request = request_of()

        first, second = arm.execute(request), arm.execute(request)

        assert (first, arm.effect_count, arm.call_count) == (second, 1, 2)

    def test_repeated_request_is_looked_up_before_it_is_sent(self, arm: Arm):
        request = request_of()
        first = arm.execute(request)

        second = arm.execute(request, is_repeat=True)

        assert (first, arm.effect_count, arm.call_count) == (second, 1, 1)

    def test_repeated_request_that_the_arm_never_got_is_sent(self, arm: Arm):
        arm.execute(request_of(), is_repeat=True)

        assert arm.effect_count == 1

    def test_repeated_request_that_runs_is_waited_for(self, arm: Arm, tmp_path: Path):
        gate = tmp_path / "gate"
        request = request_of("hang_after", gate=str(gate))
        running = in_thread(lambda: arm.execute(request))
        wait_until(lambda: arm.effect_count == 1)
        threading.Timer(0.3, gate.touch).start()

        reply = arm.execute(request, is_repeat=True)
        running.join()

        assert reply.output["value"] == "é"
        assert (arm.effect_count, arm.call_count) == (1, 1)

    def test_arm_that_works_in_the_background_is_waited_for(self, arm: Arm):
        reply = arm.execute(request_of("background", seconds=0.3))

        assert (reply.output["value"], arm.effect_count) == ("é", 1)

    @pytest.mark.parametrize("does", ["lose_reply", "fail_after"])
    def test_lost_reply_is_taken_from_the_store(self, arm: Arm, does: str):
        reply = arm.execute(request_of(does))

        assert (reply.output["value"], arm.effect_count, arm.call_count) == ("é", 1, 1)

    def test_token_is_shown_and_not_printed(self, make_arm: MakeArm):
        arm = make_arm(token=TOKEN)

        assert arm.execute(request_of()).output["value"] == "é"
        assert TOKEN not in repr(arm.client.place)


class TestFailures:
    @pytest.mark.parametrize(
        ("does", "error", "is_transient"),
        [
            ("refuse", ArmInputError, False),
            ("babble", ArmError, False),
            ("fail", ArmUnavailableError, True),
            ("decline", ArmUnavailableError, True),
            ("lose_request", ArmUnavailableError, True),
        ],
    )
    def test_failure_is_the_error_that_fits(
        self, arm: Arm, does: str, error: type[OctoLLMError], is_transient: bool
    ):
        with pytest.raises(error) as caught:
            arm.execute(request_of(does))

        assert type(caught.value) is error
        assert caught.value.is_transient is is_transient

    def test_what_the_arm_says_is_passed_on(self, arm: Arm):
        with pytest.raises(ArmInputError, match="There is no value"):
            arm.execute(request_of("refuse"))

    def test_wrong_token_is_no_fault_of_the_input(self, make_arm: MakeArm):
        arm = make_arm(token=TOKEN)
        place = Place(name="remote", url=arm.client.place.url, token="another")

        with pytest.raises(ArmError, match="address and token") as caught:
            RemoteArm(arm.client.spec, place).execute(request_of(), make_services())

        assert type(caught.value) is ArmError

    def test_execution_that_failed_for_good_is_not_tried_again(
        self, make_arm: MakeArm, tmp_path: Path
    ):
        request = request_of()
        earlier_life = Store(tmp_path / "0.sqlite")
        earlier_life.begin(request.model_dump(mode="json"), {})
        earlier_life.close()
        arm = make_arm(can_tell=False)

        with pytest.raises(ArmError, match="interrupted") as caught:
            arm.execute(request, is_repeat=True)

        assert (caught.value.is_transient, arm.call_count) == (False, 0)


class TestWhatIsKnownOfTheInvocation:
    @pytest.mark.parametrize("does", ["fail", "lose_request"])
    def test_answer_that_is_no_refusal_leaves_it_open(self, arm: Arm, does: str):
        with pytest.raises(ArmUnavailableError) as caught:
            arm.execute(request_of(does))

        assert caught.value.is_unstarted is False

    def test_not_accepted_never_started(self, arm: Arm):
        with pytest.raises(ArmUnavailableError) as caught:
            arm.execute(request_of("decline"))

        assert caught.value.is_unstarted is True

    def test_nobody_listening_never_started(self, arm: Arm):
        place = Place(
            name="remote", url=f"http://127.0.0.1:{free_port('127.0.0.1', 0)}"
        )

        with pytest.raises(ArmUnavailableError, match="reached") as caught:
            RemoteArm(arm.client.spec, place).execute(request_of(), make_services())

        assert caught.value.is_unstarted is True

    def test_store_that_cannot_be_reached_leaves_it_open(
        self, arm: Arm, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(client, "PATIENCE_S", 0.3)
        place = Place(
            name="remote", url=f"http://127.0.0.1:{free_port('127.0.0.1', 0)}"
        )

        with pytest.raises(ArmUnavailableError, match="not known") as caught:
            RemoteArm(arm.client.spec, place).execute(
                request_of(), make_services(is_repeat=True)
            )

        assert caught.value.is_unstarted is False

    def test_without_a_store_a_lost_reply_stays_lost(self, make_arm: MakeArm):
        arm = make_arm(has_store=False)

        with pytest.raises(ArmUnavailableError, match="broke") as caught:
            arm.execute(request_of("lose_reply"))

        assert caught.value.is_unstarted is False
        assert arm.client.spec.on_crash == "at least once on a crash"

    def test_without_a_store_a_repeated_request_is_done_again(self, make_arm: MakeArm):
        arm = make_arm(has_store=False)
        request = request_of()

        arm.execute(request)
        arm.execute(request, is_repeat=True)

        assert arm.effect_count == 2

    def test_arm_that_comes_back_is_waited_for(self, arm: Arm, tmp_path: Path):
        request = request_of()
        first = arm.execute(request)
        port = free_port("127.0.0.1", 0)
        place = Place(name="remote", url=f"http://127.0.0.1:{port}")
        reborn: list[ArmServer] = []
        starting = threading.Timer(
            0.5, lambda: reborn.append(ArmServer(arm.store, port=port).__enter__())
        )
        starting.start()

        found = RemoteArm(arm.client.spec, place).execute(
            request, make_services(is_repeat=True)
        )
        starting.join()
        reborn[0].__exit__()

        assert (found, arm.effect_count) == (first, 1)


class TestLimits:
    def test_drip_ends_by_the_wall_clock(self, arm: Arm):
        began = time.monotonic()

        with pytest.raises(DeadlineExceededError):
            arm.execute(request_of("drip"), timeout_s=1.0)

        assert time.monotonic() - began < 2.0

    def test_flood_is_cut(self, arm: Arm, settings: Any):
        settings.OCTOLLM_MAX_OUTPUT_BYTES = 100_000

        with pytest.raises(ArmOutputTooLargeError):
            arm.execute(request_of("flood"))

    def test_largest_reply_also_comes_from_the_store(self, arm: Arm, settings: Any):
        request = request_of(value="x" * 50_000)
        size = len(arm.execute(request).model_dump_json())
        settings.OCTOLLM_MAX_OUTPUT_BYTES = size

        assert len(arm.execute(request, is_repeat=True).model_dump_json()) == size

    def test_cancel_closes_the_socket_within_two_seconds(self, arm: Arm):
        stop = StopToken(60)
        services = make_services()
        services = type(services)(meter=services.meter, stop=stop)
        caught: list[BaseException] = []

        def work() -> None:
            try:
                arm.client.execute(request_of("hang_before"), services)
            except CallCancelledError as error:
                caught.append(error)

        working = in_thread(work)
        wait_until(lambda: arm.call_count == 1)
        cancelled_at = time.time()
        stop.cancel()
        working.join(5)

        (left,) = wait_until(lambda: rows(arm.store, "departures"), timeout_s=5)
        assert left["at"] - cancelled_at < 2.0
        assert len(caught) == 1

    def test_arm_that_says_nothing_is_soon_unwell(self, arm: Arm):
        with closing(socket.create_server(("127.0.0.1", 0))) as mute:
            port = mute.getsockname()[1]
            place = Place(name="remote", url=f"http://127.0.0.1:{port}")
            began = time.monotonic()

            health = RemoteArm(arm.client.spec, place).check()

        assert health.is_healthy is False
        assert time.monotonic() - began < 3.0

    def test_arm_that_answers_is_well(self, arm: Arm):
        assert arm.client.check().is_healthy is True
