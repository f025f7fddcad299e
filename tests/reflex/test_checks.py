"""The system checks of the reflex."""

import pytest
from cryptography.fernet import Fernet

from reflex.checks import check_engine, check_keys


def test_settings_of_the_tests_pass():
    assert check_keys() == check_engine() == []


@pytest.mark.parametrize(
    ("name", "value", "check_id"),
    [
        ("OCTOLLM_VAULT_KEYS", [], "reflex.E001"),
        ("OCTOLLM_VAULT_KEYS", ["short"], "reflex.E002"),
        (
            "OCTOLLM_VAULT_KEYS",
            [Fernet.generate_key().decode(), "\u00e9"],
            "reflex.E002",
        ),
        ("OCTOLLM_HMAC_KEY", "", "reflex.E003"),
    ],
)
def test_missing_or_wrong_key_is_an_error(settings, name, value, check_id):
    setattr(settings, name, value)

    assert [problem.id for problem in check_keys()] == [check_id]


@pytest.mark.parametrize(
    ("wish", "ids"), [("re", ["reflex.W001"]), ("grep", ["reflex.E004"]), ("re2", [])]
)
def test_engine_is_looked_at(settings, wish, ids):
    settings.OCTOLLM_REFLEX_ENGINE = wish

    assert [problem.id for problem in check_engine()] == ids
