"""The ledger as its owner reads it: all sums are the task's totals."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from rest_framework.test import APIClient

from arms.pricing import UNPRICED
from octollm.access.keys import create_key
from octollm.access.models import Owner
from tasks_app.ledger import TaskMeter, correct_charge
from tasks_app.models import Charge, Task
from tests.builders import claim_of, make_planned_task, make_step, make_task
from tests.calls import PRICE, books, call, lose, usage

pytestmark = pytest.mark.django_db

MONEY = re.compile(r"\d+\.\d{9}")


@pytest.fixture
def owner() -> Owner:
    return Owner.objects.create(name="caller")


@pytest.fixture
def client(owner: Owner) -> APIClient:
    _, token = create_key(owner_name=owner.name, name="tests")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


@pytest.fixture
def task(owner: Owner) -> Task:
    """Return a task with charges of every state, in two steps and of two models."""
    task = make_planned_task(
        make_step("a", envelope_nano=20_000_000, envelope_tokens=2000),
        make_step("b", envelope_nano=3_000_000),
        owner=owner,
        max_tokens=50_000,
    )
    a, b = (TaskMeter(claim_of(task, step_id)) for step_id in ("a", "b"))
    a.settle(a.reserve(call(provider="home")), usage(latency_s=1.5), "reply")
    a.presume(a.reserve(call(provider="home", nth=1)))
    a.release(a.reserve(call(provider="home", nth=2)))
    overrun = b.reserve(call(model="other"))
    b.settle(overrun, usage(3000, 1000, cached_tokens=500), "reply")
    corrected = b.reserve(call(model="other", nth=1))
    b.settle(corrected, usage(), "reply")
    correct_charge(corrected, cost_usd=Decimal("0.001"), reason="Wrong price.")
    free = replace(PRICE, input_per_million=Decimal(0), output_per_million=Decimal(0))
    unpriced = call(model="other", price=replace(free, source=UNPRICED), nth=2)
    b.settle(b.reserve(unpriced), usage(), "reply")
    b.reserve(call(model="other", nth=3))
    task.refresh_from_db()
    return task


def ledger(client: APIClient, task: Task, query: str = "") -> dict[str, Any]:
    answer = client.get(f"/tasks/{task.pk}/ledger{query}")
    assert answer.status_code == 200, answer.content
    shown: dict[str, Any] = answer.json()
    return shown


def total(rows: list[dict[str, Any]], name: str) -> tuple[Decimal, int]:
    amounts = [row[name] for row in rows]
    return (
        sum((Decimal(each["cost_usd"]) for each in amounts), Decimal(0)),
        sum(each["tokens"] for each in amounts),
    )


def amount(shown: dict[str, Any]) -> tuple[Decimal, int]:
    return Decimal(shown["cost_usd"]), shown["tokens"]


def test_sums_over_steps_models_and_charges_are_the_tasks_totals(
    client: APIClient, task: Task
):
    shown = ledger(client, task)

    spent_nano, held_nano, spent_tokens, held_tokens = books(task)
    spent = (Decimal(spent_nano) / 10**9, spent_tokens)
    held = (Decimal(held_nano) / 10**9, held_tokens)
    assert amount(shown["spent"]) == spent
    assert amount(shown["held"]) == held
    for rows in (shown["by_step"], shown["by_model"]):
        assert total(rows, "spent") == spent
    assert total(shown["charges"], "settled") == spent
    by_charges = total(shown["by_step"], "held")
    set_aside = total(shown["by_step"], "envelope")
    assert (by_charges[0] + set_aside[0], by_charges[1] + set_aside[1]) == held
    assert total(shown["by_model"], "held") == by_charges
    open_charges = [each for each in shown["charges"] if each["state"] == "held"]
    assert total(open_charges, "held") == by_charges
    budget, free = amount(shown["budget"]), amount(shown["free"])
    assert free == (budget[0] - spent[0] - held[0], budget[1] - spent[1] - held[1])
    assert sum(row["charges"] for row in shown["by_step"]) == Charge.objects.count()


def test_each_charge_tells_all_that_is_known_of_it(client: APIClient, task: Task):
    charges = ledger(client, task)["charges"]

    assert [each["state"] for each in reversed(charges)] == [
        *("settled", "presumed", "released"),
        *("settled", "corrected", "settled", "held"),
    ]
    first, overrun, unpriced = charges[6], charges[3], charges[1]
    assert (first["step_id"], first["provider"], first["nth"]) == ("a", "home", 0)
    assert first["held"] == {"cost_usd": "0.007000000", "tokens": 1500}
    assert first["settled"] == {"cost_usd": "0.000700000", "tokens": 150}
    assert first["price"] == {
        "input": "2.000000",
        "output": "10.000000",
        "cached": None,
        "source": "tests",
        "version": "",
    }
    assert (first["latency_seconds"], first["is_estimated"]) == (1.5, False)
    assert (overrun["is_overrun"], overrun["cached_tokens"]) == (True, 500)
    assert (unpriced["is_unpriced"], unpriced["settled"]["tokens"]) == (True, 150)
    assert "reply" not in first


def test_overruns_unpriced_calls_and_steps_are_summed_up(client: APIClient, task: Task):
    shown = ledger(client, task)

    assert shown["overruns"] == {
        "count": 1,
        "cost_usd": "0.009000000",
        "tokens": 2500,
    }
    assert (shown["unpriced_count"], shown["owner_cap"]) == (1, None)
    a = next(row for row in shown["by_step"] if row["step_id"] == "a")
    assert (a["kind"], a["arm"], a["charges"], a["replays"]) == ("work", "gate", 3, 0)
    assert [row["model"] for row in shown["by_model"]] == ["other", "m"]


def test_all_money_is_decimal_strings(client: APIClient, task: Task):
    def check(value: Any, key: str = "") -> int:
        if isinstance(value, dict):
            return sum(check(inner, name) for name, inner in value.items())
        if isinstance(value, list):
            return sum(check(inner) for inner in value)
        assert not isinstance(value, float) or key == "latency_seconds"
        if key.endswith("_usd"):
            assert MONEY.fullmatch(value)
        return int(key.endswith("_usd"))

    assert check(ledger(client, task)) > 30


def test_many_charges_come_in_pages_and_the_sums_stay_whole(
    client: APIClient, task: Task
):
    whole = ledger(client, task)
    pages = [ledger(client, task, "?page_size=3")]

    while pages[-1]["next"]:
        pages.append(ledger(client, task, "?" + pages[-1]["next"].partition("?")[2]))

    assert [len(page["charges"]) for page in pages] == [3, 3, 1]
    assert [c for page in pages for c in page["charges"]] == whole["charges"]
    assert all(page["spent"] == whole["spent"] for page in pages)
    assert all(page["by_step"] == whole["by_step"] for page in pages)


def test_replays_are_told(client: APIClient, owner: Owner):
    task = make_task(owner=owner)
    claim = claim_of(task, "plan")
    meter = TaskMeter(claim)
    meter.replay("h")
    meter.settle(meter.reserve(call()), usage(), "reply")
    lose(claim)
    TaskMeter(claim_of(task, "plan")).replay("h")

    shown = ledger(client, task)

    assert shown["charges"][0]["replay_count"] == 1
    assert (shown["by_step"][0]["replays"], shown["by_model"][0]["replays"]) == (1, 1)
    assert shown["spent"] == {"cost_usd": "0.000700000", "tokens": 150}


def test_a_capped_owner_sees_how_the_month_stands(client: APIClient, owner: Owner):
    owner.monthly_cap_usd = Decimal("2.5")
    owner.save()
    task = make_task(owner=owner)

    cap = ledger(client, task)["owner_cap"]

    assert cap == {
        "month": f"{task.cap_month:%Y-%m}",
        "cap_usd": "2.500000000",
        "reserved_usd": "1.000000000",
        "spent_usd": "0.000000000",
        "left_usd": "1.500000000",
    }


def test_a_new_task_has_an_empty_ledger(client: APIClient, owner: Owner):
    shown = ledger(client, make_task(owner=owner))

    assert (shown["charges"], shown["by_model"], shown["next"]) == ([], [], None)
    assert (
        shown["free"]
        == shown["budget"]
        == {
            "cost_usd": "1.000000000",
            "tokens": 10_000,
        }
    )


def test_nobody_sees_anothers_ledger(client: APIClient):
    assert client.get(f"/tasks/{make_task().pk}/ledger").status_code == 404


def test_it_takes_as_many_queries_however_many_charges_there_are(
    client: APIClient, task: Task
):
    # The first use of a key is noted; of the rest, one query finds the key.
    ledger(client, task)

    with CaptureQueriesContext(connection) as queries:
        ledger(client, task)

    assert len(queries) == 4


def test_operators_see_the_same_sums(client: APIClient, task: Task):
    browser = Client()
    browser.force_login(User.objects.create_superuser("ada"))

    page = browser.get(reverse("admin:tasks_app_task_change", args=[task.pk]))

    text = page.content.decode()
    spent = ledger(client, task)["spent"]["cost_usd"]
    assert f"{spent}" in text
    assert f"?task__id__exact={task.pk}" in text
    charges = browser.get(
        reverse("admin:tasks_app_charge_changelist"), {"task__id__exact": str(task.pk)}
    )
    assert charges.status_code == 200
    assert "corrected" in charges.content.decode()
