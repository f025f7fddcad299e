"""From submission to result, through the real API, queue and worker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from octollm.access.keys import create_key
from octollm.embedded.processes import kill_group
from tests.flow.conftest import SHORT_TIMES, System

REVIEWS = [
    "Great phone, I love the battery.",
    "Terrible screen, it broke after a week.",
    "Works well and looks good.",
    "Awful support, I want my money back.",
    "Excellent value, very happy with it.",
]


@pytest.fixture(scope="module", autouse=True)
def _worker(engines, web, tmp_path_factory):
    """One worker without a model serves the tests that need no other."""
    process = engines.python(
        *("-m", "octollm", "worker"),
        log=tmp_path_factory.mktemp("worker") / "worker.log",
        environment=engines.environment() | SHORT_TIMES,
    )
    yield
    kill_group(process)


def test_goal_with_texts_is_judged_and_completed(system: System):
    task_id = system.submit(
        "Analyze sentiment of product reviews",
        constraints=["No PII"],
        acceptance_criteria=["Sentiment score -1 to 1"],
        context={"reviews": REVIEWS},
        priority="high",
    )

    task = system.wait(task_id)

    assert (task["status"], task["stage"]) == ("completed", "done")
    result = task["result"]
    assert -1 <= result["sentiment_score"] <= 1
    assert result["criteria"][0]["verdict"] == "met"
    assert result["fully_verified"] is True
    assert "vader" in result["method"]
    assert 0 < task["confidence"] <= 1


def test_results_are_a_bare_array(system: System):
    task_id = system.submit("Summarize these texts", context={"texts": REVIEWS})
    system.wait(task_id)

    results = system.client.get(f"/tasks/{task_id}/results").json()

    assert len(results) == 1
    assert "summary" in results[0]["result_data"]


def test_goal_on_ingested_documents_uses_them(system: System):
    documents = [
        {"collection": "kettle-reviews", "title": f"Review {i}", "text": text}
        for i, text in enumerate(REVIEWS)
    ]
    assert system.client.post("/documents", json=documents).status_code == 200

    task = system.wait(system.submit("Analyze the sentiment of the kettle reviews"))

    assert task["status"] == "completed", task
    assert task["result"]["sentiment_score"] is not None
    assert system.steps(task["task_id"])


def test_goal_without_anything_to_work_on_says_what_is_missing(system: System):
    task = system.wait(system.submit("Analyze sentiment of product reviews"))

    assert task["status"] == "failed"
    assert task["error"]["code"] == "missing_input"
    assert "reviews" in task["error"]["message"]
    assert task["result"]["partial"] is True


def test_open_ended_goal_needs_a_model(system: System):
    task = system.wait(system.submit("Write a novel about an octopus"))

    assert (task["status"], task["error"]["code"]) == ("failed", "needs_model")


def test_unmet_criterion_fails_the_task_with_its_result(system: System):
    task = system.wait(
        system.submit(
            "Analyze sentiment of reviews",
            acceptance_criteria=["Sentiment score between 2 and 3"],
            context={"reviews": REVIEWS},
        )
    )

    assert (task["status"], task["error"]["code"]) == ("failed", "criteria_not_met")
    assert task["result"]["criteria"][0]["verdict"] == "not_met"
    assert "sentiment_score" in task["result"]


def test_criterion_that_nobody_can_compute_is_a_reservation(system: System):
    task = system.wait(
        system.submit(
            "Analyze sentiment of reviews",
            acceptance_criteria=["The tone is elegant"],
            context={"reviews": REVIEWS},
        )
    )

    assert task["status"] == "completed"
    assert task["result"]["reservations"] == ["The tone is elegant"]
    assert task["result"]["fully_verified"] is False


def test_every_change_is_an_event_in_order(system: System):
    task_id = system.submit("Find the keywords", context={"texts": REVIEWS})
    system.wait(task_id)

    events = system.client.get(f"/tasks/{task_id}/events").json()["results"]
    later = system.client.get(f"/tasks/{task_id}/events?after=2").json()["results"]

    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["type"], events[-1]["type"]) == (
        "task.submitted",
        "task.completed",
    )
    assert later == events[2:]


def test_same_key_and_body_give_one_task_also_at_once(system: System):
    body = {"goal": "Find the keywords", "context": {"texts": REVIEWS}}
    headers = {"Idempotency-Key": "order-1"}

    def submit(_: int) -> str:
        answer = system.client.post("/submit", json=body, headers=headers)
        return str(answer.json()["task_id"])

    with ThreadPoolExecutor(4) as pool:
        ids = set(pool.map(submit, range(8)))

    assert len(ids) == 1
    other = system.client.post("/submit", json=body | {"goal": "x"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


def test_tasks_of_another_owner_are_not_there(system: System):
    task_id = system.submit("Find the keywords", context={"texts": REVIEWS})
    _, key = create_key(owner_name="stranger", name="k")
    stranger = {"Authorization": f"Bearer {key}"}

    for path in ("", "/results", "/plan", "/events"):
        answer = system.client.get(f"/tasks/{task_id}{path}", headers=stranger)
        assert answer.status_code == 404
    cancel = system.client.post(f"/tasks/{task_id}/cancel", headers=stranger)
    assert cancel.status_code == 404
    assert system.client.get("/tasks", headers=stranger).json()["results"] == []
