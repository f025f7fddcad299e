"""Who may use the API: keys, sessions of staff, and for which owner they act."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection
from django.db.models import Model
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request
from rest_framework.test import APIClient, APIRequestFactory

from octollm.access import keys
from octollm.access.callers import KeyHolder, owner_of, owner_of_user
from octollm.access.keys import create_key, revoke_keys, token_hash
from octollm.access.models import ApiKey, Owner

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.octollm.api_urls")]

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def bearer(token: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def new_key(**overrides: object) -> tuple[ApiKey, str]:
    return create_key(**{"owner_name": "acme", "name": "ci", **overrides})  # type: ignore[arg-type] # overrides of any


@pytest.fixture
def staff() -> User:
    return User.objects.create_user("ada", password="x", is_staff=True)


def test_only_the_hash_of_a_token_is_stored() -> None:
    key, token = new_key()
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(api_keys)::text FROM api_keys")
        row = cursor.fetchone()[0]
    assert keys.TOKEN.fullmatch(token)
    assert token not in row
    assert token_hash(token) in row
    assert token.startswith(key.prefix)
    assert len(key.prefix) == 13


def test_two_keys_share_an_owner_and_nothing_else() -> None:
    (first, first_token), (second, second_token) = new_key(), new_key()
    assert first.owner == second.owner
    assert first_token != second_token
    assert Owner.objects.count() == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"scopes": ["everything"]},
        {"name": " "},
        {"owner_name": ""},
        {"expires_in": timedelta(0)},
        {"expires_in": timedelta(days=-1)},
    ],
)
def test_a_key_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"scope|name|future"):
        new_key(**wrong)
    assert ApiKey.objects.count() == 0


def test_a_key_acts_for_its_owner() -> None:
    _, token = new_key()
    assert bearer(token).get("/who").json() == {"owner": "acme"}


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_is_read_loosely(scheme: str) -> None:
    _, token = new_key()
    response = APIClient().get("/who", HTTP_AUTHORIZATION=f"{scheme} {token}")
    assert response.status_code == 200


def test_a_key_costs_one_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    client = bearer(new_key()[1])
    client.get("/who")
    with django_assert_num_queries(1):
        client.get("/who")


def test_a_found_key_is_what_the_orm_would_load() -> None:
    made, token = new_key(scopes=["metrics"], expires_in=timedelta(hours=1))
    found = keys.find_key(token)
    loaded = ApiKey.objects.select_related("owner").get(pk=made.pk)
    assert found is not None
    assert as_values(found) == as_values(loaded)
    assert as_values(found.owner) == as_values(loaded.owner)
    assert not found._state.adding


def as_values(row: Model) -> dict[str, object]:
    return {f.attname: getattr(row, f.attname) for f in row._meta.concrete_fields}


def test_a_token_of_another_form_asks_no_database(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    with django_assert_num_queries(0):
        assert bearer("octo_short").get("/who").status_code == 401


def test_the_last_use_is_written_once_a_minute() -> None:
    key, token = new_key()
    bearer(token).get("/who")
    key.refresh_from_db()
    first = key.last_used_at
    bearer(token).get("/who")
    key.refresh_from_db()
    assert first is not None
    assert key.last_used_at == first


def test_the_last_use_is_written_again_after_a_minute() -> None:
    key, token = new_key()
    long_ago = timezone.now() - timedelta(minutes=2)
    ApiKey.objects.update(last_used_at=long_ago)
    bearer(token).get("/who")
    key.refresh_from_db()
    assert key.last_used_at is not None
    assert key.last_used_at > long_ago


def test_a_last_use_that_cannot_be_written_turns_nobody_away(caplog) -> None:
    _, token = new_key()

    def refuse_writes(execute, sql, params, many, context):
        if sql.startswith("UPDATE"):
            raise DatabaseError("read-only")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(refuse_writes):
        response = bearer(token).get("/who")
    assert response.status_code == 200
    assert "last use could not be written" in caplog.text


def test_every_refused_key_gets_the_same_answer() -> None:
    revoked, revoked_token = new_key()
    revoke_keys([revoked.pk])
    expired, expired_token = new_key()
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now())
    _, inactive_token = new_key(owner_name="left")
    Owner.objects.filter(name="left").update(is_active=False)
    tokens = [revoked_token, expired_token, inactive_token, "octo_" + "A" * 43, "x"]

    answers = [bearer(token).get("/who") for token in tokens]

    assert {answer.status_code for answer in answers} == {401}
    assert {answer.json()["detail"] for answer in answers} == {
        "The API key is not valid."
    }
    assert {answer["WWW-Authenticate"] for answer in answers} == {
        'Bearer realm="octollm"'
    }


def test_a_revoked_key_cannot_be_revoked_again() -> None:
    key, _ = new_key()
    assert (revoke_keys([key.pk]), revoke_keys([key.pk])) == (1, 0)


def test_a_key_that_expires_later_works_until_then() -> None:
    key, token = new_key(expires_in=timedelta(hours=1))
    assert bearer(token).get("/who").status_code == 200
    assert key.state == "active"


def test_nobody_gets_a_401_that_says_how() -> None:
    response = APIClient().get("/who")
    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("Bearer")
    assert response.json()["code"] == "not_authenticated"


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "octo_x", "Bearer \xff"])
def test_other_credentials_are_no_key(header: str) -> None:
    response = APIClient().get("/who", HTTP_AUTHORIZATION=header)
    assert response.status_code == 401


def test_a_browser_is_sent_to_log_in_and_back() -> None:
    response = APIClient().get("/who?a=1", HTTP_ACCEPT=BROWSER)
    assert response.status_code == 302
    assert response["Location"] == "/admin/login/?next=/who%3Fa%3D1"


def test_a_browser_with_a_wrong_key_is_not_sent_to_log_in() -> None:
    response = bearer("octo_x").get("/who", HTTP_ACCEPT=BROWSER)
    assert response.status_code == 401


def test_a_browser_that_writes_is_not_sent_to_log_in() -> None:
    response = APIClient().post("/who", {}, format="json", HTTP_ACCEPT=BROWSER)
    assert response.status_code == 401


def test_a_narrowed_key_reaches_its_scope_only() -> None:
    client = bearer(new_key(scopes=["metrics"])[1])
    client.defaults["REMOTE_ADDR"] = "192.0.2.1"
    assert client.get("/metrics").status_code == 200
    assert client.get("/who").status_code == 403
    assert client.get("/schema").status_code == 403
    assert client.get("/health").status_code == 200


def test_staff_act_as_an_owner_of_their_own(staff: User) -> None:
    client = APIClient()
    client.force_login(staff)
    assert client.get("/who").json() == {"owner": "ada"}
    assert client.get("/who").json() == {"owner": "ada"}
    assert Owner.objects.get().user == staff


def test_staff_act_as_the_owner_they_are_bound_to(staff: User) -> None:
    Owner.objects.create(name="acme", user=staff)
    client = APIClient()
    client.force_login(staff)
    assert client.get("/who").json() == {"owner": "acme"}


def test_an_account_does_not_take_over_an_owner_by_its_name(staff: User) -> None:
    taken = Owner.objects.create(name="ada")
    owner = owner_of_user(staff)
    assert owner != taken
    assert owner.name.startswith("ada (")


@pytest.mark.parametrize("lacks", ["is_staff", "is_active"])
def test_other_accounts_are_nobody(staff: User, lacks: str) -> None:
    client = APIClient()
    client.force_login(staff)
    User.objects.update(**{lacks: False})
    assert client.get("/who").status_code == 401


def test_a_session_needs_the_csrf_token(staff: User) -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(staff)
    response = client.post(
        "/who", {}, format="json", HTTP_ORIGIN="https://4111.evil.example"
    )
    assert response.status_code == 403
    assert response.json()["code"] == "csrf_failed"
    assert b"4111" not in response.content


def test_a_session_with_the_csrf_token_may_write(staff: User) -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(staff)
    client.cookies["csrftoken"] = token = "t" * 32
    response = client.post("/who", {}, format="json", HTTP_X_CSRFTOKEN=token)
    assert response.status_code == 200


def test_a_key_needs_no_csrf_token() -> None:
    _, token = new_key()
    client = APIClient(enforce_csrf_checks=True)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert client.post("/who", {}, format="json").status_code == 200


def test_a_key_goes_before_a_session(staff: User) -> None:
    client = bearer(new_key()[1])
    client.force_login(staff)
    assert client.get("/who").json() == {"owner": "acme"}


def test_a_key_holder_has_no_permission_of_an_account() -> None:
    key, _ = new_key()
    holder = KeyHolder(key=key)
    assert holder.is_authenticated
    assert not holder.is_staff
    assert not holder.has_perm("octollm.view_owner")
    assert not holder.has_perms(["octollm.view_owner"])
    assert not holder.has_module_perms("octollm")
    assert (str(holder), holder.get_username(), holder.pk) == (
        "acme",
        "acme",
        key.owner.pk,
    )


def test_nobody_has_no_owner() -> None:
    with pytest.raises(NotAuthenticated):
        owner_of(Request(APIRequestFactory().get("/")))


def test_the_browsable_page_is_shown_to_staff(staff: User) -> None:
    client = Client()
    client.force_login(staff)
    response = client.get("/who", headers={"Accept": BROWSER})
    assert response.status_code == 200
    assert b"ada" in response.content
    assert b"http://" not in response.content.replace(b"http://testserver", b"")
