"""``octollm arm serve`` as real processes: killed, drained, announced, asked twice."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from arms.check_kit import Asked, check_arm
from arms.knowledge import documents
from arms.knowledge.documents import NewDocument
from arms.registry_models import ArmInstance, RegisteredArm, ServedExecution
from arms.served.service import GRACE_S
from arms.served.store import RENEW_S
from octollm.access.keys import create_key, get_or_create_owner
from octollm.embedded.processes import kill_group
from octollm.embedded.up import free_port
from tasks_app.models import Attempt
from tests.engines import TestEngines
from tests.fakes import FakeModel, completion
from tests.flow.conftest import Gate, System, gate_step
from tests.served_arm import TOKEN, ServedArm, request_of, serving
from tests.waiting import wait_until

SECRET = "eve@" + "corp.example"


@pytest.fixture(scope="module")
def served(
    engines: TestEngines,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ServedArm]:
    with serving(engines, tmp_path_factory.mktemp("served")) as arm:
        yield arm


def in_background(arm: ServedArm, body: dict[str, Any]) -> Any:
    """Send a request from a thread, and wait until it runs."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(arm.execute, body)
    pool.shutdown(wait=False)
    wait_until(lambda: arm.state_of(body["request_id"]) == "running")
    return future


def test_a_served_arm_keeps_the_contract(served: ServedArm) -> None:
    findings = check_arm(Asked(url=served.url, token=TOKEN, capability="echo"))

    assert [f for f in findings if f.outcome == "failed"] == []
    assert len([f for f in findings if f.outcome == "passed"]) >= 14


def test_its_entry_is_that_of_the_catalogue(served: ServedArm) -> None:
    entry = served.get("/").json()

    assert (entry["name"], entry["contract_version"]) == ("gate", 1)
    assert (entry["has_store"], entry["shares_store"]) == (True, True)


def test_a_request_made_again_is_answered_from_the_store(
    served: ServedArm,
) -> None:
    body = request_of(value=SECRET)

    first, second = served.execute(body), served.execute(body)

    # The arm puts the time of its work into its reply.
    assert first.json() == second.json()
    assert first.json()["output"]["value"] == SECRET
    row = ServedExecution.objects.get(pk=body["request_id"])
    assert str(row.scope_id) == body["task_id"]
    assert SECRET not in row.outcome


def test_while_it_runs_a_second_request_is_202_and_begins_nothing(
    served: ServedArm, gate: Gate
) -> None:
    body = request_of("wait", gate=str(gate.path))
    first = in_background(served, body)

    second = served.execute(body)
    gate.open()

    assert (second.status_code, second.json()["state"]) == (202, "running")
    assert first.result().status_code == 200
    assert served.state_of(body["request_id"]) == "done"
    assert len(gate.entries("a")) == 1


