"""The policy: what each checkpoint does with each kind of finding."""

import pytest

from reflex.decide import (
    Action,
    Checkpoint,
    Combination,
    Policy,
    action_for,
    combine,
    load_policy,
    strictest,
)

LOOSE = Policy(
    actions={
        Checkpoint.REQUEST: {
            "values": {"default": Action.REDACT, "IP": Action.ALLOW},
            "injection": {"high": Action.FLAG},
        }
    },
    combination=Combination(families=3, within=10),
)


@pytest.mark.parametrize("checkpoint", Checkpoint)
@pytest.mark.parametrize("value_type", ["EMAIL", "SECRET", "CARD", "LITERAL"])
def test_values_are_concealed_everywhere(checkpoint, value_type):
    action = action_for(checkpoint, value_type=value_type, severity="low")

    assert action == Action.REDACT


@pytest.mark.parametrize(
    ("checkpoint", "severity", "action"),
    [
        (Checkpoint.REQUEST, "high", Action.BLOCK),
        (Checkpoint.REQUEST, "medium", Action.FLAG),
        (Checkpoint.REQUEST, "low", Action.ALLOW),
        (Checkpoint.DOCUMENT, "high", Action.FLAG),
        (Checkpoint.TOOL_OUTPUT, "high", Action.FLAG),
        (Checkpoint.MODEL_OUTPUT, "high", Action.FLAG),
    ],
)
def test_attacks_block_requests_and_taint_the_rest(checkpoint, severity, action):
    assert action_for(checkpoint, value_type="", severity=severity) == action


def test_another_policy_decides_by_type():
    def decided(value_type: str) -> Action:
        return action_for(
            Checkpoint.REQUEST, value_type=value_type, severity="low", policy=LOOSE
        )

    assert decided("IP") == Action.ALLOW
    assert decided("EMAIL") == Action.REDACT


def test_strictest_action_wins():
    assert strictest([Action.FLAG, Action.BLOCK, Action.ALLOW]) == Action.BLOCK
    assert strictest([]) == Action.ALLOW


@pytest.mark.parametrize(
    ("attacks", "raised"),
    [
        ([], set()),
        ([(0, "a")], set()),
        ([(0, "a"), (5, "a")], set()),
        ([(0, "a"), (5, "b")], {0, 1}),
        ([(0, "a"), (9000, "b")], set()),
        ([(0, "a"), (9000, "b"), (9001, "a")], {1, 2}),
    ],
)
def test_attacks_of_two_families_close_together_are_raised(attacks, raised):
    assert combine(attacks) == raised


def test_policy_covers_every_checkpoint_and_severity():
    for checkpoint in Checkpoint:
        kinds = load_policy().actions[checkpoint]
        assert set(kinds["injection"]) == {"low", "medium", "high"}
        assert "default" in kinds["values"]
