"""What travels between the system and an arm, and what an arm may ask of it.

The same values are used in process and over HTTP. Everything an arm sends back
is untrusted and validated here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from octollm.resilience.deadline import StopToken
from octollm.types import JSONObject, JSONValue

# Raised when an arm of before would get a request, or we its reply, wrong. Fields that
# may be passed over raise nothing.
CONTRACT_VERSION = 1
ANSWERED_FROM_STORE = "answered from its store"
AT_LEAST_ONCE = "at least once on a crash"


class StepBudget(BaseModel):
    """What one invocation may use at most; ``deadline_at`` is aware UTC."""

    model_config = ConfigDict(frozen=True)

    max_cost_usd: Decimal = Decimal(0)
    max_tokens: int = 0
    deadline_at: datetime


class ArmRequest(BaseModel):
    """One invocation: a request to one arm under a ``request_id``.

    The same ``request_id`` always gets the same answer, so a repeated request
    after a crash does no work twice.

    Attributes:
        knowledge_scope: whose documents may be searched; for arms of ours that run
            as services of their own, which share our database.
        model: the only one that may be asked; likewise.
    """

    model_config = ConfigDict(frozen=True)

    contract_version: int = CONTRACT_VERSION
    request_id: UUID
    task_id: UUID
    step_id: str
    attempt: int = Field(ge=1)
    capability: str
    description: str = ""
    input: JSONObject = Field(default_factory=dict)
    context: JSONObject = Field(default_factory=dict)
    constraints: list[str] = Field(default_factory=list)
    criteria: list[str] = Field(default_factory=list)
    budget: StepBudget
    capability_token: str | None = None
    traceparent: str | None = None
    knowledge_scope: UUID | None = None
    model: str = ""


class Usage(BaseModel):
    """What the arm says it used; the ledger is what counts."""

    cost_usd: Decimal = Field(default=Decimal(0), ge=0)
    input_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    model: str | None = None


class ArmReply(BaseModel):
    """What an arm sent.

    ``confidence`` is 0.0 to 1.0 and comes with the sentence that explains how it
    was computed; an arm that cannot tell sends ``None``. ``evidence`` holds one
    object per piece, each with at least ``kind``.
    """

    # NaN is no JSON, and the database refuses it; instances are checked like text.
    model_config = ConfigDict(revalidate_instances="always", allow_inf_nan=False)

    output: JSONObject
    confidence: float | None = Field(default=None, ge=0.0, le=1.0)
    confidence_reason: str = ""
    usage: Usage = Field(default_factory=Usage)
    evidence: list[JSONObject] = Field(default_factory=list)
    logs: str = ""
    artefacts: list[JSONObject] = Field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Capability:
    """One thing an arm can do.

    Attributes:
        name: the tag a step asks for, unique within the arm.
        input_schema: JSON schema of ``ArmRequest.input``.
        output_schema: JSON schema of ``ArmReply.output``; its ``properties`` are
            what later steps may refer to.
        cost_usd: what one call costs by the catalogue.
        seconds: what one call takes by the catalogue.
        synonyms: other names that plans use for it.
        uses: what it needs beside its input, so that constraints such as "No network"
            can be kept: ``model``, ``network``, ``code`` (it runs code) or ``tools``.
    """

    name: str
    description: str
    input_schema: Mapping[str, JSONValue]
    output_schema: Mapping[str, JSONValue]
    cost_usd: Decimal = Decimal(0)
    seconds: float = 1.0
    synonyms: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ArmSpec:
    """An arm's catalogue entry.

    Attributes:
        sees: PII types whose values the arm may be shown (``EMAIL``, ``PHONE``, …);
            secrets and card numbers belong to none.
        is_repeatable: whether running the same request twice does no harm.
        has_store: whether a repeated request id is answered from what was done under
            it; an arm in process has the table of executions.
        shares_store: whether each instance of it answers for all others, too.
        concurrency: how many steps each instance takes at once; no limit without.
        grants: names of tools, commands and hosts that its steps may ask for, by kind.
        fallback: the arm that may do its steps while no instance of it can be had.
        synonyms: other names that plans use for it.
        queue: which workers may run it, ``default`` or ``sandbox``.
    """

    name: str
    version: str
    description: str
    capabilities: tuple[Capability, ...]
    sees: frozenset[str] = frozenset()
    is_repeatable: bool = False
    has_store: bool = True
    shares_store: bool = True
    concurrency: int | None = None
    grants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fallback: str = ""
    synonyms: tuple[str, ...] = ()
    queue: str = "default"

    @property
    def on_crash(self) -> str:
        """What a crash of ours makes of an invocation that was under way."""
        return ANSWERED_FROM_STORE if self.has_store else AT_LEAST_ONCE

    def capability(self, name: str) -> Capability | None:
        """Return the capability of that name, or nothing."""
        return next((c for c in self.capabilities if c.name == name), None)


@dataclass(frozen=True, kw_only=True)
class Health:
    """The outcome of a self-check or probe."""

    is_healthy: bool
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class CallPrice:
    """USD per million tokens, and where the figures come from.

    Attributes:
        cached_per_million: for input that the provider had in its cache; that of
            other input when unset.
    """

    input_per_million: Decimal
    output_per_million: Decimal
    source: str
    cached_per_million: Decimal | None = None
    version: str = ""

    @property
    def dearest_input(self) -> Decimal:
        """USD per million tokens of input, wherever they come from."""
        return max(self.input_per_million, self.cached_per_million or Decimal(0))

    def cost_usd(
        self, *, input_tokens: int, output_tokens: int, cached_tokens: int = 0
    ) -> Decimal:
        """Return what tokens cost, exact.

        ``cached_tokens`` are those of ``input_tokens`` that the provider had in its
        cache.
        """
        per_cached = self.cached_per_million
        if per_cached is None:
            per_cached = self.input_per_million
        exact = (
            self.input_per_million * (input_tokens - cached_tokens)
            + per_cached * cached_tokens
            + self.output_per_million * output_tokens
        )
        return exact / 1_000_000


@dataclass(frozen=True, kw_only=True)
class ModelCall:
    """A model call before it is made: what it may cost at most.

    Attributes:
        purpose: ``planning``, ``judging``, ``coding`` or ``analysis``.
        request_hash: HMAC of what is sent, so that a resumed step can be replayed.
        nth: its number among the equal calls of the attempt, from 0.
        input_tokens: a careful estimate, see ``token_counts.py``.
        output_tokens: the limit sent to the provider.
        provider: its name in the settings.
        rung: how strictly the answer's form is asked for: ``json_schema``,
            ``json_object`` or ``text``.
    """

    purpose: str
    model: str
    request_hash: str
    input_tokens: int
    output_tokens: int
    price: CallPrice
    nth: int = 0
    provider: str = ""
    rung: str = "text"

    @property
    def dearest_usd(self) -> Decimal:
        """The most that it may cost: cached input may be the dearer one."""
        return max(
            self.price.cost_usd(
                input_tokens=self.input_tokens,
                output_tokens=self.output_tokens,
                cached_tokens=cached_tokens,
            )
            for cached_tokens in (0, self.input_tokens)
        )


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a step's record says of a call that it is about to make.

    Attributes:
        nth: the call's number among the equal calls of this attempt, from 0.
        reply: what the step was answered to that call before, if it was.
    """

    nth: int
    reply: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelUsage:
    """What a model call used; ``is_estimated`` when the provider did not say.

    Attributes:
        cached_tokens: how many of ``input_tokens`` the provider had in its cache.
        price: that of the tier which the usage fell in; that of the call when unset.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    is_estimated: bool = False
    latency_s: float = 0.0
    price: CallPrice | None = None


class Meter(Protocol):
    """Where paid calls are reserved and settled; ``tasks_app`` implements it.

    One meter belongs to one attempt of one step. Safe to call from any thread.
    """

    def replay(self, request_hash: str) -> Recorded:
        """Number a call, and return the reply that this step paid for earlier.

        The nth call with the same hash within an attempt gets the reply to the nth
        one of the attempts before, whatever became of those between.
        """
        ...

    def reserve(self, call: ModelCall) -> UUID:
        """Hold the worst case of a call and return the charge's id.

        Raises:
            BudgetBusyError: others hold what is needed; a retry helps.
            BudgetExceededError: it can never fit; a retry does not help.
            CallCancelledError: the step is another worker's by now.
        """
        ...

    def settle(self, charge_id: UUID, usage: ModelUsage, reply: str) -> None:
        """Turn the hold into what was really used; never refused."""
        ...

    def presume(self, charge_id: UUID) -> None:
        """Book the worst case: the request was sent and the reply was lost."""
        ...

    def book_usage(self, request_id: UUID, usage: Usage, *, arm: str, at: str) -> None:
        """Book what an arm elsewhere says that it used, once per request; never refused.

        The step's envelope holds what the catalogue says of it; what is more is an
        overrun of the arm's. ``at`` is the instance's location.
        """
        ...

    def release(self, charge_id: UUID) -> None:
        """Give the hold back: the request provably never reached the provider."""
        ...


@dataclass(frozen=True, kw_only=True)
class ArmServices:
    """What an arm in this process may use besides its request.

    Attributes:
        meter: where its model calls are charged.
        stop: deadline and cancel of the invocation; long work checks it.
        knowledge_scope: whose documents may be searched, or ``None`` for nobody's.
        model: the only one that may be asked; empty: whichever serves the purpose.
        is_repeat: whether the request may have been sent before.
    """

    meter: Meter
    stop: StopToken
    knowledge_scope: UUID | None = None
    model: str = ""
    is_repeat: bool = False


class Arm(Protocol):
    """An arm that runs in this process, or the client of one that does not."""

    @property
    def spec(self) -> ArmSpec:
        """The catalogue entry."""
        ...

    def execute(self, request: ArmRequest, services: ArmServices) -> ArmReply:
        """Do the work of one step.

        Raises:
            ArmInputError: the input cannot be worked on; a retry does not help.
            MissingInputError: there is nothing to work on.
            OctoLLMError: anything else, transient or not as its class says.
        """
        ...

    def check(self) -> Health:
        """Try the arm's own parts and say whether it can work."""
        ...
