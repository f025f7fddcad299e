"""Operators read decisions and counts; nobody changes them, no value shows."""

import pytest

from octollm.ids import new_id
from reflex.models import Screening
from reflex.screening import Checkpoint, screen
from reflex.vault import Vault

pytestmark = pytest.mark.django_db
LISTS = ["/admin/reflex/screening/", "/admin/reflex/vaultkey/"]


@pytest.fixture
def scope():
    scope = new_id()
    screen(
        {"goal": "mail ada@example.org"},
        checkpoint=Checkpoint.REQUEST,
        vault=Vault.new(scope),
    ).save(scope_id=scope)
    return scope


@pytest.mark.parametrize("path", LISTS)
def test_lists_show_and_find_by_scope(admin_client, scope, path):
    found = admin_client.get(path, {"q": str(scope)})
    lost = admin_client.get(path, {"q": str(new_id())})

    assert str(scope) in found.content.decode()
    assert str(scope) not in lost.content.decode().replace(f"q={scope}", "")


@pytest.mark.parametrize("path", LISTS)
def test_search_for_anything_is_no_error(admin_client, scope, path):
    assert admin_client.get(path, {"q": "not a uuid"}).status_code == 200


def test_pages_show_no_value_and_offer_no_change(admin_client, scope):
    row = Screening.objects.get(scope_id=scope)
    pages = [
        admin_client.get(f"/admin/reflex/screening/{row.pk}/change/"),
        admin_client.get(f"/admin/reflex/vaultkey/{scope}/change/"),
    ]

    for page in pages:
        content = page.content.decode()
        assert page.status_code == 200
        assert "ada@example.org" not in content
        assert 'name="_save"' not in content
    assert "EMAIL: 1" in pages[1].content.decode()
    assert "email (medium) in goal" in pages[0].content.decode()


@pytest.mark.parametrize("path", LISTS)
def test_nothing_can_be_added_or_deleted(admin_client, path):
    assert admin_client.get(f"{path}add/").status_code == 403
    assert admin_client.post(path, {"action": "delete_selected"}).status_code != 500
