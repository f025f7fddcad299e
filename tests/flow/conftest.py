"""A web process and workers on the run's engines; the database is shared with them.

Rows are not rolled back between these tests: other processes must see them. Each
test has an owner of its own, and everything is flushed when the last one is done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from django.core.management import call_command

from octollm.access.keys import create_key
from octollm.embedded.processes import kill_group
from octollm.embedded.up import free_port
from octollm.resilience.models import Breaker
from tasks_app.models import Task
from tests.engines import TestEngines
from tests.fakes import Answer, FakeModel, completion
from tests.leaks import watch
from tests.waiting import wait_until

# Short enough that a killed worker is noticed within some seconds, and long enough that
# a busy machine does not make a living one look dead.
SHORT_TIMES = {
    "OCTOLLM_LEASE_S": "4",
    "OCTOLLM_LEASE_RENEW_S": "0.5",
    "OCTOLLM_REAPER_INTERVAL_S": "0.3",
    "OCTOLLM_LEADER_TTL_S": "1",
    "OCTOLLM_HINT_AFTER_S": "0.5",
    "OCTOLLM_CANCEL_POLL_S": "0.2",
    "OCTOLLM_RETRY_MIN_S": "0.05",
    "OCTOLLM_RETRY_MAX_S": "0.2",
    "OCTOLLM_SHUTDOWN_S": "6",
}


@pytest.fixture(scope="package", autouse=True)
def _shared_database(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield
        call_command("flush", interactive=False, verbosity=0)


@dataclass
class System:
    """The processes of a test, and a caller with a key of its own."""

    engines: TestEngines
    client: httpx2.Client
    logs: Path
    environment: dict[str, str]
    workers: list[Any] = field(default_factory=list)

    def start_worker(self, **environment: str) -> Any:
        """Start one worker process; give it time to boot only if a test waits."""
        process = self.engines.python(
            "-m",
            "octollm",
            "worker",
            log=self.logs / f"worker-{len(self.workers)}.log",
            environment=self.environment | environment,
        )
        self.workers.append(process)
        return process

    def submit(self, goal: str = "Do it", **body: Any) -> str:
        """Submit a goal and return the task's id."""
        answer = self.client.post("/submit", json={"goal": goal, **body})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["task_id"])

    def task(self, task_id: str) -> dict[str, Any]:
        """Return a task as its owner sees it."""
        answer = self.client.get(f"/tasks/{task_id}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def wait(self, task_id: str, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """Wait for a task to end and return it."""

        def ended() -> dict[str, Any] | None:
            shown = self.task(task_id)
            return shown if shown["status"] in Task.TERMINAL else None

        return wait_until(ended, timeout_s=timeout_s) or {}

    def steps(self, task_id: str) -> dict[str, dict[str, Any]]:
        """Return the plan's steps by id."""
        answer = self.client.get(f"/tasks/{task_id}/plan")
        assert answer.status_code == 200, answer.text
        return {step["step_id"]: step for step in answer.json()["steps"]}

    def log_text(self) -> str:
        """Return all that the processes of this test wrote."""
        return "".join(path.read_text() for path in self.logs.glob("*.log"))


@pytest.fixture(scope="package")
def web(
    engines: TestEngines,
    _shared_database: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Start one web process and return its address."""
    port = free_port("127.0.0.1", 0)
    log = tmp_path_factory.mktemp("web") / "web.log"
    process = engines.python(
        *("-m", "octollm", "web", "--port", str(port), "--workers", "1"),
        log=log,
        environment=engines.environment() | SHORT_TIMES,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(f"{address}/ready"), timeout_s=60)
        yield address
    finally:
        kill_group(process)


@pytest.fixture
def system(engines: TestEngines, web: str, tmp_path: Path) -> Iterator[System]:
    """Return the system without a worker; what a test starts ends with it."""
    _, key = create_key(owner_name=f"flow-{uuid4().hex[:8]}", name="tests")
    client = httpx2.Client(
        base_url=web, headers={"Authorization": f"Bearer {watch(key)}"}, timeout=30
    )
    environment = engines.environment() | SHORT_TIMES
    running = System(
        engines=engines, client=client, logs=tmp_path, environment=environment
    )
    with client:
        try:
            yield running
        finally:
            for process in running.workers:
                kill_group(process)


@pytest.fixture(scope="module")
def model_server() -> Iterator[FakeModel]:
    """Start a model server; workers use it when given ``model_settings``."""
    with FakeModel() as fake:
        yield fake


@pytest.fixture
def model(model_server: FakeModel) -> FakeModel:
    """Return the model server as new: nothing scripted, nothing received, no breaker."""
    Breaker.objects.all().delete()
    model_server.script.clear()
    model_server.requests.clear()
    model_server.closed.clear()
    model_server.default = completion()
    return model_server


@pytest.fixture(scope="module")
def model_settings(model_server: FakeModel) -> dict[str, str]:
    """Return the environment that points a worker at the fake model."""
    return {
        "OCTOLLM_LLM_BASE_URL": model_server.base_url,
        "OCTOLLM_LLM_MODEL": "fake-model",
    }


@pytest.fixture(scope="module")
def module_worker(
    engines: TestEngines,
    web: str,
    model_settings: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Path]:
    """Start one worker with the model for all tests of a module; give its log."""
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    process = engines.python(
        *("-m", "octollm", "worker"),
        log=log,
        environment=engines.environment() | SHORT_TIMES | model_settings,
    )
    yield log
    kill_group(process)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """Return a gate that test steps wait at."""
    return Gate(tmp_path / "gate")


class Gate:
    """A file that the arm ``gate`` waits for; see ``tests/gate.py``."""

    def __init__(self, path: Path) -> None:
        """Stand closed."""
        self.path = path

    def open(self) -> None:
        """Let every step through."""
        self.path.touch()

    def entries(self, step_id: str) -> list[int]:
        """Return the processes that have come to the gate in this step."""
        marks = self.path.parent.glob(f"{self.path.name}.{step_id}.*")
        return [int(mark.name.rsplit(".", 1)[1]) for mark in marks]

    def wait_for(self, step_id: str, *, count: int = 1) -> list[int]:
        """Wait until so many processes are there."""

        def there() -> list[int] | None:
            found = self.entries(step_id)
            return found if len(found) >= count else None

        return wait_until(there, timeout_s=40) or []


def planned(*steps: dict[str, Any], usage: Any = ...) -> Answer:
    """Answer with a plan, as a model would write it."""
    return completion(json.dumps({"steps": list(steps)}), usage=usage)


def replanned(*steps: dict[str, Any], replaces: tuple[str, ...] = ()) -> Answer:
    """Answer with the new steps of another version of a plan."""
    return completion(json.dumps({"steps": list(steps), "replaces": list(replaces)}))


def gate_step(
    step_id: str, *depends_on: str, capability: str = "echo", **inputs: Any
) -> dict[str, Any]:
    """Return a planned step of the test arm; it refers to what it depends on."""
    referred = {f"from_{i}": {"$from": f"steps.{i}.value"} for i in depends_on}
    return {
        "step_id": step_id,
        "description": f"Step {step_id}",
        "arm": "gate",
        "capability": capability,
        "depends_on": list(depends_on),
        "input": {"value": step_id, **referred, **inputs},
    }


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=5).status_code == 200
    except httpx2.HTTPError:
        return False
