"""An arm of ours under ``octollm arm serve``, as a process that can be killed."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from octollm.embedded.processes import kill_group
from octollm.embedded.up import free_port
from tests.engines import TestEngines
from tests.gate import GateArm
from tests.waiting import wait_until

TOKEN = "served-sesame-42"


class EchoerArm(GateArm):
    """The test arm under a name that no worker has."""

    spec = replace(GateArm.spec, name="echoer")


@dataclass
class ServedArm:
    """One start of ``octollm arm serve``."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def client(self) -> httpx2.Client:
        """Return a client that shows the token."""
        return httpx2.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=30,
            trust_env=False,
        )

    def get(self, path: str) -> httpx2.Response:
        with self.client as client:
            return client.get(path)

    def execute(self, body: dict[str, Any]) -> httpx2.Response:
        with self.client as client:
            return client.post("/execute", json=body)

    def state_of(self, request_id: str) -> str:
        return str(self.get(f"/executions/{request_id}").json()["state"])

    def answers(self) -> bool:
        try:
            return self.get("/health").status_code == 200
        except httpx2.HTTPError:
            return False

    def kill(self) -> None:
        """Kill it at once, as kill -9 does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


@contextmanager
def serving(
    engines: TestEngines,
    directory: Path,
    *options: str,
    name: str = "gate",
    **environment: str,
) -> Iterator[ServedArm]:
    """Serve an arm on a free port until the block ends."""
    port = free_port("127.0.0.1", 0)
    log = directory / f"served-{port}.log"
    process = engines.python(
        *("-m", "octollm", "arm", "serve", name, "--port", str(port), *options),
        log=log,
        environment=engines.environment(OCTOLLM_ARM_TOKEN=TOKEN, **environment),
    )
    served = ServedArm(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_until(lambda: served.answers() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield served
    finally:
        kill_group(process)


def request_of(capability: str = "echo", **given: Any) -> dict[str, Any]:
    """Return a request as a worker sends it."""
    fields = {name: given.pop(name) for name in _FIELDS if name in given}
    deadline_at = datetime.now(UTC) + timedelta(seconds=fields.pop("deadline_in_s", 60))
    budget = {"deadline_at": deadline_at.isoformat(), **fields.pop("budget", {})}
    return {
        "request_id": str(uuid4()),
        "task_id": str(uuid4()),
        "step_id": "a",
        "attempt": 1,
        "capability": capability,
        "input": given,
        "budget": budget,
        **fields,
    }


_FIELDS = ("knowledge_scope", "deadline_in_s", "budget", "model", "task_id")
