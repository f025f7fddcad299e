"""Operators see how instances are, and drain, disable, enable, weight and add them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from arms import registration, registry
from arms.registry_models import ArmInstance, HealthCheck, RegisteredArm
from octollm.resilience.models import Breaker, Slot
from tests.instances import (
    HOSTILE,
    TOKEN,
    make_arm,
    make_checks,
    make_instance,
    open_breaker,
    take_places,
)

pytestmark = pytest.mark.django_db

State, Source = ArmInstance.State, ArmInstance.Source
LIST = reverse("admin:arms_arminstance_changelist")
ADD = reverse("admin:arms_arminstance_add")
ARMS = reverse("admin:arms_registeredarm_changelist")


@pytest.fixture(autouse=True)
def _nothing_known_before() -> Iterator[None]:
    registry.forget()
    yield
    registry.forget()


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("ada", password="x"))
    return client


@pytest.fixture
def viewer(client: Client) -> Client:
    user = User.objects.create_user("eve", password="x", is_staff=True)
    views = ("view_arminstance", "view_registeredarm", "view_healthcheck")
    user.user_permissions.set(Permission.objects.filter(codename__in=views))
    client.force_login(user)
    return client


def page_of(row: Any) -> str:
    name = row._meta.model_name
    return reverse(f"admin:arms_{name}_change", args=[row.pk])


def act(client: Client, name: str, *rows: ArmInstance, **given: str) -> Any:
    chosen = {"action": name, "_selected_action": [str(row.pk) for row in rows]}
    return client.post(LIST, {**chosen, **given})


def state_of(row: ArmInstance) -> str:
    return ArmInstance.objects.get(pk=row.pk).state


def text_of(response: Any) -> str:
    assert response.status_code == 200
    return html.unescape(response.content.decode())


# What is shown --------------------------------------------------------------------------
@pytest.mark.parametrize("state", State.values)
def test_each_state_is_a_pill_with_its_word(operator, state):
    make_instance(state=state)

    content = operator.get(LIST).content.decode()

    pills = re.findall(
        r'<span class="inline-block[^"]*"[^>]*>\s*(\w+)\s*</span>', content
    )
    assert state in pills


def test_the_list_shows_places_breaker_and_what_is_wrong(operator):
    make_arm(concurrency=4)
    instance = make_instance(state=State.DOWN, detail="connection refused")
    take_places(instance, 3)
    open_breaker(instance)

    content = text_of(operator.get(LIST))

    for said in ("3 of 4", "connection refused", "http://billing-1.internal:8090"):
        assert said in content
    assert re.search(r">\s*open\s*<", content)


def test_the_strip_has_a_bar_with_a_title_for_each_check_and_words_for_all(operator):
    instance = make_instance()
    make_checks(instance, "", "", "connection refused", "")

    content = text_of(operator.get(LIST))

    titles = re.findall(r'title="([^"]* UTC, probe: [^"]*)"', content)
    assert len(titles) == 4
    assert "failed: connection refused" in titles[2]
    assert titles[3].endswith("well, 12 ms")
    assert "75 % of 4 well" in content
    (label,) = re.findall(r'role="img" aria-label="([^"]*)"', content)
    assert "connection refused" in label


def test_a_strip_holds_the_last_sixty_checks(operator):
    instance = make_instance()
    make_checks(instance, *["old"] * 5, *[""] * 60)

    content = text_of(operator.get(LIST))

    assert "100 % of 60 well" in content
    assert "old" not in re.findall(r'aria-label="(Last checks[^"]*)"', content)[0]


def test_a_list_of_many_instances_costs_the_queries_of_one(operator):
    def counted() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert operator.get(LIST).status_code == 200
        return len(queries)

    make_checks(make_instance(), "", "")
    counted()
    few = counted()
    for number in range(2, 20):
        instance = make_instance(f"http://billing-{number}:8090")
        make_checks(instance, "", "refused")
        open_breaker(instance)

    assert counted() == few


def test_an_arm_shows_its_instances_with_the_queries_of_one(operator):
    def counted() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert operator.get(page_of(arm)).status_code == 200
        return len(queries)

    arm = make_arm()
    make_checks(make_instance(), "", "")
    counted()
    few = counted()
    for number in range(2, 12):
        make_checks(make_instance(f"http://billing-{number}:8090"), "")

    assert counted() == few
    content = text_of(operator.get(page_of(arm)))
    assert "http://billing-7:8090" in content
    assert "100 % of 2 well" in content


def test_a_page_without_any_check_says_so(operator):
    registration.write_local(registry.local_catalogue())
    elsewhere = make_instance()
    here = ArmInstance.objects.get(arm_id="judge")

    assert "not checked yet" in text_of(operator.get(page_of(elsewhere)))
    # Of this process only failures are kept.
    assert "no failure" in text_of(operator.get(page_of(here)))


@pytest.mark.parametrize("page", ["list", "instance", "arm", "checks", "question"])
def test_hostile_text_is_shown_as_text(operator, page):
    make_arm(description=HOSTILE, version=HOSTILE, grants={"tools": [HOSTILE]})
    # As an arm could be entered that its host's name does not bind.
    instance = make_instance(
        f"http://host/{HOSTILE}", state=State.DOWN, detail=HOSTILE, version=HOSTILE
    )
    make_checks(instance, HOSTILE)
    pages = {
        "list": lambda: operator.get(LIST),
        "instance": lambda: operator.get(page_of(instance)),
        "arm": lambda: operator.get(page_of(instance.arm)),
        "checks": lambda: operator.get(reverse("admin:arms_healthcheck_changelist")),
        "question": lambda: act(operator, "drain", instance),
    }

    content = pages[page]().content.decode()

    assert "&lt;script&gt;alert" in content
    assert "<script>alert" not in content
    assert "<img src=x" not in content


@pytest.mark.parametrize(
    ("query", "is_found"), [("id", True), ("refused", True), ("kettle", False)]
)
def test_the_history_is_searched_by_instance_and_words(operator, query, is_found):
    instance = make_instance()
    make_checks(instance, "connection refused")
    sought = str(instance.pk) if query == "id" else query

    history = reverse("admin:arms_healthcheck_changelist")
    content = text_of(operator.get(history, {"q": sought}))

    assert ("connection refused" in content) is is_found


# What is done ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("drain", State.HEALTHY, State.DRAINING),
        ("disable", State.HEALTHY, State.DISABLED),
        ("enable", State.DISABLED, State.STARTING),
        ("enable", State.DRAINING, State.STARTING),
    ],
)
def test_an_act_is_asked_then_done_and_logged(operator, name, before, after):
    instance = make_instance(state=before)

    question = text_of(act(operator, name, instance))
    assert "billing-1.internal" in question
    assert state_of(instance) == before
    assert not LogEntry.objects.exists()

    act(operator, name, instance, confirmed="1", reason="a new disk")

    assert state_of(instance) == after
    entry = LogEntry.objects.get()
    assert (entry.user.get_username(), entry.object_id) == ("ada", str(instance.pk))
    assert "a new disk" in entry.change_message


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("drain", State.HEALTHY, State.DRAINING),
        ("disable", State.DOWN, State.DISABLED),
        ("enable", State.DISABLED, State.STARTING),
    ],
)
def test_the_page_of_an_instance_has_the_same_acts(operator, path, before, after):
    instance = make_instance(state=before)
    address = reverse(f"admin:arms_arminstance_{path}_this", args=[instance.pk])
    assert address in text_of(operator.get(page_of(instance)))

    assert "billing-1.internal" in text_of(operator.get(address))
    operator.post(address, {"reason": "not confirmed"})
    assert state_of(instance) == before

    operator.post(address, {"confirmed": "1", "reason": "a new disk"})
    assert state_of(instance) == after
    assert "a new disk" in LogEntry.objects.get().change_message


def test_the_breaker_of_one_is_closed_on_its_page_by_who_may(operator):
    instance = make_instance()
    open_breaker(instance)
    address = reverse("admin:arms_arminstance_close_this_breaker", args=[instance.pk])

    eve = User.objects.create_user("eve", password="x", is_staff=True)
    eve.user_permissions.set(Permission.objects.filter(codename="view_arminstance"))
    stranger = Client()
    stranger.force_login(eve)
    assert stranger.post(address, {"confirmed": "1"}).status_code == 403
    assert Breaker.objects.get().state == "open"

    operator.post(address, {"confirmed": "1"})
    assert Breaker.objects.get().state == "closed"


def test_an_act_on_an_instance_that_is_gone_is_not_found(operator):
    address = reverse("admin:arms_arminstance_drain_this", args=[uuid4()])

    assert operator.post(address, {"confirmed": "1"}).status_code == 404


def test_only_what_changed_is_logged(operator):
    drained = make_instance(state=State.DRAINING)
    well = make_instance("http://billing-2:8090")

    answer = act(operator, "drain", drained, well, confirmed="1")
    content = text_of(operator.get(answer.headers["Location"]))

    assert "1 of 2 changed." in content
    assert LogEntry.objects.get().object_id == str(well.pk)


def test_a_breaker_is_closed_and_that_is_logged(operator):
    instance = make_instance()
    open_breaker(instance)

    act(operator, "close_breaker", instance, confirmed="1")

    assert Breaker.objects.get().state == "closed"
    assert LogEntry.objects.get().object_id == str(instance.pk)


@pytest.mark.parametrize("name", ["drain", "disable", "enable", "close_breaker"])
def test_who_may_only_look_changes_nothing(viewer, name):
    instance = make_instance(state=State.DISABLED if name == "enable" else State.DOWN)
    open_breaker(instance)

    act(viewer, name, instance, confirmed="1")
    viewer.post(page_of(instance), {"weight": "99"})

    before = State.DISABLED if name == "enable" else State.DOWN
    assert state_of(instance) == before
    assert Breaker.objects.get().state == "open"
    assert ArmInstance.objects.get(pk=instance.pk).weight == 10
    assert not LogEntry.objects.exists()
    assert viewer.get(page_of(instance)).status_code == 200


def test_who_may_only_look_adds_and_deletes_nothing(viewer):
    instance = make_instance()
    new = {"name": "billing", "url": "http://new:8090", "weight": "10"}

    assert viewer.post(ADD, new).status_code == 403
    delete = reverse("admin:arms_arminstance_delete", args=[instance.pk])
    assert viewer.post(delete, {"post": "yes"}).status_code == 403
    assert ArmInstance.objects.get().pk == instance.pk


def test_saving_writes_the_weight_and_not_the_state_that_the_page_showed(operator):
    instance = make_instance(state=State.HEALTHY)
    operator.get(page_of(instance))
    ArmInstance.objects.filter(pk=instance.pk).update(state=State.DOWN, detail="gone")

    operator.post(page_of(instance), {"weight": "40", "secret": ""})

    instance.refresh_from_db()
    assert (instance.weight, instance.state, instance.detail) == (40, "down", "gone")
    assert "Weight" in LogEntry.objects.get().get_change_message()
    assert registration.decrypted(instance.token) == TOKEN


@pytest.mark.parametrize("weight", ["0", "101", "-1", "many", ""])
def test_a_weight_that_makes_no_sense_is_refused(operator, weight):
    instance = make_instance()

    assert operator.post(page_of(instance), {"weight": weight}).status_code == 200
    assert ArmInstance.objects.get(pk=instance.pk).weight == 10


def test_an_instance_added_by_hand_is_the_operators_and_keeps_its_token_secret(
    operator,
):
    token = "typed-" + "by-hand"
    new = {"name": "mail", "url": "http://mail:8090/", "secret": token, "weight": "30"}

    answer = operator.post(ADD, new, follow=True)

    instance = ArmInstance.objects.get(arm_id="mail")
    assert (instance.location, instance.source) == ("http://mail:8090", "operator")
    assert (instance.weight, instance.state) == (30, "starting")
    assert registration.decrypted(instance.token) == token
    assert token not in text_of(answer)
    assert token not in text_of(operator.get(page_of(instance)))
    assert instance.token not in text_of(operator.get(page_of(instance)))
    entry = LogEntry.objects.get()
    assert entry.object_id == str(instance.pk)
    assert token not in entry.change_message


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "Mail!"}, "valid"),
        ({"name": ""}, "required"),
        ({"url": "ftp://mail"}, "must begin with http"),
        ({"url": "http://jo:pw@mail:8090"}, "must not hold a user"),
        ({"url": "http://mail:8090/?a=b"}, "must not hold a user"),
        ({"url": "javascript:alert(1)"}, "must begin with http"),
        ({"url": "in-process"}, "must begin with http"),
        ({"secret": "two words"}, "is no key"),
        ({"weight": "0"}, "greater than or equal"),
        ({"name": "billing", "url": "http://here:1/"}, "entered already"),
    ],
)
def test_an_instance_that_makes_no_sense_is_not_added(operator, wrong, said):
    make_instance("http://here:1")
    new = {"name": "mail", "url": "http://mail:8090", "secret": "t", "weight": "10"}

    content = text_of(operator.post(ADD, new | wrong))

    assert said in content
    assert ArmInstance.objects.count() == 1


def test_a_new_token_takes_the_place_of_the_old_one(operator):
    instance = make_instance()
    token = "the-" + "new-one"

    operator.post(page_of(instance), {"weight": "10", "secret": token})

    instance.refresh_from_db()
    assert registration.decrypted(instance.token) == token
    assert token not in LogEntry.objects.get().change_message


def test_deleting_takes_places_and_history_along(operator):
    make_arm(concurrency=4)
    instance = make_instance()
    make_checks(instance, "", "")
    delete = reverse("admin:arms_arminstance_delete", args=[instance.pk])

    operator.post(delete, {"post": "yes"})

    left = [each.objects.count() for each in (ArmInstance, HealthCheck, Slot)]
    assert left == [0, 0, 0]
    assert LogEntry.objects.get().object_id == str(instance.pk)


def test_many_are_deleted_at_once(operator):
    make_arm(concurrency=4)
    rows = [make_instance(f"http://billing-{number}:8090") for number in range(3)]

    act(operator, "delete_selected", *rows, post="yes")

    assert not ArmInstance.objects.exists()
    assert not Slot.objects.exists()
    assert LogEntry.objects.count() == 3


@pytest.mark.parametrize("source", [Source.IN_PROCESS, Source.SETTINGS])
def test_what_would_come_back_by_itself_is_not_deleted(operator, source):
    instance = make_instance(source=source)
    delete = reverse("admin:arms_arminstance_delete", args=[instance.pk])

    assert operator.post(delete, {"post": "yes"}).status_code == 403
    act(operator, "delete_selected", instance, post="yes")
    assert ArmInstance.objects.filter(pk=instance.pk).exists()


# Arms -----------------------------------------------------------------------------------
def test_a_limit_of_the_operators_resizes_places_and_is_logged(operator):
    arm = make_arm(concurrency=4)
    instance = make_instance()

    operator.post(page_of(arm), {"limit": "2", **_no_instances()})

    arm.refresh_from_db()
    assert arm.limit == 2
    scope = registration.scope_of(instance.pk)
    assert Slot.objects.filter(scope=scope).count() == 2
    assert LogEntry.objects.get().object_id == "billing"


def test_an_arm_may_see_what_it_asks_for_and_nothing_else(operator):
    arm = make_arm(sees=["EMAIL", "PHONE"])
    make_instance()

    operator.post(page_of(arm), {"may_see": ["EMAIL"], **_no_instances()})
    arm.refresh_from_db()
    assert arm.may_see == ["EMAIL"]

    wrong = operator.post(page_of(arm), {"may_see": ["US_SSN"], **_no_instances()})
    assert "Select a valid choice" in text_of(wrong)
    arm.refresh_from_db()
    assert arm.may_see == ["EMAIL"]


def test_an_operator_chooses_the_fallback_among_the_other_arms(operator):
    arm = make_arm(fallback="invoices")
    make_arm("mail")

    page = text_of(operator.get(page_of(arm)))
    assert "as the arm says: invoices" in page
    operator.post(page_of(arm), {"stand_in": "mail", **_no_instances()})
    wrong = operator.post(page_of(arm), {"stand_in": "billing", **_no_instances()})

    assert "Select a valid choice" in text_of(wrong)
    arm.refresh_from_db()
    assert (arm.stand_in, arm.fallback) == ("mail", "invoices")
    assert "Fallback" in LogEntry.objects.get().get_change_message()


def test_what_the_settings_say_of_an_arm_is_theirs(operator, settings):
    settings.OCTOLLM_REMOTE_ARMS = [{"name": "billing", "url": "http://b:1"}]
    arm = make_arm(may_see=["PHONE"])

    operator.post(page_of(arm), {"may_see": ["EMAIL"], **_no_instances()})

    arm.refresh_from_db()
    assert arm.may_see == ["PHONE"]


def test_saving_an_arm_leaves_what_workers_write(operator):
    arm = make_arm()
    operator.get(page_of(arm))
    RegisteredArm.objects.filter(pk="billing").update(version="2.0.0")

    operator.post(page_of(arm), {"limit": "3", **_no_instances()})

    arm.refresh_from_db()
    assert (arm.version, arm.limit) == ("2.0.0", 3)


@pytest.mark.parametrize("limit", ["0", "1001", "many"])
def test_a_limit_that_makes_no_sense_is_refused(operator, limit):
    arm = make_arm()

    answer = operator.post(page_of(arm), {"limit": limit, **_no_instances()})

    assert answer.status_code == 200
    arm.refresh_from_db()
    assert arm.limit is None


def test_an_arms_health_is_that_of_its_instances(operator):
    make_instance()
    make_instance("http://billing-2:8090", state=State.DOWN)

    content = text_of(operator.get(ARMS))

    assert re.search(r">\s*degraded\s*<", content)
    assert "1 of 2" in content


def test_an_arm_whose_breakers_are_open_is_down_on_its_pages_too(operator):
    open_breaker(make_instance())

    for page in (ARMS, page_of(RegisteredArm.objects.get())):
        content = text_of(operator.get(page))
        assert re.search(r">\s*down\s*<", content)


def test_who_may_only_look_limits_nothing(viewer):
    arm = make_arm()

    assert viewer.get(page_of(arm)).status_code == 200
    assert viewer.post(page_of(arm), {"limit": "2"}).status_code == 403
    arm.refresh_from_db()
    assert arm.limit is None


def _no_instances() -> dict[str, str]:
    return {
        "instances-TOTAL_FORMS": "0",
        "instances-INITIAL_FORMS": "0",
    }
