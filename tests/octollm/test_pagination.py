"""Pages of a list stay complete and free of repeats."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from rest_framework.test import APIClient

from octollm.access.keys import create_key
from octollm.access.models import ApiKey, Owner

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.octollm.api_urls")]

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def client() -> APIClient:
    """A caller whose own key is the oldest row."""
    key, token = create_key(owner_name="acme", name="own")
    ApiKey.objects.filter(pk=key.pk).update(created_at=START - timedelta(days=1))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def make_keys(count: int, *, per_moment: int = 1) -> list[str]:
    """Make rows, ``per_moment`` of them at the same time; names, newest first."""
    owner = Owner.objects.get(name="acme")
    rows = [
        ApiKey(
            owner=owner,
            name=f"k{number}",
            prefix="octo_x",
            sha256=f"{number}",
            created_at=START + timedelta(seconds=number // per_moment),
        )
        for number in range(count)
    ]
    ApiKey.objects.bulk_create(rows)
    ordered = sorted(rows, key=lambda row: (row.created_at, row.pk), reverse=True)
    return [row.name for row in ordered]


def walk(client: APIClient, url: str | None, direction: str) -> list[list[str]]:
    pages = []
    while url:
        page = client.get(url).json()
        pages.append(page["results"])
        url = page[direction]
    return pages


@pytest.mark.parametrize("per_moment", [1, 3, 25])
def test_walking_on_meets_every_row_once(client: APIClient, per_moment: int) -> None:
    names = make_keys(25, per_moment=per_moment)
    pages = walk(client, "/keys?page_size=4", "next")
    assert [name for page in pages for name in page] == [*names, "own"]
    assert [len(page) for page in pages] == [4, 4, 4, 4, 4, 4, 2]


def test_walking_back_meets_the_same_rows(client: APIClient) -> None:
    names = make_keys(11, per_moment=4)
    third = client.get(client.get("/keys?page_size=4").json()["next"]).json()["next"]
    pages = walk(client, third, "previous")
    assert [page[0] for page in pages] == [names[8], names[4], names[0]]


def test_the_ends_have_no_further_page(client: APIClient) -> None:
    make_keys(1)
    page = client.get("/keys").json()
    assert list(page) == ["results", "next", "previous"]
    assert (page["next"], page["previous"]) == (None, None)


def test_rows_added_meanwhile_repeat_nothing(client: APIClient) -> None:
    names = make_keys(6)
    first = client.get("/keys?page_size=3").json()
    create_key(owner_name="acme", name="new")
    second = client.get(first["next"]).json()
    assert first["results"] + second["results"] == names


def test_a_link_keeps_the_filters(client: APIClient) -> None:
    make_keys(3)
    link = client.get("/keys?page_size=2&status=failed").json()["next"]
    assert "status=failed" in urlsplit(link).query
    assert "page_size=2" in urlsplit(link).query


def forged(*fields: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "not base64!",
        "é",
        forged(),
        forged(0, "2026-01-01T00:00:00+00:00"),
        forged(0, "2026-01-01T00:00:00+00:00", "no-uuid"),
        forged(0, "2026-01-01T00:00:00", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"),
        forged(0, "yesterday", "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"),
        forged(0, 5, "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"),
        forged(0, "2026-01-01T00:00:00+00:00", 5),
        base64.urlsafe_b64encode(b"5").decode(),
        base64.urlsafe_b64encode(b"[" * 5000).decode(),
        base64.urlsafe_b64encode(b"\xff\xff").decode(),
    ],
)
def test_a_cursor_of_somebody_elses_making_is_refused(
    client: APIClient, cursor: str
) -> None:
    response = client.get("/keys", {"cursor": cursor})
    assert (response.status_code, response.json()["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize(
    "moment",
    [
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "9999-12-31T23:59:59.999999+00:00",
        "2026-01-01T00:00:00+00:00",
    ],
)
def test_a_forged_moment_is_never_a_fault_of_ours(
    client: APIClient, moment: str
) -> None:
    cursor = forged(0, moment, "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b")
    assert client.get("/keys", {"cursor": cursor}).status_code in (200, 400)


@pytest.mark.parametrize("size", ["0", "-1", "201", "1e2", "", "²", "9" * 5000])
def test_a_page_size_out_of_range_is_refused(client: APIClient, size: str) -> None:
    response = client.get("/keys", {"page_size": size})
    assert (response.status_code, response.json()["code"]) == (
        400,
        "invalid_page_size",
    )


@pytest.mark.parametrize("size", ["1", "200"])
def test_the_ends_of_the_range_are_accepted(client: APIClient, size: str) -> None:
    assert client.get("/keys", {"page_size": size}).status_code == 200
