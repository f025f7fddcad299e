"""The ledger under whatever may happen to a task, in any order.

Each example is one task of an owner with a cap. After every rule the books are
compared with the rows, with a model of the charges, and with the owner's month.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
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

from octollm.errors import (
    BudgetExceededError,
    CallCancelledError,
    IllegalStateError,
    OwnerBudgetExceededError,
)
from tasks_app import chain, endings
from tasks_app.amounts import cost_nano
from tasks_app.booking import CHANGES, Act
from tasks_app.ledger import (
    TaskMeter,
    correct_charge,
    lost_charges,
    presume_lost,
)
from tasks_app.models import Charge, OwnerMonth, Step, Task, TaskEvent
from tasks_app.turn import Claim, task_turn
from tests.builders import (
    claim_of,
    done,
    make_judge,
    make_owner,
    make_plan,
    make_step,
    make_task,
)
from tests.calls import PRICE, books, call, sums, usage

WORK = ("a", "b", "c")
# Little beside what the envelopes keep, so that calls wait, lend and are refused.
CAP_USD, TOKENS = Decimal("0.018"), 4500
CALLS = st.tuples(st.integers(1, 2000), st.integers(1, 500))
LARGE_CALLS = st.tuples(st.integers(1000, 3000), st.integers(500, 1200))
ACTS: tuple[Act, ...] = ("settle", "presume", "release")
USED = st.tuples(st.integers(0, 4000), st.integers(0, 1500))


@dataclass
class Expected:
    """A charge as it should be."""

    state: str
    held: tuple[int, int]
    booked: tuple[int, int] = (0, 0)


def priced(input_tokens: int, output_tokens: int) -> tuple[int, int]:
    nano = cost_nano(PRICE, input_tokens=input_tokens, output_tokens=output_tokens)
    return nano, input_tokens + output_tokens


class LedgerMachine(RuleBasedStateMachine):
    """One task, its steps claimed and lost, its charges settled in time or late."""

    task: Task

    def __init__(self) -> None:
        super().__init__()
        self.charges: dict[UUID, Expected] = {}
        self.claims: dict[str, Claim] = {}

    @initialize(
        envelopes=st.lists(st.integers(0, 5_000_000), min_size=3, max_size=3),
        judge=st.integers(1, 2_000_000),
    )
    def plan(self, envelopes: list[int], judge: int) -> None:
        owner = make_owner()
        owner.monthly_cap_usd = 2 * CAP_USD
        owner.save()
        self.task = make_task(owner=owner, max_cost_usd=CAP_USD, max_tokens=TOKENS)
        first = claim_of(self.task, "plan")
        steps = [
            make_step(step_id, envelope_nano=nano, depends_on=("a",) * (step_id == "c"))
            for step_id, nano in zip(WORK, envelopes, strict=True)
        ]
        self.judge_keeps = judge
        kept = make_judge(envelope_nano=self.judge_keeps, envelope_tokens=500)
        with task_turn(self.task.pk) as turn:
            turn.end_attempt(first, done({}))
            turn.add_plan(make_plan(), [*steps, kept])
            turn.advance()
        self.claims = {name: claim_of(self.task, name) for name in ("a", "b")}

    # What steps do ---------------------------------------------------------------
    @precondition(lambda self: self._ready())
    @rule(data=st.data())
    def claim(self, data: Any) -> None:
        step_id = data.draw(st.sampled_from(self._ready()))
        self.claims[step_id] = claim_of(self.task, step_id)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), size=CALLS)
    def reserve(self, data: Any, size: tuple[int, int]) -> None:
        self._reserve(data, size)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), size=LARGE_CALLS)
    def reserve_much(self, data: Any, size: tuple[int, int]) -> None:
        self._reserve(data, size)

    def _reserve(self, data: Any, size: tuple[int, int]) -> None:
        step_id = data.draw(st.sampled_from(sorted(self.claims)))
        claim, before = self.claims[step_id], books(self.task)
        wanted = call(*size, request_hash=str(len(self.charges)))
        try:
            charge_id = TaskMeter(claim).reserve(wanted)
        except CallCancelledError:
            assert self.task.is_terminal or not self._is_mine(claim)
            return
        except BudgetExceededError as refused:
            assert books(self.task) == before
            self._refused(step_id, refused)
            return
        self.charges[charge_id] = Expected(state="held", held=priced(*size))
        self._granted_within_the_cap(before)

    @precondition(lambda self: self.claims and len(self.charges) > 1)
    @rule(data=st.data())
    def finish(self, data: Any) -> None:
        claim = self.claims.pop(data.draw(st.sampled_from(sorted(self.claims))))
        with task_turn(self.task.pk) as turn:
            if turn.end_attempt(claim, done({})):
                turn.advance()

    @precondition(lambda self: self.claims and len(self.charges) > 1)
    @rule(data=st.data())
    def lose(self, data: Any) -> None:
        """The worker dies; what it held is presumed, as the reaper does."""
        claim = self.claims.pop(data.draw(st.sampled_from(sorted(self.claims))))
        step = Step.objects.get(pk=claim.step.pk)
        if step.claim_id != claim.claim_id:
            return
        with task_turn(self.task.pk) as turn:
            if turn.lose_attempt(step) is not None:
                turn.skip_dependants()
                turn.advance()
            # Also those of steps that ended while their calls were under way.
            lost = lost_charges().filter(task=self.task)
            lost_ids = [charge.pk for charge in lost]
            presume_lost(turn)
        for charge_id in lost_ids:
            self._expect("presume", charge_id, self.charges[charge_id].held)

    # What becomes of charges, in time, late and again -------------------------------
    @precondition(lambda self: self.charges)
    @rule(data=st.data(), act=st.sampled_from(ACTS), used=USED)
    def end_call(self, data: Any, act: Act, used: tuple[int, int]) -> None:
        charge_id = self._any_charge(data)
        meter, held = self._meter(), self.charges[charge_id].held
        if act == "settle":
            meter.settle(charge_id, usage(*used), "reply")
        elif act == "presume":
            meter.presume(charge_id)
        else:
            meter.release(charge_id)
        booked = {"settle": priced(*used), "presume": held, "release": (0, 0)}
        self._expect(act, charge_id, booked[act])

    @precondition(lambda self: self.charges)
    @rule(data=st.data(), nano=st.integers(0, 20_000_000))
    def correct(self, data: Any, nano: int) -> None:
        charge_id = self._any_charge(data)
        cost_usd = Decimal(nano) / 10**9
        try:
            correct_charge(charge_id, cost_usd=cost_usd, reason="tests")
        except IllegalStateError:
            assert self.charges[charge_id].state == "held"
            return
        tokens = self.charges[charge_id].booked[1]
        self._expect("correct", charge_id, (nano, tokens))

    # What happens to the task -----------------------------------------------------
    @rule(more=st.integers(1, 40_000))
    def raise_budget(self, more: int) -> None:
        """By so many millionths of a dollar, if the owner's cap allows it."""
        if self.task.is_terminal:
            return
        before = self.task.max_cost_usd
        try:
            with task_turn(self.task.pk) as turn:
                turn.set(max_cost_usd=before + Decimal(more) / 10**6)
        except OwnerBudgetExceededError:
            assert before + Decimal(more) / 10**6 > 2 * CAP_USD
            self.task.refresh_from_db()
            assert self.task.max_cost_usd == before

    @precondition(lambda self: len(self.charges) > 4)
    @rule()
    def close(self) -> None:
        self.task.refresh_from_db()
        if not self.task.is_terminal:
            with task_turn(self.task.pk) as turn:
                turn.close(Task.Status.CANCELLED, result={})

    # What always holds ------------------------------------------------------------
    @invariant()
    def all_accounts_agree(self) -> None:
        """The books, the rows, the charges as expected, and the owner's month."""
        assert books(self.task) == sums(self.task)
        assert min(books(self.task)) >= 0
        rows = Charge.objects.filter(task=self.task)
        found = {row.pk: (row.state, row.settled_nano, row.used_tokens) for row in rows}
        assert found == {
            charge_id: (each.state, *each.booked)
            for charge_id, each in self.charges.items()
        }
        month = OwnerMonth.objects.get(owner=self.task.owner_id)
        # While it is open its whole budget; then what it spent, and still holds.
        is_open = not self.task.is_terminal
        assert (month.reserved_nano, month.spent_nano) == (
            (self.task.max_cost_nano, 0)
            if is_open
            else (self.task.held_nano, self.task.spent_nano)
        )

    @invariant()
    def the_judge_keeps_its_own(self) -> None:
        judge = Step.objects.get(task=self.task, kind="judge")
        if judge.status == Step.Status.WAITING:
            assert judge.envelope_nano == self.judge_keeps

    def teardown(self) -> None:
        if hasattr(self, "task"):
            events = TaskEvent.objects.filter(task=self.task)
            head = Task.objects.get(pk=self.task.pk).event_head
            assert chain.first_break(self.task.pk, events, head=head) is None

    # Helpers ----------------------------------------------------------------------
    def _ready(self) -> list[str]:
        ready = Step.objects.filter(task=self.task, status="ready").order_by("id")
        return list(ready.values_list("step_id", flat=True))

    def _granted_within_the_cap(self, before: tuple[int, int, int, int]) -> None:
        """What was overrun before may still be; nothing is added to it."""
        spent, held, spent_tokens, held_tokens = books(self.task)
        assert spent + held <= max(self.task.max_cost_nano, sum(before[:2]))
        assert spent_tokens + held_tokens <= max(TOKENS, sum(before[2:]))

    def _refused(self, step_id: str, refused: BudgetExceededError) -> None:
        if refused.is_transient:
            endings.settle_error(self.claims.pop(step_id), refused)
        else:
            # It could not have fitted, whatever the others gave back.
            spent, _, spent_tokens, _ = books(self.task)
            room = (self.task.max_cost_nano - spent, TOKENS - spent_tokens)
            assert refused.room_usd * 10**9 <= max(0, room[0])
            assert refused.room_tokens <= max(0, room[1])

    def _expect(self, act: Act, charge_id: UUID, booked: tuple[int, int]) -> None:
        expected = self.charges[charge_id]
        state = CHANGES.get((act, expected.state))
        if state is not None:
            expected.state, expected.booked = state, booked

    def _any_charge(self, data: Any) -> UUID:
        charge_id: UUID = data.draw(st.sampled_from(list(self.charges)))
        return charge_id

    def _meter(self) -> TaskMeter:
        """Return any meter of the task: charges are settled by their own id."""
        step = Step.objects.get(task=self.task, step_id="plan")
        claim = Claim.__new__(Claim)
        object.__setattr__(claim, "step", step)
        return TaskMeter(claim)

    def _is_mine(self, claim: Claim) -> bool:
        return Step.objects.filter(pk=claim.step.pk, claim_id=claim.claim_id).exists()


@pytest.mark.django_db
def test_the_ledger_holds_whatever_happens():
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            # What fails is told as it was found: to shrink it takes minutes.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
