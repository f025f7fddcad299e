"""Planning by a model as one of many callers who may want the same plan.

Whoever claims a key plans and keeps what came of it; the others wait for that, each
by its own clock. A claim that ends without a plan, because its holder was killed,
cancelled or out of budget, is taken over by the next one.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from typing import Literal, TypeAlias

from django.conf import settings

from arms.contract import ArmServices, ArmSpec
from octollm import metrics
from octollm.errors import InvalidPlanError, OctoLLMError, PlanError
from octollm.resilience.deadline import StopToken
from planner import cache, kept
from planner.cache import Answer, Standing
from planner.cache_key import cache_key
from planner.compiler import compile_plan
from planner.model_planning import documents_note, plan_by_model
from planner.plan import Plan, PlanningContract
from planner.recipe_planning import plan_by_recipe
from planner.single_flight import Claimed, pause

logger = logging.getLogger(__name__)

Outcome: TypeAlias = Literal[
    "hit", "miss", "stale", "negative", "waited", "uncacheable", "unavailable"
]


class SharedPlanning:
    """One request for a model's plan."""

    def __init__(
        self,
        *,
        contract: PlanningContract,
        catalogue: Sequence[ArmSpec],
        services: ArmServices,
    ) -> None:
        """Look at what the plan depends on."""
        self._contract = contract
        self._catalogue = catalogue
        self._services = services
        self._documents = documents_note(contract)
        self._key = cache_key(contract, catalogue, documents=self._documents)
        self._token = secrets.token_hex(16)

    def plan(self) -> Plan:
        """Return a plan of the model's, made now or for another caller.

        While recipes serve in the place of a model that failed, theirs.

        Raises:
            OctoLLMError: what ``plan_by_model`` raises; or the failure that another
                caller met moments ago, without a call.
        """
        if not cache.is_on():
            return self._by_model()
        patience = self._patience()
        has_waited = False
        while True:
            self._services.stop.check()
            answer = cache.ask(self._key, token=self._token)
            if answer.standing is Standing.FOUND:
                plan = self._used(answer, has_waited=has_waited)
                if plan is not None:
                    return plan
            elif answer.standing is Standing.BUSY and patience.remaining_s > 0:
                has_waited = True
                pause(self._services.stop)
            else:
                return self._made(answer.standing)

    def plan_by_recipe(self, error: OctoLLMError) -> Plan:
        """Return a recipe's plan that says which failure of the model it stands for.

        Raises:
            PlanError: no recipe fits, or what it needs is not there.
        """
        note = f"The model made no plan ({error.code}); a recipe did."
        return plan_by_recipe(self._contract, self._catalogue, notes=(note,))

    def note_recipe(self, error: OctoLLMError) -> None:
        """Let recipes serve for a while, unless the failure is this caller's alone."""
        text = kept.failure_text(error, kind="recipe", key=self._key)
        if text is not None and cache.is_on():
            cache.keep_recipe(self._key, text)

    def _patience(self) -> StopToken:
        """Return how long to wait for others: half of the time must be left."""
        return StopToken(min(_plan_timeout_s(), self._services.stop.remaining_s / 2))

    def _made(self, standing: Standing) -> Plan:
        """Ask the model, as the one who claimed the key or on one's own."""
        _count("unavailable" if standing is Standing.AWAY else "miss")
        if standing is not Standing.YOURS:
            plan = self._by_model()
            self._keep(plan)
            return plan
        timeout_s = min(_plan_timeout_s(), self._services.stop.remaining_s)
        with Claimed(self._key, token=self._token, timeout_s=timeout_s):
            return self._made_for_all()

    def _made_for_all(self) -> Plan:
        try:
            plan = self._by_model()
        except OctoLLMError as error:
            text = kept.failure_text(error, kind="failed", key=self._key)
            if text is not None:
                cache.keep_failure(self._key, text)
            raise
        self._keep(plan)
        return plan

    def _by_model(self) -> Plan:
        return plan_by_model(
            self._contract,
            self._catalogue,
            self._services,
            documents=self._documents,
        )

    def _keep(self, plan: Plan) -> None:
        text = kept.plan_text(plan, key=self._key, contract=self._contract)
        if text is None:
            _count("uncacheable")
            logger.info("a plan is not kept: it is too long or quotes its context")
        else:
            cache.keep_plan(self._key, text)

    def _used(self, answer: Answer, *, has_waited: bool) -> Plan | None:
        """Return the plan that was found, or drop it and return nothing.

        Raises:
            OctoLLMError: a failure was found.
        """
        if answer.kind == "plan":
            plan = self._compiled(answer)
            if plan is not None:
                _count("waited" if has_waited else "hit")
                return plan
        elif error := kept.read_failure(answer.text, kind=answer.kind, key=self._key):
            plan = self._by_noted_recipe(answer, error)
            if plan is not None:
                return plan
        _count("stale")
        cache.drop(self._key, answer)
        return None

    def _compiled(self, answer: Answer) -> Plan | None:
        draft = kept.read_plan(answer.text, key=self._key)
        if draft is None:
            return None
        try:
            return compile_plan(
                draft,
                contract=self._contract,
                catalogue=self._catalogue,
                source="cache",
            )
        except InvalidPlanError:
            return None

    def _by_noted_recipe(self, answer: Answer, error: OctoLLMError) -> Plan | None:
        """Return a recipe's plan if recipes serve; raise what failed if they do not."""
        if answer.kind == "failed":
            _count("negative")
            raise error
        try:
            plan = self.plan_by_recipe(error)
        except PlanError:
            # It served another context, or another catalogue.
            return None
        _count("negative")
        return plan


def _plan_timeout_s() -> float:
    timeout_s: float = settings.OCTOLLM_PLAN_TIMEOUT_S
    return timeout_s


def _count(outcome: Outcome) -> None:
    metrics.PLAN_CACHE.labels(outcome).inc()
