"""Every legal change of a task, a step and an attempt; what is not here is refused.

Pure tables. ``turn.py`` asks them before it writes and builds its statements from
them; ``docs/state-machine.md`` is written from them by ``python -m tasks_app.states``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from octollm.errors import IllegalStateError


@dataclass(frozen=True)
class Move:
    """One legal change, and when it happens."""

    before: str
    after: str
    when: str


@dataclass(frozen=True)
class Machine:
    """The legal changes of one kind of row."""

    noun: str
    moves: tuple[Move, ...]

    def allows(self, before: str, after: str) -> bool:
        """Tell whether a row may go from one state to another."""
        return any((m.before, m.after) == (before, after) for m in self.moves)

    def require(self, before: str, after: str) -> None:
        """Refuse a change that is not in the table.

        Raises:
            IllegalStateError: it is not.
        """
        if not self.allows(before, after):
            raise IllegalStateError(
                f"A {self.noun} that is {before} cannot become {after}."
            )

    def before(self, after: str) -> list[str]:
        """Return the states from which ``after`` may be reached, sorted."""
        return sorted({move.before for move in self.moves if move.after == after})


TASK = Machine(
    noun="task",
    moves=(
        Move("pending", "processing", "A worker claims its first step."),
        Move("pending", "failed", "Nobody starts it within the queue's time to live."),
        Move("pending", "cancelled", "Its caller cancels it."),
        Move("processing", "completed", "It is judged, and no criterion is not met."),
        Move("processing", "failed", "A criterion is not met, or a limit stops it."),
        Move(
            "processing",
            "cancelled",
            "Its caller cancels it, or its approval is refused or expires.",
        ),
        Move(
            "failed",
            "processing",
            "Its caller retries it or raises its budget: run + 1. No other change "
            "leaves a terminal state, and no machine makes this one.",
        ),
    ),
)

STAGE = Machine(
    noun="task's stage",
    moves=(
        Move("queued", "planning", "The plan step is claimed."),
        Move("queued", "done", "It ends before anybody starts it."),
        Move("planning", "executing", "The plan is made."),
        Move("planning", "awaiting_approval", "The plan is made and needs a yes."),
        Move("planning", "done", "Planning fails or is all that was asked for."),
        Move("awaiting_approval", "executing", "A person approves."),
        Move("awaiting_approval", "done", "A person refuses, or nobody decides."),
        Move("executing", "judging", "The judge step is claimed."),
        Move("executing", "planning", "A new run needs another plan version."),
        Move("executing", "done", "A limit or a failure ends the task."),
        Move("judging", "planning", "Criteria are unmet: a new plan version."),
        Move("judging", "done", "The task is judged, or a limit ends it."),
        Move("done", "planning", "A new run has to plan again."),
        Move("done", "executing", "A new run goes on with the steps that failed."),
    ),
)

STEP = Machine(
    noun="step",
    moves=(
        Move("waiting", "ready", "All it depends on is done."),
        Move("waiting", "skipped", "A step it depends on will not be done."),
        Move("waiting", "cancelled", "The task ends first."),
        Move("waiting", "superseded", "The next plan version does without it."),
        Move("ready", "running", "A worker claims it; the attempt counts from here."),
        Move("ready", "cancelled", "The task ends first."),
        Move("ready", "superseded", "The next plan version does without it."),
        Move("running", "done", "Its output is recorded."),
        Move("running", "failed", "It fails for a reason that no retry mends."),
        Move("running", "dead", "It fails or loses its worker in the last attempt."),
        Move("running", "ready", "A retry, a lost worker, or given back."),
        Move("running", "cancelled", "The task ends first; its worker is stopped."),
        Move("failed", "waiting", "A new run tries it again."),
        Move("dead", "waiting", "A new run tries it again."),
        Move("skipped", "waiting", "A new run tries what it depends on again."),
        Move("cancelled", "waiting", "A new run takes it up again."),
        Move("done", "superseded", "Its output was not good enough; it stays stored."),
        Move("failed", "superseded", "The next plan version does without it."),
        Move("dead", "superseded", "The next plan version does without it."),
        Move("skipped", "superseded", "The next plan version does without it."),
        Move("cancelled", "superseded", "The next plan version does without it."),
    ),
)

ATTEMPT = Machine(
    noun="attempt",
    moves=(
        Move("running", "done", "The arm's reply is recorded."),
        Move("running", "retry", "It failed for a reason that a retry may mend."),
        Move("running", "failed", "It failed for good, or was the last one."),
        Move("running", "lost", "Its lease ran out: the worker is gone or hangs."),
        Move(
            "running",
            "released",
            "Given back: the worker leaves, money is held, or an operator stops it.",
        ),
        Move("running", "cancelled", "The task ended meanwhile."),
    ),
)

MACHINES = {
    "Tasks: status": TASK,
    "Tasks: stage within the status": STAGE,
    "Steps": STEP,
    "Attempts": ATTEMPT,
}


def document() -> str:
    """Return the page that shows all tables, as Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterable[str]:
    yield "# States and their changes"
    yield ""
    yield "Written by `python -m tasks_app.states`; a test compares it with the code."
    yield "Only these changes are made. All of them happen in `tasks_app/turn.py`, under"
    yield "the task's lock, each with an event; any other is refused (`illegal_state`)."
    for title, machine in MACHINES.items():
        yield from (
            "",
            f"## {title}",
            "",
            "| from | to | when |",
            "| --- | --- | --- |",
        )
        for move in machine.moves:
            yield f"| `{move.before}` | `{move.after}` | {move.when} |"
        yield from ("", "```mermaid", "stateDiagram-v2")
        yield from (f"    {move.before} --> {move.after}" for move in machine.moves)
        yield "```"


if __name__ == "__main__":
    print(document(), end="")  # noqa: T201  # its one purpose
