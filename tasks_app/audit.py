"""The audit: does what is stored agree with what was signed?

Streams over tasks, tombstones and seals, some rows at a time, beside a running
system: what is compared with each other comes of one statement, and so of one moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef

from octollm.rows import RowReader
from tasks_app import chain
from tasks_app.models import EventCheckpoint, Seal, Task, TaskEvent, Tombstone

# Tasks per statement; their events are in memory together.
BATCH = 100
_CHECKPOINTS, _EVENTS = RowReader(EventCheckpoint), RowReader(TaskEvent)
_ANY = UUID(int=0)

_IDS = """
SELECT id FROM tasks
WHERE id > %(after)s AND (%(task)s::uuid IS NULL OR id = %(task)s::uuid)
AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s OR finished_at IS NULL
     OR finished_at >= %(since)s)
ORDER BY id LIMIT %(limit)s
"""
_CHAINS = f"""
SELECT t.id, t.status, t.event_seq, t.event_head,
       {_CHECKPOINTS.columns("c")}, {_EVENTS.columns("e")}
FROM tasks t
LEFT JOIN event_checkpoints c ON c.task_id = t.id
LEFT JOIN task_events e ON e.task_id = t.id
WHERE t.id = ANY(%(ids)s) ORDER BY t.id, e.seq
"""  # noqa: S608  # names of our own models
_TASK_WIDTH = 4
_ENDS = {f"task.{status}": str(status) for status in Task.TERMINAL}

# What a seal names must be there, or be covered by a row that stands for it.
_UNSEALED = """
SELECT s.id, s.seq, t.id IS NULL AND g.task_id IS NULL
FROM unnest(%(ids)s::uuid[], %(seqs)s::int[], %(heads)s::text[]) AS s (id, seq, mac)
LEFT JOIN tasks t ON t.id = s.id
LEFT JOIN tombstones g ON g.task_id = s.id
LEFT JOIN event_checkpoints c ON c.task_id = s.id
LEFT JOIN task_events e ON e.task_id = s.id AND e.seq = s.seq AND e.mac = s.mac
WHERE (%(task)s::uuid IS NULL OR s.id = %(task)s::uuid)
AND e.id IS NULL
AND (c.seq IS NULL OR c.seq < s.seq OR (c.seq = s.seq AND c.mac <> s.mac))
AND (g.seq IS NULL OR g.seq < s.seq OR (g.seq = s.seq AND g.mac <> s.mac))
"""


MEANINGS = {
    "no_events": "the task has no event and no checkpoint",
    "event_changed": "the event is not what was signed, or was not signed by us",
    "event_missing": "the event is not there, but later ones are",
    "tail_missing": "this event and all later ones are not there",
    "head_changed": "the task's row names another last event than there is",
    "status_changed": "the task's status is not the one that its last event says",
    "checkpoint_forged": "the checkpoint is not what was signed",
    "tombstone_forged": "the tombstone is not what was signed",
    "undeleted": "the task has a tombstone and is there all the same",
    "vanished": "the task was sealed and is gone without a tombstone",
    "rolled_back": "the task had come further when it was sealed: up to this event",
    "seal_forged": "the seal is not what was signed",
    "seal_missing": "the seal of this number is not there",
    "seal_unlinked": "the seal does not go on from the one before",
    "unknown": "there is no such task, no tombstone, and no seal names it",
}


@dataclass(frozen=True, kw_only=True)
class Break:
    """One thing that does not agree.

    Attributes:
        kind: what it is; ``MEANINGS`` says it in words.
        task_id: of which task, if of one.
        number: of the event or of the seal.
    """

    kind: str
    task_id: UUID | None = None
    number: int | None = None

    def __str__(self) -> str:
        """Say in a line what it is."""
        about = f"task {self.task_id}" if self.task_id else "seals"
        place = "" if self.number is None else f" at {self.number}"
        return f"{about}: {self.kind}{place}: {MEANINGS[self.kind]}"


@dataclass(kw_only=True)
class Tally:
    """What was looked at; ``last_seal`` is for keeping elsewhere."""

    tasks: int = 0
    events: int = 0
    checkpoints: int = 0
    tombstones: int = 0
    seals: int = 0
    breaks: int = 0
    sealed_until: datetime | None = None
    last_seal: tuple[int, str] | None = None

    def __str__(self) -> str:
        """Say in three lines what was looked at, and the last seal."""
        seal = "No task is sealed yet."
        if self.last_seal is not None:
            number, signature = self.last_seal
            seal = f"Sealed until {self.sealed_until}; seal {number} is {signature}."
        return (
            f"Checked {self.tasks} tasks with {self.events} events, {self.checkpoints} "
            f"checkpoints, {self.tombstones} tombstones, {self.seals} seals.\n"
            f"{seal}\nBreaks: {self.breaks}."
        )


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which tasks: one, or those that were open or changed since a moment, or all."""

    task_id: UUID | None = None
    since: datetime | None = None


def verify(tally: Tally, selection: Selection) -> Iterator[Break]:
    """Give every break as it is found, and count what was looked at."""
    for check in (_chains, _tombstones, _seals):
        for found in check(tally, selection):
            tally.breaks += 1
            yield found
    is_known = tally.tasks or tally.tombstones or tally.breaks
    if selection.task_id is not None and not is_known:
        tally.breaks += 1
        yield Break(kind="unknown", task_id=selection.task_id)


# Chains ------------------------------------------------------------------------------
def _chains(tally: Tally, selection: Selection) -> Iterator[Break]:
    for ids in _batches(selection):
        with connection.cursor() as cursor:
            cursor.execute(_CHAINS, {"ids": ids})
            rows = cursor.fetchall()
        for _, group in groupby(rows, key=itemgetter(0)):
            yield from _breaks_of(list(group), tally)


