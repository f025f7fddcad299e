"""What every connection to PostgreSQL is set to."""

from __future__ import annotations

import pytest
from django.db import connection


@pytest.mark.django_db
def test_session_that_pauses_within_a_transaction_is_ended():
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_in_transaction_session_timeout")

        assert cursor.fetchone() == ("30s",)
