"""A real arm process with a store of its own, real workers, and kills between them.

What is counted is the arm's log of effects: how often the work was really done.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import psycopg
import pytest

from octollm.access.keys import create_key
from octollm.embedded.processes import kill_group
from octollm.embedded.up import free_port
from octollm.resilience.models import Breaker, Worker
from tasks_app.models import Attempt, Step
from tests.arm_process import ArmProcess, setting_of
from tests.arm_store import effects, rows
from tests.engines import TEST_DATABASE, TestEngines
from tests.flow.conftest import SHORT_TIMES, Gate, System, _answers
from tests.leaks import watch
from tests.waiting import wait_until

EMAIL = "ann@" + "corp.example"
ONLY_ONE = "the only instance"
ASKED_FIRST = f"{ONLY_ONE}; its store was asked first"


class Arms:
    """The arms that the processes of this module know."""

    def __init__(self, directory: Any) -> None:
        self.remote = ArmProcess(directory)
        self.forgetful = ArmProcess(directory, "--no-store", name="forgetful")
        self.unsure = ArmProcess(directory, "--cannot-tell", name="unsure")
        self.all = (self.remote, self.forgetful, self.unsure)
        self.environment = setting_of(*self.all, sees=["EMAIL"])


@pytest.fixture(scope="module")
def arms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arms]:
    found = Arms(tmp_path_factory.mktemp("arms"))
    with found.remote, found.forgetful, found.unsure:
        yield found


@pytest.fixture(scope="module")
def web(
    engines: TestEngines,
    arms: Arms,
    _shared_database: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Start a web process that knows the arms."""
    port = free_port("127.0.0.1", 0)
    process = engines.python(
        *("-m", "octollm", "web", "--port", str(port), "--workers", "1"),
        log=tmp_path_factory.mktemp("web") / "web.log",
        environment=engines.environment() | SHORT_TIMES | arms.environment,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(f"{address}/ready"), timeout_s=60)
        yield address
    finally:
        kill_group(process)


@pytest.fixture
def system(system: System, arms: Arms) -> System:
    """Let workers know the arms, too."""
    system.environment |= arms.environment
    return system


@pytest.fixture(autouse=True)
def _calm(_shared_database: None) -> Iterator[None]:
    """Let no test find a breaker open because those before it made the arm fail."""
    yield
    Breaker.objects.all().delete()


@pytest.fixture
def worker(system: System) -> Any:
    """Start a worker that a test may kill; it knows the arms."""
    return started(system.start_worker, system.client)