@pytest.mark.parametrize(
    ("capability", "status", "code", "state"),
    [
        ("fail", 500, "arm_failed", "failed"),
        ("crash", 500, "arm_failed", "failed"),
        ("knock", 503, "arm_unavailable", "unknown"),
    ],
)
def test_a_failure_is_told_and_is_to_be_done_again_only_if_it_passes(
    served: ServedArm, capability: str, status: int, code: str, state: str
) -> None:
    body = request_of(capability, gate="/nonexistent/gate", value=SECRET)

    answer = served.execute(body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert served.state_of(body["request_id"]) == state
    assert SECRET not in answer.text + served.log.read_text()


def test_a_deadline_ends_the_work_and_leaves_nothing(served: ServedArm) -> None:
    body = request_of("hang", deadline_in_s=0.5)

    answer = served.execute(body)

    assert (answer.status_code, answer.json()["code"]) == (503, "not_accepted")
    assert served.state_of(body["request_id"]) == "unknown"


def hang_up_on(arm: ServedArm, body: dict[str, Any]) -> None:
    """Send a request and close the connection while it runs."""
    with arm.client as client, pytest.raises(httpx2.ReadTimeout):
        client.post("/execute", json=body, timeout=0.5)


def test_what_nobody_waits_for_is_stopped_after_a_while(served: ServedArm) -> None:
    body = request_of("hang")
    hang_up_on(served, body)

    row = ServedExecution.objects.filter(pk=body["request_id"])
    assert row.get().state == "running"
    wait_until(lambda: not row.exists(), timeout_s=15)


def test_what_is_asked_after_goes_on_though_the_caller_hung_up(
    served: ServedArm, gate: Gate
) -> None:
    body = request_of("wait", gate=str(gate.path))
    hang_up_on(served, body)

    enough = time.monotonic() + GRACE_S + 2 * RENEW_S + 1
    wait_until(
        lambda: served.state_of(body["request_id"]) != "running"
        or time.monotonic() > enough
    )
    gate.open()
    wait_until(lambda: served.state_of(body["request_id"]) == "done")
    assert len(gate.entries("a")) == 1


def test_nobody_is_served_without_the_token(served: ServedArm) -> None:
    for path in ("/", "/executions/x"):
        assert httpx2.get(f"{served.url}{path}").status_code == 401
    assert httpx2.get(f"{served.url}/health").status_code == 200


def test_a_full_arm_takes_nothing_on_and_still_says_what_it_does(
    engines: TestEngines, tmp_path: Path, gate: Gate
) -> None:
    with serving(engines, tmp_path, "--threads", "1") as arm:
        body = request_of("wait", gate=str(gate.path))
        first = in_background(arm, body)

        refused = arm.execute(request_of())
        assert (refused.status_code, refused.json()["code"]) == (503, "not_accepted")
        assert arm.state_of(body["request_id"]) == "running"

        gate.open()
        assert first.result().status_code == 200
        wait_until(lambda: arm.execute(request_of()).status_code == 200)


def test_what_a_killed_instance_did_is_done_again_once_by_another(
    engines: TestEngines, tmp_path: Path, gate: Gate
) -> None:
    body = request_of("wait", gate=str(gate.path))
    with (
        serving(engines, tmp_path) as first,
        serving(engines, tmp_path) as second,
        serving(engines, tmp_path) as third,
    ):
        lost = in_background(first, body)
        gate.wait_for("a")
        first.kill()
        with pytest.raises(httpx2.HTTPError):
            lost.result()

        # Nobody knows yet that it is dead: nothing is begun anew.
        assert second.state_of(body["request_id"]) == "running"
        assert second.execute(body).status_code == 202
        killed_at = time.monotonic()
        wait_until(lambda: second.state_of(body["request_id"]) == "unknown")
        assert time.monotonic() - killed_at < 15

        gate.open()
        with ThreadPoolExecutor(4) as pool:
            sent = [pool.submit(arm.execute, body) for arm in (second, third) * 2]
            answers = [each.result() for each in sent]
        statuses = {answer.status_code for answer in answers}
        assert statuses <= {200, 202}
        assert third.state_of(body["request_id"]) == "done"
        # Once by the one that was killed, and once by one of the others.
        assert len(gate.entries("a")) == 2


def test_every_instance_answers_for_all_others(
    engines: TestEngines, served: ServedArm, tmp_path: Path
) -> None:
    body = request_of(value=1)
    with serving(engines, tmp_path) as other:
        done = other.execute(body).json()

    assert served.execute(body).json() == done


# Announcing and draining --------------------------------------------------------------
@pytest.fixture
def key() -> str:
    _, token = create_key(
        owner_name=f"arms-{uuid4().hex[:8]}", name="arms", scopes=["arm:gate"]
    )
    return token


def instance_at(url: str) -> ArmInstance | None:
    return ArmInstance.objects.filter(arm_id="gate", location=url).first()


def test_it_announces_itself_drains_on_sigterm_and_is_gone(
    engines: TestEngines, web: str, tmp_path: Path, gate: Gate, key: str
) -> None:
    options = ("--announce-to", web, "--weight", "30")
    with serving(engines, tmp_path, *options, OCTOLLM_ARM_KEY=key) as arm:
        wait_until(lambda: instance_at(arm.url) is not None)
        row = instance_at(arm.url)
        assert row is not None
        assert (row.weight, row.source) == (30, "announced")
        body = request_of("wait", gate=str(gate.path))
        running = in_background(arm, body)

        arm.terminate()
        wait_until(lambda: (r := instance_at(arm.url)) and r.state == "draining")
        refused = arm.execute(request_of())
        assert (refused.status_code, refused.json()["code"]) == (503, "not_accepted")
        assert arm.state_of(body["request_id"]) == "running"
        assert arm.get("/health").json()["is_draining"]

        gate.open()
        assert running.result().status_code == 200
        assert arm.process.wait(20) == 0
        assert instance_at(arm.url) is None
        assert key not in arm.log.read_text()
        assert TOKEN not in arm.log.read_text()


def test_what_does_not_end_in_time_is_stopped_and_told_as_never_begun(
    engines: TestEngines, tmp_path: Path
) -> None:
    with serving(engines, tmp_path, OCTOLLM_SHUTDOWN_S="3") as arm:
        body = request_of("hang")
        running = in_background(arm, body)
        arm.terminate()

        answer = running.result()

        assert (answer.status_code, answer.json()["code"]) == (503, "not_accepted")
        assert arm.process.wait(10) == 0
        assert not ServedExecution.objects.filter(pk=body["request_id"]).exists()


def test_a_second_signal_hurries(engines: TestEngines, tmp_path: Path) -> None:
    with serving(engines, tmp_path, OCTOLLM_SHUTDOWN_S="60") as arm:
        running = in_background(arm, request_of("hang"))
        arm.terminate()
        wait_until(lambda: arm.get("/health").json()["is_draining"])
        arm.process.send_signal(signal.SIGINT)

        assert running.result().status_code == 503
        assert arm.process.wait(10) == 0


class _Api(ThreadingHTTPServer):
    """Hears announcements."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        self.heard: list[dict[str, Any]] = []
        super().__init__(("127.0.0.1", port), _Hearing)


class _Hearing(BaseHTTPRequestHandler):
    server: _Api

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers["Authorization"]
        self.server.heard.append({**json.loads(body), "key": key, "path": self.path})
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


def test_an_api_that_is_away_is_told_later_and_logged_once(
    engines: TestEngines, tmp_path: Path
) -> None:
    port = free_port("127.0.0.1", 0)
    to = f"http://127.0.0.1:{port}"
    options = ("--announce-to", to, "--weight", "7", "--url", "http://arm:1/")
    with serving(engines, tmp_path, *options, OCTOLLM_ARM_KEY="k") as arm:
        wait_until(lambda: "the announcement fails" in arm.log.read_text())
        with _Api(port) as api:
            Thread(target=api.serve_forever, args=(0.05,), daemon=True).start()
            wait_until(lambda: api.heard)
            wait_until(lambda: "is heard again" in arm.log.read_text())
            arm.terminate()
            assert arm.process.wait(20) == 0
            api.shutdown()

    said = {"arm": "gate", "url": "http://arm:1", "token": TOKEN}
    common = {**said, "key": "Bearer k", "path": "/arm-instances"}
    assert api.heard[0] == {**common, "state": "serving", "weight": 7}
    # The weight is said once, so that an operator's stays.
    last = [{**common, "state": state} for state in ("draining", "gone")]
    assert api.heard[-2:] == last
    assert arm.log.read_text().count("the announcement fails") == 1


def test_a_port_that_is_taken_is_refused(
    engines: TestEngines, served: ServedArm, tmp_path: Path
) -> None:
    process = engines.python(
        *("-m", "octollm", "arm", "serve", "gate"),
        *("--port", served.url.rpartition(":")[2]),
        log=tmp_path / "second.log",
        environment=engines.environment(OCTOLLM_ARM_TOKEN="other"),
    )

    assert process.wait(30) == 1
    assert "Cannot listen on" in (tmp_path / "second.log").read_text()


# What arms of ours need beside the request --------------------------------------------
def test_a_served_retriever_searches_the_owners_documents_and_no_others(
    engines: TestEngines, tmp_path: Path
) -> None:
    owner = get_or_create_owner(f"reader-{uuid4().hex[:8]}").pk
    text = "The submarine dives below the harbour."
    documents.ingest_all(owner, [NewDocument(collection="sea", title="s", text=text)])
    with serving(engines, tmp_path, name="retriever") as arm:

        def search(scope: Any) -> httpx2.Response:
            return arm.execute(
                request_of("search", query="submarine", knowledge_scope=scope)
            )

        found = search(str(owner)).json()
        other = search(str(uuid4())).json()
        nobody = search(None)

    assert found["output"]["passages"][0]["text"] == text
    assert other["output"]["count"] == 0
    assert (nobody.status_code, nobody.json()["code"]) == (422, "missing_input")


def test_what_a_model_costs_goes_back_with_the_reply_and_keeps_the_budget(
    engines: TestEngines, tmp_path: Path
) -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    with FakeModel() as model:
        model.default = completion("yes", usage=usage)
        environment = {
            "OCTOLLM_LLM_BASE_URL": model.base_url,
            "OCTOLLM_LLM_MODEL": "fake-model",
            "OCTOLLM_LLM_PRICE_INPUT": "1",
            "OCTOLLM_LLM_PRICE_OUTPUT": "1",
        }
        with serving(engines, tmp_path, **environment) as arm:
            paid = {"max_cost_usd": "0.01", "max_tokens": 5_000}
            asked = {"value": "Is it?", "room": 50}
            answer = arm.execute(request_of("ask", budget=paid, **asked))
            poor = arm.execute(request_of("ask", budget={"max_tokens": 5_000}, **asked))

    used = answer.json()["usage"]
    assert answer.json()["output"]["value"] == "yes"
    assert (used["input_tokens"], used["output_tokens"]) == (11, 7)
    assert (float(used["cost_usd"]), used["model"]) == (0.000018, "fake-model")
    assert (poor.status_code, poor.json()["code"]) == (500, "budget_exceeded")
    assert len(model.requests) == 1


# A whole task -------------------------------------------------------------------------
def is_known(url: str) -> bool:
    """Tell whether a probe has found an announced instance well, and what it can do."""
    found = ArmInstance.objects.filter(location=url, state="healthy")
    return found.exclude(entry_hash="").exists()


def test_a_task_is_done_by_an_instance_that_announced_itself(
    system: System, engines: TestEngines, web: str, tmp_path: Path
) -> None:
    _, key = create_key(owner_name=f"a-{uuid4().hex[:8]}", name="a", scopes=["arms"])
    given = {"value": {"$from": "context.address"}}
    step = gate_step("a") | {"arm": "echoer", "input": given}
    options = {"name": "echoer", "OCTOLLM_EXTRA_ARMS": "tests.served_arm.EchoerArm"}
    with serving(
        engines, tmp_path, "--announce-to", web, OCTOLLM_ARM_KEY=key, **options
    ) as arm:
        first = system.start_worker()
        wait_until(lambda: is_known(arm.url))
        RegisteredArm.objects.filter(pk="echoer").update(may_see=["EMAIL"])
        # One that has read the registry before may be a second behind.
        kill_group(first)
        system.start_worker()
        task_id = system.submit(context={"address": SECRET}, plan={"steps": [step]})
        task = system.wait(task_id)

    assert task["status"] == "completed", task
    assert task["result"]["outputs"]["a"]["value"] == SECRET
    (row,) = ServedExecution.objects.filter(scope_id=task_id)
    assert (row.state, SECRET in row.outcome) == ("done", False)
    attempt = Attempt.objects.get(step__task_id=task_id, step__step_id="a")
    assert attempt.instance == arm.url
    assert system.client.delete(f"/tasks/{task_id}").status_code == 204
    assert not ServedExecution.objects.filter(scope_id=task_id).exists()


def test_a_step_whose_instance_is_killed_is_done_by_another_once(
    system: System, engines: TestEngines, web: str, tmp_path: Path, gate: Gate
) -> None:
    _, key = create_key(owner_name=f"a-{uuid4().hex[:8]}", name="a", scopes=["arms"])
    step = gate_step("a", capability="wait", gate=str(gate.path)) | {"arm": "echoer"}
    options = {"name": "echoer", "OCTOLLM_EXTRA_ARMS": "tests.served_arm.EchoerArm"}
    told = ("--announce-to", web)
    with (
        serving(engines, tmp_path, *told, OCTOLLM_ARM_KEY=key, **options) as one,
        serving(engines, tmp_path, *told, OCTOLLM_ARM_KEY=key, **options) as other,
    ):
        first = system.start_worker()
        wait_until(lambda: is_known(one.url) and is_known(other.url))
        kill_group(first)
        system.start_worker()
        task_id = system.submit(plan={"steps": [step]})
        (pid,) = gate.wait_for("a")
        victim, heir = (one, other) if pid == one.process.pid else (other, one)

        victim.kill()
        gate.open()
        task = system.wait(task_id)

    assert task["status"] == "completed", task
    # Begun by the one that was killed, and then once by the other.
    assert set(gate.entries("a")) == {victim.process.pid, heir.process.pid}
    assert ServedExecution.objects.filter(scope_id=task_id).count() == 1
    last = Attempt.objects.filter(step__task_id=task_id, step__step_id="a").latest("id")
    assert last.instance == heir.url
