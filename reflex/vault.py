"""The vault: concealed values, encrypted, one key per scope.

The same value gets the same placeholder within a scope. "The same" means written
alike: ``A@b.org`` and ``a@b.org`` are two entries, because what is revealed must
be exactly what was written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import transaction

from octollm.errors import VaultError
from octollm.types import JSONValue
from reflex import scopes
from reflex.fingerprints import fingerprint
from reflex.models import VaultEntry, VaultKey
from reflex.placeholders import (
    KNOWLEDGE_PREFIX,
    LITERAL,
    PLACEHOLDER,
    has_placeholder,
    placeholder,
)


@dataclass(frozen=True, kw_only=True)
class Concealable:
    """A value to put away: its type, its text and what it was in its document."""

    type: str
    text: str
    json_type: str = VaultEntry.JSONType.STRING

    def mac(self, scope_id: UUID) -> str:
        """Return the fingerprint by which the same value is known again."""
        # The JSON type belongs to it: 4111 and "4111" must come back different.
        return fingerprint(
            [str(scope_id), self.type, self.json_type, self.text], purpose="vault"
        )


class _Shelf(Protocol):
    """Where a vault finds what its scope already holds."""

    def known(self, macs: Collection[str]) -> dict[str, str]:
        """Return the placeholder of each fingerprint that has one."""
        ...

    def open(self) -> VaultKey:
        """Return the scope's key row, ready to give out numbers."""
        ...


class Vault:
    """The values of one scope; give-outs wait in memory until ``save``."""

    def __init__(self, scope_id: UUID, *, prefix: str, shelf: _Shelf) -> None:
        """Use ``Vault.new`` or ``open_vault`` instead."""
        self.scope_id = scope_id
        self._prefix = prefix
        self._shelf = shelf
        self._key: VaultKey | None = None
        self._placeholders: dict[str, str] = {}
        self._unsaved: list[tuple[Concealable, str, str]] = []

    @classmethod
    def new(cls, scope_id: UUID, prefix: str = "") -> Vault:
        """Return the vault of a scope that has no rows yet; touches no database."""
        return cls(scope_id, prefix=prefix, shelf=_NewShelf(scope_id))

    def conceal(self, values: Sequence[Concealable]) -> list[str]:
        """Return one placeholder per value, in order; equal values share one."""
        macs = [value.mac(self.scope_id) for value in values]
        self._look_up(macs)
        if self._key is None and any(mac not in self._placeholders for mac in macs):
            self._key = self._shelf.open()
            # Another step may have put the same values away before we had the lock.
            self._look_up(macs)
        for mac, value in zip(macs, values, strict=True):
            if mac not in self._placeholders:
                self._give_out(mac, value)
        return [self._placeholders[mac] for mac in macs]

    def save(self) -> None:
        """Write what was given out since the last time, inside the caller's turn."""
        if not self._unsaved or self._key is None:
            return
        fernet = _scope_fernet(self._key)
        self._key.save(force_insert=self._key._state.adding)
        VaultEntry.objects.bulk_create(
            VaultEntry(
                scope_id=self.scope_id,
                placeholder=name,
                type=value.type,
                ciphertext=fernet.encrypt(_to_bytes(value.text)).decode(),
                json_type=value.json_type,
                value_mac=mac,
            )
            for value, name, mac in self._unsaved
        )
        self._unsaved.clear()

    def _look_up(self, macs: Iterable[str]) -> None:
        unknown = {mac for mac in macs if mac not in self._placeholders}
        if unknown:
            self._placeholders.update(self._shelf.known(unknown))

    def _give_out(self, mac: str, value: Concealable) -> None:
        if self._key is None:
            raise VaultError("The vault was not opened.")
        number = self._key.counters.get(value.type, 0) + 1
        self._key.counters[value.type] = number
        name = placeholder(value.type, number, prefix=self._prefix)
        self._placeholders[mac] = name
        self._unsaved.append((value, name, mac))


@dataclass(frozen=True)
class _NewShelf:
    """A scope without rows."""

    scope_id: UUID

    def known(self, macs: Collection[str]) -> dict[str, str]:
        return {}

    def open(self) -> VaultKey:
        return _new_key(self.scope_id)


