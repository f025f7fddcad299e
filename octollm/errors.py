"""Every error the system raises on purpose.

OctoLLMError
├── RequestError             the caller's request cannot be taken (400)
│   ├── MalformedBodyError       not JSON as we accept it
│   ├── BodyTooLargeError        413
│   ├── LengthRequiredError      411
│   ├── UnreadableRequestError   not HTTP as we accept it
│   ├── InvalidCursorError       not a cursor that the list gave out
│   ├── InvalidPageSizeError     not a size that a page can have
│   ├── UnknownArmError          assigned_arm names no arm
│   ├── UnknownModelError        model names none that is configured
│   ├── InvalidForkError         the task cannot be forked that way
│   ├── InvalidIdempotencyKeyError  not a key that we keep
│   ├── IdempotencyMismatchError same key, other body (422)
│   ├── OwnerBudgetExceededError the owner's cap for the month is taken (402)
│   ├── OwnerStoppedError        an operator has stopped the owner (403)
│   ├── NoPlanError              the task has no plan yet (404)
│   ├── ResultRemovedError       retention took the result (410)
│   ├── ArmNotServedError        the arm takes no calls from outside (404)
│   ├── PlaceNamedError          the settings name this place of an arm (409)
│   ├── IllegalStateError        not legal for the task as it stands (409)
│   ├── BudgetLoweredError       a budget is only raised (409)
│   ├── BudgetUsedUpError        going on takes a larger budget (409)
│   ├── NoNewPlanError           going on takes another plan; none can be made (409)
│   ├── ApprovalChangedError     the answer is to another plan (409)
│   └── OperatorNeededError      only an operator may say yes to this (403)
├── DatabaseUnavailableError the database cannot be reached (503)
├── TaskRejectedError        the reflex blocked a text (403)
├── ScreeningUnavailableError  the reflex cannot run (503)
├── RateLimitedError         the caller asks too often (429)
├── VaultError               a vault key is missing or wrong (500)
├── PlanError                no plan could be made
│   ├── InvalidPlanError         the compiler refused it; carries all violations
│   ├── NeedsModelError          no recipe fits and no model is configured
│   └── MissingInputError        nothing to work on
├── ArmError                 an arm failed or answered wrongly
│   ├── ArmUnavailableError      nobody to ask just now (transient)
│   │   └── ArmAwayError         the step waits for an instance
│   │       └── ArmBusyError     the step waits for a place at one
│   ├── ArmInputError            the arm refuses the step's input
│   └── ArmOutputTooLargeError   its reply is larger than a step may keep
├── ModelError               a model provider failed or answered wrongly
│   ├── ModelUnavailableError    connection, time-out, 429, 5xx (transient)
│   ├── ModelMisconfiguredError  address, key or model name is wrong
│   ├── ModelFormatError         the provider does not take this answer format
│   ├── ModelAnswerError         the answer cannot be used: not a completion, empty
│   ├── ModelTruncatedError      the answer was cut off
│   ├── ModelRefusedError        the model or its provider declined
│   └── UnpricedModelError       a dollar cap stands and the price is unknown
├── BudgetExceededError      a reservation was refused
│   └── BudgetBusyError          refused only because of what others hold (transient)
├── DeadlineExceededError    the wall clock ran out
├── CallCancelledError       somebody asked to stop
├── NotRunningError          no system runs here; see octollm/joining.py
└── EmbeddedError            the embedded system; see octollm/embedded/errors.py
"""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar


class OctoLLMError(Exception):
    """Base of all errors raised on purpose.

    Attributes:
        code: stable identifier, part of the public API.
        http_status: the status a view answers with when the error reaches it.
        is_transient: whether the same call may succeed later.
    """

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    is_transient: ClassVar[bool] = False

    def __init__(self, message: str = "") -> None:
        """Keep a message that is safe to show to the caller."""
        super().__init__(message or (type(self).__doc__ or "").splitlines()[0])

    @property
    def message(self) -> str:
        """The text shown to the caller; it holds no PII and no secret."""
        return str(self.args[0])


class RequestError(OctoLLMError):
    """The request cannot be taken."""

    code = "invalid"
    http_status = 400


class MalformedBodyError(RequestError):
    """The body is not JSON that this service accepts."""

    code = "malformed_json"


class BodyTooLargeError(RequestError):
    """The body is larger than this address accepts."""

    code = "body_too_large"
    http_status = 413


class LengthRequiredError(RequestError):
    """The body came without a Content-Length."""

    code = "length_required"
    http_status = 411


class UnreadableRequestError(RequestError):
    """The request could not be read."""

    code = "bad_request"


class InvalidCursorError(RequestError):
    """The cursor is not one that this list gave out."""

    code = "invalid_cursor"


