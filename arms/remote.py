"""The arms elsewhere that the settings name, beside those that announce themselves."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Any

from django.conf import settings
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from arms.entries import NAME
from arms.providers import plain_key, plain_url, sentences
from arms.registration import Announcement
from arms.registry_models import MAX_WEIGHT, ArmInstance

_WHERE = "OCTOLLM_REMOTE_ARMS"


class _Setting(BaseModel):
    """One place of an arm as an operator names it."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=NAME)
    url: Annotated[str, AfterValidator(plain_url)]
    token_env: str = ""
    sees: frozenset[str] = frozenset()
    weight: int | None = Field(default=None, ge=1, le=MAX_WEIGHT)

    @property
    def place(self) -> tuple[str, str]:
        """Whose place it is, and its address as all rows have it."""
        return self.name, self.url.rstrip("/")

    def token(self) -> str:
        """Return what a caller must show.

        Raises:
            ValueError: it is not where it should be, or is none.
        """
        if not self.token_env:
            return ""
        token = settings.OCTOLLM_REMOTE_ARM_TOKENS.get(self.token_env, "").strip()
        if not token:
            raise ValueError("token_env names a variable that is not set")
        return plain_key(token)


def names() -> frozenset[str]:
    """Return the arms elsewhere that the settings name."""
    return frozenset(each.name for each in _named())


def is_named(name: str) -> bool:
    """Tell whether the settings name an arm elsewhere so."""
    return name in names()


def names_place(name: str, url: str) -> bool:
    """Tell whether the settings name this place of an arm."""
    return any(each.place == (name, url) for each in _named())


def token_of(name: str, url: str) -> str:
    """Return the token that a place of the settings wants; empty if none."""
    found = (each.token() for each in _named() if each.place == (name, url))
    return next(found, "")


def announcements() -> list[Announcement]:
    """Return the places that the settings name."""
    return [
        Announcement(
            arm=each.name,
            url=each.place[1],
            source=ArmInstance.Source.SETTINGS,
            weight=each.weight,
        )
        for each in _named()
    ]


def sees() -> dict[str, list[str]]:
    """Return the types of personal data that each arm of the settings may be shown."""
    found: dict[str, set[str]] = {}
    for each in _named():
        found.setdefault(each.name, set()).update(each.sees)
    return {name: sorted(types) for name, types in found.items()}


def problems() -> list[str]:
    """Return what is wrong with the settings, one sentence each; never a value."""
    return _settings()[1]


def _named() -> list[_Setting]:
    return _settings()[0] if settings.OCTOLLM_REMOTE_ARMS else []


def _settings() -> tuple[list[_Setting], list[str]]:
    """Return the places that can be used as they are set, and what is wrong."""
    listed, tokens = settings.OCTOLLM_REMOTE_ARMS, settings.OCTOLLM_REMOTE_ARM_TOKENS
    return _read(json.dumps(listed), json.dumps(tokens, sort_keys=True))


@lru_cache(maxsize=4)
def _read(text: str, _tokens: str) -> tuple[list[_Setting], list[str]]:
    listed = json.loads(text)
    if not isinstance(listed, list):
        return [], [f"{_WHERE} is not a JSON list of arms."]
    found, wrong = [], []
    for number, entry in enumerate(listed):
        faults = list(_faults_of(entry))
        wrong += [f"{_WHERE}, entry {number}: {fault}" for fault in faults]
        if not faults:
            found.append(_Setting.model_validate(entry))
    counts = Counter(each.place for each in found)
    twice = sorted({name for (name, _), count in counts.items() if count > 1})
    wrong += [f"{_WHERE}: “{name}” is named twice at one address." for name in twice]
    return [each for each in found if counts[each.place] == 1], wrong


def _faults_of(entry: Any) -> Iterator[str]:
    try:
        _Setting.model_validate(entry).token()
    except ValidationError as error:
        yield from sentences(error)
    except ValueError as error:
        yield f"{error}."
