"""A new task from an old one: the request with changes, and what needs no second run.

The fork has an id and a vault of its own. What its caller changes is screened like
any submission, together with the old request; outputs that are taken over get new
placeholders for the same values.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from arms import llm
from octollm.access.models import Owner
from octollm.access.owners import require_started
from octollm.errors import InvalidForkError, UnknownModelError
from octollm.ids import new_id
from octollm.types import JSONObject, JSONValue
from reflex.fingerprints import fingerprint
from reflex.screening import Screened
from reflex.vault import Vault, reveal, transfer
from tasks_app import services
from tasks_app.copied import COPIED, compile_without
from tasks_app.models import Plan, Step, Task
from tasks_app.partial import REMOVED
from tasks_app.serializers import MAX_CONTEXT
from tasks_app.services import Accepted, RequestMark

# Of a request; what a fork changes of it stands in the same names.
_TEXTS = ("goal", "constraints", "acceptance_criteria", "context", "task_metadata")


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a fork is to do differently; validated, its texts not concealed yet.

    Attributes:
        texts: of goal, constraints, acceptance_criteria and context those that
            change; the context is merged over the old one.
        budget: the caps that change, by column.
        from_step: the step from which it runs anew; ``None``: all of it.
        step: of input, arm and capability of that step those that change.
        model: the only one that its calls may ask; ``None``: as before.
    """

    texts: JSONObject = field(default_factory=dict)
    budget: Mapping[str, Decimal | int] = field(default_factory=dict)
    from_step: str | None = None
    step: JSONObject = field(default_factory=dict)
    model: str | None = None

    def fingerprint(self, task_id: UUID) -> str:
        """Return what tells this request from another under the same key."""
        budget: JSONObject = {
            name: str(Decimal(value).normalize()) for name, value in self.budget.items()
        }
        return fingerprint(
            {
                "fork": str(task_id),
                "texts": self.texts,
                "budget": budget,
                "from_step": self.from_step,
                "step": self.step,
                "model": self.model,
            },
            purpose="request",
        )


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """What a fork begins with.

    Attributes:
        plan: the old task's current one; ``None`` when all is to be planned anew.
        work: its work steps in its order.
        anew: ids of those that run again: the step it is forked from, what depends
            on it, and what was never done.
    """

    plan: Plan | None = None
    work: tuple[Step, ...] = ()
    anew: frozenset[str] = frozenset()

    @property
    def kept(self) -> tuple[Step, ...]:
        """The steps that are taken over as they are."""
        return tuple(step for step in self.work if step.step_id not in self.anew)


def fork_task(
    owner: Owner, task_id: UUID, changes: Changes, *, key: str | None
) -> Accepted:
    """Start a new task from an owner's task in whatever state, and return it.

    Raises:
        Task.DoesNotExist: the owner has no such task.
        InvalidForkError: there is no such step, or the context grows too large.
        UnknownModelError: no operator has set that model.
        TaskRejectedError: the reflex blocked the request.
        InvalidPlanError: the plan breaks rules with these changes; nothing is stored.
        IdempotencyMismatchError: the key came before with another request.
        OwnerStoppedError: an operator has stopped the owner.
    """
    require_started(owner)
    old = Task.objects.get(pk=task_id, owner=owner)
    if changes.model and changes.model not in llm.known_models():
        known = ", ".join(llm.known_models()) or "none"
        raise UnknownModelError(f"model must be one that is set here: {known}.")
    mark = RequestMark.of(owner, key=key, request_mac=changes.fingerprint(task_id))
    if earlier := mark.earlier():
        return earlier
    origin = _origin(old, changes)
    vault = Vault.new(new_id())
    screened = services.screen_request(_texts(old, changes), vault=vault)
    task = _task(old, changes, screened, task_id=vault.scope_id)
    copied = [_copy(step, old, vault) for step in origin.kept]
    proposal = _proposal(old, origin)
    if proposal is not None:
        moved = transfer(proposal, scope_id=old.pk, vault=vault)
        task.given_plan = _changed(moved, changes, screened.document["step"])
        compile_without(task, copied)
    return services.accept_task(task, screened, mark, copied=copied)


# The request ------------------------------------------------------------------------
def _texts(old: Task, changes: Changes) -> JSONObject:
    """Return the texts of the new request, in the clear, with the step's new input."""
    shown = reveal(
        {name: getattr(old, name) for name in _TEXTS}, scope_ids=(old.pk,), types=None
    )
    texts: JSONObject = {**(shown if isinstance(shown, dict) else {}), **changes.texts}
    if isinstance(shown, dict) and "context" in changes.texts:
        texts["context"] = _merged(shown["context"], changes.texts["context"])
    return texts | {"step": changes.step}