class InvalidPageSizeError(RequestError):
    """The page size is not a number in the allowed range."""

    code = "invalid_page_size"


class UnknownArmError(RequestError):
    """The assigned arm is not in the catalogue."""

    code = "unknown_arm"


class UnknownModelError(RequestError):
    """The model is not one that the operator has set."""

    code = "unknown_model"


class InvalidForkError(RequestError):
    """The task cannot be forked that way."""

    code = "invalid_fork"


class InvalidIdempotencyKeyError(RequestError):
    """The Idempotency-Key must be 1 to 255 printable ASCII characters."""

    code = "invalid_idempotency_key"


class IdempotencyMismatchError(RequestError):
    """The Idempotency-Key was used before with another body."""

    code = "idempotency_mismatch"
    http_status = 422


class IllegalStateError(RequestError):
    """The task does not allow this now."""

    code = "illegal_state"
    http_status = 409


class BudgetLoweredError(RequestError):
    """A budget can only be raised."""

    code = "budget_lowered"
    http_status = 409


class BudgetUsedUpError(RequestError):
    """The budget is used up; raise it first."""

    code = "budget_used_up"
    http_status = 409


class NoNewPlanError(RequestError):
    """Every step is done; going on takes another plan, and none can be made."""

    code = "no_new_plan"
    http_status = 409


class ApprovalChangedError(RequestError):
    """The plan that waits is another than the one that was answered; look again."""

    code = "approval_changed"
    http_status = 409


class OperatorNeededError(RequestError):
    """The plan wants more than the policy allows; only an operator may approve it."""

    code = "operator_needed"
    http_status = 403


class OwnerBudgetExceededError(RequestError):
    """The owner's cap for the month does not allow it.

    402 and not 429: clients repeat a 429 by themselves, and this stays refused until
    the month or the cap is another.

    Attributes:
        left_usd: what tasks may still reserve of it.
        month: which month, such as 2026-11 (UTC).
    """

    code = "owner_budget_exceeded"
    http_status = 402

    def __init__(
        self, message: str = "", *, left_usd: Decimal = Decimal(0), month: str = ""
    ) -> None:
        """Say what is left."""
        super().__init__(message)
        self.left_usd = left_usd
        self.month = month


class OwnerStoppedError(RequestError):
    """An operator has stopped the work of this owner; nothing is taken until it goes on."""

    code = "owner_stopped"
    http_status = 403


class NoPlanError(RequestError):
    """The task has no plan yet."""

    code = "no_plan"
    http_status = 404


class ResultRemovedError(RequestError):
    """The result was removed by retention; another Idempotency-Key makes a new one."""

    code = "result_removed"
    http_status = 410


class ArmNotServedError(RequestError):
    """Only the planner takes calls here; other arms work as steps of tasks."""

    code = "arm_not_served"
    http_status = 404


class PlaceNamedError(RequestError):
    """OCTOLLM_REMOTE_ARMS names this place of the arm: it is not announced as well."""

    code = "place_named"
    http_status = 409


class DatabaseUnavailableError(OctoLLMError):
    """The database cannot be reached; nothing was changed."""

    code = "database_unavailable"
    http_status = 503
    is_transient = True


class TaskRejectedError(OctoLLMError):
    """The reflex layer blocked the text.

    Attributes:
        rule_ids: the rules that matched, sorted; never the text they matched.
    """

    code = "unsafe_content"
    http_status = 403

    def __init__(self, message: str = "", *, rule_ids: tuple[str, ...] = ()) -> None:
        """Name the rules that blocked."""
        super().__init__(message)
        self.rule_ids = rule_ids


class ScreeningUnavailableError(OctoLLMError):
    """The text cannot be screened now, so it is not taken.

    Attributes:
        retry_after_s: seconds until it may be asked again, if anybody knows.
    """

    code = "screening_unavailable"
    http_status = 503
    is_transient = True

    def __init__(
        self, message: str = "", *, retry_after_s: float | None = None
    ) -> None:
        """Keep how long to wait."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimitedError(OctoLLMError):
    """The caller asks more often than its limit allows.

    Attributes:
        retry_after_s: seconds until it may ask again.
    """

    code = "rate_limited"
    http_status = 429
    is_transient = True

    def __init__(self, message: str = "", *, retry_after_s: float = 1.0) -> None:
        """Keep how long to wait."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class VaultError(OctoLLMError):
    """A value cannot be read from the vault: its key is missing or wrong."""

    code = "vault_key"


class PlanError(OctoLLMError):
    """No plan could be made."""

    code = "plan_failed"


class InvalidPlanError(PlanError):
    """The plan breaks rules of the compiler.

    Attributes:
        violations: one sentence per broken rule, each starting with the rule's id.
    """

    code = "invalid_plan"
    http_status = 400

    def __init__(self, message: str = "", *, violations: tuple[str, ...] = ()) -> None:
        """Carry all violations at once."""
        super().__init__(message or "; ".join(violations))
        self.violations = violations


