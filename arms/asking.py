"""One provider's answer to a question: admitted, down the ladder, tried again."""

from __future__ import annotations

import asyncio
import logging
import time
from random import SystemRandom

from arms import limits, rungs
from arms.answers import Answer, CallFailedError
from arms.calls import make_call
from arms.contract import ArmServices, ModelCall
from arms.providers import Provider
from arms.questions import Question, Rung
from octollm import metrics
from octollm.errors import (
    BudgetBusyError,
    BudgetExceededError,
    ModelAnswerError,
    ModelFormatError,
    ModelUnavailableError,
)
from octollm.resilience import outbound
from octollm.resilience.backoff import full_jitter

logger = logging.getLogger(__name__)

MAX_TRIES = 3
RETRY_BASE_S = 0.5
RETRY_CAP_S = 8.0
# The longest wait for the last provider there is, and for one with another behind it.
PATIENCE_S = 20.0
SHORT_PATIENCE_S = 2.0
# All tries of a provider with another behind it have this share of the time.
SHARE = 2 / 3

_random = SystemRandom()


class Asking:
    """One question to one provider, from the first try to its answer."""

    def __init__(
        self,
        provider: Provider,
        question: Question,
        services: ArmServices,
        *,
        is_last: bool,
    ) -> None:
        """Begin on the strictest rung that is known to work there.

        Raises:
            UnpricedModelError: the model has no price.
        """
        self._provider = provider
        self._question = question
        self._services = services
        self._is_last = is_last
        share_s = services.stop.remaining_s * (1.0 if is_last else SHARE)
        self._until = time.monotonic() + share_s
        self._patience_s = PATIENCE_S if is_last else SHORT_PATIENCE_S
        self._model = provider.model_for(question.purpose)
        self._price = provider.price_for(question.purpose)
        self._first_rung: Rung = "text"
        if question.json_schema is not None:
            self._first_rung = rungs.highest(provider.base_url, self._model)
        self._rung = self._first_rung

    def answer(self) -> Answer:
        """Return the provider's answer, usable or not; at most three tries.

        Raises:
            ModelError: it gave none; whether a retry helps is its class's word.
            BudgetExceededError: a reservation was refused.
            DeadlineExceededError: the time is over.
            CallCancelledError: somebody asked to stop.
        """
        for attempt in range(1, MAX_TRIES):
            started = time.monotonic()
            try:
                return self._down_the_ladder()
            except ModelUnavailableError as error:
                pause_s = _pause_s(error, attempt)
                if not self._may_wait(pause_s, took_s=time.monotonic() - started):
                    raise
                logger.warning("a model call failed and is tried again: %s", error.code)
                outbound.run(asyncio.sleep(pause_s), stop=self._services.stop)
        return self._down_the_ladder()

    def _may_wait(self, pause_s: float, *, took_s: float) -> bool:
        """Tell whether the same provider is worth another try."""
        # Another one stands ready: a failure that took long is not waited for again.
        lost_s = pause_s if self._is_last else pause_s + took_s
        return lost_s <= self._patience_s and pause_s < self._left_s()

    def _left_s(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def _down_the_ladder(self) -> Answer:
        while True:
            try:
                answer = self._try()
            except ModelFormatError:
                self._rung = rungs.below(self._rung)
            except BudgetBusyError:
                raise
            except BudgetExceededError as refused:
                call = self._question.call(self._provider, self._rung, self._price)
                self._question = self._question.shortened(call, refused)
                logger.info("a shorter answer is asked for, to fit the budget")
            else:
                self._learn(answer)
                return answer

    def _try(self) -> Answer:
        """Make one call and tell everybody how the provider fared."""
        self._services.stop.check()
        if self._left_s() <= 0:
            raise ModelUnavailableError("The provider used up its share of the time.")
        call = self._question.call(self._provider, self._rung, self._price)
        with limits.admitted(
            self._provider,
            call,
            stop=self._services.stop,
            patience_s=self._patience_s,
        ) as quota:
            try:
                answer = self._call(call)
            except BudgetExceededError:
                quota.used = 0
                limits.note_unasked(self._provider)
                raise
            except CallFailedError as failed:
                if not failed.may_be_billed:
                    quota.used = 0
                self._note(failed)
                raise failed.error from failed
            quota.used = answer.usage.input_tokens + answer.usage.output_tokens
        limits.note_success(self._provider)
        return answer

    def _call(self, call: ModelCall) -> Answer:
        return make_call(
            self._provider,
            self._question.body(self._provider, self._rung),
            call,
            self._services,
            timeout_s=min(self._provider.timeout_s, self._left_s()),
        )

    def _note(self, failed: CallFailedError) -> None:
        limits.note_failure(self._provider, failed)
        if isinstance(failed.error, ModelFormatError):
            self._count("refused_format")
        elif isinstance(failed.error, ModelAnswerError):
            self._count("malformed")

    def _learn(self, answer: Answer) -> None:
        """Remember what this server can be asked for."""
        where = self._provider.base_url, self._model
        self._count("ignored" if answer.ignored_its_form else answer.outcome)
        if answer.ignored_its_form:
            rungs.remember(*where, "text", for_s=rungs.AFTER_IGNORING_S)
        elif self._rung != self._first_rung:
            # Only now: a refusal for another reason is one on every rung.
            rungs.remember(*where, self._rung, for_s=rungs.AFTER_REFUSAL_S)

    def _count(self, outcome: str) -> None:
        metrics.LLM_ANSWERS.labels(self._model, self._rung, outcome).inc()


def _pause_s(error: ModelUnavailableError, attempt: int) -> float:
    pause_s = full_jitter(
        attempt, base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S, random=_random
    )
    return max(pause_s, error.retry_after_s or 0.0)
