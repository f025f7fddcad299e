"""The settings' vault keys change, and every value stays readable."""

from uuid import UUID

import pytest
from cryptography.fernet import Fernet

from octollm.errors import VaultError
from octollm.ids import new_id
from reflex import rotation
from reflex.models import VaultKey
from reflex.rotation import check, rotate
from reflex.vault import Concealable, open_vault, reveal, settings_fernet

pytestmark = pytest.mark.django_db
MAIL = "ada@example.org"


@pytest.fixture
def new_key(settings):
    """A new key before the old one, as an operator puts it."""
    key = Fernet.generate_key().decode()
    settings.OCTOLLM_VAULT_KEYS = [key, *settings.OCTOLLM_VAULT_KEYS]
    return key


def stored() -> UUID:
    scope = new_id()
    with open_vault(scope) as vault:
        vault.conceal([Concealable(type="EMAIL", text=MAIL)])
    return scope


def shown(scope: UUID) -> object:
    return reveal("[EMAIL_1]", scope_ids=[scope], types=None)


@pytest.fixture
def scopes():
    return [stored() for _ in range(5)]


def test_rotated_keys_open_with_the_new_key_alone(
    scopes, new_key, settings, monkeypatch
):
    monkeypatch.setattr(rotation, "_BATCH", 2)

    tally = rotate()

    assert (tally.rotated, tally.current, tally.lost) == (5, 0, [])
    settings.OCTOLLM_VAULT_KEYS = [new_key]
    assert [shown(scope) for scope in scopes] == [MAIL] * 5


def test_second_rotation_has_nothing_to_do(scopes, new_key):
    rotate()

    tally = rotate()

    assert (tally.rotated, tally.current) == (0, 5)


def test_check_changes_nothing(scopes, new_key):
    before = set(VaultKey.objects.values_list("wrapped_key", flat=True))

    tally = check()

    assert (tally.rotated, tally.current) == (5, 0)
    assert set(VaultKey.objects.values_list("wrapped_key", flat=True)) == before


def test_lost_key_is_named_and_stops_nothing(scopes, new_key, settings):
    stranger = Fernet(Fernet.generate_key()).encrypt(Fernet.generate_key()).decode()
    VaultKey.objects.filter(pk=scopes[2]).update(wrapped_key=stranger)

    tally = rotate()

    assert tally.lost == [scopes[2]]
    assert tally.rotated == 4
    with pytest.raises(VaultError, match="not in OCTOLLM_VAULT_KEYS"):
        shown(scopes[2])


def test_what_is_wrapped_and_no_key_is_lost(scopes, new_key):
    inner = settings_fernet().encrypt(b"not a key").decode()
    VaultKey.objects.filter(pk=scopes[0]).update(wrapped_key=inner)

    tally = rotate()

    assert tally.lost == [scopes[0]]
    with pytest.raises(VaultError, match="is damaged"):
        shown(scopes[0])


def test_rotation_without_keys_says_so(settings):
    settings.OCTOLLM_VAULT_KEYS = []

    with pytest.raises(VaultError, match="OCTOLLM_VAULT_KEYS is empty"):
        rotate()