@dataclass(frozen=True)
class _StoredShelf:
    """A scope in the database; locked from the first new value on."""

    scope_id: UUID
    stack: ExitStack

    def known(self, macs: Collection[str]) -> dict[str, str]:
        rows = VaultEntry.objects.filter(scope_id=self.scope_id, value_mac__in=macs)
        return dict(rows.values_list("value_mac", "placeholder"))

    def open(self) -> VaultKey:
        self.stack.enter_context(transaction.atomic())
        # First of all: who closes a scope for good has its lock before shredding.
        if not scopes.is_open(self.scope_id):
            raise VaultError(f"The vault of {self.scope_id} takes no more values.")
        VaultKey.objects.bulk_create([_new_key(self.scope_id)], ignore_conflicts=True)
        key = VaultKey.objects.select_for_update().filter(scope_id=self.scope_id)
        if not key:
            raise VaultError(f"The vault of {self.scope_id} was just shredded.")
        return key[0]


@contextmanager
def open_vault(scope_id: UUID, prefix: str = "") -> Iterator[Vault]:
    """Give the vault of a scope, and save what was put away at the end.

    Asks the database only when there is something to conceal, and locks the
    scope only when that is new: from then to the end, in a transaction, nobody
    else gives out numbers under this scope. An exception undoes all.
    """
    with ExitStack() as stack:
        shelf = _StoredShelf(scope_id, stack)
        vault = Vault(scope_id, prefix=prefix, shelf=shelf)
        yield vault
        vault.save()


def reveal(
    document: JSONValue,
    *,
    scope_ids: Sequence[UUID],
    types: Collection[str] | None,
) -> JSONValue:
    """Return the document with placeholders replaced by the values they stand for.

    Args:
        document: any JSON value; it is not changed.
        scope_ids: under which to look; the first that knows a placeholder decides.
        types: which types may be shown, ``None`` for all. LITERAL always is.

    Raises:
        VaultError: a scope's key cannot be unwrapped, or a value not decrypted.
    """
    wanted = {
        name
        for name in _placeholders_in(document)
        if types is None or _type_of(name) in types or _type_of(name) == LITERAL
    }
    if not wanted:
        return document
    return _replace(document, _load(wanted, scope_ids))


def transfer(document: JSONValue, *, scope_id: UUID, vault: Vault) -> JSONValue:
    """Return the document with a scope's placeholders replaced by another vault's.

    They stand for the same values, whatever the document around them says, so that
    none shows because it cannot be told from its new surroundings. Those of an
    owner's documents stay. One that stands for nothing goes over as the text it is,
    lest it come to stand for another's value.

    Raises:
        VaultError: the scope's key cannot be unwrapped, or a value not decrypted.
    """
    own = sorted(name for name in _placeholders_in(document) if not _is_knowledge(name))
    if not own:
        return document
    values = _values_of(own, scope_id)
    return _replace(document, dict(zip(own, vault.conceal(values), strict=True)))


def shred(scope_id: UUID) -> None:
    """Delete a scope's key and values; its placeholders stand for nothing then."""
    with transaction.atomic():
        VaultKey.objects.filter(scope_id=scope_id).delete()
        VaultEntry.objects.filter(scope_id=scope_id).delete()


def settings_fernet() -> MultiFernet:
    """Return the settings' keys: the first wraps, all of them unwrap.

    Raises:
        VaultError: there is no key, or one of them is not a key.
    """
    return MultiFernet(settings_fernets())


def settings_fernets() -> list[Fernet]:
    """Return the settings' keys, the one that wraps first.

    Raises:
        VaultError: there is no key, or one of them is not a key.
    """
    if not settings.OCTOLLM_VAULT_KEYS:
        raise VaultError("OCTOLLM_VAULT_KEYS is empty; give it at least one key.")
    try:
        return [Fernet(_padded(key)) for key in settings.OCTOLLM_VAULT_KEYS]
    except ValueError as error:
        raise VaultError(
            "OCTOLLM_VAULT_KEYS holds something that is not a key: each is 32 random "
            "bytes in URL-safe base64."
        ) from error


def _padded(key: str) -> str:
    """Return the key with the ``=`` that generators of tokens leave out."""
    return key.strip() + "=" * (-len(key.strip()) % 4)


def _new_key(scope_id: UUID) -> VaultKey:
    wrapped = settings_fernet().encrypt(Fernet.generate_key())
    return VaultKey(scope_id=scope_id, wrapped_key=wrapped.decode(), counters={})