class NeedsModelError(PlanError):
    """No recipe fits this goal and no model is configured."""

    code = "needs_model"


class MissingInputError(PlanError):
    """There is nothing to work on."""

    code = "missing_input"


class ArmError(OctoLLMError):
    """An arm failed.

    Attributes:
        arm_name: which arm.
        is_outage: whether the instance that was asked is unwell, and not the request.
    """

    code = "arm_failed"

    def __init__(
        self, message: str = "", *, arm_name: str = "", is_outage: bool = False
    ) -> None:
        """Name the arm."""
        super().__init__(message)
        self.arm_name = arm_name
        self.is_outage = is_outage


class ArmUnavailableError(ArmError):
    """No instance of the arm can be asked now.

    Attributes:
        is_unstarted: whether the invocation provably never started. Otherwise nobody
            knows what came of it, and a retry asks for the same one.
        hold_off_s: how long the instance wants to be left alone.
    """

    code = "arm_unavailable"
    http_status = 503
    is_transient = True

    def __init__(
        self,
        message: str = "",
        *,
        arm_name: str = "",
        is_outage: bool = False,
        is_unstarted: bool = False,
        hold_off_s: float = 0.0,
    ) -> None:
        """Say what is known of the invocation."""
        super().__init__(message, arm_name=arm_name, is_outage=is_outage)
        self.is_unstarted = is_unstarted
        self.hold_off_s = hold_off_s


class ArmAwayError(ArmUnavailableError):
    """Every instance that may do the step is away; the step waits for one.

    Attributes:
        wait_s: seconds after which it makes sense to ask again, nearly.
    """

    code = "arm_away"

    def __init__(
        self,
        message: str = "",
        *,
        arm_name: str = "",
        is_unstarted: bool = True,
        wait_s: float = 0.0,
    ) -> None:
        """Say when to ask again."""
        super().__init__(message, arm_name=arm_name, is_unstarted=is_unstarted)
        self.wait_s = wait_s


class ArmBusyError(ArmAwayError):
    """Every instance of the arm does as many steps as it takes at once."""

    code = "arm_busy"


class ArmInputError(ArmError):
    """The arm cannot work on this input."""

    code = "arm_input"


class ArmOutputTooLargeError(ArmError):
    """The arm's reply is larger than a step may keep."""

    code = "output_too_large"


class ModelError(OctoLLMError):
    """A model provider failed or gave an unusable answer."""

    code = "model_failed"


class ModelUnavailableError(ModelError):
    """The model provider cannot be reached or is overloaded.

    Attributes:
        retry_after_s: seconds the provider asked us to wait, if it did.
    """

    code = "model_unavailable"
    is_transient = True

    def __init__(
        self, message: str = "", *, retry_after_s: float | None = None
    ) -> None:
        """Keep the provider's own wish."""
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ModelMisconfiguredError(ModelError):
    """The provider does not accept the configured address, key or model."""

    code = "model_misconfigured"


class ModelFormatError(ModelError):
    """The provider does not take this answer format; a plainer one may work."""

    code = "model_format"


class ModelAnswerError(ModelError):
    """The model's answer cannot be used."""

    code = "model_answer"


class ModelTruncatedError(ModelError):
    """The model's answer was cut off by the limit on output tokens."""

    code = "model_truncated"


class ModelRefusedError(ModelError):
    """The model or its provider declined to answer."""

    code = "model_refused"


class UnpricedModelError(ModelError):
    """The model has no known price, and a dollar cap stands."""

    code = "unpriced_model"


class BudgetExceededError(OctoLLMError):
    """What was spent and what is needed exceed the cap.

    Attributes:
        limit: ``cost`` or ``tokens``.
        room_usd: what a call could cost at most; 0 when nobody said.
        room_tokens: how many tokens it could have at most; likewise.
    """

    code = "budget_exceeded"

    def __init__(
        self,
        message: str = "",
        *,
        limit: str = "cost",
        room_usd: Decimal = Decimal(0),
        room_tokens: int = 0,
    ) -> None:
        """Name the limit that stopped it."""
        super().__init__(message)
        self.limit = limit
        self.room_usd = room_usd
        self.room_tokens = room_tokens


class BudgetBusyError(BudgetExceededError):
    """What is needed is free only after others give back what they hold."""

    code = "budget_busy"
    is_transient = True


class DeadlineExceededError(OctoLLMError):
    """The wall clock ran out."""

    code = "deadline_exceeded"


class CallCancelledError(OctoLLMError):
    """The call was stopped on request."""

    code = "call_cancelled"
