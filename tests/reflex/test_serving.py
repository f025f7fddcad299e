"""``octollm reflex serve``: a process of its own, without a database or a Redis."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from octollm.embedded.processes import kill_group, spawn
from octollm.embedded.up import free_port
from octollm.ids import new_id
from octollm.resilience.deadline import StopToken
from reflex import client
from reflex.decide import Checkpoint
from reflex.screening import screen
from reflex.vault import Vault
from tests.waiting import wait_until

TOKEN = "a-token-for-the-tests"


def start(home: Path, port: int, **extra: str) -> Any:
    """Start the command in an environment that names no engine and no key."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OCTOLLM_", "PROMETHEUS_", "DJANGO_"))
    }
    environment |= {
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "OCTOLLM_DATA_DIR": str(home / "nothing"),
        **extra,
    }
    command = [sys.executable, "-m", "octollm", "reflex", "serve", "--port", str(port)]
    process = spawn(command, environment=environment, log=home / "serve.log")
    wait_until(lambda: ask(port, "/ready")[0] == 200, timeout_s=60)
    return process


def ask(port: int, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # our own address
        f"http://127.0.0.1:{port}{path}", data=content, headers=headers
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            read = answer.read()
            is_json = "json" in answer.headers["Content-Type"]
            return answer.status, json.loads(read) if is_json else read.decode()
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
    except OSError:
        return 0, None


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    number = free_port("127.0.0.1", 0)
    process = start(tmp_path_factory.mktemp("serve"), number)
    yield number
    kill_group(process)


@pytest.mark.parametrize("prefix", ["", "/reflex"])
def test_paths_are_at_the_root_and_where_the_web_process_has_them(
    port: int, prefix: str
) -> None:
    status, answer = ask(port, f"{prefix}/process", {"text": "mail a@b.co"})

    assert status == 200
    assert answer["redacted_text"] == "mail [EMAIL_1]"
    assert ask(port, f"{prefix}/health")[1]["status"] == "healthy"
    assert ask(port, f"{prefix}/ready")[1]["status"] == "ready"
    metrics = ask(port, f"{prefix}/metrics")[1]
    assert 'octollm_reflex_findings_total{action="redact",family="pii"}' in metrics
    assert "octollm_collector_up" not in metrics


def test_it_remembers_and_counts_by_itself(port: int) -> None:
    hits = [ask(port, "/process", {"text": "again"})[1]["cache_hit"] for _ in range(2)]

    assert hits == [False, True]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/process", {"text": ""}, 400, "invalid"),
        ("/process", {"text": "x", "y": 1}, 400, "unknown_field"),
        ("/process", None, 405, "method_not_allowed"),
        ("/tasks", None, 404, "not_found"),
    ],
)
def test_errors_are_problem_documents(
    port: int, path: str, body: Any, status: int, code: str
) -> None:
    answered, problem = ask(port, path, body)

    assert (answered, problem["code"]) == (status, code)


@pytest.mark.django_db
def test_it_is_the_remote_reflex_of_a_system(port: int, settings) -> None:
    settings.OCTOLLM_REFLEX_URL = f"http://127.0.0.1:{port}"
    document: Any = {
        "goal": "Write to ada@example.org",
        "context": {"password": "correcthorse", "n": [4111111111111111]},
        "see": "[EMAIL_1]",
    }

    there = screen(document, checkpoint=Checkpoint.REQUEST, vault=Vault.new(new_id()))
    settings.OCTOLLM_REFLEX_URL = ""
    here = screen(document, checkpoint=Checkpoint.REQUEST, vault=Vault.new(new_id()))

    assert there.document == here.document
    assert [f.rule_id for f in there.findings] == [f.rule_id for f in here.findings]
    assert there.ruleset_version == here.ruleset_version


@pytest.mark.django_db
def test_token_is_wanted_where_one_is_set(tmp_path: Path, settings) -> None:
    number = free_port("127.0.0.1", 0)
    process = start(tmp_path, number, OCTOLLM_REFLEX_TOKEN=TOKEN)
    try:
        statuses = [
            ask(number, "/process", {"text": "x"}, token)[0]
            for token in ("", "another", TOKEN)
        ]
        metrics = [ask(number, "/metrics", token=token)[0] for token in ("", TOKEN)]
        settings.OCTOLLM_REFLEX_URL = f"http://127.0.0.1:{number}"
        settings.OCTOLLM_REFLEX_TOKEN = TOKEN
        found, _ = client.find(
            "a@b.co", checkpoint=Checkpoint.REQUEST, stop=StopToken(5.0)
        )
    finally:
        kill_group(process)

    assert statuses == [401, 401, 200]
    # Programs on this machine may scrape.
    assert metrics == [200, 200]
    assert [f.type for f in found] == ["EMAIL"]
