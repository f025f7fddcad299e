"""What an arm elsewhere says of itself, made the same value as one of our own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_serializer,
)

from arms.contract import CONTRACT_VERSION, ArmSpec, Capability
from arms.registry_models import MAX_CONCURRENCY
from octollm.errors import ArmError
from octollm.storable import holds_nul, why_not_storable
from octollm.types import JSONObject, JSONValue

MAX_CAPABILITIES = 100
NAME = r"^[a-z][a-z0-9_]{0,63}$"

_Name = Annotated[str, Field(pattern=NAME)]
_Grant = Annotated[str, Field(min_length=1, max_length=300)]
GrantKind = Literal["tools", "commands", "hosts"]
_Text = Annotated[str, Field(max_length=2_000)]


def _is_schema(schema: JSONObject) -> JSONObject:
    # Imported here: it takes a while, and most processes read no entry.
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError):
        # Without the cause, which quotes all of it.
        raise ValueError("is no JSON schema") from None
    return schema


_Schema = Annotated[JSONObject, AfterValidator(_is_schema)]


class _Capability(BaseModel):
    name: _Name
    description: _Text
    input_schema: _Schema
    output_schema: _Schema
    cost_usd: Decimal = Field(default=Decimal(0), ge=0, le=1_000)
    seconds: float = Field(default=1.0, ge=0, le=86_400)
    synonyms: tuple[_Name, ...] = ()
    uses: tuple[_Name, ...] = ()


class Entry(BaseModel):
    """An arm's catalogue entry as JSON; what it does not know is passed over."""

    model_config = ConfigDict(allow_inf_nan=False)

    name: _Name
    version: str = Field(max_length=100)
    description: _Text
    capabilities: tuple[_Capability, ...] = Field(
        min_length=1, max_length=MAX_CAPABILITIES
    )
    sees: frozenset[Annotated[str, Field(pattern=r"^[A-Z][A-Z_]{0,63}$")]] = frozenset()
    is_repeatable: bool = False
    # Who does not speak of a store has none.
    has_store: bool = False
    shares_store: bool = False
    concurrency: int | None = Field(default=None, ge=1, le=MAX_CONCURRENCY)
    grants: dict[GrantKind, tuple[_Grant, ...]] = Field(default_factory=dict)
    fallback: str = Field(default="", pattern=f"^$|{NAME}")
    synonyms: tuple[_Name, ...] = ()
    queue: str = Field(default="default", pattern="^(default|sandbox)$")

    @field_serializer("sees")
    def _in_order(self, types: frozenset[str]) -> list[str]:
        # So that the same entry is the same text.
        return sorted(types)

    def to_spec(self, *, may_see: Iterable[str]) -> ArmSpec:
        """Return the catalogue's value; the arm sees what it wants and we allow."""
        kept = {name: getattr(self, name) for name in _SAME}
        return ArmSpec(
            **kept,
            capabilities=tuple(
                Capability(**dict(capability)) for capability in self.capabilities
            ),
            sees=self.sees & frozenset(may_see),
        )


class _Announced(Entry):
    """An entry as an arm sends it: with the newest contract that it understands."""

    contract_version: int = Field(default=1, ge=1)


_SAME = (
    *("name", "version", "description", "is_repeatable", "has_store"),
    *("shares_store", "concurrency", "grants", "fallback", "synonyms", "queue"),
)


def read_entry(text: bytes, *, name: str) -> Entry:
    """Return the entry that an arm sent.

    Raises:
        ArmError: it is none, that of an arm of another name, or of one that is older
            than the contract.
    """
    try:
        entry = _Announced.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "all of it"
        message = f"The entry of the arm {name} cannot be read: {place}: {first['msg']}"
        raise ArmError(message, arm_name=name) from None
    if entry.name != name:
        message = f"At the address of the arm {name} is one named {entry.name}."
        raise ArmError(message, arm_name=name)
    if entry.contract_version < CONTRACT_VERSION:
        message = (
            f"The arm {name} knows the contract {entry.contract_version}; "
            f"{CONTRACT_VERSION} is needed."
        )
        raise ArmError(message, arm_name=name)
    if why := _why_not_storable(entry, text):
        message = f"The entry of the arm {name} cannot be kept: {why}."
        raise ArmError(message, arm_name=name)
    return Entry.model_validate(entry.model_dump(exclude={"contract_version"}))


def _why_not_storable(entry: Entry, text: bytes) -> str:
    """Say what of an entry the database would refuse; found here, it is the arm's."""
    if holds_nul(text.decode(errors="replace")):
        return "it holds a NUL character"
    return why_not_storable(
        [[each.input_schema, each.output_schema] for each in entry.capabilities]
    )


def describe(spec: ArmSpec) -> JSONObject:
    """Return a catalogue entry as JSON, without its name."""
    return {
        "version": spec.version,
        "description": spec.description,
        "capabilities": [
            asdict(capability) | {"cost_usd": str(capability.cost_usd)}
            for capability in spec.capabilities
        ],
        "sees": list[JSONValue](sorted(spec.sees)),
        "is_repeatable": spec.is_repeatable,
        "has_store": spec.has_store,
        "synonyms": list[JSONValue](spec.synonyms),
        "shares_store": spec.shares_store,
        "concurrency": spec.concurrency,
        "grants": {kind: list[JSONValue](names) for kind, names in spec.grants.items()},
        "fallback": spec.fallback,
        "queue": spec.queue,
    }
