"""Two tasks side by side: what they took, what was found, where they differ."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from octollm.access.keys import create_key
from octollm.access.models import Owner
from tasks_app.models import Charge, Step, Task
from tasks_app.turn import task_turn
from tests.builders import make_planned_task, make_step, make_task
from tests.tasks_app.test_forks import EMAIL, forked, gate, line, submit

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> Owner:
    return Owner.objects.create(name="caller")


@pytest.fixture
def client(owner: Owner) -> APIClient:
    _, token = create_key(owner_name=owner.name, name="tests")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def compare(client: APIClient, this: Task, other: Task) -> Any:
    answer = client.get(f"/tasks/{this.pk}/compare/{other.pk}")
    assert answer.status_code == 200, answer.content
    return answer.json()


def with_result(owner: Owner, *verdicts: tuple[str, str], **data: Any) -> Task:
    """Return a task that ended with these verdicts and result keys."""
    task = make_planned_task(make_step("a"), owner=owner)
    criteria = [{"criterion": text, "verdict": found} for text, found in verdicts]
    is_met = all(found != "not_met" for _, found in verdicts)
    with task_turn(task.pk) as turn:
        turn.close(
            Task.Status.COMPLETED if is_met else Task.Status.FAILED,
            result={"criteria": criteria, "constraints": []} | data,
        )
    task.refresh_from_db()
    return task


class TestSteps:
    def test_fork_shows_what_was_copied_what_ran_and_what_differs(self, client):
        old = line(client)
        new = forked(client, old, from_step="b", input={"value": "changed"})

        shown = compare(client, old, new)

        assert (shown["this"]["steps_run"], shown["this"]["steps_copied"]) == (4, 0)
        assert (shown["other"]["steps_run"], shown["other"]["steps_copied"]) == (2, 2)
        assert shown["other"]["forked_from"] == shown["this"]["task_id"]
        assert [(s["step_id"], s["differs"]) for s in shown["steps"]] == [
            ("b", ["input"])
        ]

    def test_attempts_are_counted(self, client):
        old = line(client)

        # Planning, judging and four steps; the fork ran two of them.
        shown = compare(client, old, forked(client, old, from_step="b"))

        assert (shown["this"]["attempts"], shown["other"]["attempts"]) == (6, 4)

    def test_same_value_in_another_vault_is_no_difference(self, client):
        note = {"other": "bob@" + "corp.example", "to": EMAIL}
        old = submit(client, gate("a", value=f"write to {EMAIL}"), context=note)
        new = forked(client, old, context={"other": "nobody"})
        inputs = Step.objects.filter(step_id="a").values_list("input", flat=True)
        assert len({str(each) for each in inputs}) == 2

        assert compare(client, old, new)["steps"] == []

    def test_arm_and_model_that_differ_are_named(self, client, owner):
        old, new = line(client), line(client)
        step = Step.objects.get(task=new, step_id="d")
        Step.objects.filter(pk=step.pk).update(arm="analyst")
        Charge.objects.create(
            task=new,
            step=step,
            attempt=1,
            purpose="analysis",
            model="wise-7b",
            request_hash="h",
            held_nano=0,
            held_tokens=0,
            price_input=0,
            price_output=0,
            price_source="tests",
        )

        (found,) = compare(client, old, new)["steps"]

        assert found["differs"] == ["arm", "model"]
        assert (found["this"]["arm"], found["other"]["arm"]) == ("gate", "analyst")
        assert found["other"]["models"] == ["wise-7b"]

    def test_step_that_only_one_has_is_told(self, client):
        old, new = line(client), submit(client, gate("a"), gate("x"))

        found = {s["step_id"]: s for s in compare(client, old, new)["steps"]}

        assert found["x"]["differs"] == ["presence"]
        assert (found["x"]["this"], found["x"]["other"]["arm"]) == (None, "gate")


class TestFigures:
    def test_difference_is_what_the_other_used_more(self, client, owner):
        one, two = make_task(owner=owner), make_task(owner=owner)
        for task, nano, tokens in ((one, 3_000, 10), (two, 1_000, 25)):
            with task_turn(task.pk) as turn:
                turn.spend(nano=nano, tokens=tokens)

        difference = compare(client, one, two)["difference"]

        assert difference == {
            "cost_usd": "-0.000002000",
            "tokens": 15,
            "seconds": 0.0,
        }


class TestVerdicts:
    @pytest.mark.parametrize(
        ("one", "two", "better"),
        [
            ("met", "not_met", "this"),
            ("not_met", "met", "other"),
            ("not_checked", "not_met", "this"),
            ("not_checked", "met", "other"),
            ("met", "met", None),
        ],
    )
    def test_fewer_that_are_not_met_and_more_that_are_is_better(
        self, client, owner, one, two, better
    ):
        shown = compare(
            client,
            with_result(owner, ("Be short", one)),
            with_result(owner, ("Be short", two)),
        )

        assert shown["better"] == better
        (criterion,) = shown["criteria"]
        assert (criterion["this"], criterion["other"]) == (one, two)

    def test_only_what_both_were_judged_on_decides(self, client, owner):
        one = with_result(owner, ("Be short", "met"), ("Be kind", "not_met"))
        two = with_result(owner, ("Be short", "met"), ("Be bold", "met"))

        shown = compare(client, one, two)

        # Alike in what they share; but the one failed for what the other was not asked.
        assert shown["better"] == "other"
        assert {c["criterion"]: c["this"] for c in shown["criteria"]} == {
            "Be short": "met",
            "Be kind": "not_met",
            "Be bold": None,
        }

    def test_without_a_common_criterion_none_is_better(self, client, owner):
        shown = compare(
            client,
            with_result(owner, ("Be short", "met")),
            with_result(owner, ("Be kind", "not_met")),
        )

        assert (shown["better"], shown["why"]) == (None, "They share no criterion.")

    def test_task_that_runs_has_none_yet(self, client, owner):
        shown = compare(client, make_task(owner=owner), make_task(owner=owner))

        assert (shown["criteria"], shown["better"]) == ([], None)


class TestResultKeys:
    def test_values_are_shown_where_they_are_plain(self, client, owner):
        one = with_result(owner, score=0.5, same=1, items=[1], only=True)
        two = with_result(owner, score=0.7, same=1, items=[1, 2])

        found = {k.pop("key"): k for k in compare(client, one, two)["result_keys"]}

        assert found == {
            "score": {"this": 0.5, "other": 0.7},
            "items": {},
            "only": {"this": True, "other": None},
        }

    def test_long_text_is_cut(self, client, owner):
        one, two = with_result(owner, answer="x" * 900), with_result(owner, answer="y")

        (found,) = compare(client, one, two)["result_keys"]

        assert len(found["this"]) == 501

    def test_personal_data_is_shown_as_the_owners_own_get_does(self, client):
        step = gate("a", value={"$from": "context.to"})
        old = submit(client, step, context={"to": EMAIL})
        new = forked(client, old, context={"to": "nobody"})

        found = {k["key"]: k for k in compare(client, old, new)["result_keys"]}

        assert (found["value"]["this"], found["value"]["other"]) == (EMAIL, "nobody")

    def test_where_none_may_be_shown_none_is(self, client):
        step = gate("a", value={"$from": "context.to"})
        old = submit(client, step, context={"to": EMAIL}, constraints=["No PII"])
        new = forked(client, old, context={"to": "nobody"})

        assert EMAIL not in str(compare(client, old, new))


class TestAccess:
    def test_both_must_be_ones_own(self, client, owner):
        own, others = make_task(owner=owner), make_task()

        for this, other in ((own, others), (others, own)):
            answer = client.get(f"/tasks/{this.pk}/compare/{other.pk}")
            assert answer.status_code == 404

    def test_unknown_query_is_refused(self, client, owner):
        task = make_task(owner=owner)

        answer = client.get(f"/tasks/{task.pk}/compare/{task.pk}?colour=red")

        assert answer.json()["code"] == "unknown_field"
