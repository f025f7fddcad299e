"""The ladder from a contract to a plan: the cache, a model if there is one, recipes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from arms import llm
from arms.contract import ArmServices, ArmSpec
from arms.registry import away, catalogue
from octollm.errors import (
    BudgetBusyError,
    BudgetExceededError,
    InvalidPlanError,
    ModelError,
    ModelMisconfiguredError,
    ModelRefusedError,
    NeedsModelError,
    OctoLLMError,
    PlanError,
    UnpricedModelError,
)
from planner.constraints import forbids_model
from planner.model_planning import documents_note, plan_by_model
from planner.plan import Plan, PlanningContract
from planner.recipe_planning import plan_by_recipe
from planner.shared_planning import SharedPlanning

logger = logging.getLogger(__name__)

# An operator has to see these, or the caller has: a recipe in their place would
# hide that the configured model is never asked, or that it declined.
_NOT_REPLACED = (
    BudgetBusyError,
    ModelMisconfiguredError,
    ModelRefusedError,
    UnpricedModelError,
)

_NO_REVISION = (
    "Only a model can make another version of a plan, and none may be asked here."
)
_FORBIDDEN = "No model was asked, because a constraint forbids it; a recipe planned."


def make_plan(contract: PlanningContract, services: ArmServices) -> Plan:
    """Return a valid plan for the contract.

    A plan that a model made for an equal request is used again, compiled anew, and
    of callers who ask at the same time one asks the model. Without a model, or where
    a constraint forbids it, recipes plan, in about a millisecond, so nothing of that
    is kept. No plan uses an arm that is away now. A later version of a plan is always
    asked for: no other task's answer fits, and recipes would say what they said.

    Raises:
        NeedsModelError: no model is configured and no recipe fits, or a later version
            is wanted.
        MissingInputError: a recipe fits and there is nothing to work on.
        InvalidPlanError: no valid plan was found; it carries all violations, or none
            when another caller met them moments ago.
        ModelError: the model failed, here or for another caller moments ago, and no
            recipe fits; transient ones may be retried.
        BudgetExceededError: the budget allows neither a model's plan nor a recipe's.
        DeadlineExceededError: the time is over.
        CallCancelledError: somebody asked to stop.
    """
    arms = catalogue()
    contract = replace(contract, away=away())
    if contract.revision is not None:
        return _revised(contract, arms, services)
    if not llm.is_configured("planning", contract.model):
        return plan_by_recipe(contract, arms)
    if forbids_model(contract.constraints):
        return plan_by_recipe(contract, arms, notes=(_FORBIDDEN,))
    shared = SharedPlanning(contract=contract, catalogue=arms, services=services)
    try:
        return shared.plan()
    except _NOT_REPLACED:
        raise
    except (ModelError, InvalidPlanError, BudgetExceededError) as error:
        logger.warning("the model made no plan, recipes are tried: %s", error.code)
        services.stop.check()
        return _recipe_instead(shared, error)


def can_revise(constraints: Iterable[str], model: str = "") -> bool:
    """Tell whether there is a model that may make a later version of a plan.

    ``model`` is the only one that may be asked, if the task is bound to one.
    """
    return llm.is_configured("planning", model) and not forbids_model(constraints)


def _revised(
    contract: PlanningContract, arms: Sequence[ArmSpec], services: ArmServices
) -> Plan:
    if not can_revise(contract.constraints, contract.model):
        raise NeedsModelError(_NO_REVISION)
    note = documents_note(contract)
    return plan_by_model(contract, arms, services, documents=note)


def _recipe_instead(shared: SharedPlanning, error: OctoLLMError) -> Plan:
    try:
        plan = shared.plan_by_recipe(error)
    except PlanError as no_recipe:
        # Why there is no plan is the model's failure; that no recipe fits is usual.
        raise error from no_recipe
    shared.note_recipe(error)
    return plan
