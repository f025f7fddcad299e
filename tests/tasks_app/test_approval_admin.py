"""Operators answer in the admin, where they see all that would run."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from tasks_app.models import Approval, Task, TaskEvent
from tests.approving import HOST, chain, echo, question_of, run_all, waiting_task
from tests.builders import statuses

pytestmark = pytest.mark.django_db

LIST = "/admin/tasks_app/approval/"
EMAIL = "ann@" + "corp.example"


@pytest.fixture
def operator() -> Client:
    return client_with("view_approval", "change_approval")


def client_with(*codenames: str) -> Client:
    user = User.objects.create_user("ada", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def page_of(approval: Approval, verb: str = "change") -> str:
    if verb == "change":
        return reverse("admin:tasks_app_approval_change", args=[approval.pk])
    return f"{LIST}{approval.pk}/{verb}/"


def post(client: Client, approval: Approval, verb: str, **over: Any) -> Any:
    """Send the form as the page shows it."""
    form = client.get(page_of(approval, verb)).context["form"]
    body = {**form.initial, "comment": "", **over}
    return client.post(page_of(approval, verb), body, follow=True)


def text_of(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def test_plans_that_wait_come_first(operator: Client) -> None:
    waiting = waiting_task()
    answered = question_of(waiting_task())
    post(operator, answered, "reject")

    content = text_of(operator.get(LIST))

    first, second = page_of(question_of(waiting)), page_of(answered)
    assert content.index(first.rsplit("/", 2)[0]) < content.index(
        second.rsplit("/", 2)[0]
    )
    assert "pending" in content
    assert "rejected" in content


def test_page_shows_every_step_whole_and_what_it_would_grant(operator: Client) -> None:
    plan = chain(host=HOST)
    plan["steps"][0]["input"]["padding"] = ["x" * 100] * 400
    approval = question_of(waiting_task(plan))

    for page in (page_of(approval), page_of(approval, "approve")):
        content = text_of(operator.get(page))
        assert HOST in content.partition("padding")[0]
        assert f"&quot;host&quot;: &quot;{HOST}&quot;" in content
        assert "characters more" not in content


def test_values_stand_concealed(operator: Client) -> None:
    task = waiting_task()
    Approval.objects.filter(task=task).update(comment="Ask [EMAIL_1]")

    assert "[EMAIL_1]" in text_of(operator.get(page_of(question_of(task))))


def test_approval_starts_the_plan_and_names_the_account(operator: Client) -> None:
    task = waiting_task(chain(host=HOST))

    answer = post(operator, question_of(task), "approve", comment=f"Ask {EMAIL}")
    run_all()

    asked = question_of(task)
    assert "Approve: done." in text_of(answer)
    assert Task.objects.get(pk=task.pk).status == "completed"
    assert (asked.decided_by, asked.comment) == ("ada (operator)", "Ask [EMAIL_1]")
    event: Any = TaskEvent.objects.get(task=task, type="approval.approved")
    assert event.data["by"] == "ada (operator)"


def test_rejection_cancels_the_task(operator: Client) -> None:
    task = waiting_task()

    post(operator, question_of(task), "reject", comment="No")

    ended = Task.objects.get(pk=task.pk)
    assert (ended.status, ended.stop_reason) == ("cancelled", "approval_rejected")
    assert statuses(task)["a"] == "cancelled"


def test_looking_at_the_form_answers_nothing(operator: Client) -> None:
    task = waiting_task()

    text_of(operator.get(page_of(question_of(task), "approve")))

    assert question_of(task).state == "pending"


@pytest.mark.parametrize("over", [{"digest": "0" * 64}, {"plan_version": 2}])
def test_answer_to_another_plan_is_told_and_changes_nothing(
    operator: Client, over: dict[str, Any]
) -> None:
    task = waiting_task()

    answer = post(operator, question_of(task), "approve", **over)

    assert "another than the one that was answered" in text_of(answer)
    assert question_of(task).state == "pending"


def test_comment_that_is_too_long_is_told(operator: Client) -> None:
    task = waiting_task()

    answer = post(operator, question_of(task), "approve", comment="x" * 2_001)

    assert "at most 2000 characters" in text_of(answer)
    assert question_of(task).state == "pending"


def test_who_may_only_look_cannot_answer() -> None:
    client = client_with("view_approval")
    approval = question_of(waiting_task())

    content = text_of(client.get(page_of(approval)))

    assert "/approve/" not in content
    for verb in ("approve", "reject"):
        assert client.get(page_of(approval, verb)).status_code == 403
        assert client.post(page_of(approval, verb), {}).status_code == 403
    assert question_of(approval.task).state == "pending"


def test_answers_are_offered_while_there_is_a_question(operator: Client) -> None:
    approval = question_of(waiting_task())
    assert "/approve/" in text_of(operator.get(page_of(approval)))

    post(operator, approval, "reject")

    assert "/approve/" not in text_of(operator.get(page_of(approval)))


def test_task_leads_to_its_questions(admin_client: Client) -> None:
    task = waiting_task({"steps": [echo("a")]})
    page = reverse("admin:tasks_app_task_change", args=[task.pk])

    assert page_of(question_of(task)) in text_of(admin_client.get(page))
