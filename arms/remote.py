"""The arms elsewhere that the settings name, as the registry's tables know them.

A worker fetches their entries now and then and writes them down; the catalogue only
reads. So an arm that is away keeps nobody waiting, and stays in the catalogue.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from arms.entries import NAME, Entry, read_entry
from arms.providers import plain_key, plain_url, sentences
from arms.registry_models import ArmInstance, RegisteredArm
from octollm.errors import OctoLLMError

if TYPE_CHECKING:  # loads the HTTP library, which most processes have no use for
    from arms.client import Place, RemoteArm

logger = logging.getLogger(__name__)

# How often a worker looks whether an entry is missing or old, and what old is.
LOOK_S = 2.0
OLD_AFTER = timedelta(seconds=30)
# How long a process takes what it read for the present.
FRESH_S = 5.0

_read_at = 0.0
_known: Mapping[str, RemoteArm] = {}
_last_failure: dict[str, str] = {}


def arms() -> Mapping[str, RemoteArm]:
    """Return the arms elsewhere whose entries are known, by name; ≤ 5 s old.

    While one of them is not known the tables are read each time.
    """
    global _known, _read_at
    if not settings.OCTOLLM_REMOTE_ARMS:
        return {}
    named = {each.name: each for each in _settings()[0]}
    is_fresh = time.monotonic() - _read_at < FRESH_S
    if is_fresh and _known.keys() == named.keys():
        return _known
    rows = RegisteredArm.objects.filter(pk__in=named).values(
        *Entry.model_fields, "instances__location"
    )
    found = [_arm(row, named[row["name"]]) for row in rows]
    _known = {arm.spec.name: arm for arm in found if arm is not None}
    _read_at = time.monotonic()
    return _known


def forget() -> None:
    """Read the tables anew at the next look."""
    global _read_at
    _read_at = 0.0


def refresh() -> None:
    """Fetch the entries that are missing or old; what fails is tried again later."""
    from arms.client import fetch_entry  # see above

    for each in _settings()[0]:
        place = each.to_place()
        if _is_recent(place):
            continue
        try:
            entry = read_entry(fetch_entry(place), name=each.name)
        except OctoLLMError as error:
            _note(each.name, error.message)
        else:
            _note(each.name, "")
            _write(entry, place)


def is_named(name: str) -> bool:
    """Tell whether the settings name an arm elsewhere so."""
    return name in {each.name for each in _settings()[0]}


def problems() -> list[str]:
    """Return what is wrong with the settings, one sentence each; never a value."""
    return _settings()[1]


class _Setting(BaseModel):
    """One arm as an operator names it."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=NAME)
    url: Annotated[str, AfterValidator(plain_url)]
    token_env: str = ""
    sees: frozenset[str] = frozenset()

    def to_place(self) -> Place:
        """Return where it is.

        Raises:
            ValueError: the token is not where it should be, or is none.
        """
        from arms.client import Place  # see above

        token = ""
        if self.token_env:
            token = settings.OCTOLLM_REMOTE_ARM_TOKENS.get(self.token_env, "").strip()
            if not token:
                raise ValueError("token_env names a variable that is not set")
        return Place(name=self.name, url=self.url.rstrip("/"), token=plain_key(token))


def _settings() -> tuple[list[_Setting], list[str]]:
    """Return the arms that can be used as they are set, and what is wrong."""
    where, listed = "OCTOLLM_REMOTE_ARMS", settings.OCTOLLM_REMOTE_ARMS
    if not isinstance(listed, list):
        return [], [f"{where} is not a JSON list of arms."]
    found, wrong = [], []
    for place, entry in enumerate(listed):
        faults = list(_faults_of(entry))
        wrong += [f"{where}, entry {place}: {fault}" for fault in faults]
        if not faults:
            found.append(_Setting.model_validate(entry))
    names = Counter(each.name for each in found)
    twice = {name for name, count in names.items() if count > 1}
    wrong += [f"{where}: two are named “{name}”." for name in sorted(twice)]
    return [each for each in found if each.name not in twice], wrong


def _faults_of(entry: Any) -> Iterator[str]:
    try:
        _Setting.model_validate(entry).to_place()
    except ValidationError as error:
        yield from sentences(error)
    except ValueError as error:
        yield f"{error}."


def _arm(row: Mapping[str, Any], named: _Setting) -> RemoteArm | None:
    """Return the arm of a row, or nothing if the row is of another place."""
    from arms.client import RemoteArm  # see above

    place = named.to_place()
    if row["instances__location"] != place.url:
        return None
    try:
        entry = Entry.model_validate(row)
    except ValidationError:
        # Written by another version of this code; it is fetched again.
        logger.warning("the row of an arm elsewhere cannot be read")
        return None
    return RemoteArm(entry.to_spec(may_see=named.sees), place)


def _is_recent(place: Place) -> bool:
    return ArmInstance.objects.filter(
        arm_id=place.name, location=place.url, checked_at__gt=Now() - OLD_AFTER
    ).exists()


def _write(entry: Entry, place: Place) -> None:
    with transaction.atomic():
        RegisteredArm.objects.update_or_create(
            name=entry.name,
            defaults={
                **entry.model_dump(mode="json", exclude={"name"}),
                "updated_at": Now(),
            },
        )
        places = ArmInstance.objects.filter(arm_id=entry.name)
        places.exclude(location=place.url).delete()
        ArmInstance.objects.update_or_create(
            arm_id=entry.name,
            location=place.url,
            defaults={"state": ArmInstance.State.HEALTHY, "checked_at": Now()},
        )


def _note(name: str, failure: str) -> None:
    """Log a failure when it is new."""
    if failure and _last_failure.get(name) != failure:
        logger.warning("an arm's entry could not be fetched: %s", failure)
    _last_failure[name] = failure
