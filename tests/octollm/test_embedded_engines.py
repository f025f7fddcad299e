"""The engines start, answer, survive what a crash leaves behind, and stop."""

import pytest
import redis
from django.conf import settings
from django.db import connection

from tests.engines import TestEngines


@pytest.mark.django_db
def test_tests_run_on_the_private_database(engines: TestEngines) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), current_setting('listen_addresses')")
        database, addresses = cursor.fetchone()

    assert database == "test_octollm"
    assert addresses == "" or "TEST_DATABASE_URL" in engines.environment()


def test_valkey_keeps_what_it_is_given(engines: TestEngines) -> None:
    client = redis.Redis.from_url(settings.REDIS_URL)

    config = client.config_get("*")

    assert config["appendonly"] == "yes"
    assert config["maxmemory-policy"] == "noeviction"
    assert config["port"] == "0"
