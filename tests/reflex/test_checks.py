"""The system checks of the reflex."""

import pytest
from cryptography.fernet import Fernet

from reflex.checks import check_engine, check_keys, check_remote


def test_settings_of_the_tests_pass():
    assert check_keys() == check_engine() == check_remote() == []


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


@pytest.mark.parametrize(
    ("name", "value", "ids"),
    [
        ("OCTOLLM_REFLEX_URL", "http://reflex:8080", []),
        ("OCTOLLM_REFLEX_URL", "https://octo.example.org/reflex/", []),
        ("OCTOLLM_REFLEX_URL", "reflex:8080", ["reflex.E005"]),
        ("OCTOLLM_REFLEX_URL", "http://reflex:port", ["reflex.E005"]),
        ("OCTOLLM_REFLEX_URL", "http://reflex/?x=1", ["reflex.E005"]),
        ("OCTOLLM_REFLEX_ENABLED", False, ["reflex.W002"]),
    ],
)
def test_remote_reflex_is_looked_at(settings, name, value, ids):
    setattr(settings, name, value)

    assert [problem.id for problem in check_remote()] == ids


def test_remote_reflex_without_time_is_an_error(settings):
    settings.OCTOLLM_REFLEX_URL = "http://reflex:8080"
    settings.OCTOLLM_REFLEX_TIMEOUT_S = 0.0

    assert [problem.id for problem in check_remote()] == ["reflex.E006"]
