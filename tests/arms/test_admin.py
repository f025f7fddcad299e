"""Operators see arms and documents, with placeholders, and write neither."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from arms import health, registration, registry
from arms.knowledge import documents
from arms.knowledge.models import Chunk, Document
from arms.registry_models import ArmInstance, Execution
from octollm.ids import new_id

pytestmark = pytest.mark.django_db

EMAIL = "jo.doe" + "@example.com"


@pytest.fixture
def document() -> Document:
    stored = documents.ingest(
        new_id(), collection="reviews", title="One", text=f"Write to {EMAIL}."
    )
    return Document.objects.get(pk=stored.document_id)


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root", password="x"))
    return client


@pytest.mark.parametrize("page", ["arms_document_changelist", "arms_chunk_changelist"])
def test_lists_show_what_is_stored(
    operator: Client, document: Document, page: str
) -> None:
    response = operator.get(reverse(f"admin:{page}"))

    assert response.status_code == 200
    assert EMAIL not in response.content.decode()


@pytest.mark.parametrize("query", ["one", "reviews", "kettle"])
def test_documents_can_be_searched(
    operator: Client, document: Document, query: str
) -> None:
    response = operator.get(reverse("admin:arms_document_changelist"), {"q": query})

    found = str(document.pk) in response.content.decode()
    assert found is (query != "kettle")


def test_a_document_is_shown_with_its_passages_and_without_values(
    operator: Client, document: Document
) -> None:
    page = reverse("admin:arms_document_change", args=[document.pk])

    content = operator.get(page).content.decode()

    assert "Write to [EMAIL_K1]." in content
    assert EMAIL not in content


def test_nobody_writes_documents_here(operator: Client, document: Document) -> None:
    change = reverse("admin:arms_document_change", args=[document.pk])

    assert operator.get(reverse("admin:arms_document_add")).status_code == 403
    assert operator.post(change, {"title": "Other"}).status_code == 403
    document.refresh_from_db()
    assert document.title == "One"


def test_a_passage_has_a_page(operator: Client, document: Document) -> None:
    chunk = Chunk.objects.get(document=document)

    response = operator.get(reverse("admin:arms_chunk_change", args=[chunk.pk]))

    assert response.status_code == 200


def test_deleting_a_document_takes_its_passages_along(
    operator: Client, document: Document
) -> None:
    page = reverse("admin:arms_document_delete", args=[document.pk])

    operator.post(page, {"post": "yes"})

    assert not Document.objects.exists()
    assert not Chunk.objects.exists()


def test_arms_are_listed_with_their_health(operator: Client) -> None:
    registration.write_local(registry.local_catalogue())
    health.check_arms()

    content = operator.get(reverse("admin:arms_registeredarm_changelist")).content

    assert b"analyst" in content
    assert b"check_criteria" in content
    assert b"healthy" in content


def test_instances_are_listed_and_shown(operator: Client) -> None:
    registration.write_local(registry.local_catalogue())
    instance = ArmInstance.objects.get(arm_id="judge")
    page = reverse("admin:arms_arminstance_change", args=[instance.pk])

    listed = operator.get(reverse("admin:arms_arminstance_changelist"))

    assert b"in-process" in listed.content
    assert operator.get(page).status_code == 200


def test_executions_are_listed_and_shown_concealed(operator: Client) -> None:
    execution = Execution.objects.create(
        request_id=new_id(),
        scope_id=new_id(),
        arm="judge",
        reply={"output": {"answer": "Write to [EMAIL_1]."}},
    )
    page = reverse("admin:arms_execution_change", args=[execution.pk])

    listed = operator.get(reverse("admin:arms_execution_changelist"))
    shown = operator.get(page)

    assert str(execution.pk) in listed.content.decode()
    assert b"Write to [EMAIL_1]." in shown.content
