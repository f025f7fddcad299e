"""Random lives of a task: whatever happens in whatever order, the rows stay lawful.

Hypothesis invents the plans and the order of claims, endings, lost workers, late
records, closings, new runs and new plan versions. After each act the rules of
``octollm repair`` find nothing, and at the end the whole history is walked: every
change of a state stands in the tables, and the chain verifies.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from octollm.errors import IllegalStateError
from tasks_app import chain, states
from tasks_app.endings import after_failure
from tasks_app.models import Attempt, Step, Task, TaskEvent
from tasks_app.repair import RULES
from tasks_app.turn import Claim, Ending, task_turn
from tests.builders import done, failed, make_judge, make_plan, make_step, make_task

# All rules in one question: it is asked after every act.
FAULTS = " UNION ALL ".join(
    f"SELECT '{rule.name}' FROM ({rule.finds}) AS found_{number} (id) WHERE id = %s"
    for number, rule in enumerate(RULES)
).replace("%s", "%(task)s")
LIMITS = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    # A failure shows its whole way; looking for a shorter one would take minutes.
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


class TaskLife(RuleBasedStateMachine):
    """One task, acted on as workers, callers and the reaper do."""

    def __init__(self) -> None:
        """Begin without a task."""
        super().__init__()
        self.claims: list[Claim] = []
        self.lost: list[Claim] = []
        self.states: dict[str, str] = {}
        self.status = "pending"
        self.outputs: dict[str, Any] = {}
        self.number = 0

    @initialize(shape=st.lists(st.sets(st.integers(0, 4)), min_size=1, max_size=5))
    def plan(self, shape: list[set[int]]) -> None:
        """Plan steps that each depend on some of those before them."""
        self.task = make_task()
        claim = self.claim("plan")
        steps = [
            make_step(f"s{i}", depends_on=tuple(f"s{d}" for d in sorted(on) if d < i))
            for i, on in enumerate(shape)
        ]
        with task_turn(self.task.pk) as turn:
            turn.end_attempt(claim, done({}))
            turn.add_plan(make_plan(), [*steps, make_judge()])
            turn.advance()

    def steps(self, *statuses: str) -> list[Step]:
        return list(
            Step.objects.filter(task=self.task, status__in=statuses).order_by("step_id")
        )

    def claim(self, step_id: str) -> Claim:
        step = Step.objects.get(task=self.task, step_id=step_id)
        with task_turn(self.task.pk) as turn:
            claim = turn.start_step(step, worker="machine")
        assert claim is not None
        return claim

    @property
    def is_open(self) -> bool:
        return not Task.objects.get(pk=self.task.pk).is_terminal

    @precondition(lambda self: self.steps("ready"))
    @rule(data=st.data())
    def somebody_claims(self, data: st.DataObject) -> None:
        step = data.draw(st.sampled_from(self.steps("ready")))
        self.claims.append(self.claim(step.step_id))

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), ending=st.sampled_from(["done", "failed", "retry", "back"]))
    def attempt_ends(self, data: st.DataObject, ending: str) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        self.claims.remove(claim)
        endings = {
            "done": done({"value": claim.attempt}),
            "failed": failed(),
            "retry": Ending(status="ready", outcome="retry", delay_s=0),
            "back": Ending(
                status="ready",
                outcome="released",
                keeps_request=True,
                is_counted=False,
            ),
        }
        with task_turn(self.task.pk) as turn:
            assert turn.end_attempt(claim, endings[ending])
            if ending == "failed":
                after_failure(turn, claim.step, {"code": "x", "message": "It failed."})
            elif ending == "done" and claim.step.kind == Step.Kind.JUDGE:
                turn.close(Task.Status.COMPLETED, result={})
            elif ending == "done":
                turn.advance()
        self.forget_if_ended()

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def worker_is_lost(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        self.claims.remove(claim)
        self.lost.append(claim)
        with task_turn(self.task.pk) as turn:
            step = Step.objects.get(pk=claim.step.pk)
            error = turn.lose_attempt(step)
            if error is not None:
                after_failure(turn, step, error)
        self.forget_if_ended()

    @precondition(lambda self: self.lost)
    @rule(data=st.data())
    def lost_worker_comes_back(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.lost))
        before = self.rows()
        with task_turn(self.task.pk) as turn:
            assert not turn.end_attempt(claim, done({"value": "late"}))
        assert self.rows() == before
        assert Attempt.objects.get(claim_id=claim.claim_id).late_at is not None

    @precondition(lambda self: self.is_open)
    @rule(status=st.sampled_from([Task.Status.FAILED, Task.Status.CANCELLED]))
    def task_is_ended(self, status: Task.Status) -> None:
        with task_turn(self.task.pk) as turn:
            turn.close(status, result={}, stop_reason="machine")
        self.forget_if_ended()

    @rule()
    def caller_retries(self) -> None:
        task = Task.objects.get(pk=self.task.pk)
        if task.status != Task.Status.FAILED:
            with pytest.raises(IllegalStateError), task_turn(task.pk) as turn:
                turn.reopen(reason="retry")
            return
        with task_turn(task.pk) as turn:
            turn.reopen(reason="retry")
            turn.reopen_steps(self.steps("failed", "dead", "skipped", "cancelled"))
            if not turn.advance():
                turn.close(Task.Status.FAILED, result={}, stop_reason="nothing_left")

    @precondition(lambda self: self.is_open and not self.claims)
    @rule()
    def plan_changes(self) -> None:
        """Keep what is done; one new step comes in place of the rest."""
        kept = [step for step in self.steps("done") if step.kind == Step.Kind.WORK]
        self.number += 1
        again = make_step(f"plan-{self.number}", kind=Step.Kind.PLAN)
        with task_turn(self.task.pk) as turn:
            turn.add_steps([again])
            turn.advance()
        claim = self.claim(again.step_id)
        new = make_step(f"n{self.number}", depends_on=tuple(s.step_id for s in kept))
        judge = make_judge()
        judge.step_id = f"judge-{self.number}"
        with task_turn(self.task.pk) as turn:
            assert turn.end_attempt(claim, done({}))
            turn.add_plan(make_plan(), [new, judge], kept=[step.pk for step in kept])
            turn.advance()

    def forget_if_ended(self) -> None:
        """An end takes all claims away; their workers do not know yet."""
        if not self.is_open:
            self.lost += self.claims
            self.claims = []

    def rows(self) -> list[tuple[Any, ...]]:
        return list(
            Step.objects.filter(task=self.task)
            .order_by("step_id")
            .values_list("step_id", "status", "output", "attempt_count")
        )

    @invariant()
    def every_change_is_in_the_tables(self) -> None:
        if not hasattr(self, "task"):
            return
        # Several changes may lie between two looks: each step of the way is lawful.
        status = Task.objects.get(pk=self.task.pk).status
        assert status in reachable(states.TASK, self.status)
        self.status = status
        for step_id, now, output, _ in self.rows():
            assert now in reachable(states.STEP, self.states.get(step_id, "waiting"))
            self.states[step_id] = now
            if step_id in self.outputs:
                assert output == self.outputs[step_id], "a finished step stays as it is"
            elif now == "done":
                self.outputs[step_id] = output

    @invariant()
    def nothing_needs_repair(self) -> None:
        if hasattr(self, "task"):
            with connection.cursor() as cursor:
                cursor.execute(FAULTS, {"task": self.task.pk})
                assert cursor.fetchall() == []

    def teardown(self) -> None:
        """Verify the chain of the whole life."""
        if hasattr(self, "task"):
            task = Task.objects.get(pk=self.task.pk)
            events = list(TaskEvent.objects.filter(task=task))
            assert chain.first_break(task.pk, events, head=task.event_head) is None


def reachable(machine: states.Machine, start: str) -> set[str]:
    """Return the states to which some lawful way leads, the start among them."""
    found, border = {start}, {start}
    while border:
        border = {m.after for m in machine.moves if m.before in border} - found
        found |= border
    return found


@pytest.mark.django_db
def test_any_life_of_a_task_is_lawful():
    run_state_machine_as_test(TaskLife, settings=LIMITS)
