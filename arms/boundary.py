"""The boundary around every arm call: reveal → call → conceal → screen.

No arm and no plan can skip it. An arm sees the values of those PII types that its
catalogue entry lists and placeholders for the rest; what it sends back is concealed
and screened before anything else reads it or any row keeps it.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from arms import executions
from arms.contract import Arm, ArmReply, ArmRequest, ArmServices, ArmSpec
from arms.registry import local_catalogue
from arms.served.recalling import recall
from octollm.errors import (
    ArmError,
    ArmOutputTooLargeError,
    OctoLLMError,
    TaskRejectedError,
)
from octollm.storable import holds_nul
from octollm.types import JSONObject
from reflex.screening import Checkpoint, Screened, screen
from reflex.vault import open_vault, reveal

logger = logging.getLogger(__name__)

# Where an instance that serves an arm of ours did a step, as the ledger names it.
SERVED = "served"


@dataclass(frozen=True, kw_only=True)
class Scopes:
    """Whose placeholders may stand in a request.

    Attributes:
        task: new findings of the reply are kept under it.
        knowledge: the owner's documents are concealed under it.
    """

    task: UUID
    knowledge: UUID


@dataclass(frozen=True, kw_only=True)
class ScreenedReply:
    """A reply that is concealed, with the marks of what its text tried."""

    reply: ArmReply
    taint: tuple[str, ...]
    record: Callable[[], None] = field(compare=False, repr=False)
    """Write the screening and the execution: call it in the transaction that records
    the step, so that a repeated request finds both or neither."""


def call(
    request: ArmRequest,
    *,
    arm: Arm,
    services: ArmServices,
    scopes: Scopes,
    is_new: bool = False,
) -> ScreenedReply:
    """Invoke an arm once per request id and return its concealed reply.

    ``is_new`` says that nobody can have used the request id before.

    Raises:
        OctoLLMError: what the arm raised; whether a retry helps is its class's word.
        InterfaceError, OperationalError: the database is away; a retry helps.
        ArmError: the arm's reply is not what the contract says.
        VaultError: a value cannot be read.
    """
    stored = None if is_new else executions.find(request.request_id)
    if stored is not None:
        return ScreenedReply(reply=stored[0], taint=stored[1], record=_nothing)
    services.stop.check()
    services = replace(services, is_repeat=not is_new)
    reply = _checked(_answer(request, arm, services, scopes), arm_name=arm.spec.name)
    screened = _screened(reply, scopes)
    concealed = reply.model_copy(update=screened.document)

    def record() -> None:
        screened.save(scope_id=scopes.task)
        executions.store(
            request.request_id,
            concealed,
            taint=screened.taint,
            arm=arm.spec.name,
            scope_id=scopes.task,
        )

    return ScreenedReply(reply=concealed, taint=screened.taint, record=record)


def _nothing() -> None:
    """Leave what is stored as it is."""


def _answer(
    request: ArmRequest, arm: Arm, services: ArmServices, scopes: Scopes
) -> ArmReply:
    """Return what the arm does, or what an instance of it elsewhere did before."""
    spec = arm.spec
    is_ours = any(spec.name == each.name for each in local_catalogue())
    if is_ours and services.is_repeat:
        known = _recalled(request, spec, services, scopes)
        if known is not None:
            return known
    shown = _revealed(request, spec, scopes)
    if is_ours:
        # One that is served elsewhere has these from nowhere else.
        own = {"knowledge_scope": services.knowledge_scope, "model": services.model}
        shown = shown.model_copy(update=own)
    return _execute(arm, shown, services, scopes)


def _recalled(
    request: ArmRequest, spec: ArmSpec, services: ArmServices, scopes: Scopes
) -> ArmReply | None:
    try:
        known = recall(
            request.request_id,
            arm_name=spec.name,
            is_repeatable=spec.is_repeatable,
            stop=services.stop,
        )
    except ArmError as error:
        error.args = (_concealed_text(error.message, scopes),)
        raise
    if known is not None:
        services.meter.book_usage(
            request.request_id, known.usage, arm=spec.name, at=SERVED
        )
    return known


def _revealed(request: ArmRequest, spec: ArmSpec, scopes: Scopes) -> ArmRequest:
    """Put in the values that this arm may see; one query at most, none without PII."""
    document: JSONObject = {
        "input": request.input,
        "context": request.context,
        "description": request.description,
    }
    shown = reveal(document, scope_ids=(scopes.task, scopes.knowledge), types=spec.sees)
    return request.model_copy(update=dict(shown) if isinstance(shown, dict) else None)


def _execute(
    arm: Arm, shown: ArmRequest, services: ArmServices, scopes: Scopes
) -> ArmReply:
    """Run the arm; what its errors say is concealed like any other text of it."""
    try:
        return arm.execute(shown, services)
    except OctoLLMError as error:
        error.args = (_concealed_text(error.message, scopes),)
        raise
    except (InterfaceError, OperationalError):
        # The ledger or the documents are away: no fault of the arm's, and it passes.
        raise
    except Exception as error:  # noqa: BLE001  # third parties' code; logged below
        # The message may hold what the arm was shown, so only the frames are logged.
        frames = traceback.extract_tb(error.__traceback__)
        logger.error(  # noqa: TRY400  # exc_info would print the message
            "an arm raised %s",
            type(error).__name__,
            extra={"frames": [f"{f.filename}:{f.lineno} {f.name}" for f in frames]},
        )
        raise ArmError(
            f"The arm {arm.spec.name} failed unexpectedly ({type(error).__name__}).",
            arm_name=arm.spec.name,
        ) from None


def _concealed_text(text: str, scopes: Scopes) -> str:
    with open_vault(scopes.task) as vault:
        screened = screen(
            {"text": text}, checkpoint=Checkpoint.TOOL_OUTPUT, vault=vault
        )
    return str(screened.document["text"])


def _checked(reply: ArmReply, *, arm_name: str) -> ArmReply:
    """Validate a reply against the contract, whoever sent it."""
    try:
        checked = ArmReply.model_validate(reply)
        text = checked.model_dump_json()
    except (ValidationError, PydanticSerializationError) as error:
        # Without the cause: pydantic's message quotes the value.
        message = f"The arm {arm_name} broke its contract ({type(error).__name__})."
        raise ArmError(message, arm_name=arm_name) from None
    if holds_nul(text):
        message = f"The reply of the arm {arm_name} holds a NUL character."
        raise ArmError(message, arm_name=arm_name)
    size = len(text)
    if size > settings.OCTOLLM_MAX_OUTPUT_BYTES:
        raise ArmOutputTooLargeError(
            f"The reply of the arm {arm_name} has {size} bytes; "
            f"{settings.OCTOLLM_MAX_OUTPUT_BYTES} are the limit.",
            arm_name=arm_name,
        )
    return checked


def _screened(reply: ArmReply, scopes: Scopes) -> Screened:
    """Conceal a reply; what is new to the vault is stored at once."""
    document: JSONObject = {
        "output": reply.output,
        "evidence": list(reply.evidence),
        "logs": reply.logs,
        "confidence_reason": reply.confidence_reason,
        "artefacts": list(reply.artefacts),
    }
    with open_vault(scopes.task) as vault:
        screened = screen(document, checkpoint=Checkpoint.TOOL_OUTPUT, vault=vault)
    if screened.is_blocked:
        raise TaskRejectedError(rule_ids=screened.rule_ids)
    return screened
