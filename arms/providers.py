"""Which model providers the operator has named, in order of preference.

Settings are read at each call, so that a key in a file can be changed while we run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit

from django.conf import settings
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from arms.contract import CallPrice
from arms.pricing import MAX_PRICE, price_of
from octollm.errors import ModelMisconfiguredError, UnpricedModelError

_ModelFor = Literal["default", "planning", "judging", "coding", "analysis"]
PURPOSES: Final[tuple[str, ...]] = get_args(_ModelFor)[1:]
#: Name of the one provider that is set without a list.
SINGLE = "default"


@dataclass(frozen=True, kw_only=True)
class Provider:
    """A server that speaks OpenAI's chat completions.

    Attributes:
        models: the model's name there by purpose; ``default`` serves the others.
        own_price: what the operator says that it costs.
        requests_per_minute: at most, of all processes together; unset: no limit.
        tokens_per_minute: likewise.
        timeout_s: wall clock of one try.
        max_output_field: how the limit of the answer's length is called there.
        takes_temperature: some reasoning models refuse one.
    """

    name: str
    base_url: str
    api_key: str = field(repr=False)
    models: Mapping[str, str]
    own_price: CallPrice | None = None
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    timeout_s: float = 60.0
    max_output_field: str = "max_tokens"
    takes_temperature: bool = True

    def model_for(self, purpose: str) -> str:
        """Return the name of the model for a purpose, empty when there is none."""
        return self.models.get(purpose) or self.models.get("default", "")

    def price_for(self, purpose: str) -> CallPrice:
        """Return the highest price of that model.

        Raises:
            UnpricedModelError: nobody knows it.
        """
        return price_of(self.base_url, self.model_for(purpose), override=self.own_price)


def providers_for(purpose: str, model: str = "") -> list[Provider]:
    """Return those that have a model for a purpose, the preferred one first.

    With ``model`` those that an operator gave that one, for whatever purpose; they
    answer by it alone.

    Raises:
        ModelMisconfiguredError: the settings cannot be read.
    """
    found, problems = _read()
    if problems:
        raise ModelMisconfiguredError(
            "The settings of the model providers are wrong; "
            "`python manage.py check` says how."
        )
    if model:
        return [
            replace(provider, models={"default": model})
            for provider in found
            if model in provider.models.values()
        ]
    return [provider for provider in found if provider.model_for(purpose)]


def known_models() -> list[str]:
    """Return the names of all models that an operator has set, sorted."""
    found, _ = _read()
    return sorted({name for provider in found for name in provider.models.values()})


def dearest_price(purpose: str, model: str = "") -> CallPrice:
    """Return an upper bound of the prices of all that may be asked.

    ``model`` is the one that a task is bound to, if it is.

    Raises:
        UnpricedModelError: none of them has a price.
        ModelMisconfiguredError: the settings cannot be read, or name nobody.
    """
    prices: list[CallPrice] = []
    unpriced = UnpricedModelError()
    for provider in providers_for(purpose, model):
        try:
            prices.append(provider.price_for(purpose))
        except UnpricedModelError as error:
            # It will not be asked either.
            unpriced = error
    if not prices:
        raise unpriced
    return CallPrice(
        input_per_million=max(price.input_per_million for price in prices),
        output_per_million=max(price.output_per_million for price in prices),
        source=prices[0].source,
        version=prices[0].version,
    )


def problems() -> list[str]:
    """Return what is wrong with the settings, one sentence each; never a value."""
    return _read()[1]


def uses_list() -> bool:
    """Tell whether providers are set as a list."""
    listed: object = settings.OCTOLLM_LLM_PROVIDERS
    return listed != []


def plain_url(url: str) -> str:
    """Refuse what is no plain address; what else it may hold could be a secret."""
    try:
        parts = urlsplit(url)
        is_plain = parts.port != 0 and not (parts.username or parts.password)
    except ValueError:
        raise ValueError("is no URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must begin with http:// or https:// and name a host")
    if not is_plain or parts.query or parts.fragment or not url.isprintable():
        raise ValueError("must not hold a user, a password, a query or a fragment")
    return url


def plain_key(key: str) -> str:
    """Refuse what cannot stand in a header."""
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValueError("is no key: only printable ASCII without spaces can be sent")
    return key


class _Price(BaseModel):
    """USD per million tokens."""

    model_config = ConfigDict(extra="forbid")

    input: Decimal = Field(ge=0, le=MAX_PRICE)
    output: Decimal = Field(ge=0, le=MAX_PRICE)
    cached: Decimal | None = Field(default=None, ge=0, le=MAX_PRICE)

    def to_call_price(self) -> CallPrice:
        return CallPrice(
            input_per_million=self.input,
            output_per_million=self.output,
            cached_per_million=self.cached,
            source="settings",
        )


_ModelName = Annotated[str, Field(min_length=1, max_length=200)]


class _Entry(BaseModel):
    """One provider as an operator writes it."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,49}$")
    base_url: Annotated[str, AfterValidator(plain_url)]
    api_key: Annotated[str, AfterValidator(plain_key)] = ""
    api_key_env: str = ""
    api_key_file: str = ""
    model: _ModelName | None = None
    models: dict[_ModelFor, _ModelName] = {}
    price: _Price | None = None
    rpm: int = Field(default=0, ge=0)
    tpm: int = Field(default=0, ge=0)
    timeout_s: float | None = Field(default=None, gt=0, le=3_600)
    max_output_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True

    @model_validator(mode="after")
    def _names_one_of_each(self) -> _Entry:
        if (self.model is None) == (not self.models):
            raise ValueError("give either model or models")
        if sum(map(bool, (self.api_key, self.api_key_env, self.api_key_file))) > 1:
            raise ValueError("give one of api_key, api_key_env and api_key_file")
        return self

    def key(self) -> str:
        """Return the key, wherever it stands.

        Raises:
            ValueError: it is not where it should be, or is none.
        """
        if self.api_key_env:
            key: str = settings.OCTOLLM_LLM_KEYS.get(self.api_key_env, "")
            if not key:
                raise ValueError("api_key_env names a variable that is not set")
            return plain_key(key.strip())
        if self.api_key_file:
            try:
                return plain_key(Path(self.api_key_file).read_text().strip())
            except (OSError, UnicodeDecodeError):
                raise ValueError("api_key_file cannot be read") from None
        return self.api_key

    def to_provider(self) -> Provider:
        """Return the value that the gateway works with."""
        return Provider(
            name=self.name,
            base_url=self.base_url,
            api_key=self.key(),
            models={"default": self.model} if self.model else dict(self.models.items()),
            own_price=self.price.to_call_price() if self.price else None,
            requests_per_minute=self.rpm,
            tokens_per_minute=self.tpm,
            timeout_s=self.timeout_s or settings.OCTOLLM_LLM_TIMEOUT_S,
            max_output_field=self.max_output_field,
            takes_temperature=self.temperature,
        )


