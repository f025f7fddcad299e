"""The description of the API says what the API does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from django.contrib.auth.models import User
from django.test import Client
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from octollm import __version__
from octollm.openapi import ProblemSerializer
from tasks_app.serializers import SubmitSerializer


def generate() -> dict[str, Any]:
    generator = SchemaGenerator()  # type: ignore[no-untyped-call] # has no types
    make: Callable[..., dict[str, Any]] = generator.get_schema
    return make(request=None, public=True)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return generate()


def operations(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]


def test_it_is_valid_openapi_3_1(schema: dict[str, Any]) -> None:
    validate_schema(schema)  # type: ignore[no-untyped-call] # has no types
    assert schema["openapi"].startswith("3.1")
    assert schema["info"]["version"] == __version__


def test_it_is_made_without_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    GENERATOR_STATS.reset()
    generate()
    assert "Warning" not in capsys.readouterr().err
    assert not GENERATOR_STATS


def test_every_operation_has_a_name_of_its_own(schema: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(schema)]
    assert len(names) == len(set(names))
    assert all(names)


@pytest.mark.django_db
def test_the_examples_of_a_submission_are_such(schema: dict[str, Any]) -> None:
    body = schema["paths"]["/submit"]["post"]["requestBody"]["content"]
    examples = body["application/json"]["examples"].values()
    assert examples
    for example in examples:
        serializer = SubmitSerializer(data=example["value"])
        assert serializer.is_valid(), serializer.errors


def test_the_context_of_a_submission_is_an_object(schema: dict[str, Any]) -> None:
    fields = schema["components"]["schemas"]["SubmitRequest"]["properties"]
    assert fields["context"]["type"] == "object"
    assert fields["task_metadata"]["type"] == "object"


def test_every_operation_says_how_it_fails(schema: dict[str, Any]) -> None:
    for path, method, operation in operations(schema):
        content = operation["responses"]["500"]["content"]
        assert list(content) == ["application/problem+json"], (path, method)


def test_what_needs_a_key_says_so(schema: dict[str, Any]) -> None:
    for path, _, operation in operations(schema):
        is_open = path in ("/", "/health", "/ready") or path.endswith(
            ("/health", "/reflex/ready")
        )
        assert ("401" in operation["responses"]) is not is_open, path
    assert set(schema["components"]["securitySchemes"]) == {"apiKey", "staffSession"}


def test_what_takes_a_body_says_which_bodies_it_refuses(
    schema: dict[str, Any],
) -> None:
    for path, method, operation in operations(schema):
        if method in ("post", "put", "patch"):
            expected = {"400", "411", "413", "415"}
            assert expected <= set(operation["responses"]), path


def test_a_problem_is_described_as_it_is_sent() -> None:
    sent = Client().get("/nowhere").json()
    described = ProblemSerializer().fields
    of_some = {"rule_ids", "violations", "month", "left_usd", "links"}
    assert set(sent) == set(described) - of_some


@pytest.mark.django_db
def test_it_is_served_as_json_and_as_yaml() -> None:
    client = Client()
    client.force_login(User.objects.create_user("ada", is_staff=True))
    as_json = client.get("/schema")
    as_yaml = client.get("/schema?format=yaml")
    assert json.loads(as_json.content) == yaml.safe_load(as_yaml.content)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "query", ["version=%0d%0aX-Evil:1", "lang=%00", "lang=../..", "version=9"]
)
def test_nothing_of_the_address_reaches_a_header(query: str) -> None:
    client = Client()
    client.force_login(User.objects.create_user("ada", is_staff=True))
    response = client.get(f"/schema?{query}")
    assert response.status_code == 200
    assert "X-Evil" not in str(response.headers)
