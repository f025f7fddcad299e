"""Every rule and repair of the compiler: what it means and what to do about it.

``docs/plan-rules.md`` is this table: ``python -m planner.rulebook > docs/plan-rules.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One rule or repair.

    Attributes:
        id: ``P…`` a rule, ``R…`` a repair, ``N…`` a note.
        says: what is wrong, or what was done.
        advice: what to do about it, or why it is safe.
    """

    id: str
    says: str
    advice: str


def _entry(id_: str, says: str, advice: str) -> Entry:
    return Entry(id=id_, says=says, advice=advice)


RULES = (
    _entry(
        "P000",
        "The proposal cannot be read as a plan.",
        "Send one JSON object with a list `steps`.",
    ),
    _entry(
        "P001",
        "Too many or too few steps: 3 to 10 by a model, 1 to 10 by others; those that a "
        "later version keeps count.",
        "Join steps, or split the work.",
    ),
    _entry("P002", "Two steps have one id.", "Give each step an id of its own."),
    _entry("P003", "Steps wait for each other in a circle.", "Cut the circle."),
    _entry("P004", "There is no such arm.", "Use an arm that the sentence lists."),
    _entry(
        "P005",
        "The arm does not have that capability.",
        "Use one that the sentence lists, or another arm.",
    ),
    _entry(
        "P006",
        "The arm does no such step: the judge's is added by the system, and the planner "
        "may only batch.",
        "Leave the step out.",
    ),
    _entry(
        "P007",
        "A reference is malformed.",
        'Write {"$from": "goal"}, {"$from": "context.KEY"} or '
        '{"$from": "steps.ID.OUTPUT"}, 1,000 characters at most.',
    ),
    _entry("P008", "A reference names a step that is not there.", "Correct the id."),
    _entry(
        "P009",
        "The step that a reference names gives no such output.",
        "Use an output that the sentence lists.",
    ),
    _entry(
        "P010",
        "A reference names what the context does not hold.",
        "Use a key that the sentence lists.",
    ),
    _entry("P011", "A required input is missing.", "Give it."),
    _entry("P012", "The capability takes no such input.", "Leave it out or rename it."),
    _entry(
        "P013",
        "An input does not fit its schema, or gets an output of another type.",
        "Give what the sentence asks for.",
    ),
    _entry(
        "P014",
        "Arm, capability, tool, command or host is not written literally; an address "
        "may also come from the context.",
        "Write the name itself: text that a step reads must not choose it.",
    ),
    _entry("P015", "A step serves a criterion that is not there.", "Count from 0."),
    _entry(
        "P016",
        "A key of the result is reserved, or is filled from no step.",
        "Rename the key, or refer to an output.",
    ),
    _entry(
        "P017",
        "The plan breaks a constraint of the request.",
        "Plan without what the sentence names.",
    ),
    _entry(
        "P018",
        "The work was assigned to an arm that does not do the last steps.",
        "Have that arm do them; others may fetch what it works on.",
    ),
    _entry(
        "P019",
        "The steps together cost more than the budget.",
        "Use fewer or cheaper steps, or raise the budget.",
    ),
    _entry(
        "P020",
        "The longest chain of steps takes longer than the budget.",
        "Shorten the chain, or raise the budget.",
    ),
    _entry(
        "P021",
        "The arm is away now.",
        "Use the arm that the sentence names, or try later.",
    ),
    _entry(
        "P022",
        "The plan uses an arm, tool, command or host that the operator's policy or the "
        "task's grants do not allow, or that its arm does not ask for.",
        "Plan without it, have the operator extend `OCTOLLM_PLAN_POLICY`, or submit with "
        "an `approval` that is not `never`: then an operator is asked instead.",
    ),
    _entry(
        "P023",
        "The plan is too large; nothing else was looked at.",
        "Refer to values in the context instead of repeating them.",
    ),
    _entry(
        "P024",
        "More rules are broken than are listed.",
        "Mend those that are; the rest is shown then.",
    ),
    _entry(
        "P025",
        "A step of a later version does what a finished one did, with the same input.",
        "Use the finished one's output, or do something else.",
    ),
)
REPAIRS = (
    _entry(
        "R001",
        "Ids that cannot stand in a path, or that the system's own steps have, were "
        "replaced by numbers.",
        "References follow.",
    ),
    _entry(
        "R002",
        "A step written twice under one id, word for word, was taken once.",
        "Only if it has no effect but its output and steps enough remain; otherwise P002.",
    ),
    _entry(
        "R003", "An arm was found by a synonym or another spelling.", "One arm fits."
    ),
    _entry(
        "R004",
        "A capability was found by a synonym or another spelling.",
        "One capability of the arm fits.",
    ),
    _entry(
        "R005",
        "A capability stood in the arm's place, or the arm was missing.",
        "One arm has the capability, and the step names no other.",
    ),
    _entry(
        "R006",
        "A text that spells an existing path was read as a reference.",
        "Nothing else is written like that.",
    ),
    _entry(
        "R007", "A dependency on no step was dropped.", "There is nothing to wait for."
    ),
    _entry(
        "R008",
        "A step that reads another's output now waits for it.",
        "It could not run before.",
    ),
    _entry(
        "R009",
        "A step no longer waits for one of which it uses nothing.",
        "Only if that one has no effect but its output.",
    ),
    _entry(
        "R010",
        "Steps with the same arm, capability and input were merged.",
        "Only if they have no effect; by a model only with the same description.",
    ),
    _entry(
        "R011",
        "Another arm does a step because its own is away.",
        "It is the only one that does the same: same input and outputs, no effects, "
        "shown the same personal data, using nothing more. Never in a caller's own plan.",
    ),
    _entry(
        "R012",
        "A cheaper arm does a step, or a faster one for the same price.",
        "It does the same, as for R011.",
    ),
    _entry(
        "R013",
        "A later version lists a finished step as it is; it is kept and does not run "
        "again.",
        "Same id, arm, capability and input.",
    ),
    _entry(
        "R014",
        "A later version changes a step under its old id; the new one replaces it.",
        "The old output no longer fills the result, nor does what was made from it.",
    ),
)
NOTES = (
    _entry(
        "N001",
        "The time may not do if every step is as slow as one in ten.",
        "Raise the budget to be sure; the plan runs as it is.",
    ),
    _entry(
        "N002",
        "What models are to read of the goal and the context has more tokens than the "
        "budget.",
        "Raise the budget, or give less to read; the task will stop where they run out.",
    ),
)


def document() -> str:
    """Return the table as Markdown."""
    return "\n".join(
        (
            "# The rules of plans",
            "",
            "Every plan, be it a model's, a recipe's, one from the cache or the caller's "
            "own, passes the same",
            "compiler. It reports every broken rule at once (error `invalid_plan`), each "
            "as one sentence that starts",
            "with the rule's id. What has only one meaning it mends by itself and records "
            "in the plan's `repairs`.",
            "Written by `python -m planner.rulebook`; do not edit.",
            "",
            "## Rules",
            "",
            *_table(RULES, ("id", "what is wrong", "what to do")),
            "",
            "## Repairs",
            "",
            *_table(REPAIRS, ("id", "what was done", "why that is safe")),
            "",
            "## Notes",
            "",
            *_table(NOTES, ("id", "what it says", "what to do")),
            "",
        )
    )


def _table(entries: Iterable[Entry], head: tuple[str, str, str]) -> Iterable[str]:
    yield f"| {' | '.join(head)} |"
    yield "| --- | --- | --- |"
    for entry in entries:
        yield f"| {entry.id} | {entry.says} | {entry.advice} |"


if __name__ == "__main__":
    sys.stdout.write(document())
