"""The operator's pages: keys are shown once, histories are only read."""

from __future__ import annotations

import re

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.contrib.sessions.models import Session
from django.http import HttpRequest
from django.test import Client, RequestFactory
from django_dramatiq.models import Task as QueueMessage
from unfold.admin import ModelAdmin

from octollm.access.keys import create_key, find_key
from octollm.access.models import ApiKey, Owner
from octollm.admin import environment_badge, navigation
from octollm.history import shown_json
from octollm.resilience.models import Breaker, Leader, Slot, Switch, Worker

pytestmark = pytest.mark.django_db

OWN_MODELS = (ApiKey, Breaker, Group, Leader, Owner, Slot, Switch, User, Worker)
ADD_KEY = "/admin/octollm/apikey/add/"
KEYS = "/admin/octollm/apikey/"


@pytest.fixture
def operator() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator", password="x"))
    return client


def path_of(model: type) -> str:
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/"  # type: ignore[attr-defined] # any model


@pytest.mark.parametrize("model", OWN_MODELS, ids=lambda model: model.__name__)
def test_every_list_of_ours_opens(operator: Client, model: type) -> None:
    create_key(owner_name="acme", name="ci")
    Worker.objects.create(id="w", hostname="h", pid=1)
    Leader.objects.create(name="reaper", holder="w", until="2026-01-01T00:00Z")
    Breaker.objects.create(name="llm:x")
    Slot.objects.create(scope="owner:x", n=1)
    Switch.objects.create(name="maintenance", by="ada")
    assert operator.get(path_of(model)).status_code == 200
    assert operator.get(path_of(model), {"q": "x"}).status_code == 200


@pytest.mark.parametrize("model", admin.site._registry, ids=lambda m: m.__name__)
def test_every_registered_page_looks_like_the_others(model: type) -> None:
    assert isinstance(admin.site.get_model_admin(model), ModelAdmin)


def test_a_new_key_is_shown_once_and_stored_as_a_hash(operator: Client) -> None:
    owner = Owner.objects.create(name="acme")
    response = operator.post(ADD_KEY, {"owner": owner.pk, "name": "ci"})

    found = re.search(rb"octo_[\w-]{43}", response.content)
    assert found is not None
    token = found.group().decode()
    assert find_key(token) == ApiKey.objects.get()
    assert "no-store" in response["Cache-Control"]
    assert token not in str(response.cookies)
    assert token not in str([s.get_decoded() for s in Session.objects.all()])
    assert token not in operator.get(KEYS).content.decode()


def test_the_log_of_the_admin_knows_the_key_and_not_the_token(
    operator: Client,
) -> None:
    owner = Owner.objects.create(name="acme")
    operator.post(ADD_KEY, {"owner": owner.pk, "name": "ci", "scopes": ["metrics"]})
    key = ApiKey.objects.get()
    entry = admin.models.LogEntry.objects.get()
    assert entry.object_id == str(key.pk)
    assert key.scopes == ["metrics"]


def test_a_key_is_narrowed_to_the_arms_that_are_named(operator: Client) -> None:
    owner = Owner.objects.create(name="acme")
    asked = {"owner": owner.pk, "name": "ci", "scopes": ["metrics"]}
    operator.post(ADD_KEY, {**asked, "announces": "arm:billing, arm:word_count"})
    assert ApiKey.objects.get().scopes == ["arm:billing", "arm:word_count", "metrics"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"scopes": ["root"]},
        {"announces": "arm:billing; arm:root"},
        {"expires_at_0": "2020-01-01", "expires_at_1": "00:00:00"},
        {"name": ""},
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(
    operator: Client, wrong: dict[str, object]
) -> None:
    owner = Owner.objects.create(name="acme")
    operator.post(ADD_KEY, {"owner": owner.pk, "name": "ci", **wrong})
    assert ApiKey.objects.count() == 0


def test_keys_are_revoked_after_a_second_question(operator: Client) -> None:
    key, token = create_key(owner_name="acme", name="ci")
    chosen = {"action": "revoke", "_selected_action": [str(key.pk)]}
    question = operator.post(KEYS, chosen)
    assert question.status_code == 200
    assert b"cannot be undone" in question.content
    assert find_key(token) is not None

    operator.post(KEYS, {**chosen, "confirmed": "1"})
    assert find_key(token) is None


def test_a_link_alone_revokes_nothing(operator: Client) -> None:
    key, token = create_key(owner_name="acme", name="ci")
    operator.get(f"{KEYS}?action=revoke&_selected_action={key.pk}&confirmed=1")
    assert find_key(token) is not None


def test_revoking_needs_the_permission() -> None:
    key, token = create_key(owner_name="acme", name="ci")
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client = Client()
    client.force_login(viewer)
    chosen = {"action": "revoke", "_selected_action": [str(key.pk)], "confirmed": "1"}
    client.post(KEYS, chosen)
    assert find_key(token) is not None


@pytest.mark.parametrize("model", [ApiKey, Breaker, Leader, Worker])
def test_rows_that_the_system_writes_cannot_be_changed(
    operator: Client, model: type
) -> None:
    key, _ = create_key(owner_name="acme", name="ci")
    Worker.objects.create(id="w", hostname="h", pid=1)
    Leader.objects.create(name="w", holder="w", until="2026-01-01T00:00Z")
    Breaker.objects.create(name="w")
    row = key.pk if model is ApiKey else "w"
    page = f"{path_of(model)}{row}/change/"
    assert operator.get(page).status_code == 200
    assert operator.post(page, {"name": "other"}).status_code == 403
    assert operator.post(f"{path_of(model)}{row}/delete/").status_code == 403


def test_the_state_of_a_breaker_is_shown(operator: Client) -> None:
    until = "2026-01-01T00:00Z"
    Breaker.objects.create(name="llm:x", state="half_open", open_until=until)
    content = operator.get(path_of(Breaker)).content.decode()
    assert "llm:x" in content
    assert "half_open" in content


def test_the_messages_of_the_queue_are_not_shown_as_html() -> None:
    assert not admin.site.is_registered(QueueMessage)


def test_the_sidebar_lists_only_what_the_person_may_see(operator: Client) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client = Client()
    client.force_login(viewer)
    page = client.get("/admin/").content.decode()
    everything = operator.get("/admin/").content.decode()
    assert KEYS in page
    assert path_of(User) not in page
    assert path_of(User) in everything
    assert "System" in everything


def test_the_sidebar_lists_what_its_group_names_first() -> None:
    request = RequestFactory().get("/admin/")
    request.user = User.objects.create_superuser("operator", password="x")
    group = next(g for g in navigation(request) if g["title"] == "System")
    links = [item["link"] for item in group["items"]]
    assert links[:2] == [path_of(Owner), path_of(ApiKey)]
    assert set(links) == {path_of(model) for model in OWN_MODELS}


@pytest.mark.parametrize(
    ("label", "colour"), [("production", "danger"), ("staging", "info")]
)
def test_the_page_says_where_it_is(
    operator: Client, settings, label: str, colour: str
) -> None:
    settings.ENVIRONMENT_LABEL = label
    assert label in operator.get("/admin/").content.decode()
    assert environment_badge(HttpRequest()) == [label, colour]


def test_json_is_shown_as_text_and_cut_where_it_is_long() -> None:
    assert "&lt;b&gt;" in shown_json({"a": "<b>"})
    assert "5002 characters more" in shown_json("x" * 25_000)


def test_browsers_find_an_icon_without_signing_in(client: Client) -> None:
    assert client.get("/favicon.ico")["Location"] == "/static/octollm/icon.svg"