def _batches(selection: Selection) -> Iterator[list[UUID]]:
    after = _ANY
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                _IDS,
                {
                    "after": after,
                    "task": selection.task_id,
                    "since": selection.since,
                    "limit": BATCH,
                },
            )
            ids = [row[0] for row in cursor.fetchall()]
        if not ids:
            return
        yield ids
        after = ids[-1]


def _breaks_of(rows: Sequence[tuple[Any, ...]], tally: Tally) -> Iterator[Break]:
    """Compare one task's row, its checkpoint and its events."""
    task_id, status, seq, head = rows[0][:_TASK_WIDTH]
    row = _Row(id=task_id, status=status, seq=seq, head=head)
    split = _TASK_WIDTH + _CHECKPOINTS.width
    checkpoint = _CHECKPOINTS.read(rows[0][_TASK_WIDTH:split])
    events = [e for e in (_EVENTS.read(each[split:]) for each in rows) if e.pk]
    tally.tasks += 1
    tally.events += len(events)
    after = chain.BEGINNING
    if checkpoint.pk:
        tally.checkpoints += 1
        if not checkpoint.is_genuine:
            yield Break(kind="checkpoint_forged", task_id=task_id)
            return
        after = chain.Link(seq=checkpoint.seq, mac=checkpoint.mac)
    found = _chain_break(row, after, events)
    said = checkpoint.status if checkpoint.pk else None
    if found is None and not _agrees(row, said, events):
        found = Break(kind="status_changed", task_id=task_id)
    if found is not None:
        yield found


@dataclass(frozen=True, kw_only=True)
class _Row:
    """What the task's own row says."""

    id: UUID
    status: str
    seq: int
    head: str


def _chain_break(
    row: _Row, after: chain.Link, events: Sequence[TaskEvent]
) -> Break | None:
    if not events and after == chain.BEGINNING:
        return Break(kind="no_events", task_id=row.id)
    numbers = [after.seq, *(event.seq for event in events)]
    number = chain.first_break(row.id, events, head=row.head, after=after)
    if number is None and row.seq == numbers[-1]:
        return None
    if number is None or number > max(row.seq, numbers[-1]):
        return Break(kind="head_changed", task_id=row.id)
    kind = "event_missing" if number < numbers[-1] else "tail_missing"
    if number in numbers:
        kind = "event_changed"
    return Break(kind=kind, task_id=row.id, number=number)


def _agrees(row: _Row, status: str | None, events: Sequence[TaskEvent]) -> bool:
    """Tell whether the row's status is the one that the chain says.

    ``status`` is that of the checkpoint, if there is one. An ended task is what its
    last end was; after the end of one that is open again something else happened.
    """
    said, is_last = status, status is not None
    for event in events:
        if event.type in _ENDS:
            said, is_last = _ENDS[event.type], True
        elif not event.type.startswith(("charge.", "retention.")):
            is_last = False
    if row.status in Task.TERMINAL:
        return row.status == said
    return not is_last


# Tombstones --------------------------------------------------------------------------
def _tombstones(tally: Tally, selection: Selection) -> Iterator[Break]:
    there = Task.objects.filter(pk=OuterRef("pk"))
    rows = Tombstone.objects.order_by("pk").annotate(is_there=Exists(there))
    if selection.task_id is not None:
        rows = rows.filter(pk=selection.task_id)
    if selection.since is not None:
        rows = rows.filter(deleted_at__gte=selection.since)
    for tombstone in rows.iterator(chunk_size=1_000):
        tally.tombstones += 1
        if not tombstone.is_genuine:
            yield Break(kind="tombstone_forged", task_id=tombstone.task_id)
        elif tombstone.is_there:
            yield Break(kind="undeleted", task_id=tombstone.task_id)


# Seals -------------------------------------------------------------------------------
def _seals(tally: Tally, selection: Selection) -> Iterator[Break]:
    """Check each seal, that it goes on from the one before, and what it names."""
    before: Seal | None = None
    rows = Seal.objects.order_by("number")
    if selection.since is not None:
        rows = rows.filter(until_at__gte=selection.since)
        before = Seal.objects.filter(until_at__lt=selection.since).last()
    for seal in rows.iterator(chunk_size=10):
        tally.seals += 1
        tally.sealed_until = seal.until_at
        tally.last_seal = (seal.number, seal.signature)
        yield from _seal_breaks(seal, before)
        if seal.is_genuine:
            yield from _unsealed(seal, selection)
        before = seal


def _seal_breaks(seal: Seal, before: Seal | None) -> Iterator[Break]:
    number = before.number if before else 0
    if not seal.is_genuine:
        yield Break(kind="seal_forged", number=seal.number)
    elif seal.number != number + 1:
        for missing in range(number + 1, seal.number):
            yield Break(kind="seal_missing", number=missing)
    elif seal.previous != (before.signature if before else ""):
        yield Break(kind="seal_unlinked", number=seal.number)


def _unsealed(seal: Seal, selection: Selection) -> Iterator[Break]:
    parameters: dict[str, Any] = {
        "ids": seal.task_ids,
        "seqs": seal.seqs,
        "heads": seal.heads,
        "task": selection.task_id,
    }
    with connection.cursor() as cursor:
        cursor.execute(_UNSEALED, parameters)
        rows = cursor.fetchall()
    for task_id, seq, is_gone in rows:
        kind = "vanished" if is_gone else "rolled_back"
        yield Break(kind=kind, task_id=task_id, number=None if is_gone else seq)
