"""What a chaos run's callers, plans and model server say must have come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from uuid import UUID

from tasks_app.audit import Selection, Tally, verify
from tasks_app.models import Charge, Step, Task
from tasks_app.repair import repair
from tests.chaos.invariants import Finding
from tests.chaos.model import MARK, ChaosModel
from tests.chaos.plans import ChaosTask
from tests.chaos.told import Told


def check_expectations(
    tasks: Sequence[ChaosTask],
    told: Told,
    *,
    seen: Mapping[tuple[UUID, int], str],
    model: ChaosModel,
) -> list[Finding]:
    """Check what only the run itself knows.

    Args:
        seen: the status that each task's run had ended with when that was first seen.
        model: the server, which knows what it answered.
    """
    by_id = {
        UUID(told.accepted[task.number]): task
        for task in tasks
        if task.number in told.accepted
    }
    rows = {task.pk: task for task in Task.objects.filter(pk__in=by_id)}
    return [
        _submissions(tasks, told),
        _repeats(told),
        _faults(told),
        _wishes(told, rows),
        _unchanged(seen),
        _ends(by_id, rows),
        _outputs(by_id),
        _answers(by_id, model.marks),
        _requests(model),
        _repairs(by_id),
        _audit(by_id),
    ]


def end_of(task: Task) -> str:
    """Say how a task ended: its status, and why it failed."""
    code = (task.error or {}).get("code")
    return f"{task.status}: {code}" if code else str(task.status)


def _submissions(tasks: Sequence[ChaosTask], told: Told) -> Finding:
    missing = [task.key for task in tasks if task.number not in told.accepted]
    return _finding(
        "every submission is accepted in the end",
        len(tasks),
        told.refused or (f"{key} was never answered" for key in missing),
    )


def _repeats(told: Told) -> Finding:
    stored, keys = Task.objects.count(), len(told.accepted)
    broken = [f"{key} named two tasks" for key in told.differing]
    if stored != keys:
        broken.append(f"{keys} keys were accepted, {stored} tasks are stored")
    return _finding("the same key names the same task", told.repeats, broken)


def _faults(told: Told) -> Finding:
    count = told.answers[500]
    return _finding(
        "no answer is a 500",
        sum(told.answers.values()),
        [f"{count} answers were"] if count else (),
    )


def _wishes(told: Told, rows: Mapping[UUID, Task]) -> Finding:
    unwanted = told.obeyed.get("cancel", set()) | told.obeyed.get("reject", set())
    ids = [UUID(told.accepted[number]) for number in unwanted]
    return _finding(
        "what was cancelled or rejected stays so",
        len(ids),
        (
            f"task {task_id} is {rows[task_id].status}"
            for task_id in ids
            if rows[task_id].status != Task.Status.CANCELLED
        ),
    )


def _unchanged(seen: Mapping[tuple[UUID, int], str]) -> Finding:
    """An end is left by a new run alone, and only where it had failed."""
    ids = {task_id for task_id, _ in seen}
    now = {task.pk: task for task in Task.objects.filter(pk__in=ids)}
    return _finding(
        "no end was taken back",
        len(seen),
        (
            f"run {run} of task {task_id} was {status}, is {now[task_id].status}"
            for (task_id, run), status in seen.items()
            if (now[task_id].status if now[task_id].run == run else "failed") != status
        ),
    )


def _ends(by_id: Mapping[UUID, ChaosTask], rows: Mapping[UUID, Task]) -> Finding:
    return _finding(
        "every end is one that can be explained",
        len(rows),
        (
            f"task {task_id} ({by_id[task_id].oddity or 'plain'}) "
            f"ended as {end_of(row)}"
            for task_id, row in rows.items()
            if row.is_terminal and end_of(row) not in by_id[task_id].ends
        ),
    )


def _outputs(by_id: Mapping[UUID, ChaosTask]) -> Finding:
    given = [key for key, task in by_id.items() if not task.is_planned_by_model]
    done = Step.objects.filter(
        task__in=given, kind=Step.Kind.WORK, status=Step.Status.DONE
    )
    return _finding(
        "every output is right",
        len(done),
        (
            f"step {step.step_id} of task {step.task_id} gave {step.output}"
            for step in done
            if (step.output or {}).get("value")
            != by_id[step.task_id].expected[step.step_id]
        ),
    )


def _answers(by_id: Mapping[UUID, ChaosTask], marks: Collection[str]) -> Finding:
    """Each answer of the model is booked under one charge, and none but its own."""
    replies = Charge.objects.filter(task__in=by_id).values_list("reply", flat=True)
    found = Counter(mark for reply in replies for mark in MARK.findall(reply or ""))
    return _finding(
        "each of the model's answers is booked once",
        len(found),
        (
            f"{mark} was booked {times} times"
            for mark, times in found.items()
            if times > 1 or mark not in marks
        ),
    )


def _requests(model: ChaosModel) -> Finding:
    count = len(model.requests)
    return _finding(
        "the model's server understands what it is asked", count, model.misread
    )


def _repairs(by_id: Collection[UUID]) -> Finding:
    faults = repair(dry_run=True)
    return _finding(
        "octollm repair finds nothing to mend",
        len(by_id),
        (f"task {fault.task_id}: {fault.rule.says}" for fault in faults),
    )


def _audit(by_id: Collection[UUID]) -> Finding:
    breaks = verify(Tally(), Selection())
    return _finding("octollm audit verify agrees", len(by_id), map(str, breaks))


def _finding(name: str, checked: int, broken: Iterable[str]) -> Finding:
    return Finding(name=name, checked=checked, broken=tuple(broken))
