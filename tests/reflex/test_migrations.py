"""The reflex's migrations can be taken back, and rows survive it."""

import pytest
from django.core.management import call_command
from django.db import connection

from octollm.ids import new_id
from reflex.models import Screening
from reflex.screening import Checkpoint, screen
from reflex.vault import Vault


@pytest.mark.django_db(transaction=True)
def test_reviews_can_be_taken_back_and_put_in_again():
    scope = new_id()
    vault = Vault.new(scope)
    screen({"a": "a@b.co"}, checkpoint=Checkpoint.REQUEST, vault=vault).save(
        scope_id=scope
    )

    try:
        call_command("migrate", "reflex", "0002", verbosity=0)
        tables = connection.introspection.table_names(include_views=True)
    finally:
        call_command("migrate", "reflex", verbosity=0)

    assert "screening_rules" not in tables
    assert Screening.objects.get(scope_id=scope).reviews == {}
