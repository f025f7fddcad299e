"""Every error has one shape, and none repeats what was sent."""

from __future__ import annotations

import inspect
import json
import logging
import re
from uuid import UUID

import pytest
from django.test import Client, RequestFactory
from rest_framework.test import APIClient

from octollm import error_pages, errors
from octollm.errors import OctoLLMError

pytestmark = pytest.mark.urls("tests.octollm.api_urls")

CARD = "4111 1111 1111 1111"
SHAPE = {
    "type",
    "title",
    "status",
    "detail",
    "instance",
    "code",
    "request_id",
    "errors",
}
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def quiet_client() -> APIClient:
    """A client that lets our handlers answer a bug, as a server does."""
    return APIClient(raise_request_exception=False)


def all_errors() -> list[type[OctoLLMError]]:
    members = [value for _, value in inspect.getmembers(errors, inspect.isclass)]
    return [kind for kind in members if issubclass(kind, OctoLLMError)]


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("illegal", 409, "illegal_state"),
        ("rejected", 403, "unsafe_content"),
        ("screening", 503, "screening_unavailable"),
        ("vault", 500, "vault_key"),
        ("database", 503, "database_unavailable"),
        ("row", 500, "internal_error"),
        ("bug", 500, "internal_error"),
        ("denied", 403, "permission_denied"),
        ("suspicious", 400, "bad_request"),
    ],
)
def test_what_a_view_raises_becomes_a_problem_document(
    name: str, status: int, code: str
) -> None:
    response = quiet_client().get(f"/raise/{name}")

    body = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status,) * 2 + (
        code,
    )
    assert response["Content-Type"] == "application/problem+json"
    assert set(body) - {"rule_ids"} == SHAPE
    assert "4111" not in response.content.decode()
    assert "Traceback" not in response.content.decode()
    assert "10.0.0.5" not in response.content.decode()


@pytest.mark.parametrize("name", ["row", "bug", "denied", "suspicious"])
def test_failures_outside_the_api_have_the_same_shape(name: str) -> None:
    response = quiet_client().get(f"/plain-raise/{name}")
    assert response["Content-Type"] == "application/problem+json"
    assert set(response.json()) == SHAPE
    assert "4111" not in response.content.decode()


@pytest.mark.parametrize(
    ("path", "status"),
    [("/plain-raise/bug", 500), ("/plain-raise/denied", 403), ("/nowhere", 404)],
)
def test_a_browser_gets_a_page(path: str, status: int) -> None:
    response = quiet_client().get(path, HTTP_ACCEPT=BROWSER)
    assert response.status_code == status
    assert response["Content-Type"].startswith("text/html")
    assert b"<h1>" in response.content
    assert b"4111" not in response.content


def test_an_error_of_the_caller_keeps_its_message() -> None:
    body = APIClient().get("/raise/illegal").json()
    assert body["detail"] == "The task is finished."
    assert body["title"] == "Conflict"
    assert body["type"] == "urn:octollm:problem:illegal_state"


def test_a_rejection_names_its_rules() -> None:
    body = APIClient().get("/raise/rejected").json()
    assert body["rule_ids"] == ["injection.override"]


def test_what_may_pass_says_when_to_ask_again() -> None:
    assert APIClient().get("/raise/screening")["Retry-After"] == "1"
    assert "Retry-After" not in APIClient().get("/raise/illegal")


def test_the_request_id_is_the_one_of_the_answer() -> None:
    response = APIClient().get("/raise/illegal")
    body = response.json()
    assert str(UUID(body["request_id"])) == body["request_id"]
    assert body["request_id"] == response["X-Request-ID"]
    assert body["instance"] == f"urn:uuid:{body['request_id']}"


def test_a_bug_is_logged_with_its_frames_and_request_id(caplog) -> None:
    with caplog.at_level(logging.ERROR):
        response = quiet_client().get("/raise/bug")
    (record,) = [r for r in caplog.records if r.name == "octollm.api"]
    assert record.exc_info
    assert response.status_code == 500


def test_a_callers_error_is_not_logged_as_ours(caplog) -> None:
    with caplog.at_level(logging.WARNING):
        APIClient().get("/raise/illegal")
        APIClient().post("/echo", {}, format="json")
    assert caplog.records == []


def test_each_error_has_a_code_of_its_own_and_a_message() -> None:
    codes = [kind.code for kind in all_errors()]
    assert len(set(codes)) == len(codes)
    assert all(kind().message for kind in all_errors())
    assert all(400 <= kind.http_status < 600 for kind in all_errors())


def test_unknown_fields_are_named() -> None:
    response = APIClient().post("/echo", {"goal": "g", "prio": 1}, format="json")
    body = response.json()
    assert (response.status_code, body["code"]) == (400, "unknown_field")
    assert [(e["pointer"], e["code"]) for e in body["errors"]] == [
        ("#/prio", "unknown_field")
    ]


def test_fields_not_built_yet_are_told_from_unknown_ones() -> None:
    response = APIClient().post("/echo", {"goal": "g", "approval": 1}, format="json")
    assert response.json()["code"] == "unsupported_field"
    assert response.json()["errors"][0]["pointer"] == "#/approval"


def test_a_field_that_only_answers_carry_is_unknown_in_a_request() -> None:
    response = APIClient().post("/echo", {"goal": "g", "echoed_at": 1}, format="json")
    assert response.json()["code"] == "unknown_field"