def _read() -> tuple[list[Provider], list[str]]:
    """Return the providers, and what is wrong with the settings."""
    entries, where = _entries()
    if not isinstance(entries, list):
        return [], [f"{where} is not a JSON list of providers."]
    found: list[Provider] = []
    wrong: list[str] = []
    for place, entry in enumerate(entries):
        try:
            found.append(_Entry.model_validate(entry).to_provider())
        except ValidationError as error:
            wrong += [f"{where}, entry {place}: {each}" for each in sentences(error)]
        except ValueError as error:
            wrong.append(f"{where}, entry {place}: {error}.")
    names = Counter(provider.name for provider in found)
    wrong += [f"{where}: two are named “{n}”." for n in names if names[n] > 1]
    return found, wrong


def _entries() -> tuple[Any, str]:
    """Return the entries of the settings, and the name of where they stand."""
    if uses_list():
        return settings.OCTOLLM_LLM_PROVIDERS, "OCTOLLM_LLM_PROVIDERS"
    base_url: str = settings.OCTOLLM_LLM_BASE_URL
    named = {"default": settings.OCTOLLM_LLM_MODEL} | {
        purpose: getattr(settings, f"OCTOLLM_LLM_MODEL_{purpose.upper()}")
        for purpose in PURPOSES
    }
    models = {purpose: name for purpose, name in named.items() if name}
    if not base_url or not models:
        return [], ""
    entry = {"name": SINGLE, "base_url": base_url, "models": models}
    return [entry | {"api_key": settings.OCTOLLM_LLM_API_KEY.strip()}], "OCTOLLM_LLM_*"


def sentences(error: ValidationError) -> Iterator[str]:
    """Say what is wrong with a setting, never its value."""
    for each in error.errors(include_url=False, include_input=False):
        place = ".".join(map(str, each["loc"]))
        yield f"{place}: {each['msg']}." if place else f"{each['msg']}."