def _merged(old: JSONValue, new: JSONValue) -> JSONObject:
    context: JSONObject = {}
    for each in (old, new):
        context |= each if isinstance(each, dict) else {}
    size = len(json.dumps(context, ensure_ascii=False, separators=(",", ":")))
    if size > MAX_CONTEXT:
        raise InvalidForkError(
            f"The context has {size} characters of JSON with the old one's; "
            f"{MAX_CONTEXT} are the limit."
        )
    return context


def _task(old: Task, changes: Changes, screened: Screened, *, task_id: UUID) -> Task:
    texts: Mapping[str, Any] = screened.document
    kept = ("priority", "assigned_arm", "approval", "model")
    caps = ("max_cost_usd", "max_time_seconds", "max_tokens")
    task = Task(
        id=task_id,
        owner=old.owner,
        **{name: texts[name] for name in _TEXTS},
        **{name: getattr(old, name) for name in (*kept, *caps)},
        forked_from=old,
        forked_step=changes.from_step or "",
    )
    for name, value in changes.budget.items():
        setattr(task, name, value)
    if changes.model is not None:
        task.model = changes.model
    return task


# The plan ---------------------------------------------------------------------------
def _origin(old: Task, changes: Changes) -> _Origin:
    if changes.from_step is None:
        return _Origin()
    if not REMOVED.isdisjoint(old.removed_parts):
        raise InvalidForkError(
            "Retention has removed what its steps left; leave from_step out."
        )
    plan = Plan.objects.filter(task=old, version=old.plan_version).first()
    by_id = Step.objects.in_bulk(plan.step_ids) if plan else {}
    steps = [by_id[pk] for pk in plan.step_ids if pk in by_id] if plan else []
    first = next((s for s in steps if s.step_id == changes.from_step), None)
    if first is None:
        known = ", ".join(step.step_id for step in steps)
        raise InvalidForkError(
            "from_step names no step of the task's plan"
            + (f"; it has {known}." if known else ", for there is none yet.")
        )
    if first.kind == Step.Kind.JUDGE and changes.step:
        raise InvalidForkError("The judge's input, arm and capability are not chosen.")
    work = tuple(step for step in steps if step.kind == Step.Kind.WORK)
    return _Origin(plan=plan, work=work, anew=_anew(work, first.step_id))


def _anew(work: Iterable[Step], first: str) -> frozenset[str]:
    """Return the ids of the steps that run again; ``work`` comes in the plan's order."""
    anew: set[str] = set()
    for step in work:
        is_changed = step.step_id == first or not anew.isdisjoint(step.depends_on)
        if is_changed or step.status != Step.Status.DONE:
            anew.add(step.step_id)
    return frozenset(anew)


def _proposal(old: Task, origin: _Origin) -> JSONObject | None:
    """Return the plan that a fork begins with, as a caller would write it, if any."""
    if origin.plan is None:
        return old.given_plan
    steps = [_step_draft(step) for step in origin.work]
    return {"steps": list[JSONValue](steps), "result": dict(origin.plan.result)}


def _changed(proposal: Any, changes: Changes, step: JSONValue) -> JSONObject:
    """Return the proposal with the change to its one step."""
    for each in proposal["steps"]:
        if "acceptance_criteria" in changes.texts:
            # They have other numbers now.
            each["criteria"] = []
        if each["step_id"] == changes.from_step:
            each.update(step)
    return dict(proposal)


def _step_draft(step: Step) -> JSONObject:
    return {
        "step_id": step.step_id,
        "description": step.description,
        "arm": step.arm,
        "capability": step.capability,
        "depends_on": list[JSONValue](step.depends_on),
        "input": step.input,
        "criteria": list[JSONValue](step.criteria),
    }


def _copy(step: Step, old: Task, vault: Vault) -> Step:
    """Return a done step for the new task: the same output, at no cost."""
    moved: Any = transfer(
        {
            "description": step.description,
            "input": step.input,
            "output": step.output,
            "evidence": step.evidence,
            "confidence_reason": step.confidence_reason,
        },
        scope_id=old.pk,
        vault=vault,
    )
    origin: JSONObject = {
        "kind": COPIED,
        "task_id": str(old.pk),
        "step_id": step.step_id,
        "run": old.run,
        "plan_version": old.plan_version,
    }
    return Step(
        step_id=step.step_id,
        kind=step.kind,
        arm=step.arm,
        capability=step.capability,
        queue=step.queue,
        depends_on=step.depends_on,
        criteria=step.criteria,
        confidence=step.confidence,
        taint=step.taint,
        finished_at=datetime.now(UTC),
        **(moved | {"evidence": [*moved["evidence"], origin]}),
    )
