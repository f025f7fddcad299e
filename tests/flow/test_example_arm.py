"""The arm of `examples/` as a real process: it keeps the contract, over its lives too."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2

from arms.check_kit import Asked, check_arm
from arms.registry_models import ArmInstance
from octollm.access.keys import create_key
from octollm.embedded.processes import kill_group, spawn
from octollm.embedded.up import free_port
from tests.served_arm import request_of
from tests.test_style import code_lines
from tests.waiting import wait_until

EXAMPLE = Path(__file__).parents[2] / "examples/word_count_arm"
TOKEN = "sesame-42"


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health", trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


@contextmanager
def example(
    directory: Path, port: int
) -> Iterator[tuple[httpx2.Client, subprocess.Popen[bytes]]]:
    url = f"http://127.0.0.1:{port}"
    store = str(directory / "executions.sqlite")
    process = spawn(
        [
            *(sys.executable, "-m", "granian", "--interface", "asgi"),
            *("--port", str(port), "--working-dir", str(EXAMPLE), "arm:app"),
        ],
        environment={**os.environ, "ARM_TOKEN": TOKEN, "ARM_STORE": store},
        log=directory / "arm.log",
    )
    try:
        wait_until(lambda: _answers(url))
        with httpx2.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {TOKEN}"},
            trust_env=False,
        ) as client:
            yield client, process
    finally:
        kill_group(process)


def asked(**given: Any) -> dict[str, Any]:
    return request_of("count_words", **given)


def test_it_has_forty_lines() -> None:
    text = (EXAMPLE / "arm.py").read_text()

    assert len(code_lines(ast.parse(text), text)) <= 40


def test_it_keeps_the_contract(tmp_path: Path) -> None:
    with example(tmp_path, free_port("127.0.0.1", 0)) as (client, _):
        findings = check_arm(Asked(url=str(client.base_url), token=TOKEN))

    assert [f for f in findings if f.outcome != "passed"] == []


def test_of_many_at_once_under_one_id_one_does_the_work(tmp_path: Path) -> None:
    def ask(body: dict[str, Any]) -> Any:
        answer = client.post("/execute", json=body)
        return answer.json() if answer.status_code == 200 else None

    with (
        example(tmp_path, free_port("127.0.0.1", 0)) as (client, _),
        ThreadPoolExecutor(8) as pool,
    ):
        for _ in range(60):
            body = asked(text="It reads well.")
            answers = list(pool.map(ask, [body] * 8))
            assert {"output": {"words": 3}} in answers, answers


def test_it_answers_the_same_after_a_kill(tmp_path: Path) -> None:
    port, body = free_port("127.0.0.1", 0), asked(text="It reads well. So it does.")
    with example(tmp_path, port) as (client, process):
        first = client.post("/execute", json=body).json()
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    with example(tmp_path, port) as (client, _):
        found = client.get(f"/executions/{body['request_id']}").json()
        assert client.post("/execute", json=body).json() == first
        assert client.get(f"/executions/{uuid4()}").json() == {"state": "unknown"}

    assert first["output"] == {"words": 6}
    assert found == {"state": "done", "reply": first}


def test_it_is_announced_as_its_readme_says(web: str) -> None:
    readme = (EXAMPLE / "README.md").read_text()
    written = re.search(r"'(\{\"arm\".*\})'", readme)
    assert written is not None
    scope = re.search(r"--scope (\S+)\)", readme)
    assert scope is not None
    body = json.loads(written[1].replace("'\"$ARM_TOKEN\"'", TOKEN))
    _, key = create_key(
        owner_name=f"arms-{uuid4().hex[:8]}", name="arms", scopes=[scope[1]]
    )

    answer = httpx2.post(
        f"{web}/arm-instances",
        json=body,
        headers={"Authorization": f"Bearer {key}"},
        trust_env=False,
    )

    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "starting"
    assert ArmInstance.objects.filter(arm_id=body["arm"], location=body["url"]).exists()
