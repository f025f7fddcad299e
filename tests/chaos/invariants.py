"""What must hold of tasks that have ended, whatever happened to them meanwhile.

Each check reads the database alone and returns a `Finding`: how many rows it looked
at, and one sentence for each that breaks the rule. `check_all` runs them over the
tasks with the given ids.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Count, F, Q, QuerySet, Sum

from tasks_app import chain
from tasks_app.models import (
    Attempt,
    Charge,
    Step,
    Task,
    TaskEvent,
    TaskResult,
    Verdict,
)

OPEN_STEPS = (Step.Status.WAITING, Step.Status.READY, Step.Status.RUNNING)
ENDED_STEPS = ("done", "failed", "dead", "skipped", "cancelled", "superseded")
# What may still come after a task's end: calls that were under way are settled.
LATE_EVENTS = "charge."
ENDS = tuple(f"task.{status}" for status in Task.TERMINAL)
REOPENED = "task.reopened"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One invariant, and what was found.

    Attributes:
        checked: how many things were looked at.
        broken: a sentence for each that breaks it.
    """

    name: str
    checked: int
    broken: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether nothing breaks it."""
        return not self.broken


def check_all(task_ids: Collection[UUID]) -> list[Finding]:
    """Check every invariant over these tasks."""
    return [check(task_ids) for check in CHECKS]


def none_is_lost(task_ids: Collection[UUID]) -> Finding:
    """Every accepted task is there."""
    there = set(_tasks(task_ids).values_list("pk", flat=True))
    return _finding(
        "no accepted task is lost",
        task_ids,
        (f"task {task_id} is gone" for task_id in set(task_ids) - there),
    )


def none_is_stuck(task_ids: Collection[UUID]) -> Finding:
    """Every task has ended, and with it each of its steps and attempts."""
    tasks = _tasks(task_ids)
    open_tasks = tasks.exclude(status__in=Task.TERMINAL)
    ended = tasks.filter(status__in=Task.TERMINAL)
    open_steps = Step.objects.filter(task__in=ended, status__in=OPEN_STEPS)
    running = Attempt.objects.filter(step__task__in=ended, outcome="running")
    broken = [f"task {t.pk} is {t.status}, {t.stage}" for t in open_tasks]
    broken += [f"step {s.pk} is {s.status} in an ended task" for s in open_steps]
    broken += [f"attempt {a.pk} runs in an ended task" for a in running]
    return _finding("no task is stuck", task_ids, broken)


def ends_are_final(task_ids: Collection[UUID]) -> Finding:
    """After the event that ends a task nothing comes but settlements and a new run."""
    events = _events(task_ids)
    ended = _tasks(task_ids).filter(status__in=Task.TERMINAL)
    broken = [
        f"task {task.pk}: {said}"
        for task in ended
        for said in _end_faults(task, [event.type for event in events[task.pk]])
    ]
    return _finding("every end is final", len(ended), broken)


def _end_faults(task: Task, types: Collection[str]) -> Iterator[str]:
    end = ""
    for type_ in types:
        if type_ == REOPENED and end == "task.failed":
            end = ""
        elif end and not type_.startswith(LATE_EVENTS):
            yield f"{type_} came after {end}"
        elif type_ in ENDS:
            end = type_
    if end != f"task.{task.status}":
        yield f"it is {task.status}, its last end is {end or 'none'}"


def results_are_whole(task_ids: Collection[UUID]) -> Finding:
    """An ended task has a result of each run, with a verdict on every criterion."""
    ended = _tasks(task_ids).filter(status__in=Task.TERMINAL)
    results = defaultdict(list)
    for result in TaskResult.objects.filter(task__in=ended).order_by("run"):
        results[result.task_id].append((result.run, result.plan_version))
    verdicts = Counter(
        Verdict.objects.filter(task__in=ended, kind="criterion").values_list(
            "task", "run", "plan_version"
        )
    )
    broken = []
    for task in ended:
        runs = results[task.pk]
        if [run for run, _ in runs] != list(range(1, task.run + 1)):
            broken.append(f"task {task.pk} has results of the runs {runs}")
            continue
        found = verdicts[(task.pk, *runs[-1])]
        if found != len(task.acceptance_criteria):
            broken.append(f"task {task.pk} has {found} verdicts")
    return _finding("every end has its result and verdicts", len(ended), broken)


def steps_are_done_once(task_ids: Collection[UUID]) -> Finding:
    """A step has one attempt that did it, and none that began after it ended."""
    steps = Step.objects.filter(task__in=task_ids)
    counted = steps.filter(status=Step.Status.DONE).annotate(
        times=Count("attempts", filter=Q(attempts__outcome="done"))
    )
    broken = [f"step {s.pk} was done {s.times} times" for s in counted if s.times != 1]
    late = Attempt.objects.filter(
        step__task__in=task_ids,
        step__finished_at__isnull=False,
        started_at__gt=F("step__finished_at"),
    )
    broken += [f"attempt {a.pk} began after its step had ended" for a in late]
    for task_id, events in _events(task_ids).items():
        broken += [f"task {task_id}: {said}" for said in _life_after_death(events)]
    return _finding("every step is done once", steps.count(), broken)


def steps_wait(task_ids: Collection[UUID]) -> Finding:
    """No step began before all that it depends on was done."""
    early = _rows(
        "SELECT c.id, p.id FROM steps c JOIN attempts a ON a.step_id = c.id "
        "JOIN steps p ON p.task_id = c.task_id AND p.step_id = ANY(c.depends_on) "
        "WHERE c.task_id = ANY(%s) AND c.kind = 'work' "
        "AND (p.finished_at IS NULL OR a.started_at < p.finished_at)",
        task_ids,
    )
    count = Attempt.objects.filter(step__task__in=task_ids).count()
    broken = (f"step {step} began before {parent} was done" for step, parent in early)
    return _finding("every step waits for those before it", count, broken)


def plans_wait_for_approval(task_ids: Collection[UUID]) -> Finding:
    """No step began between the request for an approval and the yes."""
    events = _events(task_ids)
    waiting: set[UUID] = set()
    broken, asked = [], 0
    for event in (each for rows in events.values() for each in rows):
        if event.type == "approval.requested":
            waiting.add(event.task_id)
            asked += 1
        elif event.type == "approval.approved":
            waiting.discard(event.task_id)
        elif event.type == "step.started" and event.task_id in waiting:
            broken.append(f"task {event.task_id} went on without its approval")
    return _finding("no plan runs before its approval", asked, broken)


def charges_are_settled(task_ids: Collection[UUID]) -> Finding:
    """No charge stays held."""
    charges = Charge.objects.filter(task__in=task_ids)
    held = charges.filter(state=Charge.State.HELD)
    return _finding(
        "no charge stays held",
        charges.count(),
        (f"charge {charge.pk} of task {charge.task_id} is held" for charge in held),
    )


def ledgers_sum(task_ids: Collection[UUID]) -> Finding:
    """A task spent what its charges booked, and holds nothing at its end."""
    booked = {
        row["task"]: (row["nano"], row["tokens"])
        for row in Charge.objects.filter(task__in=task_ids)
        .exclude(state=Charge.State.HELD)
        .values("task")
        .annotate(
            nano=Sum("settled_nano"), tokens=Sum(F("input_tokens") + F("output_tokens"))
        )
        .order_by()
    }
    broken = []
    ended = _tasks(task_ids).filter(status__in=Task.TERMINAL)
    for task in ended:
        spent = (task.spent_nano, task.spent_tokens)
        if spent != booked.get(task.pk, (0, 0)):
            broken.append(f"task {task.pk} spent {spent}, booked {booked.get(task.pk)}")
        if task.held_nano or task.held_tokens:
            held = (task.held_nano, task.held_tokens)
            broken.append(f"task {task.pk} holds {held} at its end")
    kept = Step.objects.filter(task__in=ended).exclude(
        envelope_nano=0, envelope_tokens=0
    )
    broken += [f"step {step.pk} keeps its envelope" for step in kept]
    return _finding("every ledger sums", len(ended), broken)


def caps_hold(task_ids: Collection[UUID]) -> Finding:
    """Nothing was spent beyond a cap but what the events call an overrun."""
    overrun = set(
        TaskEvent.objects.filter(task__in=task_ids, type="charge.overrun").values_list(
            "task", flat=True
        )
    )
    tasks = list(_tasks(task_ids))
    broken = [
        f"task {task.pk} spent more than its cap"
        for task in tasks
        if task.pk not in overrun
        and (
            task.spent_nano > task.max_cost_nano or task.spent_tokens > task.max_tokens
        )
    ]
    return _finding("no cap is passed unnoticed", len(tasks), broken)


def charges_are_booked_once(task_ids: Collection[UUID]) -> Finding:
    """What was answered is not asked again; a charge is settled once.

    A call that was taken for lost is asked again, and then both answers may come: two
    calls were made, and both are paid for. What was on record when it was asked again
    should have been replayed.
    """
    charges = Charge.objects.filter(task__in=task_ids)
    again = _rows(
        "SELECT l.id FROM charges l JOIN charges e ON e.step_id = l.step_id "
        "AND e.request_hash = l.request_hash AND e.nth IS NOT DISTINCT FROM l.nth "
        "WHERE l.task_id = ANY(%s) AND e.reply IS NOT NULL "
        "AND e.settled_at < l.created_at AND e.attempt < l.attempt",
        task_ids,
    )
    broken = [f"charge {charge} is for what was answered before" for (charge,) in again]
    settled = TaskEvent.objects.filter(task__in=task_ids, type="charge.settled")
    times = Counter((each.task_id, each.data["charge_id"]) for each in settled)
    broken += [
        f"charge {charge_id} of task {task_id} was settled {count} times"
        for (task_id, charge_id), count in times.items()
        if count > 1
    ]
    return _finding("no call is charged twice", charges.count(), broken)


def calls_made_twice(task_ids: Collection[UUID]) -> int:
    """Count the questions that were asked again while the first call was under way."""
    return len(
        Charge.objects.filter(task__in=task_ids, reply__isnull=False)
        .values("step", "request_hash")
        .annotate(times=Count("pk"))
        .filter(times__gt=1)
        .order_by()
    )


def chains_verify(task_ids: Collection[UUID]) -> Finding:
    """Each task's events are all there, in order, and signed."""
    events = _events(task_ids)
    broken = []
    for task in _tasks(task_ids):
        at = chain.first_break(task.pk, events[task.pk], head=task.event_head)
        if at is not None or len(events[task.pk]) != task.event_seq:
            broken.append(f"the chain of task {task.pk} breaks at {at}")
    return _finding("every chain verifies", sum(map(len, events.values())), broken)