@pytest.fixture(scope="class")
def steady_worker(
    engines: TestEngines, web: str, arms: Arms, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Start one worker for the tests that kill none."""
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    environment = engines.environment() | SHORT_TIMES | arms.environment
    _, key = create_key(owner_name="steady", name="tests")
    with httpx2.Client(
        base_url=web, headers={"Authorization": f"Bearer {watch(key)}"}
    ) as client:
        process = started(
            lambda: engines.python(
                "-m", "octollm", "worker", log=log, environment=environment
            ),
            client,
        )
    yield
    kill_group(process)


def started(start: Callable[[], Any], client: httpx2.Client) -> Any:
    """Start a worker; wait until it renews leases and has fetched the arms' entries."""
    before = set(Worker.objects.values_list("pk", flat=True))
    process = start()

    def is_up() -> bool:
        names = {arm["name"] for arm in client.get("/arms").json()}
        has_arms = names >= {"remote", "forgetful", "unsure"}
        return has_arms and Worker.objects.exclude(pk__in=before).exists()

    wait_until(is_up, timeout_s=40)
    return process


def submit(system: System, does: Any, *, arm: str = "remote", **inputs: Any) -> str:
    step = {
        "step_id": "a",
        "description": "Work elsewhere",
        "arm": arm,
        "capability": "work",
        "input": {"value": "v", "does": does, **inputs},
    }
    return system.submit(plan={"steps": [step]})


def kill(process: Any) -> None:
    """Kill a worker's master and child, as the machine's end would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def effect_count(arm: ArmProcess, task_id: str) -> int:
    return effects(arm.store)[task_id, "a"]


def request_ids(arm: ArmProcess, task_id: str) -> list[str]:
    calls = rows(arm.store, "calls")
    return [call["request_id"] for call in calls if call["task_id"] == task_id]


def attempts(task_id: str) -> list[tuple[str, str]]:
    found = Attempt.objects.filter(step__task_id=task_id, step__step_id="a")
    return list(found.order_by("id").values_list("outcome", "reason"))


@contextmanager
def locked(system: System, statement: str, *parameters: Any) -> Iterator[None]:
    """Hold a lock in PostgreSQL until the block ends."""
    url = system.engines.database_url_of(TEST_DATABASE)
    with psycopg.connect(url) as connection:
        connection.execute(statement, parameters)
        yield
        connection.rollback()


def wait_for_waiter(system: System, words: str) -> None:
    """Wait until a process waits for a lock in a statement that holds these words."""
    url = system.engines.database_url_of(TEST_DATABASE)
    query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
    with psycopg.connect(url, autocommit=True) as connection:
        wait_until(
            lambda: connection.execute(query, [f"%{words}%"]).fetchone(), timeout_s=40
        )


@pytest.mark.usefixtures("steady_worker")
class TestArmsThatFail:
    def test_step_is_done_by_an_arm_elsewhere(self, system: System, arms: Arms):
        task_id = submit(system, "answer")

        task = system.wait(task_id)

        found = Attempt.objects.filter(step__task_id=task_id, step__step_id="a")
        attempt = found.latest("id")
        assert task["status"] == "completed", task
        assert task["result"]["value"] == "v"
        assert (attempt.instance, attempt.reason) == (
            arms.remote.url,
            "the only instance",
        )
        assert effect_count(arms.remote, task_id) == 1

    @pytest.mark.parametrize("does", ["lose_reply", "fail_after"])
    def test_lost_reply_costs_no_second_effect(
        self, system: System, arms: Arms, does: str
    ):
        task_id = submit(system, does)

        task = system.wait(task_id)

        assert task["status"] == "completed", task
        assert effect_count(arms.remote, task_id) == 1
        assert [outcome for outcome, _ in attempts(task_id)] == ["done"]

    @pytest.mark.parametrize("does", ["fail", "lose_request"])
    def test_failure_is_tried_again_under_the_same_id(
        self, system: System, arms: Arms, does: str
    ):
        task_id = submit(system, [does, "answer"])

        task = system.wait(task_id)

        assert task["status"] == "completed", task
        assert effect_count(arms.remote, task_id) == 1
        assert len(set(request_ids(arms.remote, task_id))) == 1
        assert attempts(task_id)[-1] == ("done", ASKED_FIRST)

    def test_request_that_was_not_accepted_is_made_anew(
        self, system: System, arms: Arms
    ):
        task_id = submit(system, ["decline", "answer"])

        task = system.wait(task_id)

        assert task["status"] == "completed", task
        assert effect_count(arms.remote, task_id) == 1
        assert len(set(request_ids(arms.remote, task_id))) == 2

    @pytest.mark.parametrize("does", ["die_before", "die_after"])
    def test_arm_killed_at_work_goes_on_when_it_is_back(
        self, system: System, arms: Arms, does: str
    ):
        task_id = submit(system, [does, "answer"])
        arms.remote.wait()
        arms.remote.start()

        task = system.wait(task_id)

        assert task["status"] == "completed", task
        assert effect_count(arms.remote, task_id) == 1
        assert len(set(request_ids(arms.remote, task_id))) == 1

    def test_arm_that_cannot_tell_what_it_did_fails_the_step_once(
        self, system: System, arms: Arms
    ):
        task_id = submit(system, ["die_after", "answer"], arm="unsure")
        arms.unsure.wait()
        arms.unsure.start()

        task = system.wait(task_id)

        assert (task["status"], task["error"]["code"]) == ("failed", "arm_failed")
        assert "interrupted" in task["error"]["message"]
        assert effect_count(arms.unsure, task_id) == 1

    def test_cancel_closes_the_arms_socket_within_two_seconds(
        self, system: System, arms: Arms, gate: Gate
    ):
        task_id = submit(system, "hang_before", gate=str(gate.path))
        (request_id,) = wait_until(lambda: request_ids(arms.remote, task_id))

        cancelled_at = time.time()
        answer = system.client.post(f"/tasks/{task_id}/cancel")

        def left_at() -> list[float]:
            found = rows(arms.remote.store, "departures")
            return [each["at"] for each in found if each["request_id"] == request_id]

        (moment,) = wait_until(left_at, timeout_s=10)
        gate.open()
        assert answer.status_code == 200
        assert moment - cancelled_at < 2.0
        assert system.task(task_id)["status"] == "cancelled"


class TestKilledWorkers:
    def test_worker_killed_before_the_call_left(
        self, system: System, worker: Any, arms: Arms
    ):
        kill(worker)
        task_id = submit(system, "answer", to=EMAIL)
        # The values that the arm may see are read right before the call.
        with locked(system, "LOCK TABLE vault_entries IN ACCESS EXCLUSIVE MODE"):
            doomed = system.start_worker()
            wait_for_waiter(system, "vault_entries")
            kill(doomed)
        assert request_ids(arms.remote, task_id) == []

        system.start_worker()
        task = system.wait(task_id)

        assert task["status"] == "completed", task
        assert effect_count(arms.remote, task_id) == 1
        assert attempts(task_id) == [("lost", ONLY_ONE), ("done", ASKED_FIRST)]

    def test_worker_killed_during_the_call(
        self, system: System, worker: Any, arms: Arms, gate: Gate
    ):
        task_id = submit(system, "hang_after", gate=str(gate.path))
        wait_until(lambda: effect_count(arms.remote, task_id) == 1, timeout_s=20)

        kill(worker)
        system.start_worker()
        wait_until(lambda: len(attempts(task_id)) == 2, timeout_s=40)
        gate.open()
        task = system.wait(task_id)

        assert task["status"] == "completed", task
        assert effect_count(arms.remote, task_id) == 1
        assert len(request_ids(arms.remote, task_id)) == 1
        assert attempts(task_id) == [("lost", ONLY_ONE), ("done", ASKED_FIRST)]

    def test_worker_killed_after_the_call_before_the_record(
        self, system: System, worker: Any, arms: Arms, gate: Gate
    ):
        task_id = submit(system, "hang_after", gate=str(gate.path))
        wait_until(lambda: effect_count(arms.remote, task_id) == 1, timeout_s=20)

        lock = "SELECT 1 FROM tasks WHERE id = %s FOR NO KEY UPDATE"
        with locked(system, lock, task_id):
            gate.open()
            wait_for_waiter(system, "FROM tasks WHERE id")
            kill(worker)
        assert Step.objects.get(task_id=task_id, step_id="a").status == "running"
        system.start_worker()
        task = system.wait(task_id)

        assert task["status"] == "completed", task
        assert effect_count(arms.remote, task_id) == 1
        assert len(request_ids(arms.remote, task_id)) == 1
        assert attempts(task_id) == [("lost", ONLY_ONE), ("done", ASKED_FIRST)]

    def test_worker_killed_and_no_store_is_at_least_once_and_says_so(
        self, system: System, worker: Any, arms: Arms, gate: Gate
    ):
        does = ["hang_after", "answer"]
        task_id = submit(system, does, arm="forgetful", gate=str(gate.path))
        wait_until(lambda: effect_count(arms.forgetful, task_id) == 1, timeout_s=20)

        kill(worker)
        system.start_worker()
        task = system.wait(task_id)
        gate.open()

        assert task["status"] == "completed", task
        assert effect_count(arms.forgetful, task_id) == 2
        assert attempts(task_id)[-1] == (
            "done",
            "the only instance; asked again, at least once on a crash: no store",
        )
