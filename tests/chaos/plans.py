"""The tasks of a chaos run, made from its seed alone: shapes, faults, what must come.

The same seed and number give the same task, whatever ran before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from tasks_app.models import Task
from tests.arm_server import PASSING

# Of each hundred tasks so many have this in them; the rest meets nothing of its own.
ODDITIES: Mapping[str, int] = {
    "flaky": 18,  # a step fails the first time
    "failing": 3,  # a step fails for good
    "retried": 4,  # a step fails, in the first run, and its caller retries the task
    "crashing": 2,  # a step's arm raises what it should not
    "hanging": 1,  # a step hangs until the task's time is over
    "deadly": 1,  # a step kills the worker that runs it
    "cancelled": 6,  # its caller cancels it
    "approved": 4,  # its plan waits for its caller, who approves it
    "rejected": 2,  # its plan waits for its caller, who rejects it
    "unmet": 4,  # the model says that a criterion is not met
    "poor": 3,  # its budget does not suffice to be judged by a model
}
_CAPABILITIES = {
    "flaky": "flake",
    "failing": "fail",
    "crashing": "crash",
    "hanging": "hang",
    "deadly": "die",
}
# Who does the steps: in the worker's process; elsewhere, with a store of executions;
# elsewhere without one, which may do its work twice.
ARMS: Mapping[str, int] = {"gate": 45, "remote": 45, "forgetful": 10}
# What the first call of a step meets at an arm elsewhere, and in how many of them.
FAULTS = (*PASSING, "die_before", "die_after")
FAULTY_SHARE = 0.25
# Stands in what later versions of a plan give.
MENDED = "mended"
# Long enough that no task is saved by its deadline from being stuck.
PATIENT_S = 900
HANGING_S = 12
_LATER = {
    "cancelled": "cancel",
    "approved": "approve",
    "rejected": "reject",
    "retried": "retry",
}
_NAMES = "abcdefghij"

# Each step with those it waits for, in an order in which they can run.
Shape = dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class ChaosTask:
    """One task to submit.

    Attributes:
        key: its idempotency key.
        body: what is sent.
        is_planned_by_model: it comes without a plan.
        expected: what each step gives if it is done, by its id.
        ends: right ends beside those that chaos may bring about anywhere, each a
            status or a status and an error's code.
        later: what its caller does with it once it is accepted: ``cancel``,
            ``approve``, ``reject`` or ``retry``, or nothing.
        later_s: how long after its acceptance.
    """

    number: int
    key: str
    shape: str
    oddity: str
    body: dict[str, Any]
    is_planned_by_model: bool
    expected: Mapping[str, Any]
    ends: frozenset[str]
    later: str = ""
    later_s: float = 0.0


def make_tasks(seed: int, count: int) -> list[ChaosTask]:
    """Return the tasks of a run."""
    return [make_task(seed, number) for number in range(count)]


def make_task(seed: int, number: int) -> ChaosTask:
    """Return one task of a run."""
    random = Random(f"{seed}/task/{number}")
    name = random.choice(sorted(_SHAPES))
    shape = _SHAPES[name](random)
    oddity = oddity_of(seed, number)
    steps = _steps(shape, oddity, random)
    share = {"": 0.12, "flaky": 0.12, "unmet": 0.6}.get(oddity, 0)
    by_model = random.random() < share
    is_judged = oddity in ("unmet", "poor") or random.random() < 0.5
    body: dict[str, Any] = {
        "goal": f"Carry out order {number} as a {name}",
        "priority": random.choice(["low", "medium", "high", "critical"]),
        "budget": _budget(oddity),
        "acceptance_criteria": [f"Order {number} is pleasant"] if is_judged else [],
    }
    if not by_model:
        body["plan"] = {"steps": steps}
    if oddity in ("approved", "rejected"):
        body["approval"] = "always"
    return ChaosTask(
        number=number,
        key=f"chaos-{seed}-{number}",
        shape=name,
        oddity=oddity,
        body=body,
        is_planned_by_model=by_model,
        expected=_outputs(shape),
        ends=_ends(oddity, by_model=by_model),
        later=_LATER.get(oddity, ""),
        later_s=random.uniform(0, 3),
    )


def steps_of(seed: int, number: int) -> list[dict[str, Any]]:
    """Return the steps that a model plans for a task."""
    random = Random(f"{seed}/model-plan/{number}")
    shape = _diamond(random)
    return _steps(shape, oddity_of(seed, number), random)


def mending_steps(seed: int, number: int, version: int) -> list[dict[str, Any]]:
    """Return the new steps that a model plans for a later version."""
    random = Random(f"{seed}/model-plan/{number}/{version}")
    steps = _steps({"n1": (), "n2": ("n1",)}, "", random)
    steps[0]["input"]["value"] = [f"{MENDED} {version}"]
    return steps


def can_be_mended(number: int) -> bool:
    """Say whether an unmet criterion is met once later steps have their say."""
    return number % 2 == 1


def oddity_of(seed: int, number: int) -> str:
    """Return what is odd about a task, empty for nothing; each hundred has them all."""
    deck = [name for name, share in ODDITIES.items() for _ in range(share)]
    deck += [""] * (100 - len(deck))
    Random(f"{seed}/oddities/{number // 100}").shuffle(deck)
    return deck[number % 100]


# Shapes ---------------------------------------------------------------------------
def _chain(random: Random) -> Shape:
    names = _NAMES[: random.randint(2, 6)]
    return {
        name: tuple(names[place - 1 : place]) if place else ()
        for place, name in enumerate(names)
    }


def _diamond(random: Random) -> Shape:
    return {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}


def _two_diamonds(random: Random) -> Shape:
    return {**_diamond(random), "e": ("d",), "f": ("d",), "g": ("e", "f")}


def _fan_out(random: Random) -> Shape:
    middle = _NAMES[1 : 1 + random.randint(3, 8)]
    last = _NAMES[1 + len(middle)]
    return {"a": (), **dict.fromkeys(middle, ("a",)), last: tuple(middle)}


_SHAPES: dict[str, Callable[[Random], Shape]] = {
    "chain": _chain,
    "diamond": _diamond,
    "fan-out": _fan_out,
    "pair of diamonds": _two_diamonds,
}


def _steps(shape: Shape, oddity: str, random: Random) -> list[dict[str, Any]]:
    has_odd = oddity in _CAPABILITIES or oddity == "retried"
    odd = random.choice(sorted(shape)) if has_odd else None
    return [
        {
            "step_id": name,
            "description": f"Step {name}",
            "depends_on": list(parents),
            **_work(
                [name, *({"$from": f"steps.{p}.value"} for p in parents)],
                random,
                oddity=oddity if name == odd else "",
            ),
        }
        for name, parents in shape.items()
    ]


def _work(value: list[Any], random: Random, *, oddity: str) -> dict[str, Any]:
    """Return which arm does a step, and what is in its way."""
    arm = random.choices(list(ARMS), weights=list(ARMS.values()))[0]
    takes = round(_seconds(random), 2)
    fault = random.choice(FAULTS)
    does: Any
    if oddity == "retried":
        arm, does = "remote", ["refuse", "answer"]
    elif oddity == "hanging" and arm == "remote":
        does = "hang_before"
    elif oddity or arm == "gate":
        given = {"value": value, "takes": takes, "times": 1}
        capability = _CAPABILITIES[oddity] if oddity else "echo"
        return {"arm": "gate", "capability": capability, "input": given}
    else:
        is_hit = random.random() < FAULTY_SHARE
        does = [fault, "answer"] if is_hit else "slow"
    given = {"value": value, "does": does, "seconds": takes}
    return {"arm": arm, "capability": "work", "input": given}


def _seconds(random: Random) -> float:
    """Most steps are quick; some last long enough to be hit by something."""
    return random.uniform(0, 0.3) if random.random() < 0.75 else random.uniform(0.5, 3)


def _outputs(shape: Shape) -> dict[str, Any]:
    """Return what the steps give: their name, and what came from before them."""
    given: dict[str, Any] = {}
    for name, parents in shape.items():
        given[name] = [name, *(given[parent] for parent in parents)]
    return given


# Budgets and ends -----------------------------------------------------------------
def _budget(oddity: str) -> dict[str, Any]:
    return {
        "max_cost_usd": "2.00",
        "max_tokens": 2_000 if oddity == "poor" else 100_000,
        "max_time_seconds": HANGING_S if oddity == "hanging" else PATIENT_S,
    }


def _ends(oddity: str, *, by_model: bool) -> frozenset[str]:
    """Return the ends that are right for a task.

    Any step may lose its worker in each attempt, or find its arm or the database away.
    """
    ends = {
        "failed: worker_lost",
        "failed: arm_unavailable",
        "failed: database_unavailable",
    }
    if oddity not in ("failing", "crashing", "hanging", "deadly", "rejected"):
        ends.add(Task.Status.COMPLETED)
    ends |= {
        "failing": {"failed: arm_failed"},
        "crashing": {"failed: arm_failed"},
        "hanging": {"failed: deadline_exceeded"},
        "cancelled": {str(Task.Status.CANCELLED)},
        "rejected": {str(Task.Status.CANCELLED)},
        "unmet": {"failed: criteria_not_met"},
        "retried": {"failed: arm_input"},
    }.get(oddity, set())
    if by_model:
        # The model may be away, or talk nonsense each time; no recipe fits.
        ends |= {"failed: model_unavailable", "failed: invalid_plan"}
    return frozenset(ends)