CHECKS: tuple[Callable[[Collection[UUID]], Finding], ...] = (
    none_is_lost,
    none_is_stuck,
    ends_are_final,
    results_are_whole,
    steps_are_done_once,
    steps_wait,
    plans_wait_for_approval,
    charges_are_settled,
    charges_are_booked_once,
    ledgers_sum,
    caps_hold,
    chains_verify,
)


def _life_after_death(events: Collection[TaskEvent]) -> Iterator[str]:
    """Say which steps an event names after the one that ended them."""
    ended: dict[str, str] = {}
    for event in events:
        what = event.type.removeprefix("step.")
        if what == event.type:
            continue
        for step_id in event.data.get("step_ids") or [event.data.get("step_id")]:
            if what == "reopened":
                ended.pop(step_id, None)
            elif step_id in ended and what != "superseded":
                yield f"{event.type} of {step_id} came after {ended[step_id]}"
            elif what in ENDED_STEPS:
                ended[step_id] = event.type


def _finding(name: str, checked: Collection[Any] | int, broken: Any) -> Finding:
    count = checked if isinstance(checked, int) else len(checked)
    return Finding(name=name, checked=count, broken=tuple(broken))


def _tasks(task_ids: Collection[UUID]) -> QuerySet[Task]:
    return Task.objects.filter(pk__in=task_ids)


def _events(task_ids: Collection[UUID]) -> dict[UUID, list[TaskEvent]]:
    """Return the events of each task, in order."""
    rows = TaskEvent.objects.filter(task__in=task_ids).order_by("task", "seq")
    found: dict[UUID, list[TaskEvent]] = defaultdict(list)
    for task_id, events in groupby(rows, key=lambda event: event.task_id):
        found[task_id] = list(events)
    return found


def _rows(sql: str, task_ids: Collection[UUID]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, [list(task_ids)])
        return list(cursor.fetchall())
