"""The vault: same value, same placeholder; values only with the right key."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from django.db import connection

from octollm.errors import VaultError
from octollm.ids import new_id
from octollm.types import JSONValue
from reflex.models import VaultEntry, VaultKey
from reflex.vault import Concealable, Vault, open_vault, reveal, shred, transfer

ADDRESS = Concealable(type="EMAIL", text="ada@example.org")
OTHER = Concealable(type="EMAIL", text="Ada@example.org")
CARD = Concealable(type="CARD", text="4111111111111111", json_type="integer")


def stored(*values: Concealable, scope_id: UUID | None = None) -> UUID:
    scope = scope_id or new_id()
    with open_vault(scope) as vault:
        vault.conceal(values)
    return scope


def test_new_vault_gives_out_names_without_a_database():
    vault = Vault.new(new_id())

    names = vault.conceal([ADDRESS, CARD, OTHER, ADDRESS])

    assert names == ["[EMAIL_1]", "[CARD_1]", "[EMAIL_2]", "[EMAIL_1]"]


def test_knowledge_vault_marks_its_names():
    assert Vault.new(new_id(), "K").conceal([CARD]) == ["[CARD_K1]"]


@pytest.mark.django_db
def test_new_vault_saves_what_can_be_revealed():
    scope = new_id()
    vault = Vault.new(scope)
    vault.conceal([ADDRESS, CARD])

    vault.save()

    document: JSONValue = {"to": "write to [EMAIL_1]", "n": "[CARD_1]"}
    assert reveal(document, scope_ids=[scope], types=None) == {
        "to": "write to ada@example.org",
        "n": 4111111111111111,
    }


@pytest.mark.django_db
def test_values_are_not_stored_readable():
    scope = stored(ADDRESS)

    row = VaultEntry.objects.get(scope_id=scope)

    assert ADDRESS.text not in row.ciphertext + row.value_mac
    assert Fernet.generate_key().decode() != VaultKey.objects.get(pk=scope).wrapped_key


@pytest.mark.django_db
def test_same_value_keeps_its_name_across_openings():
    scope = stored(ADDRESS)

    with open_vault(scope) as vault:
        names = vault.conceal([OTHER, ADDRESS])

    assert names == ["[EMAIL_2]", "[EMAIL_1]"]


@pytest.mark.django_db
def test_known_values_take_no_lock(django_assert_num_queries):
    scope = stored(ADDRESS)

    with django_assert_num_queries(1), open_vault(scope) as vault:
        vault.conceal([ADDRESS])


@pytest.mark.django_db
def test_nothing_to_conceal_asks_nothing(django_assert_num_queries):
    with django_assert_num_queries(0), open_vault(new_id()) as vault:
        vault.conceal([])


@pytest.mark.django_db
def test_text_without_placeholders_asks_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert reveal({"a": ["b [1]", 2]}, scope_ids=[new_id()], types=None) == {
            "a": ["b [1]", 2]
        }


@pytest.mark.django_db
def test_failure_while_open_stores_nothing():
    scope = new_id()

    with suppress(ZeroDivisionError), open_vault(scope) as vault:
        vault.conceal([ADDRESS])
        _ = 1 // 0

    assert not VaultKey.objects.filter(pk=scope).exists()


@pytest.mark.django_db
def test_only_allowed_types_are_revealed_and_literals_always():
    scope = stored(ADDRESS, CARD, Concealable(type="LITERAL", text="[EMAIL_9]"))

    seen = reveal(
        ["[EMAIL_1] [CARD_1] [LITERAL_1]"], scope_ids=[scope], types={"EMAIL"}
    )

    assert seen == ["ada@example.org [CARD_1] [EMAIL_9]"]


@pytest.mark.django_db
def test_keys_are_revealed_and_none_is_overwritten():
    scope = stored(ADDRESS)

    seen = reveal({"[EMAIL_1]": 1, "ada@example.org": 2}, scope_ids=[scope], types=None)

    assert seen == {"[EMAIL_1]": 1, "ada@example.org": 2}
    assert reveal({"[EMAIL_1]": 1}, scope_ids=[scope], types=None) == {
        "ada@example.org": 1
    }


@pytest.mark.django_db
def test_key_may_be_named_like_the_placeholder_of_another():
    scope = stored(ADDRESS, Concealable(type="LITERAL", text="[EMAIL_1]"))

    seen = reveal({"[LITERAL_1]": 1, "[EMAIL_1]": 2}, scope_ids=[scope], types=None)

    assert seen == {"[EMAIL_1]": 1, "ada@example.org": 2}


@pytest.mark.django_db
def test_first_scope_that_knows_a_name_decides():
    one, two = stored(ADDRESS), stored(OTHER)

    assert reveal("[EMAIL_1]", scope_ids=[two, one], types=None) == OTHER.text


@pytest.mark.django_db
def test_rotated_key_still_unwraps(settings):
    scope = stored(ADDRESS)

    settings.OCTOLLM_VAULT_KEYS = [
        Fernet.generate_key().decode(),
        *settings.OCTOLLM_VAULT_KEYS,
    ]

    assert reveal("[EMAIL_1]", scope_ids=[scope], types=None) == ADDRESS.text


@pytest.mark.django_db
@pytest.mark.parametrize("keys", [[], ["short"], [Fernet.generate_key().decode()]])
def test_lost_key_is_a_clear_error(settings, keys):
    scope = stored(ADDRESS)

    settings.OCTOLLM_VAULT_KEYS = keys

    with pytest.raises(VaultError, match="OCTOLLM_VAULT_KEYS"):
        reveal("[EMAIL_1]", scope_ids=[scope], types=None)


@pytest.mark.django_db
def test_entry_under_another_key_is_a_clear_error():
    scope = stored(ADDRESS)
    other = VaultKey.objects.get(pk=stored(CARD))

    VaultKey.objects.filter(pk=scope).update(wrapped_key=other.wrapped_key)

    with pytest.raises(VaultError, match=r"\[EMAIL_1\]"):
        reveal("[EMAIL_1]", scope_ids=[scope], types=None)


@pytest.mark.django_db
def test_key_without_padding_is_a_key(settings):
    settings.OCTOLLM_VAULT_KEYS = [Fernet.generate_key().decode().rstrip("=")]

    scope = stored(ADDRESS)

    assert reveal("[EMAIL_1]", scope_ids=[scope], types=None) == ADDRESS.text


@pytest.mark.django_db
def test_shredded_scope_reveals_nothing():
    scope = stored(ADDRESS)

    shred(scope)

    assert reveal("[EMAIL_1]", scope_ids=[scope], types=None) == "[EMAIL_1]"
    assert not VaultEntry.objects.filter(scope_id=scope).exists()


@pytest.mark.django_db(transaction=True)
def test_two_that_conceal_at_once_share_names_and_never_clash():
    scope = new_id()
    barrier = threading.Barrier(2)
    given: dict[str, list[str]] = {"ada": [], "bob": []}

    def conceal(name: str) -> None:
        with closing(connection):
            barrier.wait(timeout=60)
            for i in range(20):
                values = [
                    Concealable(type="EMAIL", text=f"{owner}{i}@example.org")
                    for owner in ("both", name)
                ]
                with open_vault(scope) as vault:
                    given[name].extend(vault.conceal(values))

    with ThreadPoolExecutor() as pool:
        for future in [pool.submit(conceal, "ada"), pool.submit(conceal, "bob")]:
            future.result(timeout=60)

    entries = VaultEntry.objects.filter(scope_id=scope)
    assert given["ada"][::2] == given["bob"][::2]
    assert not set(given["ada"][1::2]) & set(given["bob"][1::2])
    assert entries.count() == 60


@pytest.mark.django_db
class TestTransfer:
    """Placeholders of one scope become those of another, for the same values."""

    @staticmethod
    def moved(document: JSONValue, scope: UUID) -> tuple[JSONValue, Vault]:
        vault = Vault.new(new_id())
        vault.conceal([Concealable(type="EMAIL", text="first@example.org")])
        return transfer(document, scope_id=scope, vault=vault), vault

    def test_value_gets_the_name_that_it_has_over_there(self):
        scope = stored(ADDRESS, CARD)
        document: JSONValue = {"[EMAIL_1]": ["write to [EMAIL_1]", "[CARD_1]"]}

        moved, vault = self.moved(document, scope)
        vault.save()

        assert moved == {"[EMAIL_2]": ["write to [EMAIL_2]", "[CARD_1]"]}
        assert reveal(moved, scope_ids=[vault.scope_id], types=None) == {
            "ada@example.org": ["write to ada@example.org", 4111111111111111]
        }

    def test_value_that_is_known_there_already_keeps_its_name(self):
        scope = stored(OTHER, ADDRESS)
        vault = Vault.new(new_id())
        vault.conceal([ADDRESS])

        assert transfer("[EMAIL_2]", scope_id=scope, vault=vault) == "[EMAIL_1]"

    def test_placeholder_that_stands_for_nothing_never_stands_for_another(self):
        moved, vault = self.moved("[EMAIL_1]", stored(CARD))
        vault.save()

        assert moved == "[LITERAL_1]"
        shown = reveal(moved, scope_ids=[vault.scope_id], types=None)
        assert shown == "[EMAIL_1]"

    def test_placeholder_of_a_document_stays(self):
        assert self.moved("[EMAIL_K1]", stored(CARD))[0] == "[EMAIL_K1]"

    def test_document_without_any_is_itself(self):
        document: JSONValue = {"a": ["b"]}

        assert self.moved(document, stored(CARD))[0] is document