def test_all_faults_are_told_at_once() -> None:
    sent = {"goal": "", "x": 1, "budget": {"max_tokens": 0, "y": 1}, "priority": "no"}
    body = APIClient().post("/echo", sent, format="json").json()
    assert {(e["pointer"], e["code"]) for e in body["errors"]} == {
        ("#/goal", "blank"),
        ("#/x", "unknown_field"),
        ("#/budget/max_tokens", "min_value"),
        ("#/budget/y", "unknown_field"),
        ("#/priority", "invalid_choice"),
    }


def test_faults_in_a_list_are_placed_by_their_index() -> None:
    sent = {"goal": "g", "items": [{"max_tokens": 1}, {"max_tokens": -1}]}
    body = APIClient().post("/echo", sent, format="json").json()
    assert [e["pointer"] for e in body["errors"]] == ["#/items/1/max_tokens"]
    assert body["code"] == "invalid"


@pytest.mark.parametrize(
    "name",
    [
        CARD,
        "jane.doe@example.org",
        "Jane Doe",
        "ssn_078051120",
        "a" * 41,
        "",
        "naïve",
        "line\nbreak",
    ],
)
def test_a_name_that_may_be_personal_is_told_by_its_position(name: str) -> None:
    response = APIClient().post("/echo", {"goal": "g", name: 1}, format="json")
    (fault,) = response.json()["errors"]
    assert (fault["pointer"], fault["code"]) == ("#", "unknown_field")
    assert "number 2" in fault["detail"]
    assert not name or json.dumps(name)[1:-1] not in response.content.decode()


def test_a_personal_key_of_a_map_ends_the_pointer() -> None:
    sent = {"goal": "g", "labels": {CARD: "x"}}
    response = APIClient().post("/echo", sent, format="json")
    assert [e["pointer"] for e in response.json()["errors"]] == ["#/labels"]
    assert "4111" not in response.content.decode()


def test_a_refused_choice_lists_the_choices_and_not_the_value() -> None:
    sent = {"goal": "g", "priority": CARD}
    response = APIClient().post("/echo", sent, format="json")
    assert response.json()["errors"][0]["detail"] == "Must be one of: low, high."
    assert "4111" not in response.content.decode()


def test_a_value_that_looks_like_our_own_words_is_not_repeated() -> None:
    sent = {"goal": "g", "priority": f"Must be one of: {CARD}"}
    response = APIClient().post("/echo", sent, format="json")
    assert "4111" not in response.content.decode()


def test_an_unknown_method_is_not_repeated() -> None:
    response = APIClient().generic("FOO4111", "/echo")
    assert response.status_code == 405
    assert response.json()["code"] == "method_not_allowed"
    assert "4111" not in response.content.decode()


def test_an_accept_that_nobody_can_serve_is_refused_in_json() -> None:
    response = APIClient().get("/health", HTTP_ACCEPT="image/png")
    assert response.status_code == 406
    assert response["Content-Type"] == "application/problem+json"


def test_programs_get_json_and_browsers_the_browsable_page() -> None:
    assert APIClient().get("/health")["Content-Type"] == "application/json"
    anything = APIClient().get("/health", HTTP_ACCEPT="*/*")
    assert anything["Content-Type"] == "application/json"
    page = APIClient().get("/health", HTTP_ACCEPT=BROWSER)
    assert page["Content-Type"].startswith("text/html")


def test_the_path_of_a_missing_page_is_not_repeated() -> None:
    for accept in ("*/*", BROWSER):
        response = APIClient().get("/tasks-of/4111", HTTP_ACCEPT=accept)
        assert response.status_code == 404
        assert b"4111" not in response.content


def test_a_slash_too_many_is_mended_for_reading_only() -> None:
    read = APIClient().get("/health/?a=1")
    written = APIClient().post("/echo/", {"goal": "g"}, format="json")
    assert (read.status_code, read["Location"]) == (301, "/health?a=1")
    assert written.status_code == 404
    assert "slash" in written.json()["detail"]


@pytest.mark.parametrize(
    "path", ["//evil.example/", "//evil.example/health/", "/\\evil.example/", "///"]
)
def test_the_mending_leads_to_no_other_host(path: str) -> None:
    request = RequestFactory().get("/")
    request.path_info = path
    response = error_pages.not_found(request, Exception())
    assert (response.status_code, response.headers.get("Location")) == (404, None)


def test_an_unknown_host_is_refused_without_its_name(caplog) -> None:
    response = APIClient().get("/health", HTTP_HOST="evil.example")
    assert response.status_code == 400
    assert response.json()["code"] == "bad_request"
    assert b"evil" not in response.content


@pytest.mark.parametrize("kind", all_errors())
def test_every_error_is_drawn_in_the_tree(kind) -> None:
    assert re.search(rf"^[│├└─ ]*{kind.__name__}\b", str(errors.__doc__), re.MULTILINE)


def test_a_form_without_its_token_is_refused_as_a_page() -> None:
    client = Client(enforce_csrf_checks=True)
    response = client.post(
        "/admin/login/", {"username": CARD}, headers={"Accept": BROWSER}
    )
    assert response.status_code == 403
    assert b"csrf_failed" in response.content
    assert b"4111" not in response.content
