"""The planner over HTTP: the hand-over's contract in, a plan or the reason out."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from rest_framework.test import APIClient

from octollm import errors
from octollm.access.keys import create_key
from tasks_app import planner_arm, services
from tasks_app.claims import claim_next
from tasks_app.models import Task
from tasks_app.pipeline import run_step

pytestmark = pytest.mark.django_db

REVIEWS = ["I love it.", "It is terrible and broke."]
CONTRACT = {
    "goal": "Analyze sentiment of product reviews",
    "constraints": ["No PII in output"],
    "acceptance_criteria": ["Sentiment score between -1 and 1"],
    "context": {"reviews": REVIEWS},
    "budget": {"max_cost_usd": 1.0, "max_time_seconds": 600},
}
EMAIL = "ann@" + "corp.example"


@pytest.fixture(autouse=True)
def _no_patience(settings, monkeypatch):
    """Nobody works here while a call waits, so no call waits."""
    settings.OCTOLLM_PLAN_TIMEOUT_S = 0
    monkeypatch.setattr(planner_arm, "MARGIN_S", 0)


@pytest.fixture
def client() -> APIClient:
    _, token = create_key(owner_name="caller", name="tests")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def execute(client: APIClient, key: str | None = "k", **body: Any) -> Any:
    headers: dict[str, Any] = {} if key is None else {"HTTP_IDEMPOTENCY_KEY": key}
    return client.post(
        "/arms/planner/execute", CONTRACT | body, format="json", **headers
    )


def executed(client: APIClient, **body: Any) -> Any:
    """Call, let a worker plan, and call again under the same id."""
    execute(client, **body)
    while (claim := claim_next(("default",), worker="tests")) is not None:
        run_step(claim)
    return execute(client, **body)


class TestAnswer:
    def test_plan_stands_at_the_root_with_numbers(self, client):
        task_id = str(uuid4())

        answer = executed(client, task_id=task_id)

        plan = answer.json()
        assert answer.status_code == 200, plan
        assert plan["task_id"] == task_id
        assert plan["source"] == "recipe"
        assert (plan["total_estimated_cost"], type(plan["total_estimated_time"])) == (
            0.0,
            float,
        )
        assert plan["steps"][0].keys() >= {
            *("step_id", "description", "arm", "capability", "estimated_cost"),
            *("estimated_time", "estimated_time_p90", "depends_on", "input"),
            "criteria",
        }
        assert isinstance(plan["steps"][0]["estimated_cost"], float)

    def test_it_is_a_task_of_the_caller_that_ran_nothing(self, client):
        answer = executed(client)

        task = Task.objects.get()
        assert answer.json()["task_id"] == str(task.pk)
        assert answer["Location"] == f"/tasks/{task.pk}"
        assert client.get(answer.json()["links"]["self"]).json()["plan_only"] is True

    def test_callers_own_id_is_kept_with_the_task(self, client):
        task_id = str(uuid4())

        executed(client, task_id=task_id, task_metadata={"team": "x"})

        metadata: Any = Task.objects.get().task_metadata
        assert metadata["team"] == "x"
        assert "planner_task_id" in metadata

    def test_plan_can_be_submitted_as_it_is(self, client):
        plan = executed(client).json()

        answer = client.post(
            "/submit",
            {"goal": "g", "context": {"reviews": REVIEWS}, "plan": plan | {"steps": [
                step | {"criteria": []} for step in plan["steps"]]}},
            format="json",
        )  # fmt: skip

        assert answer.status_code == 200, answer.json()


class TestRequestId:
    def test_same_id_gives_the_same_plan_again(self, client):
        first, again = executed(client), execute(client)

        assert again.json() == first.json()
        assert again["Idempotency-Replayed"] == "true"
        assert Task.objects.count() == 1

    def test_other_contract_under_the_same_id_is_refused(self, client):
        execute(client)

        answer = execute(client, goal="Find the keywords")

        assert (answer.status_code, answer.json()["code"]) == (
            422,
            "idempotency_mismatch",
        )

    def test_header_of_the_arms_counts_as_well(self, client):
        for _ in range(2):
            client.post(
                "/arms/planner/execute",
                CONTRACT,
                format="json",
                HTTP_X_REQUEST_ID="one",
            )

        assert Task.objects.count() == 1

    def test_without_an_id_each_call_is_a_call(self, client):
        for _ in range(2):
            execute(client, key=None)

        assert Task.objects.count() == 2


class TestWaiting:
    def test_plan_that_takes_too_long_goes_on_as_a_task(self, client):
        answer = execute(client)

        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (503, "arm_unavailable")
        assert answer["Content-Type"] == "application/problem+json"
        assert int(answer["Retry-After"]) >= 1
        shown = client.get(problem["links"]["self"]).json()
        assert shown["status"] == "pending"

    def test_beyond_the_limit_nothing_is_submitted(self, client, settings):
        settings.OCTOLLM_PLANNER_WAITS = 0

        answer = execute(client)

        assert (answer.status_code, answer.json()["code"]) == (503, "arm_unavailable")
        assert not Task.objects.exists()

    def test_place_is_free_again_after_each_call(self, client, settings):
        settings.OCTOLLM_PLANNER_WAITS = 1

        codes = {
            execute(client, key=None, assigned_arm="tentacle").json()["code"]
            for _ in range(3)
        }

        assert codes == {"unknown_arm"}


class TestFailures:
    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            ({"goal": "Write a novel"}, 422, "needs_model"),
            ({"context": {}}, 422, "missing_input"),
            ({"budget": {"max_cost_usd": 0}, "constraints": ["at most 0 steps"]},
             422, "invalid_plan"),
        ],
        ids=["no recipe", "nothing to work on", "impossible"],
    )  # fmt: skip
    def test_why_there_is_no_plan_is_the_answer(self, client, body, status, code):
        answer = executed(client, **body)

        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (status, code)
        assert problem["status"] == status
        assert problem["links"]["self"] == answer["Location"]
        assert bool(problem.get("violations")) is (code == "invalid_plan")

    def test_cancelled_task_is_told_apart(self, client):
        execute(client)
        task = Task.objects.get()
        services.cancel_task(task.owner, task.pk)

        answer = execute(client)

        assert (answer.status_code, answer.json()["code"]) == (409, "cancelled")

    def test_every_code_of_an_error_that_planning_may_end_with_has_a_status(self):
        kinds = (errors.PlanError, errors.ModelError, errors.BudgetExceededError)
        ends = {
            kind.code
            for kind in vars(errors).values()
            if isinstance(kind, type)
            and issubclass(kind, (*kinds, errors.DeadlineExceededError))
        }
        # Those that only name a family, and what makes a step wait.
        assert ends - {"plan_failed", "budget_busy"} <= set(planner_arm.STATUSES)

    @pytest.mark.parametrize("field", ["plan", "plan_only", "approval", "steps"])
    def test_what_no_contract_has_is_refused_by_name(self, client, field):
        body: Any = {field: 1}

        answer = execute(client, **body)

        assert (answer.status_code, answer.json()["code"]) == (400, "unknown_field")
        assert not Task.objects.exists()

    def test_bad_task_id_is_refused(self, client):
        answer = execute(client, task_id="five")

        assert answer.json()["errors"][0]["pointer"] == "#/task_id"

    def test_personal_data_is_concealed_and_answered_to_its_owner(self, client):
        executed(client, goal=f"Analyze the sentiment of reviews for {EMAIL}")

        assert EMAIL not in Task.objects.get().goal

    def test_without_a_key_nothing_is_planned(self):
        assert execute(APIClient()).status_code == 401


class TestOtherArms:
    def test_their_steps_run_in_tasks_only(self, client):
        answer = client.post("/arms/analyst/execute", {}, format="json")

        assert (answer.status_code, answer.json()["code"]) == (404, "arm_not_served")

    def test_unknown_arm_is_not_found(self, client):
        answer = client.post("/arms/nobody/execute", {}, format="json")

        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_budget_of_the_contract_is_the_tasks(client):
    execute(client, budget={"max_cost_usd": "0.25", "max_tokens": 5})

    task = Task.objects.get()
    assert (task.max_cost_usd, task.max_tokens) == (Decimal("0.25"), 5)