def _scope_fernet(key: VaultKey) -> Fernet:
    try:
        return Fernet(settings_fernet().decrypt(key.wrapped_key))
    except InvalidToken as error:
        raise VaultError(
            f"The vault key of {key.scope_id} was wrapped by a key that is not in "
            "OCTOLLM_VAULT_KEYS."
        ) from error
    except ValueError as error:
        raise VaultError(f"The vault key of {key.scope_id} is damaged.") from error


def _load(names: Collection[str], scope_ids: Sequence[UUID]) -> dict[str, JSONValue]:
    entries = VaultEntry.objects.filter(scope_id__in=scope_ids, placeholder__in=names)
    rows = sorted(entries, key=lambda row: scope_ids.index(row.scope_id), reverse=True)
    keys = VaultKey.objects.filter(scope_id__in={row.scope_id for row in rows})
    fernets = {key.scope_id: _scope_fernet(key) for key in keys} if rows else {}
    return {row.placeholder: _decrypt(row, fernets) for row in rows}


def _values_of(names: Collection[str], scope_id: UUID) -> list[Concealable]:
    """Return what placeholders of a scope stand for, in order; a LITERAL if nothing."""
    entries = VaultEntry.objects.filter(scope_id=scope_id, placeholder__in=names)
    rows = {row.placeholder: row for row in entries}
    keys = VaultKey.objects.filter(scope_id=scope_id) if rows else ()
    fernets = {key.scope_id: _scope_fernet(key) for key in keys}
    return [
        (
            Concealable(
                type=rows[name].type,
                text=_decrypted(rows[name], fernets),
                json_type=rows[name].json_type,
            )
            if name in rows
            else Concealable(type=LITERAL, text=name)
        )
        for name in names
    ]


def _decrypted(row: VaultEntry, fernets: Mapping[UUID, Fernet]) -> str:
    try:
        return _from_bytes(fernets[row.scope_id].decrypt(row.ciphertext))
    except (KeyError, InvalidToken) as error:
        raise VaultError(
            f"{row.placeholder} of {row.scope_id} cannot be decrypted: its key is gone "
            "or is another one."
        ) from error


def _decrypt(row: VaultEntry, fernets: Mapping[UUID, Fernet]) -> JSONValue:
    text = _decrypted(row, fernets)
    if row.json_type == VaultEntry.JSONType.INTEGER:
        return int(text)
    return float(text) if row.json_type == VaultEntry.JSONType.FLOAT else text


def _replace(node: JSONValue, values: Mapping[str, JSONValue]) -> JSONValue:
    if isinstance(node, str):
        return values[node] if node in values else _replace_in_text(node, values)
    if isinstance(node, list):
        return [_replace(item, values) for item in node]
    if isinstance(node, dict):
        return _replace_in_object(node, values)
    return node


def _replace_in_object(
    node: dict[str, JSONValue], values: Mapping[str, JSONValue]
) -> dict[str, JSONValue]:
    names = {key: _replace_in_text(key, values) for key in node}
    # Keys that would become one stay concealed: no value is lost. Such a one may in
    # turn be the name of another, so it is looked at again.
    while len(set(names.values())) < len(names):
        owners = Counter(names.values())
        names = {k: k if owners[name] > 1 else name for k, name in names.items()}
    return {names[key]: _replace(item, values) for key, item in node.items()}


def _replace_in_text(text: str, values: Mapping[str, JSONValue]) -> str:
    if "[" not in text:
        return text
    return PLACEHOLDER.sub(lambda m: str(values.get(m.group(), m.group())), text)


def _placeholders_in(node: JSONValue) -> set[str]:
    found: set[str] = set()
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            if has_placeholder(item):
                found.update(match.group() for match in PLACEHOLDER.finditer(item))
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
    return found


def _type_of(name: str) -> str:
    match = PLACEHOLDER.fullmatch(name)
    return match.group(1) if match else ""


def _is_knowledge(name: str) -> bool:
    match = PLACEHOLDER.fullmatch(name)
    return match is not None and match.group(2) == KNOWLEDGE_PREFIX


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _from_bytes(value: bytes) -> str:
    return value.decode("utf-8", "surrogatepass")
