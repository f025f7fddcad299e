"""From a goal to a plan by a model: an answer, and one re-ask, in one deadline.

Whatever comes back is only a draft: the compiler decides, and its violations go back
to the model once.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

from django.conf import settings

from arms import llm
from arms.answers import Completion
from arms.contract import ArmServices, ArmSpec, ModelCall
from arms.knowledge import search
from arms.llm import Message
from octollm import metrics
from octollm.errors import (
    BudgetBusyError,
    BudgetExceededError,
    DeadlineExceededError,
    InvalidPlanError,
    ModelTruncatedError,
    ModelUnavailableError,
)
from octollm.types import JSONObject
from planner.compiler import compile_plan
from planner.draft import PlanDraft
from planner.neighbours import examples_for
from planner.parsing import parse_draft
from planner.plan import Plan, PlanningContract
from planner.prompts import PROMPT_VERSION, ask_again, plan_prompt, plan_schema

logger = logging.getLogger(__name__)

TEMPERATURE = 0.3
MAX_OUTPUT_TOKENS = 2_000
# Where the budget does not allow the whole room, parts of it are asked for.
SHARES = (1, 2, 4)


def plan_by_model(
    contract: PlanningContract,
    catalogue: Sequence[ArmSpec],
    services: ArmServices,
    *,
    documents: str,
) -> Plan:
    """Return the configured model's plan.

    Args:
        contract: what is asked for.
        catalogue: the arms there are.
        services: whose meter pays and whose clock counts.
        documents: what ``documents_note`` says.

    Raises:
        InvalidPlanError: the plan is not valid after one correction.
        ModelError: the model failed, refused, or was cut off twice.
        ModelUnavailableError: also when planning took longer than it may.
        DeadlineExceededError: the step's own time is over.
        BudgetExceededError: the tokens or dollars do not suffice.
    """
    timeout_s: float = settings.OCTOLLM_PLAN_TIMEOUT_S
    stop = services.stop.shortened(timeout_s)
    try:
        return _Dialogue(
            contract=contract,
            catalogue=catalogue,
            services=dataclasses.replace(services, stop=stop),
            documents=documents,
        ).plan()
    except DeadlineExceededError as error:
        if services.stop.remaining_s <= 0:
            raise
        raise ModelUnavailableError(f"No plan came within {timeout_s:g} s.") from error
    finally:
        services.stop.forget(stop.cancel)


def documents_note(contract: PlanningContract) -> str:
    """Return which ingested documents the goal means, in words; empty if none."""
    scope = contract.knowledge_scope
    chosen = search.choose(scope, contract.goal) if scope else None
    if chosen is None:
        return ""
    where = f" in “{chosen.collection}”" if chosen.collection else ""
    return (
        f"{len(chosen.document_ids)} ingested documents{where} match the goal; "
        "retriever.fetch_documents gives their texts"
    )


def offered(contract: PlanningContract, catalogue: Sequence[ArmSpec]) -> list[ArmSpec]:
    """Return the arms that a model is told of; a plan that names another hears why.

    Neither what is away, nor what a later version was not granted, unless a person
    may be asked for it.
    """
    ceiling = None if contract.may_ask else contract.grants
    return [
        spec
        for spec in catalogue
        if spec.name not in contract.away
        and (ceiling is None or ceiling.allows("arms", spec.name))
    ]


def room_for(contract: PlanningContract) -> int:
    """Return how many tokens an answer may have.

    Three quarters of a small budget stay for the work itself.
    """
    return min(MAX_OUTPUT_TOKENS, contract.max_tokens // 4)


def schema_for(contract: PlanningContract, arms: Sequence[ArmSpec]) -> JSONObject:
    """Return the schema of the answer."""
    return plan_schema(arms, is_revision=contract.revision is not None)


def least_call(
    contract: PlanningContract, catalogue: Sequence[ArmSpec], *, documents: str
) -> ModelCall:
    """Return the call without which there is no plan, as the ledger would hold it.

    The one with the least room for the answer, at the highest price of all providers
    and in the longest form.

    Raises:
        UnpricedModelError: nobody knows a price.
        ModelMisconfiguredError: the settings cannot be read, or name nobody.
    """
    arms = offered(contract, catalogue)
    return llm.worst_case(
        plan_prompt(contract, arms, documents=documents, revision=contract.revision),
        purpose="planning",
        max_output_tokens=room_for(contract) // SHARES[-1],
        json_schema=schema_for(contract, arms),
        model=contract.model,
    )


class _Dialogue:
    """One exchange with the model, and how much room its answers have."""

    def __init__(
        self,
        *,
        contract: PlanningContract,
        catalogue: Sequence[ArmSpec],
        services: ArmServices,
        documents: str,
    ) -> None:
        self._documents = documents
        self._contract = contract
        self._catalogue = catalogue
        self._services = services
        self._offered = offered(contract, catalogue)
        self._schema = schema_for(contract, self._offered)
        self._room = room_for(contract)

    def plan(self) -> Plan:
        prompt = self._prompt()
        answer = self._first_answer(self._prompt(self._examples()), prompt)
        try:
            plan = self._compiled(answer)
        except InvalidPlanError as error:
            if not self._has_time_for_another(answer):
                _count(answer, "invalid")
                raise
            again = ask_again(prompt, answer=answer.text, violations=error.violations)
        else:
            _count(answer, "valid")
            return plan
        return self._corrected(self._ask(again, self._room))

    def _examples(self) -> tuple[str, ...]:
        if self._contract.revision is not None:
            # The version before shows the form.
            return ()
        return examples_for(self._contract, self._offered)

    def _prompt(self, examples: Sequence[str] = ()) -> tuple[Message, ...]:
        return plan_prompt(
            self._contract,
            self._offered,
            documents=self._documents,
            examples=examples,
            revision=self._contract.revision,
        )

    def _first_answer(
        self, prompt: Sequence[Message], plain: Sequence[Message]
    ) -> Completion:
        """Ask at length, or in less room where the budget's rest wants that.

        The sizes are fixed, so that a resumed step asks the same and is answered
        from what was paid for.
        """
        sizes = [(plain, share) for share in SHARES]
        if prompt != plain:
            sizes.insert(0, (prompt, 1))
        for asked, share in sizes[:-1]:
            try:
                return self._ask_with_room(asked, self._room // share)
            except BudgetBusyError:
                raise
            except BudgetExceededError:
                logger.info("a plan is asked for in less room, to fit the budget")
        asked, share = sizes[-1]
        return self._ask_with_room(asked, self._room // share)

    def _ask_with_room(self, prompt: Sequence[Message], room: int) -> Completion:
        try:
            return self._ask(prompt, room)
        except ModelTruncatedError:
            # More room, once; what was cut off is not looked at.
            return self._ask(prompt, 2 * room)

    def _ask(self, prompt: Sequence[Message], room: int) -> Completion:
        return llm.complete(
            prompt,
            purpose="planning",
            services=self._services,
            max_output_tokens=room,
            temperature=TEMPERATURE,
            json_schema=self._schema,
        )

    def _has_time_for_another(self, answer: Completion) -> bool:
        """Tell whether a second answer could come in time, if it took as long."""
        return self._services.stop.remaining_s > answer.usage.latency_s

    def _corrected(self, answer: Completion) -> Plan:
        try:
            plan = self._compiled(answer)
        except InvalidPlanError:
            _count(answer, "invalid")
            raise
        _count(answer, "corrected")
        return plan

    def _compiled(self, answer: Completion) -> Plan:
        parsed = parse_draft(answer.text)
        draft = PlanDraft(
            steps=parsed.steps,
            replaces=parsed.replaces,
            model=answer.model,
            prompt_version=PROMPT_VERSION,
        )
        return compile_plan(
            draft, contract=self._contract, catalogue=self._catalogue, source="model"
        )


def _count(answer: Completion, outcome: str) -> None:
    metrics.PLANS.labels("model", answer.rung, outcome).inc()
