"""The ladder from a contract to a plan: a model when there is one, else recipes."""

from __future__ import annotations

import logging

from arms import llm
from arms.contract import ArmServices
from arms.registry import catalogue
from octollm.errors import (
    BudgetBusyError,
    BudgetExceededError,
    InvalidPlanError,
    ModelError,
    ModelMisconfiguredError,
    ModelRefusedError,
    OctoLLMError,
    PlanError,
    UnpricedModelError,
)
from planner.model_planning import plan_by_model
from planner.plan import Plan, PlanningContract
from planner.recipe_planning import plan_by_recipe

logger = logging.getLogger(__name__)

# An operator has to see these, or the caller has: a recipe in their place would
# hide that the configured model is never asked, or that it declined.
_NOT_REPLACED = (
    BudgetBusyError,
    ModelMisconfiguredError,
    ModelRefusedError,
    UnpricedModelError,
)


def make_plan(contract: PlanningContract, services: ArmServices) -> Plan:
    """Return a valid plan for the contract.

    Raises:
        NeedsModelError: no model is configured and no recipe fits.
        MissingInputError: a recipe fits and there is nothing to work on.
        InvalidPlanError: no valid plan was found; it carries all violations.
        ModelError: the model failed and no recipe fits; transient ones may be
            retried.
        BudgetExceededError: the budget allows neither a model's plan nor a recipe's.
        DeadlineExceededError: the time is over.
        CallCancelledError: somebody asked to stop.
    """
    arms = catalogue()
    if not llm.is_configured():
        return plan_by_recipe(contract, arms)
    try:
        return plan_by_model(contract, arms, services)
    except _NOT_REPLACED:
        raise
    except (ModelError, InvalidPlanError, BudgetExceededError) as error:
        logger.warning("the model made no plan, recipes are tried: %s", error.code)
        return _recipe_instead(contract, services, error)


def _recipe_instead(
    contract: PlanningContract, services: ArmServices, error: OctoLLMError
) -> Plan:
    services.stop.check()
    note = f"The model made no plan ({error.code}); a recipe did."
    try:
        return plan_by_recipe(contract, catalogue(), notes=(note,))
    except PlanError as no_recipe:
        # Why there is no plan is the model's failure; that no recipe fits is usual.
        raise error from no_recipe
