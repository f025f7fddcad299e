"""``/documents``: taking in, listing and deleting, for one's own owner only."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rest_framework.test import APIClient

from arms.knowledge.models import Chunk, Document
from octollm.access.keys import create_key
from octollm.ids import new_id

pytestmark = [pytest.mark.django_db, pytest.mark.urls("arms.urls")]

EMAIL = "jo.doe" + "@example.com"


def client_of(owner_name: str) -> APIClient:
    client = APIClient()
    _, token = create_key(owner_name=owner_name, name="test")
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


@pytest.fixture
def client() -> APIClient:
    return client_of("acme")


def body(**overrides: Any) -> dict[str, Any]:
    return {
        "collection": "reviews",
        "title": "One",
        "text": "A fine kettle.",
    } | overrides


def post(client: APIClient, given: Any) -> Any:
    return client.post("/documents", given, format="json")


def test_a_document_is_stored_and_its_place_is_told(client: APIClient) -> None:
    response = post(client, body())

    assert response.status_code == 200
    stored = Document.objects.get()
    assert response.json() == {
        "document_id": str(stored.pk),
        "collection": "reviews",
        "chunks": 1,
        "duplicate_of": None,
    }


def test_a_list_gets_a_list_in_its_order(client: APIClient) -> None:
    texts = ["First.", "Second.", "Third."]

    answers = post(client, [body(text=text) for text in texts]).json()

    stored = [Document.objects.get(pk=each["document_id"]).text for each in answers]
    assert stored == texts


def test_the_same_content_is_stored_once_per_collection(client: APIClient) -> None:
    first = post(client, body()).json()

    again = post(client, body(title="Another title")).json()
    elsewhere = post(client, body(collection="other")).json()

    assert again["document_id"] == again["duplicate_of"] == first["document_id"]
    assert elsewhere["duplicate_of"] is None
    assert Document.objects.count() == 2


def test_a_list_is_stored_whole_or_not_at_all(client: APIClient) -> None:
    response = post(client, [body(), body(text=" ")])

    assert response.status_code == 400
    assert response.json()["errors"][0]["pointer"] == "#/1/text"
    assert not Document.objects.exists()


@pytest.mark.parametrize(
    ("given", "pointer", "code"),
    [
        (body(text=""), "#/text", "blank"),
        (body(text=" \n\t"), "#/text", "blank"),
        (body(collection="  "), "#/collection", "blank"),
        (body(collection="c" * 101), "#/collection", "max_length"),
        (body(title="t" * 301), "#/title", "max_length"),
        (body(metadata=[1]), "#/metadata", "not_a_dict"),
        (body(text=None), "#/text", "null"),
        (body(text=["a"]), "#/text", "invalid"),
        ({"text": "a"}, "#/collection", "required"),
        (body(language="en"), "#/language", "unknown_field"),
        ([body(), body(colour="red")], "#/1/colour", "unknown_field"),
        ([], "#", "empty"),
        ([body()] * 101, "#", "max_length"),
    ],
)
def test_a_fault_is_named_by_place_and_code(
    client: APIClient, given: Any, pointer: str, code: str
) -> None:
    response = post(client, given)

    assert response.status_code == 400
    assert [(e["pointer"], e["code"]) for e in response.json()["errors"]] == [
        (pointer, code)
    ]
    assert not Document.objects.exists()


def test_an_unknown_field_gives_the_problem_its_code(client: APIClient) -> None:
    assert post(client, body(language="en")).json()["code"] == "unknown_field"


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"])
def test_text_that_cannot_be_stored_is_refused(client: APIClient, text: str) -> None:
    raw = json.dumps(body(text=text))

    response = client.post("/documents", raw, content_type="application/json")

    assert response.status_code == 400
    assert response.json()["code"] == "malformed_json"


def test_a_text_over_one_megabyte_is_too_large(client: APIClient) -> None:
    response = post(client, body(text="a" * (2**20 + 1)))

    assert response.status_code == 413
    assert response.json()["code"] == "body_too_large"


def test_a_text_of_one_megabyte_is_stored(client: APIClient) -> None:
    response = post(client, body(text="word " * (2**18 - 60_000)))

    assert response.status_code == 200
    assert response.json()["chunks"] == Chunk.objects.count() > 500


def test_a_body_over_the_limit_is_refused_unread(client: APIClient, settings) -> None:
    settings.OCTOLLM_MAX_DOCUMENTS_BODY_BYTES = 100

    assert post(client, body(text="a" * 200)).status_code == 413


def test_personal_values_are_stored_concealed_and_shown_to_their_owner(
    client: APIClient,
) -> None:
    given = body(
        title=f"From {EMAIL}", text=f"Write to {EMAIL}.", metadata={"by": EMAIL}
    )

    post(client, given)

    stored = Document.objects.get()
    listed = client.get("/documents").json()["results"][0]
    assert EMAIL not in f"{stored.title}{stored.text}{stored.metadata}"
    assert stored.text == "Write to [EMAIL_K1]."
    assert (listed["title"], listed["metadata"]) == (f"From {EMAIL}", {"by": EMAIL})


def test_a_list_of_documents_has_no_texts_and_says_what_they_are(
    client: APIClient,
) -> None:
    post(client, body(metadata={"stars": 5}))

    (listed,) = client.get("/documents").json()["results"]

    assert set(listed) == {
        "document_id",
        "collection",
        "title",
        "metadata",
        "length",
        "chunks",
        "taint",
        "created_at",
    }
    assert (listed["length"], listed["chunks"]) == (14, 1)
    assert listed["metadata"] == {"stars": 5}


def test_pages_follow_each_other_without_gap(client: APIClient) -> None:
    post(client, [body(text=f"Text {number}.") for number in range(5)])

    page = client.get("/documents?page_size=2").json()
    seen = [each["document_id"] for each in page["results"]]
    while page["next"]:
        page = client.get(page["next"]).json()
        seen += [each["document_id"] for each in page["results"]]

    assert len(seen) == len(set(seen)) == 5


def test_a_list_can_be_narrowed_to_a_collection(client: APIClient) -> None:
    post(client, [body(), body(collection="Manuals", text="Press the button.")])

    found = client.get("/documents?collection=manuals").json()["results"]

    assert [each["collection"] for each in found] == ["Manuals"]


def test_an_unknown_parameter_is_refused(client: APIClient) -> None:
    response = client.get("/documents?owner=other")

    assert response.status_code == 400
    assert response.json()["code"] == "unknown_field"


def test_nobody_sees_or_deletes_another_owners_documents(client: APIClient) -> None:
    document_id = post(client, body()).json()["document_id"]
    stranger = client_of("stranger")

    assert stranger.get("/documents").json()["results"] == []
    assert stranger.delete(f"/documents/{document_id}").status_code == 404
    assert Document.objects.filter(pk=document_id).exists()


def test_two_owners_may_store_the_same_content(client: APIClient) -> None:
    post(client, body())

    assert post(client_of("other"), body()).json()["duplicate_of"] is None


def test_a_deleted_document_is_gone_with_its_passages(client: APIClient) -> None:
    document_id = post(client, body()).json()["document_id"]

    response = client.delete(f"/documents/{document_id}")

    assert response.status_code == 204
    assert not Document.objects.exists()
    assert not Chunk.objects.exists()
    assert client.delete(f"/documents/{document_id}").status_code == 404


def test_without_a_key_nothing_is_answered() -> None:
    assert post(APIClient(), body()).status_code == 401
    assert APIClient().get("/documents").status_code == 401
    assert APIClient().delete(f"/documents/{new_id()}").status_code == 401
